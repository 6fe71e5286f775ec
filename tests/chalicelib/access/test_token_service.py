"""The token desk: what each way of logging in gives, and when it gives nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest

from chalicelib.access.authentication import identify
from chalicelib.access.credentials import generate, hash_of
from chalicelib.access.decision import federated_subject
from chalicelib.access.federation.exchange import SubjectTokenType, TrustedIdentity
from chalicelib.access.grants import Grants
from chalicelib.access.refusals import AuthenticationError
from chalicelib.access.scopes import CATALOG, Scopes, parse_scopes, text_of
from chalicelib.access.throttle import LIMIT, WINDOW
from chalicelib.access.token_service import IssuedToken, TokenRequest
from chalicelib.access.tokens import LIFE, Claims, TokenUse
from chalicelib.access.trusts import Trust
from chalicelib.errors import RequestInvalidError, TooManyRequestsError, UnavailableError
from tests.chalicelib.access.values import NOW
from tests.support.access import AccessWorld

PULL = parse_scopes(["repository:team/app:pull"])
BOTH = parse_scopes(["repository:team/app:pull,push"])
HOME, ELSEWHERE = "198.51.100.7", "203.0.113.9"
ISSUER, SUBJECT = "https://issuer.example", "repo:team/app:ref:refs/heads/main"
TRUST = Trust("ci", ISSUER, "moorage", "repo:team/app:*", Grants.parse(["team/*:pull,push"]))


@dataclass
class Time:
    """A clock that tests set."""

    at: float = NOW

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.at


@dataclass
class World:
    """A desk, a reader, and the access token of that one."""

    clock: Time = field(default_factory=Time)

    def __post_init__(self) -> None:
        self.access = AccessWorld(self.clock.now)
        self.password = self.access.credential("reader", "team/*:pull")
        self.tokens = self.access.token_service()

    def log_in(self, scopes: Scopes | None = PULL, **how: object) -> IssuedToken:
        """Log in with the right password."""
        return self.tokens.password("me", self.password, TokenRequest(scopes, HOME, **how))  # type: ignore[arg-type]

    def fail(self, source: str = HOME, user: str = "me") -> None:
        """Log in with a wrong password."""
        with pytest.raises(AuthenticationError):
            self.tokens.password(user, generate(), TokenRequest(PULL, source))

    def read(self, token: str, use: TokenUse = TokenUse.BEARER) -> Claims:
        """Read a token as the registry does."""
        now = self.clock.now()
        return self.access.token_issuer.verified(lambda tokens: tokens.verify(token, now, use))


def test_a_password_gives_a_token_for_what_is_granted() -> None:
    """The token holds what of the request is granted, and its answer says the same."""
    world = World()
    issued = world.log_in(BOTH)
    assert issued.scopes == world.read(issued.token).scopes == PULL
    assert issued.expires_at - int(issued.issued_at) == LIFE[TokenUse.BEARER]
    assert issued.refresh_token is None


def test_who_names_no_scope_may_list() -> None:
    """No scope is the default one; a scope that nobody knows is none at all."""
    world = World()
    assert world.log_in(None).scopes == (CATALOG,)
    assert world.log_in(()).scopes == ()


def test_nothing_granted_is_a_token_all_the_same() -> None:
    """A token for nothing is no error: docker login asks for one."""
    world = World()
    other = parse_scopes(["repository:other/app:pull,push"])
    assert world.read(world.log_in(other).token).scopes == ()


def test_anybody_may_pull_what_is_public() -> None:
    """An anonymous token holds pulling of public repositories and nothing else."""
    world = World()
    world.access.store.set_public("team/app", public=True)
    asked = parse_scopes(["repository:team/app:pull,push", "repository:team/b:pull"])
    issued = world.tokens.anonymous(TokenRequest(asked, HOME))
    assert issued.scopes == PULL
    assert world.read(issued.token).subject == "anonymous"
    assert world.tokens.anonymous(TokenRequest(None, HOME)).scopes == ()


def test_a_refresh_token_gives_others_until_the_credential_ends() -> None:
    """It is given on demand, gives access tokens within today's grants, and ends by revoking."""
    world = World()
    again = world.log_in(offline=True).refresh_token
    assert again is not None
    assert world.tokens.refresh(again, TokenRequest(BOTH, HOME)).scopes == PULL
    world.access.store.regrant("id-of-reader", Grants.parse(["**:pull,push"]))
    assert world.tokens.refresh(again, TokenRequest(BOTH, HOME)).scopes == BOTH
    world.access.store.revoke("id-of-reader")
    with pytest.raises(AuthenticationError):
        world.tokens.refresh(again, TokenRequest(BOTH, HOME))


def test_nobody_in_particular_gets_no_refresh_token() -> None:
    """An anonymous token can be had again at any time."""
    assert World().tokens.anonymous(TokenRequest(PULL, HOME, offline=True)).refresh_token is None


class Vouching:
    """An exchange that says who it is, whatever is presented."""

    def exchange(self, kind: SubjectTokenType, presented: str, now: float) -> TrustedIdentity:
        """Say who."""
        del kind, presented, now
        return TrustedIdentity(ISSUER, SUBJECT, TRUST)


@pytest.fixture
def federated() -> World:
    """Return a world in which an exchange succeeds."""
    world = World()
    world.access.store.put_trust(TRUST)
    world.tokens._exchange = Vouching()  # type: ignore[assignment]  # noqa: SLF001 - its own tests stand beside
    return world


def test_an_exchange_with_scopes_gives_an_access_token(federated: World) -> None:
    """It holds what of them the trust grants, and says whom the other issuer knows."""
    asked = parse_scopes(["repository:team/app:pull,push,delete"])
    issued = federated.tokens.exchange(
        SubjectTokenType.ID_TOKEN, "proof", TokenRequest(asked, HOME, offline=True)
    )
    claims = federated.read(issued.token)
    assert (claims.subject, claims.source) == (federated_subject(ISSUER, SUBJECT), "ci")
    assert claims.scopes == BOTH
    assert issued.refresh_token is None


def test_an_exchange_without_scopes_gives_a_password_for_an_hour(federated: World) -> None:
    """What it gives logs in, and no token that it gives lives longer than itself."""
    login = federated.tokens.exchange(SubjectTokenType.ID_TOKEN, "proof", TokenRequest(None, HOME))
    assert federated.read(login.token, TokenUse.LOGIN).scopes == ()
    federated.clock.at += 3000
    issued = federated.tokens.password(
        "moorage", login.token, TokenRequest(BOTH, HOME, offline=True)
    )
    assert issued.scopes == BOTH
    assert issued.expires_at == login.expires_at
    assert issued.refresh_token is None
    federated.clock.at = login.expires_at
    with pytest.raises(AuthenticationError):
        federated.tokens.password("moorage", login.token, TokenRequest(BOTH, HOME))


def test_an_unknown_kind_of_proof_is_said_to_be_one() -> None:
    """It is the request that is wrong, and no failed login."""
    with pytest.raises(RequestInvalidError, match="id_token"):
        World().tokens.exchange("urn:else", "proof", TokenRequest(None, HOME))


def test_failed_logins_are_slowed_down_by_source_and_name() -> None:
    """After so many from one address under one name none is looked at; nobody else is kept out."""
    world = World()
    for _ in range(LIMIT):
        world.fail()
    with pytest.raises(TooManyRequestsError) as caught:
        world.log_in()
    assert 1 <= caught.value.retry_after <= WINDOW
    world.fail(source=ELSEWHERE)
    world.fail(user="another")
    assert world.tokens.password("me", world.password, TokenRequest(PULL, ELSEWHERE)).scopes == PULL
    world.clock.at += caught.value.retry_after
    assert world.log_in().scopes == PULL


def test_right_passwords_are_not_counted() -> None:
    """However often somebody logs in rightly, the next one is looked at."""
    world = World()
    for _ in range(LIMIT + 1):
        world.log_in()


def test_use_is_noted_once_a_day() -> None:
    """The first login of a day is noted, and what can't be noted keeps nobody out."""
    world = World()
    world.log_in()
    record = world.access.store.get("id-of-reader")
    assert record is not None
    assert record.last_used_day == "2025-11-24"

    def fail(*_: object) -> bool:
        raise UnavailableError

    world.access.store.touch = fail  # type: ignore[method-assign, assignment]
    world.log_in()
    world.clock.at += 86400
    assert world.log_in().scopes == PULL


def test_a_key_that_is_new_is_read() -> None:
    """A token whose key is unknown makes the mint look once; an older key still verifies."""
    world = World()
    issued = world.log_in()
    keys, before = world.access.keys, world.access.keys.held
    other = AccessWorld(world.clock.now)
    keys.held = other.keys.held
    with pytest.raises(AuthenticationError):
        world.read(issued.token)
    renewals = iter([True])

    def renew() -> bool:
        keys.held = before
        return next(renewals, False)

    keys.renew = renew  # type: ignore[method-assign]
    assert world.read(issued.token).scopes == PULL
    assert list(renewals) == []


def test_no_secret_is_shown_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What was presented and issued is in no log line and in nobody's `repr`."""
    caplog.set_level(logging.DEBUG)
    world = World()
    wrong = generate()
    with pytest.raises(AuthenticationError) as caught:
        world.tokens.password("me", wrong, TokenRequest(PULL, HOME))
    issued = world.log_in(offline=True)
    secrets = [wrong, world.password, issued.token, issued.refresh_token, hash_of(world.password)]
    shown = caplog.text + repr(issued) + repr(caught.value) + repr(world.access.store.get("x"))
    assert [secret for secret in secrets if secret and secret in shown] == []
    assert "login refused" in caplog.text


def test_a_forgotten_name_is_no_way_in() -> None:
    """The user name is for people: it decides nothing."""
    world = World()
    assert world.tokens.password("", world.password, TokenRequest(PULL, HOME)).scopes == PULL
    now = world.clock.now()
    principal = world.access.token_issuer.verified(
        lambda tokens: identify(f"Bearer {world.log_in().token}", world.access.store, tokens, now)
    )
    assert text_of(principal.limit or ()) == text_of(PULL)
