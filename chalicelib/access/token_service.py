"""The token service: gives a login the tokens that it asks for, within its grants.

The token endpoint (api/token.py) is HTTP in front of it. This module must never read HTTP, nor
tell a client why a login failed.
Source: Docker Registry v2 token authentication and its OAuth2 form; RFC 6749, RFC 8693.
"""

import enum
import logging
import uuid
from collections.abc import Callable

from chalicelib.access.authentication import Login, log_in, note_use, refresh
from chalicelib.access.decision import ANONYMOUS, Principal, PrincipalKind
from chalicelib.access.federation.exchange import SubjectTokenType, TokenExchange
from chalicelib.access.grants import Right, allowed
from chalicelib.access.ports import AccessStore
from chalicelib.access.refusals import AuthenticationError
from chalicelib.access.scopes import CATALOG, Scopes, ScopesTooLongError, granted
from chalicelib.access.throttle import Throttle
from chalicelib.access.tokens import TokenIssuer, TokenUse, expiry
from chalicelib.dataclass import dataclass
from chalicelib.errors import RequestInvalidError

_KINDS = {
    TokenUse.BEARER: "urn:ietf:params:oauth:token-type:access_token",
    TokenUse.LOGIN: "urn:moorage:params:oauth:token-type:login-token",
}

_log = logging.getLogger("moorage.access")


class GrantType(enum.StrEnum):
    """What a client presents for a token; the values are OAuth2's `grant_type`s."""

    PASSWORD = "password"  # noqa: S105 - the name of one
    REFRESH = "refresh_token"
    EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@dataclass(frozen=True)
class TokenRequest:
    """What a client asks for; `source` is the client's address.

    `scopes`: None where the request names none. `offline`: a refresh token is wanted too.
    """

    scopes: Scopes | None
    source: str
    offline: bool = False


@dataclass(frozen=True, repr=False)
class IssuedToken:
    """A token, and a refresh token if one was wanted. Times in seconds since the epoch."""

    kind: str
    """The token's type, as RFC 8693 (3) names them; that of a login token is Moorage's own."""
    token: str
    scopes: Scopes
    issued_at: float
    expires_at: int
    refresh_token: str | None = None


@dataclass(frozen=True)
class TokenService:
    """Issues the tokens of one registry. `now` gives seconds since the epoch.

    `viewer` reads who asks the edge from what the edge says; None where another one says it.
    """

    store: AccessStore
    token_issuer: TokenIssuer
    token_exchange: TokenExchange
    now: Callable[[], float]
    viewer: Callable[[str], str | None]

    def anonymous(self, request: TokenRequest) -> IssuedToken:
        """Return a token for what is public, without a login."""
        return self._issued(Login(ANONYMOUS), request)

    def password(self, password: str, request: TokenRequest) -> IssuedToken:
        """Return a token for a password: an API token or a login token.

        Raises AuthenticationError, TooManyRequestsError for a password that one address has
        presented too often already, and RequestInvalidError for what does not fit a token.
        """
        return self._attempt(
            request,
            password,
            lambda now: self.token_issuer.verified(
                lambda tokens: log_in(password, self.store, tokens, now)
            ),
        )

    def refresh(self, token: str, request: TokenRequest) -> IssuedToken:
        """Return a token for a refresh token; raises as `password` does."""
        return self._attempt(
            request,
            token,
            lambda now: Login(
                self.token_issuer.verified(lambda tokens: refresh(token, self.store, tokens, now))
            ),
        )

    def exchange(self, kind: str, presented: str, request: TokenRequest) -> IssuedToken:
        """Return a token for another issuer's token, or a proof of an AWS identity.

        Where the request names no scopes, it is a login token: a password for an hour. Raises as
        `password` does, and RequestInvalidError for a `kind` that is none of `SubjectTokenType`.
        """
        try:
            known = SubjectTokenType(kind)
        except ValueError:
            kinds = ", ".join(SubjectTokenType)
            raise RequestInvalidError(f"subject_token_type must be one of {kinds}") from None

        def identified(now: float) -> Login:
            return Login(self.token_exchange.exchange(known, presented, now))

        use = TokenUse.LOGIN if request.scopes is None else TokenUse.BEARER
        return self._attempt(request, presented, identified, use)

    def _attempt(
        self,
        request: TokenRequest,
        presented: str,
        identified: Callable[[float], Login],
        use: TokenUse = TokenUse.BEARER,
    ) -> IssuedToken:
        now, throttle = self.now(), Throttle(self.store)
        throttle.check(request.source, presented, now)
        try:
            login = identified(now)
        except AuthenticationError as refused:
            _log.info("login refused: %s", refused.reason)
            throttle.failed(request.source, presented, now, attempt=uuid.uuid4().hex)
            raise
        note_use(self.store, login.principal, now)
        return self._issued(login, request, use)

    def _issued(
        self, login: Login, request: TokenRequest, use: TokenUse = TokenUse.BEARER
    ) -> IssuedToken:
        now, principal = self.now(), login.principal
        scopes = () if use is TokenUse.LOGIN else self._granted(principal, request.scopes)
        try:
            token = self.token_issuer.issue(principal, scopes, now, use=use, until=login.until)
        except ScopesTooLongError as error:
            raise RequestInvalidError(str(error)) from None
        refresh_token = None
        if request.offline and principal.kind is PrincipalKind.CREDENTIAL:
            refresh_token = self.token_issuer.issue(principal, (), now, use=TokenUse.REFRESH)
        return IssuedToken(
            _KINDS[use], token, scopes, now, expiry(use, now, login.until), refresh_token
        )

    def _granted(self, principal: Principal, requested: Scopes | None) -> Scopes:
        """Return what of it is granted; a request without scopes gets the catalog's.

        RFC 6749 (3.3) has a default scope for that: clients that list, such as regctl, name none.
        """
        scopes = (CATALOG,) if requested is None else requested
        pulled = {scope.name for scope in scopes if Right.PULL in scope.actions}
        hidden = {name for name in pulled if not allowed(principal.grants, Right.PULL, name)}
        public = self.store.public_among(hidden) if hidden else ()
        return granted(scopes, principal.grants, public)
