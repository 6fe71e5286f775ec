"""The registry's own tokens: JSON web tokens, signed with HS256, that live for a limited time.

Nothing that a token says changes the algorithm. This module must never read a clock, keep a signing
key for longer than its source does, parse more than a short header of what is not verified, nor put
any part of a token in an error.
Source: RFC 7519, with the advice of RFC 8725; the `scope` claim is RFC 8693's.
"""

import base64
import enum
import math
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jwt

from chalicelib.access.decision import Principal
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.scopes import Scopes, ScopesTooLongError, bounded, parse_scopes, text_of
from chalicelib.access.signing_keys import SigningKey, SigningKeySet, SigningKeySource
from chalicelib.dataclass import dataclass
from chalicelib.strict_json import read_object

T = TypeVar("T")

ALGORITHM = "HS256"

MAX_LENGTH = 8192
"""Most characters of a token: API Gateway takes 10,240 bytes of headers in all."""

EARLY = 10
"""Seconds before its issue from which a token is valid: hosts' clocks differ."""

_LONGEST_HEADER = 200
"""More characters than this registry's header has, and too few for a deeply nested one."""

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


class TokenUse(enum.StrEnum):
    """What a token is for; each use has another audience, so no token is valid for two uses."""

    BEARER = "bearer"
    REFRESH = "refresh"
    LOGIN = "login"
    """A password while it lives, from an exchange: for tools that log in with a user name."""


LIFE: Mapping[TokenUse, int] = {
    # The push proxy spends one request's token on all chunks of a layer. What a token may do is
    # looked up again at each use (see decision.py), so a longer life grants nothing longer.
    TokenUse.BEARER: 3600,
    TokenUse.REFRESH: 30 * 86400,
    TokenUse.LOGIN: 3600,
}
"""How long a token lives, in seconds from its issue."""

CONTINUES = 12 * 3600
"""Seconds after its end for which a bearer token can still finish uploads that it began."""


@dataclass(frozen=True)
class Claims:
    """A token's claims. Times are whole seconds since the epoch; `expires_at` is exclusive."""

    use: TokenUse
    subject: str
    scopes: Scopes
    issued_at: int
    not_before: int
    expires_at: int
    jti: str
    source: str | None = None
    """The id of the credential, or the name of the trust, that it was issued for."""
    version: int = 0
    """The version of that credential's secret: see credentials.py."""


@dataclass(frozen=True)
class Tokens:
    """Issues and verifies the tokens of one registry with given signing keys.

    `issuer` is the registry's URL, `service` what clients call it.
    """

    keys: SigningKeySet
    issuer: str
    service: str

    def issue(  # noqa: PLR0913 - a claim each
        self,
        subject: str,
        scopes: Scopes,
        now: float,
        *,
        jti: str,
        use: TokenUse = TokenUse.BEARER,
        source: str | None = None,
        version: int = 0,
        until: float | None = None,
    ) -> str:
        """Return a signed token that lives from `now` for the LIFE of its use, or until `until`.

        `until`: when the login that it is issued for ends. `jti` must be fresh. Raises
        ScopesTooLongError for more scopes, with the subject, than fit a token.
        """
        issued_at = int(now)
        payload = {
            "iss": self.issuer,
            "aud": self._audience(use),
            "sub": subject,
            "scope": text_of(bounded(scopes)),
            "iat": issued_at,
            "nbf": issued_at - EARLY,
            "exp": expiry(use, now, until),
            "jti": jti,
        }
        if source is not None:
            payload |= {"cid": source, "ver": version}
        key = self.keys.signing
        token = jwt.encode(payload, key.secret, ALGORITHM, headers={"kid": key.id})
        if len(token) > MAX_LENGTH:
            raise ScopesTooLongError(
                f"the token would have more than {MAX_LENGTH} characters: ask for fewer scopes, or"
                " have the issuer name a shorter subject"
            )
        return token

    def verify(
        self, token: str, now: float, use: TokenUse = TokenUse.BEARER, *, late: float = 0
    ) -> Claims:
        """Return the claims of a token that this registry issued, for this use, valid at `now`.

        `late`: seconds for which an expired one is still verified; the caller must look at its
        `expires_at`. Raises AuthenticationError, with the reason JWT_KEY if the keys may have to
        be read again.
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
            # Not chained: a library's error may quote the token.
            raise AuthenticationError(_REFUSALS.get(type(error), Reason.JWT_CLAIMS)) from None
        return _timely(_claims(payload, use), now, late)

    def _audience(self, use: TokenUse) -> str:
        return self.service if use is TokenUse.BEARER else f"{self.service}#{use}"

    def _key(self, token: str) -> SigningKey:
        """Return the key that a token names; only its short header is read."""
        if len(token) > MAX_LENGTH:
            raise AuthenticationError(Reason.JWT_LENGTH)
        form = _FORM.fullmatch(token)
        if form is None or len(form[1]) > _LONGEST_HEADER:
            raise AuthenticationError(Reason.JWT_FORM)
        header = _header(form[1])
        key_id = header.pop("kid", None)
        # Any other header is refused unread, above all one that names another key (`jku`, `jwk`).
        if header != {"alg": ALGORITHM, "typ": "JWT"} or not isinstance(key_id, str):
            raise AuthenticationError(Reason.JWT_HEADER)
        key = self.keys.find(key_id)
        if key is None:
            raise AuthenticationError(Reason.JWT_KEY)
        return key


@dataclass(frozen=True)
class TokenIssuer:
    """Issues and verifies the tokens of one registry with the signing keys as they are now.

    `issuer` and `service` are as in `Tokens`.
    """

    keys: SigningKeySource
    issuer: str
    service: str

    def verified(self, verify: Callable[[Tokens], T]) -> T:
        """Return what `verify` returns; for an unknown key, read the keys again once."""
        try:
            return verify(self._tokens())
        except AuthenticationError as refused:
            if refused.reason is not Reason.JWT_KEY or not self.keys.renew():
                raise
        return verify(self._tokens())

    def issue(
        self,
        principal: Principal,
        scopes: Scopes,
        now: float,
        *,
        use: TokenUse = TokenUse.BEARER,
        until: float | None = None,
    ) -> str:
        """Return a token for a principal: see `Tokens.issue`."""
        return self._tokens().issue(
            principal.id,
            scopes,
            now,
            jti=uuid.uuid4().hex,
            use=use,
            source=principal.source,
            version=principal.version,
            until=until,
        )

    def _tokens(self) -> Tokens:
        return Tokens(self.keys.current(), self.issuer, self.service)


def expiry(use: TokenUse, now: float, until: float | None = None) -> int:
    """Return when a token that is issued at `now` expires, exclusive; at most `until`."""
    expires_at = int(now) + LIFE[use]
    return expires_at if until is None else min(expires_at, math.floor(until))


def _header(segment: str) -> dict[str, Any]:
    try:
        return read_object(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError:
        raise AuthenticationError(Reason.JWT_FORM) from None


def _claims(payload: Mapping[str, Any], use: TokenUse) -> Claims:
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


def _timely(claims: Claims, now: float, late: float) -> Claims:
    if claims.expires_at - claims.issued_at > LIFE[claims.use]:
        raise AuthenticationError(Reason.JWT_CLAIMS)
    if now < claims.not_before:
        raise AuthenticationError(Reason.JWT_EARLY)
    if now >= claims.expires_at + late:
        raise AuthenticationError(Reason.JWT_EXPIRED)
    return claims
