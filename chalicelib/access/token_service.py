"""The token desk: who logs in here leaves with tokens that say no more than was asked and granted.

This module must never read HTTP, nor tell why a login failed.
Source: Docker Registry v2 token authentication and its OAuth2 form; RFC 6749, RFC 8693.
"""

import enum
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from chalicelib.access.authentication import Login, log_in, note_use, refresh
from chalicelib.access.decision import ANONYMOUS, Principal, PrincipalKind, of_trust
from chalicelib.access.federation.exchange import Exchange, TokenType
from chalicelib.access.grants import Right
from chalicelib.access.ports import AccessStore, Clock
from chalicelib.access.refusals import AuthenticationError
from chalicelib.access.scopes import CATALOG, Scopes, granted
from chalicelib.access.throttle import Throttle
from chalicelib.access.tokens import TokenIssuer, Use, expiry
from chalicelib.errors import RequestInvalidError

_KINDS = {
    Use.ACCESS: "urn:ietf:params:oauth:token-type:access_token",
    Use.LOGIN: "urn:moorage:params:oauth:token-type:login-token",
}

_log = logging.getLogger("moorage.access")


class GrantType(enum.StrEnum):
    """What can be given for tokens; the values are OAuth2's `grant_type`s."""

    PASSWORD = "password"  # noqa: S105 - the name of one
    REFRESH = "refresh_token"
    EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What somebody asks for; `source` is the address it comes from.

    `scopes`: None where none were named. `offline`: with a refresh token.
    """

    scopes: Scopes | None
    source: str
    offline: bool = False


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """What somebody leaves with. Times in seconds since the epoch."""

    kind: str
    """What kind of token it is, as RFC 8693 (3) names them; a login token is a kind of ours."""
    token: str
    scopes: Scopes
    issued_at: float
    expires_at: int
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return "IssuedToken(...)"


class TokenService:
    """The token desk of one registry."""

    def __init__(
        self, store: AccessStore, mint: TokenIssuer, exchange: Exchange, clock: Clock
    ) -> None:
        self._store = store
        self._mint = mint
        self._exchange = exchange
        self._clock = clock
        self._throttle = Throttle(store)

    def anonymous(self, ask: TokenRequest) -> IssuedToken:
        """Give anybody a token for what is public."""
        return self._issued(Login(ANONYMOUS), ask)

    def password(self, user: str, password: str, ask: TokenRequest) -> IssuedToken:
        """Take an access token, or a login token, as a password.

        Raises AuthenticationError, and TooManyRequestsError after too many of those from one
        address.
        """
        return self._attempt(
            ask,
            user,
            lambda now: self._mint.verified(
                lambda tokens: log_in(password, self._store, tokens, now)
            ),
        )

    def refresh(self, token: str, ask: TokenRequest) -> IssuedToken:
        """Take a refresh token; raises as `password` does."""
        return self._attempt(
            ask,
            GrantType.REFRESH,
            lambda now: Login(
                self._mint.verified(lambda tokens: refresh(token, self._store, tokens, now))
            ),
        )

    def exchange(self, kind: str, presented: str, ask: TokenRequest) -> IssuedToken:
        """Take another issuer's token, or a proof of an AWS identity; raises as `password` does.

        Without scopes the token that is issued is a login token: a password for an hour. Raises
        RequestInvalidError for a `kind` that is none of ours.
        """
        try:
            known = TokenType(kind)
        except ValueError:
            kinds = ", ".join(TokenType)
            raise RequestInvalidError(f"subject_token_type must be one of {kinds}") from None

        def identified(now: float) -> Login:
            found = self._exchange.exchange(known, presented, now)
            return Login(of_trust(found.id, found.trust))

        use = Use.LOGIN if ask.scopes is None else Use.ACCESS
        return self._attempt(ask, GrantType.EXCHANGE, identified, use)

    def _attempt(
        self,
        ask: TokenRequest,
        name: str,
        identified: Callable[[float], Login],
        use: Use = Use.ACCESS,
    ) -> IssuedToken:
        now = self._clock.now()
        self._throttle.check(ask.source, name, now)
        try:
            login = identified(now)
        except AuthenticationError as refused:
            _log.info("login refused: %s", refused.reason)
            self._throttle.failed(ask.source, name, now, attempt=uuid.uuid4().hex)
            raise
        note_use(self._store, login.principal, now)
        return self._issued(login, ask, use)

    def _issued(self, login: Login, ask: TokenRequest, use: Use = Use.ACCESS) -> IssuedToken:
        now, principal = self._clock.now(), login.principal
        scopes = () if use is Use.LOGIN else self._granted(principal, ask.scopes)
        token = self._mint.issue(principal, scopes, now, use=use, until=login.until)
        refresh_token = None
        if ask.offline and principal.kind is PrincipalKind.CREDENTIAL:
            refresh_token = self._mint.issue(principal, (), now, use=Use.REFRESH)
        return IssuedToken(
            _KINDS[use], token, scopes, now, expiry(use, now, login.until), refresh_token
        )

    def _granted(self, principal: Principal, asked: Scopes | None) -> Scopes:
        """Return what of it is granted; who names no scope gets the one to list repositories.

        RFC 6749 (3.3) has a default scope for that: clients that list, such as regctl, name none.
        """
        scopes = (CATALOG,) if asked is None else asked
        pulled = {scope.name for scope in scopes if Right.PULL in scope.actions}
        public = self._store.public_among(pulled) if pulled and not principal.grants.admin else ()
        return granted(scopes, principal.grants, public)
