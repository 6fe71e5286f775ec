"""Who somebody is: a table of headers, and what becomes of passwords and tokens that are out."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.access.authentication import bearer, identify, log_in, refresh
from chalicelib.access.authorization_header import Anonymous, Basic, Bearer, read_authorization
from chalicelib.access.credentials import Credential, generate, hash_of
from chalicelib.access.decision import (
    ANONYMOUS,
    Decision,
    Principal,
    PrincipalKind,
    decide,
    federated_subject,
)
from chalicelib.access.grants import Grants
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.scopes import parse_scopes
from chalicelib.access.tokens import TokenUse
from chalicelib.access.trusts import Trust
from tests.chalicelib.access.values import NOW, TOKENS, a_credential
from tests.support.memory_access import MemoryAccessStore


def encoded(text: str | bytes) -> str:
    """Return a Basic header of `user:password`."""
    data = text if isinstance(text, bytes) else text.encode()
    return f"Basic {base64.b64encode(data).decode()}"


@dataclass(frozen=True)
class World:
    """A store with one credential in it, and its access token."""

    store: MemoryAccessStore
    password: str
    credential: Credential

    def token(
        self, scope: str = "repository:team/app:pull", use: TokenUse = TokenUse.BEARER
    ) -> str:
        """Return a token for the credential."""
        record = self.credential
        return TOKENS.issue(
            f"credential:{record.id}",
            parse_scopes([scope]),
            NOW,
            jti="t",
            use=use,
            source=record.id,
            version=record.version,
        )

    def change(self, **changes: object) -> None:
        """Change the stored credential."""
        self.store.credentials[self.credential.id] = replace(self.credential, **changes)  # type: ignore[arg-type]

    def identify(self, header: str | None) -> Principal:
        """Say who sent a header."""
        return identify(header, self.store, TOKENS, NOW)

    def refusal(self, header: str | None) -> Reason:
        """Say why a header is refused."""
        with pytest.raises(AuthenticationError) as caught:
            self.identify(header)
        assert caught.value.__cause__ is None
        return caught.value.reason


@pytest.fixture
def world() -> World:
    """A world of its own."""
    store, password = MemoryAccessStore(), generate()
    grants = Grants.parse(["team/**:pull,push"])
    credential = a_credential(secret_hash=hash_of(password), grants=grants)
    store.create(credential)
    return World(store, password, credential)


# fmt: off
HEADERS = [
    (None, Anonymous()), ("", Anonymous()), ("  ", Anonymous()),
    ("Basic Og==", Anonymous()), ("basic  Og== ", Anonymous()),
    (encoded("ci:moor_x"), Basic("ci", "moor_x")), (encoded("ci:a:b"), Basic("ci", "a:b")),
    (encoded("ci:").replace("Basic", "BASIC"), Basic("ci", "")),
    (encoded(":x"), Basic("", "x")), (encoded("é:ü"), Basic("é", "ü")),
    ("Bearer a.b.c", Bearer("a.b.c")), ("bearer   a.b.c", Bearer("a.b.c")),
]

BAD_HEADERS = [
    ("Basic", Reason.HEADER), ("Bearer", Reason.HEADER), ("Bearer  ", Reason.HEADER),
    ("Og==", Reason.HEADER), ("Basic Og", Reason.HEADER), ("Basic !!!!", Reason.HEADER),
    ("Basic Og== Og==", Reason.HEADER), ("Basic O g==", Reason.HEADER),
    (encoded("no colon"), Reason.HEADER), (encoded(b"\xff:\xff"), Reason.HEADER),
    (encoded("ci:a\0"), Reason.HEADER), (encoded("c\ni:a"), Reason.HEADER),
    ("Basic é", Reason.HEADER), ("B\u0430sic Og==", Reason.HEADER), ("\0", Reason.HEADER),
    ("Basic\tOg==", Reason.HEADER), ("Basic " + "A" * 20_000, Reason.HEADER),
    ("Digest a=b", Reason.SCHEME), ("Token a", Reason.SCHEME), ("Bearerer a", Reason.SCHEME),
    ("AWS4-HMAC-SHA256 Credential=x", Reason.HEADER), ("Negotiate abc", Reason.SCHEME),
]
# fmt: on


@pytest.mark.parametrize(("header", "expected"), HEADERS)
def test_headers(header: str | None, expected: object) -> None:
    """A header says a user name and a password, or a token, or nothing."""
    assert read_authorization(header) == expected


@pytest.mark.parametrize(("header", "reason"), BAD_HEADERS)
def test_bad_headers(world: World, header: str, reason: Reason) -> None:
    """A header that can't be read is refused, and not taken for no header."""
    assert world.refusal(header) is reason


@given(st.text(max_size=80))
def test_any_header_is_read_or_refused(text: str) -> None:
    """Whatever a header holds, it is read or refused; nothing else is raised."""
    for header in (
        text,
        f"Basic {text}",
        f"Bearer {text}",
        encoded(text.encode("utf-8", "replace")),
    ):
        try:
            principal = identify(header, MemoryAccessStore(), TOKENS, NOW)
        except AuthenticationError:
            continue
        assert principal == ANONYMOUS


def test_nothing_presented_is_shown() -> None:
    """What was presented is not in its repr."""
    assert "moor_" not in repr(Basic("ci", "moor_x"))
    assert "a.b.c" not in repr(Bearer("a.b.c"))


def test_nobody(world: World) -> None:
    """No header, and an empty user name with an empty password, are anonymous."""
    assert world.identify(None) == world.identify("Basic Og==") == ANONYMOUS


@pytest.mark.parametrize("user", ["ci", "", "anybody", "é", "x" * 200])
def test_basic(world: World, user: str) -> None:
    """An access token says who its holder is, under whatever user name."""
    record = world.credential
    assert world.identify(encoded(f"{user}:{world.password}")) == Principal(
        PrincipalKind.CREDENTIAL, f"credential:{record.id}", record.grants, None, record.id, 1
    )


def test_wrong_passwords(world: World) -> None:
    """A password that is no access token, and one that nobody has, are refused."""
    assert world.refusal(encoded("ci:")) is Reason.CREDENTIAL_FORM
    assert world.refusal(encoded("ci:hunter2")) is Reason.CREDENTIAL_FORM
    assert world.refusal(encoded(f"ci:{world.credential.secret_hash}")) is Reason.CREDENTIAL_FORM
    assert world.refusal(encoded(f"ci:{world.password} ")) is Reason.CREDENTIAL_FORM
    assert world.refusal(encoded(f"ci:{generate()}")) is Reason.CREDENTIAL_UNKNOWN
    assert world.refusal(f"Bearer {world.password}") is Reason.JWT_FORM


def test_a_mistyped_password_is_not_looked_up() -> None:
    """What can't be an access token costs no read."""
    with pytest.raises(AuthenticationError):
        log_in("moor_" + "0" * 49, None, TOKENS, NOW)  # type: ignore[arg-type]


# fmt: off
CHANGES = [
    ({"revoked": True}, Reason.CREDENTIAL_REVOKED, Reason.CREDENTIAL_REVOKED),
    ({"expires_at": NOW}, Reason.CREDENTIAL_EXPIRED, Reason.CREDENTIAL_EXPIRED),
    ({"version": 2, "secret_hash": hash_of(generate())},
     Reason.CREDENTIAL_UNKNOWN, Reason.CREDENTIAL_REPLACED),
    ({"version": 3, "secret_hash": hash_of(generate()), "previous_until": NOW + 9},
     Reason.CREDENTIAL_UNKNOWN, Reason.CREDENTIAL_REPLACED),
]
# fmt: on


@pytest.mark.parametrize(("changes", "basic", "token"), CHANGES)
def test_what_is_out_is_void_at_once(
    world: World, changes: dict[str, object], basic: Reason, token: Reason
) -> None:
    """Revoking, expiry and replacement reach the password, its tokens and its refresh tokens."""
    header, access, again = (
        encoded(f"ci:{world.password}"),
        world.token(),
        world.token(use=TokenUse.REFRESH),
    )
    assert world.identify(f"Bearer {access}").source == world.credential.id
    assert refresh(again, world.store, TOKENS, NOW).source == world.credential.id
    world.change(**changes)
    assert world.refusal(header) is basic
    assert world.refusal(f"Bearer {access}") is token
    with pytest.raises(AuthenticationError) as caught:
        refresh(again, world.store, TOKENS, NOW)
    assert caught.value.reason is token


def test_a_replaced_secret_is_taken_for_its_time(world: World) -> None:
    """During a replacement the old access token and what was issued for it still count."""
    access = world.token()
    world.store.rotate(world.credential, hash_of(generate()), NOW + 1)
    for header in (encoded(f"ci:{world.password}"), f"Bearer {access}"):
        assert identify(header, world.store, TOKENS, NOW).version == 1
        with pytest.raises(AuthenticationError) as caught:
            identify(header, world.store, TOKENS, NOW + 1)
        assert caught.value.reason is Reason.CREDENTIAL_REPLACED


def test_a_token_of_a_credential_that_is_gone(world: World) -> None:
    """A token for a credential that nobody has is refused, and so is one with another's subject."""
    access = world.token()
    other = a_credential()
    world.store.create(other)
    claims = TOKENS.verify(access, NOW)
    for forged in (
        replace(claims, source=other.id),
        replace(claims, subject=f"credential:{other.id}"),
        replace(claims, source=""),
        replace(claims, subject="anonymous"),
    ):
        with pytest.raises(AuthenticationError) as caught:
            bearer(forged, world.store, NOW)
        assert caught.value.reason in {Reason.CREDENTIAL_UNKNOWN, Reason.JWT_CLAIMS}
    world.store.credentials.clear()
    assert world.refusal(f"Bearer {access}") is Reason.CREDENTIAL_UNKNOWN


def test_grants_are_those_of_today(world: World) -> None:
    """A token whose credential lost a grant lost it too, and gained none that it did not name."""
    principal = world.identify(f"Bearer {world.token('repository:team/app:pull,push')}")
    assert decide(principal, "push", "team/app") is Decision.ALLOWED
    world.change(grants=Grants.parse(["team/**:pull", "other:pull"]))
    principal = world.identify(f"Bearer {world.token('repository:team/app:pull,push')}")
    assert decide(principal, "push", "team/app") is Decision.DENIED
    assert decide(principal, "pull", "team/app") is Decision.ALLOWED
    assert decide(principal, "pull", "other") is Decision.CHALLENGE


def test_anonymous_tokens(world: World) -> None:
    """A token for nobody lets nobody pull what is public, within what it names."""
    token = TOKENS.issue("anonymous", parse_scopes(["repository:a:pull"]), NOW, jti="t")
    principal = world.identify(f"Bearer {token}")
    assert principal == replace(ANONYMOUS, limit=parse_scopes(["repository:a:pull"]))
    assert decide(principal, "ping", None) is Decision.ALLOWED
    assert decide(principal, "pull", "a", public=True) is Decision.ALLOWED
    assert decide(principal, "pull", "a", public=False) is Decision.CHALLENGE
    assert decide(principal, "pull", "b", public=True) is Decision.CHALLENGE


ISSUER = "https://issuer.example"
MAIN = "repo:team/app:ref:refs/heads/main"
TRUST = Trust("ci", ISSUER, "moorage", "repo:team/app:*", Grants.parse(["a:pull,push"]))


def federated(use: TokenUse = TokenUse.BEARER, subject: str = MAIN) -> str:
    """Return a token for somebody whom a trust let in."""
    asked = parse_scopes(["repository:a:pull,push,delete"])
    name = federated_subject(ISSUER, subject)
    return TOKENS.issue(name, asked, NOW, jti="t", use=use, source=TRUST.name)


def test_federated_tokens(world: World) -> None:
    """A token for somebody whom another issuer knows may do what it says and the trust holds."""
    world.store.put_trust(TRUST)
    principal = world.identify(f"Bearer {federated()}")
    assert (principal.kind, principal.source) == (PrincipalKind.FEDERATED, TRUST.name)
    assert principal.id == federated_subject(ISSUER, MAIN)
    assert decide(principal, "push", "a") is Decision.ALLOWED
    assert decide(principal, "delete", "a") is Decision.DENIED
    assert decide(principal, "catalog", None) is Decision.CHALLENGE


@pytest.mark.parametrize(
    "now",
    [
        None,
        replace(TRUST, issuer="https://other.example"),
        replace(TRUST, subject="repo:team/app:ref:refs/heads/release"),
    ],
    ids=["removed", "another issuer", "another subject"],
)
def test_a_trust_is_looked_up_at_each_use(world: World, now: Trust | None) -> None:
    """A token whose trust is gone, or is about somebody else by now, opens nothing."""
    if now is not None:
        world.store.put_trust(now)
    assert world.refusal(f"Bearer {federated()}") is Reason.TRUST_GONE


def test_a_login_token_is_a_password_and_nothing_else(world: World) -> None:
    """What an exchange gives for logging in is taken as a password, as long as it lives."""
    world.store.put_trust(TRUST)
    token = federated(TokenUse.LOGIN)
    login = log_in(token, world.store, TOKENS, NOW)
    assert (login.principal.limit, login.principal.grants) == (None, TRUST.grants)
    assert login.until == int(NOW) + 3600
    assert world.identify(encoded(f"moorage:{token}")) == login.principal
    assert world.refusal(f"Bearer {token}") is Reason.JWT_AUDIENCE
    with pytest.raises(AuthenticationError):
        log_in(token, world.store, TOKENS, NOW + 3600)
    with pytest.raises(AuthenticationError):
        refresh(token, world.store, TOKENS, NOW)


@pytest.mark.parametrize("subject", ["", "credential:1", "admin", "Anonymous", "anonymous "])
def test_tokens_for_nobody_we_know(world: World, subject: str) -> None:
    """A token with neither a credential nor a subject that we know is refused."""
    token = TOKENS.issue(subject, (), NOW, jti="t")
    assert world.refusal(f"Bearer {token}") in {Reason.JWT_CLAIMS, Reason.CREDENTIAL_UNKNOWN}


def test_a_refresh_token_opens_nothing(world: World) -> None:
    """A refresh token is no password and no bearer token, and one for no credential is none."""
    token = world.token(use=TokenUse.REFRESH)
    assert world.refusal(f"Bearer {token}") is Reason.JWT_AUDIENCE
    assert world.refusal(encoded(f"ci:{token}")) is Reason.JWT_AUDIENCE
    with pytest.raises(AuthenticationError):
        bearer(TOKENS.verify(token, NOW, TokenUse.REFRESH), world.store, NOW)
    for wrong in (world.token(), TOKENS.issue("anonymous", (), NOW, jti="t", use=TokenUse.REFRESH)):
        with pytest.raises(AuthenticationError):
            refresh(wrong, world.store, TOKENS, NOW)


def test_a_refresh_token_asks_within_the_grants_of_today(world: World) -> None:
    """Who comes with a refresh token has no limit but the credential's grants as they are now."""
    principal = refresh(world.token(use=TokenUse.REFRESH), world.store, TOKENS, NOW)
    assert (principal.limit, principal.grants) == (None, world.credential.grants)
