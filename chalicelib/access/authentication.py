"""Who sent a request: verifying what an Authorization header presents.

This module must never keep what was presented, nor say more in a refusal than that there is one.
Verifying tokens imports PyJWT and cryptography: who only decides takes decision.py.
"""

from dataclasses import dataclass

from chalicelib.access.authorization_header import Basic, Bearer, Nobody, read_authorization
from chalicelib.access.credentials import hash_of, is_access_token, verify
from chalicelib.access.decision import (
    ANONYMOUS,
    Principal,
    PrincipalKind,
    Records,
    TokenSubject,
    look_up,
    of_credential,
)
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.tokens import Claims, Tokens, Use

_DOTS = 2
"""In every JSON web token, and in no access token."""


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who logged in. `until`: when what was presented ends, None if it need not."""

    principal: Principal
    until: float | None = None


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


def _stated(claims: Claims, *, limited: bool) -> TokenSubject:
    limit = claims.scopes if limited else None
    return TokenSubject(claims.subject, limit, claims.source, claims.version)
