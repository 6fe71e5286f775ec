"""Registry tokens: signed, short-lived statements of who may do what (JSON web tokens).

The algorithm is HS256 and nothing a token says changes that. This module must never read a clock,
parse what is not signed beyond a short header, nor put any part of a token in an error.
Source: RFC 7519, with the advice of RFC 8725; the `scope` claim is RFC 8693's.
"""

import base64
import enum
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jwt

from chalicelib.access.decision import Principal
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.scopes import Scopes, ScopesTooLongError, bounded, parse_scopes, text_of
from chalicelib.access.signing_keys import KeyRing, SigningKey, SigningKeySource

T = TypeVar("T")

ALGORITHM = "HS256"

MAX_LENGTH = 8192
"""Most characters of a token: API Gateway takes 10,240 bytes of headers in all."""

EARLY = 10
"""Seconds by which a token's life begins before it is issued: hosts' clocks differ."""

_LONGEST_HEADER = 200
"""More characters than our header has, and too few to nest anything that deep."""

_FORM = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_CLAIMS = ("iss", "aud", "sub", "scope", "iat", "nbf", "exp", "jti")
_REFUSALS: Mapping[type[Exception], Reason] = {
    jwt.InvalidSignatureError: Reason.JWT_SIGNATURE,
    jwt.InvalidAlgorithmError: Reason.JWT_HEADER,
    jwt.InvalidIssuerError: Reason.JWT_ISSUER,
    jwt.InvalidAudienceError: Reason.JWT_AUDIENCE,
    jwt.MissingRequiredClaimError: Reason.JWT_CLAIMS,
    jwt.DecodeError: Reason.JWT_FORM,
}


class Use(enum.StrEnum):
    """What a token is for; each use has an audience of its own, so that none passes as another."""

    ACCESS = "access"
    REFRESH = "refresh"
    LOGIN = "login"
    """A password for as long as it lives, from an exchange: for tools that log in by name."""


LIFE: Mapping[Use, int] = {
    # The push proxy spends one request's token on all chunks of a layer. What a token may do is
    # looked up again at each use (see decision.py), so a longer life grants nothing longer.
    Use.ACCESS: 3600,
    Use.REFRESH: 30 * 86400,
    Use.LOGIN: 3600,
}
"""How long a token lives, in seconds from its issue."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says. Times are whole seconds since the epoch; `expires_at` is exclusive."""

    use: Use
    subject: str
    scopes: Scopes
    issued_at: int
    not_before: int
    expires_at: int
    jti: str
    source: str | None = None
    """The id of the credential, or the name of the trust, that it was issued for."""
    version: int = 0
    """Which secret of that credential: see credentials.py."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Issues and verifies the tokens of one registry; `service` is what clients call it."""

    ring: KeyRing
    issuer: str
    service: str

    def issue(  # noqa: PLR0913 - a claim each
        self,
        subject: str,
        access: Scopes,
        now: float,
        *,
        jti: str,
        use: Use = Use.ACCESS,
        source: str | None = None,
        version: int = 0,
        until: float | None = None,
    ) -> str:
        """Return a signed token that lives from `now` for as long as its use says.

        At most `until`, if that is given: what it is issued for ends then.
        `jti` must be fresh. Raises ScopesTooLongError for more than fits a token.
        """
        issued_at = int(now)
        payload = {
            "iss": self.issuer,
            "aud": self._audience(use),
            "sub": subject,
            "scope": text_of(bounded(access)),
            "iat": issued_at,
            "nbf": issued_at - EARLY,
            "exp": expiry(use, now, until),
            "jti": jti,
        }
        if source is not None:
            payload |= {"cid": source, "ver": version}
        key = self.ring.signing
        token = jwt.encode(payload, key.secret, ALGORITHM, headers={"kid": key.id})
        if len(token) > MAX_LENGTH:
            raise ScopesTooLongError(f"a token of more than {MAX_LENGTH} characters")
        return token

    def verify(self, token: str, now: float, use: Use = Use.ACCESS) -> Claims:
        """Return what a token says if we said it, for this use and this time.

        Raises AuthenticationError, whose reason JWT_KEY is worth reading the key ring again for.
        """
        key = self._key(token)
        try:
            payload = jwt.decode(
                token,
                key.secret,
                algorithms=[ALGORITHM],
                audience=self._audience(use),
                issuer=self.issuer,
                # The times are looked at below: this library would read the clock.
                options={
                    "require": list(_CLAIMS),
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidTokenError as error:
            # Not chained: what a library's error holds is not ours to promise.
            raise AuthenticationError(_REFUSALS.get(type(error), Reason.JWT_CLAIMS)) from None
        return _timely(_claims(payload, use), now)

    def _audience(self, use: Use) -> str:
        return self.service if use is Use.ACCESS else f"{self.service}#{use}"

    def _key(self, token: str) -> SigningKey:
        """Return the key that a token names; nothing of the token but its short header is read."""
        if len(token) > MAX_LENGTH:
            raise AuthenticationError(Reason.JWT_LENGTH)
        form = _FORM.fullmatch(token)
        if form is None or len(form[1]) > _LONGEST_HEADER:
            raise AuthenticationError(Reason.JWT_FORM)
        header = _header(form[1])
        key_id = header.pop("kid", None)
        # Nothing we never write is looked at, least of all where another key might be found.
        if header != {"alg": ALGORITHM, "typ": "JWT"} or not isinstance(key_id, str):
            raise AuthenticationError(Reason.JWT_HEADER)
        key = self.ring.find(key_id)
        if key is None:
            raise AuthenticationError(Reason.JWT_KEY)
        return key


class TokenIssuer:
    """Tokens of one registry: `issuer` is its URL, `service` what clients call it."""

    def __init__(self, keys: SigningKeySource, issuer: str, service: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self.service = service

    def verified(self, verify: Callable[[Tokens], T]) -> T:
        """Return what `verify` says; if a token's key is unknown, look once for a new one."""
        try:
            return verify(self._tokens())
        except AuthenticationError as refused:
            if refused.reason is not Reason.JWT_KEY or not self._keys.renew():
                raise
        return verify(self._tokens())

    def issue(
        self,
        principal: Principal,
        access: Scopes,
        now: float,
        *,
        use: Use = Use.ACCESS,
        until: float | None = None,
    ) -> str:
        """Return a token for somebody; raises ScopesTooLongError. See `Tokens.issue`."""
        return self._tokens().issue(
            principal.id,
            access,
            now,
            jti=uuid.uuid4().hex,
            use=use,
            source=principal.source,
            version=principal.version,
            until=until,
        )

    def _tokens(self) -> Tokens:
        return Tokens(self._keys.ring(), self._issuer, self.service)


def expiry(use: Use, now: float, until: float | None = None) -> int:
    """Return when a token ends that is issued now, exclusive: at most `until`, if that is given."""
    expires_at = int(now) + LIFE[use]
    return expires_at if until is None else min(expires_at, math.floor(until))


def _header(segment: str) -> dict[str, Any]:
    try:
        header = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError:
        raise AuthenticationError(Reason.JWT_FORM) from None
    if not isinstance(header, dict):
        raise AuthenticationError(Reason.JWT_FORM)
    return header


def _claims(payload: Mapping[str, Any], use: Use) -> Claims:
    subject, scope, jti = (_text(payload[name]) for name in ("sub", "scope", "jti"))
    issued_at, not_before, expires_at = (_whole(payload[name]) for name in ("iat", "nbf", "exp"))
    source = payload.get("cid")
    try:
        scopes = parse_scopes([scope])
    except ScopesTooLongError:
        raise AuthenticationError(Reason.JWT_CLAIMS) from None
    return Claims(
        use,
        subject,
        scopes,
        issued_at,
        not_before,
        expires_at,
        jti,
        None if source is None else _text(source),
        _whole(payload.get("ver", 0)),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise AuthenticationError(Reason.JWT_CLAIMS)
    return value


def _whole(value: object) -> int:
    # True is an int, and no number.
    if not isinstance(value, int) or isinstance(value, bool):
        raise AuthenticationError(Reason.JWT_CLAIMS)
    return value


def _timely(claims: Claims, now: float) -> Claims:
    if claims.expires_at - claims.issued_at > LIFE[claims.use]:
        raise AuthenticationError(Reason.JWT_CLAIMS)
    if now < claims.not_before:
        raise AuthenticationError(Reason.JWT_EARLY)
    if now >= claims.expires_at:
        raise AuthenticationError(Reason.JWT_EXPIRED)
    return claims
