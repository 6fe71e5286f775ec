"""The token service: which token each way of logging in gives, and when it gives none."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import pytest

from chalicelib.access.credentials import generate, hash_of
from chalicelib.access.decision import Principal, federated_subject, of_trust
from chalicelib.access.federation.exchange import SubjectTokenType
from chalicelib.access.grants import Grants
from chalicelib.access.refusals import Reason
from chalicelib.access.scopes import CATALOG, Scopes, parse_scopes
from chalicelib.access.token_service import IssuedToken, TokenRequest
from chalicelib.access.tokens import Claims, TokenUse
from chalicelib.access.trusts import Trust
from chalicelib.errors import RequestInvalidError, UnavailableError
from tests.chalicelib.access.values import NOW, reason_of
from tests.support.access import AccessWorld

PULL = parse_scopes(["repository:team/app:pull"])
BOTH = parse_scopes(["repository:team/app:pull,push"])
HOME = "198.51.100.7"
ISSUER, SUBJECT = "https://issuer.example", "repo:team/app:ref:refs/heads/main"
TRUST = Trust("ci", ISSUER, "moorage", "repo:team/app:*", Grants.parse(["team/*:pull,push"]))


@dataclass
class World:
    """A token service at a time `at`, one credential that may pull, and its API token."""

    at: float = NOW

    def __post_init__(self) -> None:
        self.access = AccessWorld(lambda: self.at)
        self.password = self.access.credential("reader", "team/*:pull")
        self.tokens = self.access.token_service()

    def log_in(self, scopes: Scopes | None = PULL, **how: object) -> IssuedToken:
        """Log in with the right password."""
        return self.tokens.password(self.password, TokenRequest(scopes, HOME, **how))  # type: ignore[arg-type]

    def read(self, token: str, use: TokenUse = TokenUse.BEARER) -> Claims:
        """Read a token as the registry does."""
        return self.access.token_issuer.verified(lambda tokens: tokens.verify(token, self.at, use))


@pytest.fixture
def world() -> World:
    """A world of its own."""
    return World()


@pytest.fixture
def federated(world: World) -> World:
    """A world in which every exchange finds the same identity: test_exchange.py has the others."""

    class FixedExchange:
        def exchange(self, *_: object) -> Principal:
            return of_trust(federated_subject(ISSUER, SUBJECT), TRUST)

    world.access.store.put_trust(TRUST)
    world.tokens = replace(world.tokens, token_exchange=FixedExchange())  # type: ignore[arg-type]
    return world


def test_a_request_without_scopes_gives_the_catalog(world: World) -> None:
    """One of which no scope is understood or granted gives none, as docker login expects."""
    assert world.log_in(None).scopes == (CATALOG,)
    for nothing in ((), parse_scopes(["repository:other/app:pull,push"])):
        assert world.read(world.log_in(nothing).token).scopes == ()


def test_a_refresh_token_gives_tokens_until_the_credential_is_revoked(world: World) -> None:
    """It is given on demand, and gives bearer tokens within today's grants."""
    token, request = world.log_in(offline=True).refresh_token, TokenRequest(BOTH, HOME)
    assert token is not None
    assert world.tokens.refresh(token, request).scopes == PULL
    world.access.store.regrant("id-of-reader", Grants.parse(["**:pull,push"]))
    assert world.tokens.refresh(token, request).scopes == BOTH
    world.access.store.revoke("id-of-reader")
    assert reason_of(world.tokens.refresh, token, request) is Reason.CREDENTIAL_REVOKED


def test_an_exchange_with_scopes_gives_a_bearer_token(federated: World) -> None:
    """It has the scopes that the trust grants, and names the identity."""
    scopes = parse_scopes(["repository:team/app:pull,push,delete"])
    request = TokenRequest(scopes, HOME, offline=True)
    issued = federated.tokens.exchange(SubjectTokenType.ID_TOKEN, "proof", request)
    claims = federated.read(issued.token)
    assert (claims.subject, claims.source) == (federated_subject(ISSUER, SUBJECT), "ci")
    assert (claims.scopes, issued.refresh_token) == (BOTH, None)


def test_an_exchange_without_scopes_gives_a_login_token(federated: World) -> None:
    """It is a password for an hour, and the tokens that it gives expire with it."""
    request = TokenRequest(BOTH, HOME, offline=True)
    login = federated.tokens.exchange(SubjectTokenType.ID_TOKEN, "proof", TokenRequest(None, HOME))
    assert federated.read(login.token, TokenUse.LOGIN).scopes == ()
    federated.at += 3000
    issued = federated.tokens.password(login.token, request)
    assert (issued.scopes, issued.refresh_token) == (BOTH, None)
    assert issued.expires_at == login.expires_at
    federated.at = login.expires_at
    reason = reason_of(federated.tokens.password, login.token, request)
    assert reason is Reason.JWT_EXPIRED


LONG = parse_scopes([" ".join(f"repository:team/{'x' * 90}{n}:pull" for n in range(30))])


@pytest.mark.parametrize(
    ("subject", "scopes"),
    [("repo:team/app:" + "\U0001f600" * 600, None), ("repo:team/app:" + "\u00e9" * 1000, LONG)],
    ids=["a login token", "with many scopes"],
)
def test_a_subject_that_fits_no_token_is_400(
    federated: World, subject: str, scopes: Scopes | None
) -> None:
    """Its identity may be let in; the message says what is too long, and quotes nothing."""
    named = of_trust(federated_subject(ISSUER, subject), TRUST)
    federated.tokens.token_exchange.exchange = lambda *_: named  # type: ignore[method-assign]
    with pytest.raises(RequestInvalidError, match="shorter subject") as refused:
        federated.tokens.exchange(SubjectTokenType.ID_TOKEN, "proof", TokenRequest(scopes, HOME))
    assert subject[-5:] not in refused.value.message


def test_use_is_noted_once_a_day(world: World) -> None:
    """The first login of a day is noted; if the store fails, the login succeeds all the same."""
    world.log_in()
    record = world.access.store.get("id-of-reader")
    assert record is not None
    assert record.last_used_day == "2025-11-24"

    def fail(*_: object) -> bool:
        raise UnavailableError

    world.access.store.touch = fail  # type: ignore[method-assign, assignment]
    world.log_in()
    world.at += 86400
    assert world.log_in().scopes == PULL


def test_an_unknown_key_makes_the_issuer_read_the_keys_again(world: World) -> None:
    """Once for each token, and what was signed with the key verifies then."""
    issued = world.log_in()
    keys, before = world.access.keys, world.access.keys.held
    keys.held = AccessWorld(lambda: NOW).keys.held
    assert reason_of(world.read, issued.token) is Reason.JWT_KEY
    renewals = iter([True])

    def renew() -> bool:
        keys.held = before
        return next(renewals, False)

    keys.renew = renew  # type: ignore[method-assign]
    assert world.read(issued.token).scopes == PULL
    assert list(renewals) == []


def test_no_secret_is_shown_or_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """What was presented and issued is in no log line and in no `repr`."""
    caplog.set_level(logging.DEBUG)
    wrong = generate()
    reason_of(world.tokens.password, wrong, TokenRequest(PULL, HOME))
    issued = world.log_in(offline=True)
    secrets = [wrong, world.password, issued.token, issued.refresh_token, hash_of(world.password)]
    shown = caplog.text + repr(issued) + repr(world.access.store.get("x"))
    assert [secret for secret in secrets if secret and secret in shown] == []
    assert "login refused" in caplog.text
