"""Who sent a request: verifying what an Authorization header presents.

This module must never keep what was presented, nor say more in a refusal than that there is one.
Verifying tokens imports PyJWT and cryptography: who only decides takes decision.py.
"""

import logging
from dataclasses import dataclass

from chalicelib.access.authorization_header import Basic, Bearer, Nobody, read_authorization
from chalicelib.access.credentials import day_of, hash_of, is_access_token, verify
from chalicelib.access.decision import (
    ANONYMOUS,
    Principal,
    PrincipalKind,
    Records,
    TokenSubject,
    look_up,
    of_credential,
)
from chalicelib.access.ports import AccessStore, Clock
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.tokens import Claims, TokenIssuer, Tokens, Use
from chalicelib.errors import RegistryError

_log = logging.getLogger("moorage.access")

_DOTS = 2
"""In every JSON web token, and in no access token."""


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who logged in. `until`: when what was presented ends, None if it need not."""

    principal: Principal
    until: float | None = None


class Authenticator:
    """Knows the holders of credentials and tokens."""

    def __init__(self, store: AccessStore, mint: TokenIssuer, clock: Clock) -> None:
        self._store = store
        self._mint = mint
        self._clock = clock

    def identify(self, header: str) -> Principal | None:
        """Say who sent an Authorization header; None for nobody, and for whoever is not known.

        Raises UnavailableError and TooManyRequestsError.
        """
        now = self._clock.now()
        try:
            principal = self._mint.verified(
                lambda tokens: identify(header, self._store, tokens, now)
            )
        except AuthenticationError as refused:
            _log.info("not let in: %s", refused.reason)
            return None
        if principal.limit is None and not principal.is_known:
            return None
        note_use(self._store, principal, now)
        return principal


def identify(header: str | None, records: Records, tokens: Tokens, now: float) -> Principal:
    """Say who sent an Authorization header (None: there was none).

    Reads one credential or trust at most. Raises AuthenticationError.
    """
    match read_authorization(header):
        case Basic() as basic:
            return log_in(basic.password, records, tokens, now).principal
        case Bearer(token):
            return bearer(tokens.verify(token, now), records, now)
        case Nobody():
            return ANONYMOUS


def log_in(password: str, records: Records, tokens: Tokens, now: float) -> Login:
    """Say whose access token or login token a password is; raises AuthenticationError.

    One that is mistyped is not looked up.
    """
    if password.count(".") == _DOTS:
        claims = tokens.verify(password, now, Use.LOGIN)
        return Login(look_up(_stated(claims, limited=False), records, now), claims.expires_at)
    if not is_access_token(password):
        raise AuthenticationError(Reason.CREDENTIAL_FORM)
    record = records.find(hash_of(password))
    if record is None:
        raise AuthenticationError(Reason.CREDENTIAL_UNKNOWN)
    return Login(of_credential(record, verify(password, record, now)))


def bearer(claims: Claims, records: Records, now: float) -> Principal:
    """Say whose access token this is, as `look_up` says it.

    Raises AuthenticationError. `claims` have been verified for an access token.
    """
    if claims.use is not Use.ACCESS:
        raise AuthenticationError(Reason.JWT_AUDIENCE)
    return look_up(_stated(claims, limited=True), records, now)


def refresh(token: str, records: Records, tokens: Tokens, now: float) -> Principal:
    """Say whose refresh token this is: to ask for new tokens, within the grants of today.

    Raises AuthenticationError, as soon as the credential is revoked, expired or has another secret.
    """
    claims = tokens.verify(token, now, Use.REFRESH)
    principal = look_up(_stated(claims, limited=False), records, now)
    if principal.kind is not PrincipalKind.CREDENTIAL:
        raise AuthenticationError(Reason.JWT_CLAIMS)
    return principal


def note_use(store: AccessStore, principal: Principal, now: float) -> None:
    """Note that a credential is used, unless that is noted for this day."""
    day = day_of(now)
    if principal.kind is not PrincipalKind.CREDENTIAL or principal.source is None:
        return
    if principal.used_day is not None and principal.used_day >= day:
        return
    try:
        store.touch(principal.source, day)
    except RegistryError as error:
        _log.warning("a day of use was not noted: %s", error.message)


def _stated(claims: Claims, *, limited: bool) -> TokenSubject:
    limit = claims.scopes if limited else None
    return TokenSubject(claims.subject, limit, claims.source, claims.version)
