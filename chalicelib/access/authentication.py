"""Authentication: who sent a request, by its Authorization header.

`Authenticator` runs as API Gateway's authorizer, whose answers the gateway keeps for a minute, by
the header. What a principal may do is decided at each request (see decision.py), so only one thing
lasts longer for that: a bearer token is accepted up to a minute after it expired or lost its key.

A bearer token that expired in the last hours still says who sent it, and that it has expired: the
body of one request may take longer than a token lives, and the push proxy sends it in many.

This module must never keep the presented login, nor give a reason in a refusal. A failure of the
store is a 503, never a refusal. It loads PyJWT and cryptography, by tokens.py: code that only
decides imports decision.py.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from chalicelib.access.authorization_header import Anonymous, Basic, Bearer, read_authorization
from chalicelib.access.credentials import day_of, hash_of, is_api_token, verify
from chalicelib.access.decision import (
    ANONYMOUS,
    Principal,
    PrincipalKind,
    TokenSubject,
    look_up,
    of_credential,
)
from chalicelib.access.ports import AccessStore
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.tokens import CONTINUES, Claims, TokenIssuer, Tokens, TokenUse
from chalicelib.dataclass import dataclass
from chalicelib.errors import RegistryError

_log = logging.getLogger("moorage.access")

_DOTS = 2
"""In every JSON web token, and in no API token."""


@dataclass(frozen=True)
class Login:
    """A principal who logged in. `until`: when the login token expires; None for an API token."""

    principal: Principal
    until: float | None = None


@dataclass(frozen=True)
class Authenticator:
    """Identifies the holders of API tokens, login tokens and bearer tokens."""

    store: AccessStore
    token_issuer: TokenIssuer
    now: Callable[[], float]

    def identify(self, header: str) -> Principal | None:
        """Return who sent an Authorization header; None if it names nobody, or is refused.

        The principal of an expired token is marked as such. Raises UnavailableError and
        TooManyRequestsError.
        """
        now = self.now()
        try:
            principal = self.token_issuer.verified(
                lambda tokens: identify(header, self.store, tokens, now)
            )
        except AuthenticationError as refused:
            _log.info("not let in: %s", refused.reason)
            return None
        if principal.limit is None and not principal.is_known:
            return None
        if principal.expired_at is None:
            note_use(self.store, principal, now)
        return principal


def identify(header: str | None, store: AccessStore, tokens: Tokens, now: float) -> Principal:
    """Return who sent an Authorization header (None: there was none).

    Reads one credential or trust at most. Raises AuthenticationError.
    """
    match read_authorization(header):
        case Basic() as basic:
            return log_in(basic.password, store, tokens, now).principal
        case Bearer(token):
            return bearer(tokens.verify(token, now, late=CONTINUES), store, now)
        case Anonymous():
            return ANONYMOUS


def log_in(password: str, store: AccessStore, tokens: Tokens, now: float) -> Login:
    """Return whose API token or login token a password is; raises AuthenticationError.

    A mistyped API token is refused by its checksum, without a read.
    """
    if password.count(".") == _DOTS:
        claims = tokens.verify(password, now, TokenUse.LOGIN)
        return Login(look_up(_subject(claims, limited=False), store, now), claims.expires_at)
    if not is_api_token(password):
        raise AuthenticationError(Reason.CREDENTIAL_FORM)
    credential = store.find(hash_of(password))
    if credential is None:
        raise AuthenticationError(Reason.CREDENTIAL_UNKNOWN)
    return Login(of_credential(credential, verify(password, credential, now)))


def bearer(claims: Claims, store: AccessStore, now: float) -> Principal:
    """Return whose bearer token this is, with today's grants: see `look_up`.

    Raises AuthenticationError. `claims` have been verified, as those of a bearer token that may
    have expired.
    """
    if claims.use is not TokenUse.BEARER:
        raise AuthenticationError(Reason.JWT_AUDIENCE)
    subject = _subject(claims, limited=True)
    if now >= claims.expires_at:
        subject = replace(subject, expired_at=claims.expires_at)
    return look_up(subject, store, now)


def refresh(token: str, store: AccessStore, tokens: Tokens, now: float) -> Principal:
    """Return whose refresh token this is, with today's grants and no limit.

    Raises AuthenticationError, as soon as the credential is revoked, expired or has another secret.
    """
    claims = tokens.verify(token, now, TokenUse.REFRESH)
    principal = look_up(_subject(claims, limited=False), store, now)
    if principal.kind is not PrincipalKind.CREDENTIAL:
        raise AuthenticationError(Reason.JWT_CLAIMS)
    return principal


def note_use(store: AccessStore, principal: Principal, now: float) -> None:
    """Note the day on which a credential is used: an unused one can be found and revoked.

    At most one write a day. If the store fails, that is logged, and the next use notes it.
    """
    day = day_of(now)
    if principal.kind is not PrincipalKind.CREDENTIAL or principal.source is None:
        return
    if principal.used_day is not None and principal.used_day >= day:
        return
    try:
        store.touch(principal.source, day)
    except RegistryError as error:
        _log.warning("a day of use was not noted: %s", error.message)


def _subject(claims: Claims, *, limited: bool) -> TokenSubject:
    limit = claims.scopes if limited else None
    return TokenSubject(claims.subject, limit, claims.source, claims.version)
