"""Who sent a request: the headers that are read, and when passwords and tokens stop being valid."""

from __future__ import annotations

import re
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
from tests.chalicelib.access.values import NOW, TOKENS, a_credential, reason_of
from tests.support.access import basic
from tests.support.memory_access import MemoryAccessStore

ISSUER = "https://issuer.example"
MAIN = "repo:team/app:ref:refs/heads/main"
TRUST = Trust("ci", ISSUER, "moorage", "repo:team/app:*", Grants.parse(["a:pull,push"]))


@dataclass(frozen=True)
class World:
    """A store with one trust and one credential in it, and that one's API token."""

    store: MemoryAccessStore
    password: str
    credential: Credential

    def token(
        self, scope: str = "repository:team/app:pull", use: TokenUse = TokenUse.BEARER
    ) -> str:
        """Return a token for the credential."""
        record = self.credential
        scopes = parse_scopes([scope])
        how = {"jti": "t", "source": record.id, "version": record.version}
        return TOKENS.issue(f"credential:{record.id}", scopes, NOW, use=use, **how)  # type: ignore[arg-type]

    def change(self, **changes: object) -> None:
        """Change the stored credential."""
        self.store.replace(replace(self.credential, **changes))  # type: ignore[arg-type]

    def identify(self, header: str | None, now: float = NOW) -> Principal:
        """Return who sent a header."""
        return identify(header, self.store, TOKENS, now)

    def refusal(self, header: str | None, now: float = NOW) -> Reason:
        """Return why a header is refused."""
        return reason_of(self.identify, header, now)


@pytest.fixture
def world() -> World:
    """A world of its own."""
    store, password = MemoryAccessStore(), generate()
    grants = Grants.parse(["team/**:pull,push"])
    credential = a_credential(secret_hash=hash_of(password), grants=grants)
    store.create(credential)
    store.put_trust(TRUST)
    return World(store, password, credential)


# fmt: off
HEADERS = [
    (None, Anonymous()), ("", Anonymous()), ("  ", Anonymous()),
    ("Basic Og==", Anonymous()), ("basic  Og== ", Anonymous()),
    (basic("ci", "moor_x"), Basic("ci", "moor_x")), (basic("ci", "a:b"), Basic("ci", "a:b")),
    (basic("ci", "").replace("Basic", "BASIC"), Basic("ci", "")),
    (basic("", "x"), Basic("", "x")), (basic("é", "ü"), Basic("é", "ü")),
    ("Bearer a.b.c", Bearer("a.b.c")), ("bearer   a.b.c", Bearer("a.b.c")),
]

UNREADABLE = [
    "Basic", "Bearer", "Bearer  ", "Og==", "Basic Og", "Basic !!!!", "Basic Og== Og==",
    "Basic O g==", "Basic bm8gY29sb24=", "Basic /zr/", basic("ci", "a\0"), basic("c\ni", "a"),
    "Basic é", "B\u0430sic Og==", "\0", "Basic\tOg==", "Basic " + "A" * 20_000,
    "AWS4-HMAC-SHA256 Credential=x",
]
OTHER_SCHEMES = ["Digest a=b", "Token a", "Bearerer a", "Negotiate abc"]
# fmt: on


@pytest.mark.parametrize(("header", "expected"), HEADERS)
def test_a_header_has_a_password_or_a_token_or_nothing(
    header: str | None, expected: object
) -> None:
    """The scheme is read in any letter case; what follows is kept as it is, and not in a repr."""
    read = read_authorization(header)
    assert read == expected
    assert not re.search("moor_x|a:b|a.b.c", repr(read))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        *((header, Reason.HEADER) for header in UNREADABLE),
        *((header, Reason.SCHEME) for header in OTHER_SCHEMES),
    ],
)
def test_an_unreadable_header_is_refused(world: World, header: str, reason: Reason) -> None:
    """It is not treated like a missing header."""
    assert world.refusal(header) is reason


@given(st.text(max_size=80))
def test_any_header_is_read_or_refused(text: str) -> None:
    """Whatever a header holds, nothing but AuthenticationError is raised."""
    encoded = basic("", text.encode("utf-8", "replace").decode())
    for header in (text, f"Basic {text}", f"Bearer {text}", encoded):
        try:
            principal = identify(header, MemoryAccessStore(), TOKENS, NOW)
        except AuthenticationError:
            continue
        assert principal == ANONYMOUS


@pytest.mark.parametrize("user", ["ci", "", "anybody", "é", "x" * 200])
def test_an_api_token_identifies_its_holder_under_any_user_name(world: World, user: str) -> None:
    """The user name decides nothing."""
    record = world.credential
    assert world.identify(basic(user, world.password)) == Principal(
        PrincipalKind.CREDENTIAL, f"credential:{record.id}", record.grants, None, record.id, 1
    )


def test_a_password_that_is_no_known_api_token_is_refused(world: World) -> None:
    """By its form, without a read, or because no credential has it."""
    for wrong in ("", "hunter2", world.credential.secret_hash, f"{world.password} "):
        assert world.refusal(basic("ci", wrong)) is Reason.CREDENTIAL_FORM
    assert world.refusal(basic("ci", generate())) is Reason.CREDENTIAL_UNKNOWN
    assert world.refusal(f"Bearer {world.password}") is Reason.JWT_FORM
    reason_of(log_in, "moor_" + "0" * 49, None, TOKENS, NOW)


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


@pytest.mark.parametrize(("changes", "by_password", "by_token"), CHANGES)
def test_a_change_of_the_credential_takes_effect_at_once(
    world: World, changes: dict[str, object], by_password: Reason, by_token: Reason
) -> None:
    """Revocation, expiry and rotation end the password, its bearer and its refresh tokens."""
    header, refresh_token = f"Bearer {world.token()}", world.token(use=TokenUse.REFRESH)
    assert world.identify(header).source == world.credential.id
    assert refresh(refresh_token, world.store, TOKENS, NOW).source == world.credential.id
    world.change(**changes)
    assert world.refusal(basic("ci", world.password)) is by_password
    assert world.refusal(header) is by_token
    assert reason_of(refresh, refresh_token, world.store, TOKENS, NOW) is by_token


def test_a_replaced_secret_is_valid_for_its_grace(world: World) -> None:
    """During a rotation the old API token and the tokens issued for it are still accepted."""
    headers = (basic("ci", world.password), f"Bearer {world.token()}")
    world.store.rotate(world.credential, hash_of(generate()), NOW + 1)
    for header in headers:
        assert world.identify(header).version == 1
        assert world.refusal(header, NOW + 1) is Reason.CREDENTIAL_REPLACED


def test_a_bearer_token_needs_its_own_credential(world: World) -> None:
    """One of another subject or id is refused, and so is one whose credential is gone."""
    access, other = world.token(), a_credential()
    world.store.create(other)
    claims = TOKENS.verify(access, NOW)
    for forged in (
        replace(claims, source=other.id),
        replace(claims, subject=f"credential:{other.id}"),
        replace(claims, source=""),
        replace(claims, subject="anonymous"),
        *(
            replace(claims, subject=subject, source=None, version=0)
            for subject in ("", "credential:1", "admin", "Anonymous", "anonymous ")
        ),
    ):
        reason = reason_of(bearer, forged, world.store, NOW)
        assert reason in {Reason.CREDENTIAL_UNKNOWN, Reason.JWT_CLAIMS}
    world.store.forget()
    assert world.refusal(f"Bearer {access}") is Reason.CREDENTIAL_UNKNOWN


def test_a_bearer_token_has_the_grants_of_today(world: World) -> None:
    """It loses a grant with its credential, and gains none that its scopes don't name."""
    header = f"Bearer {world.token('repository:team/app:pull,push')}"
    assert decide(world.identify(header), "push", "team/app") is Decision.ALLOWED
    world.change(grants=Grants.parse(["team/**:pull", "other:pull"]))
    principal = world.identify(header)
    assert decide(principal, "push", "team/app") is Decision.DENIED
    assert decide(principal, "pull", "team/app") is Decision.ALLOWED
    assert decide(principal, "pull", "other") is Decision.CHALLENGE


def test_an_anonymous_token_pulls_what_is_public_within_its_scopes(world: World) -> None:
    """It has no grants of its own, and neither has a request without a header."""
    token = TOKENS.issue("anonymous", parse_scopes(["repository:a:pull"]), NOW, jti="t")
    principal = world.identify(f"Bearer {token}")
    assert world.identify(None) == world.identify("Basic Og==") == ANONYMOUS
    assert principal == replace(ANONYMOUS, limit=parse_scopes(["repository:a:pull"]))
    assert decide(principal, "ping", None) is Decision.ALLOWED
    assert decide(principal, "pull", "a", public=True) is Decision.ALLOWED
    assert decide(principal, "pull", "a", public=False) is Decision.CHALLENGE
    assert decide(principal, "pull", "b", public=True) is Decision.CHALLENGE


def federated(use: TokenUse = TokenUse.BEARER) -> str:
    """Return a token for an identity that the trust lets in."""
    scopes, name = parse_scopes(["repository:a:pull,push,delete"]), federated_subject(ISSUER, MAIN)
    return TOKENS.issue(name, scopes, NOW, jti="t", use=use, source=TRUST.name)


def test_a_federated_token_may_do_what_its_scopes_and_the_trust_allow(world: World) -> None:
    """The principal is named by issuer and subject."""
    principal = world.identify(f"Bearer {federated()}")
    assert (principal.kind, principal.source) == (PrincipalKind.FEDERATED, TRUST.name)
    assert principal.id == federated_subject(ISSUER, MAIN)
    assert decide(principal, "push", "a") is Decision.ALLOWED
    assert decide(principal, "delete", "a") is Decision.DENIED
    assert decide(principal, "catalog", None) is Decision.CHALLENGE


@pytest.mark.parametrize(
    "changes",
    [{"name": "x"}, {"issuer": "https://other.example"}, {"subject": "repo:team/app:ref:x"}],
    ids=["removed", "another issuer", "another subject"],
)
def test_a_trust_is_read_at_each_use(world: World, changes: dict[str, str]) -> None:
    """A token whose trust is gone, or lets in another identity by now, is refused."""
    world.store.delete_trust(TRUST.name)
    world.store.put_trust(replace(TRUST, **changes))  # type: ignore[arg-type]
    assert world.refusal(f"Bearer {federated()}") is Reason.TRUST_GONE


def test_a_login_token_is_a_password_and_nothing_else(world: World) -> None:
    """It is accepted as a password while it lives, and neither as a bearer nor refresh token."""
    token = federated(TokenUse.LOGIN)
    login = log_in(token, world.store, TOKENS, NOW)
    assert (login.principal.limit, login.principal.grants) == (None, TRUST.grants)
    assert login.until == int(NOW) + 3600
    assert world.identify(basic("moorage", token)) == login.principal
    assert world.refusal(f"Bearer {token}") is Reason.JWT_AUDIENCE
    assert reason_of(log_in, token, world.store, TOKENS, NOW + 3600) is Reason.JWT_EXPIRED
    assert reason_of(refresh, token, world.store, TOKENS, NOW) is Reason.JWT_AUDIENCE


def test_a_refresh_token_is_for_the_token_endpoint_only(world: World) -> None:
    """It is no password and no bearer token; and only one for a credential gives tokens."""
    token = world.token(use=TokenUse.REFRESH)
    assert world.refusal(f"Bearer {token}") is Reason.JWT_AUDIENCE
    assert world.refusal(basic("ci", token)) is Reason.JWT_AUDIENCE
    claims = TOKENS.verify(token, NOW, TokenUse.REFRESH)
    assert reason_of(bearer, claims, world.store, NOW) is Reason.JWT_AUDIENCE
    anonymous = TOKENS.issue("anonymous", (), NOW, jti="t", use=TokenUse.REFRESH)
    for wrong in (world.token(), anonymous):
        reason_of(refresh, wrong, world.store, TOKENS, NOW)
    principal = refresh(token, world.store, TOKENS, NOW)
    assert (principal.limit, principal.grants) == (None, world.credential.grants)
