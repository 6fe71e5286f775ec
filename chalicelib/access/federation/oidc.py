"""Identity tokens (OpenID Connect ID tokens) of the issuers that trusts name.

The algorithm is the key's, and the key is one that the issuer publishes. This module must never
read a clock, use a key from a token's header or from a URL in it (`jwk`, `x5c`, `jku`, `x5u`), nor
put any part of a token in an error.
Source: OpenID Connect Core 1.0 (2, 3.1.3.7), RFC 7519, with the advice of RFC 8725.
"""

import base64
import re
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import jwt

from chalicelib.access.federation.key_sets import KeySet
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.dataclass import dataclass
from chalicelib.errors import RequestInvalidError
from chalicelib.strict_json import JsonInvalidError, read_object

MAX_LENGTH = 8192
"""Most characters of an identity token; those of build services have some 2,000."""

LEEWAY = 30
"""Seconds by which an issuer's clock and this one may differ."""

MAX_SUBJECT = 1024
"""Most characters of a subject: it names a principal, in each session and each line of the log."""

_LONGEST_HEADER = 2048
_NEVER = 10**11
_FORM = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")


class KeySets(Protocol):
    """The keys of issuers."""

    def keys(self, issuer: str, key_id: str | None) -> KeySet:
        """Return an issuer's keys, read again if `key_id` is not among them, though not often.

        `issuer` must be one that a trust names. Raises UnavailableError where the issuer gives
        no answer: that is never answered as "there is no such key".
        """


@dataclass(frozen=True)
class VerifiedIdentity:
    """Whom a verified proof is of (`subject`), and whom it is meant for (`audiences`).

    `audiences` is empty for the issuer `aws`, whose proofs are bound to this registry otherwise.
    """

    issuer: str
    audiences: frozenset[str]
    subject: str


def claimed_issuer(token: str) -> str:
    """Return the issuer that a token claims, to choose the keys by. NOTHING is verified yet.

    Raises AuthenticationError.
    """
    issuer = _read(_segments(token)[1]).get("iss")
    if not isinstance(issuer, str):
        raise AuthenticationError(Reason.IDENTITY_CLAIMS)
    return issuer


def verify(
    token: str, issuer: str, audiences: Collection[str], key_sets: KeySets, now: float
) -> VerifiedIdentity:
    """Return the identity in a token of this issuer, for one of these audiences, valid at `now`.

    `issuer` is one that a trust names. Raises AuthenticationError, RequestInvalidError for a
    subject that is too long, and what `key_sets` raises.
    """
    header = _read(_segments(token)[0])
    key_id = header.get("kid")
    if "crit" in header or str(header.get("typ", "JWT")).upper() != "JWT":
        # A reader must refuse a `crit` that it does not understand (RFC 7515, 4.1.11): that is any.
        raise AuthenticationError(Reason.IDENTITY_HEADER)
    if key_id is not None and not isinstance(key_id, str):
        raise AuthenticationError(Reason.IDENTITY_HEADER)
    key = _key(key_sets.keys(issuer, key_id), key_id)
    if header.get("alg") != key.algorithm_name:
        raise AuthenticationError(Reason.IDENTITY_HEADER)
    payload = _object(_signed_payload(token, key))
    if payload.get("iss") != issuer:
        raise AuthenticationError(Reason.IDENTITY_ISSUER)
    meant_for = _audiences(payload.get("aud"))
    identity = VerifiedIdentity(issuer, meant_for, _subject(payload.get("sub")))
    if meant_for.isdisjoint(audiences):
        raise AuthenticationError(Reason.IDENTITY_AUDIENCE)
    _check_times(payload, now)
    if len(identity.subject) > MAX_SUBJECT:
        raise RequestInvalidError(
            f"the subject of this identity has more than {MAX_SUBJECT} characters: have its issuer"
            " name a shorter one"
        )
    return identity


def _segments(token: str) -> tuple[str, str]:
    """Return header and payload as they are written."""
    if len(token) > MAX_LENGTH:
        raise AuthenticationError(Reason.IDENTITY_LENGTH)
    form = _FORM.fullmatch(token)
    if form is None or len(form[1]) > _LONGEST_HEADER:
        raise AuthenticationError(Reason.IDENTITY_FORM)
    return form[1], form[2]


def _read(segment: str) -> dict[str, Any]:
    try:
        decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        raise AuthenticationError(Reason.IDENTITY_FORM) from None
    return _object(decoded)


def _object(text: bytes) -> dict[str, Any]:
    try:
        return read_object(text)
    except JsonInvalidError:
        raise AuthenticationError(Reason.IDENTITY_FORM) from None


def _key(keys: KeySet, key_id: str | None) -> jwt.PyJWK:
    if key_id is None:
        # An issuer with one key need not name it. Trying several would be guessing.
        if len(keys) != 1:
            raise AuthenticationError(Reason.IDENTITY_HEADER)
        return next(iter(keys.values()))
    # A key that the issuer published without an id has the id '', which no token may name.
    if not key_id or key_id not in keys:
        raise AuthenticationError(Reason.IDENTITY_KEY)
    return keys[key_id]


def _signed_payload(token: str, key: jwt.PyJWK) -> bytes:
    try:
        payload: bytes = jwt.PyJWS().decode(token, key, algorithms=[key.algorithm_name])
    except jwt.InvalidSignatureError:
        raise AuthenticationError(Reason.IDENTITY_SIGNATURE) from None
    except jwt.PyJWTError:
        # Not chained: a library's error may quote the token.
        raise AuthenticationError(Reason.IDENTITY_FORM) from None
    return payload


def _audiences(value: object) -> frozenset[str]:
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(isinstance(one, str) and one for one in listed):
        raise AuthenticationError(Reason.IDENTITY_CLAIMS)
    return frozenset(listed)


def _subject(value: object) -> str:
    # It is written to logs, where a control character is another line.
    if not isinstance(value, str) or not value or not value.isprintable():
        raise AuthenticationError(Reason.IDENTITY_CLAIMS)
    return value


def _check_times(payload: Mapping[str, Any], now: float) -> None:
    issued_at, expires_at = _time(payload.get("iat")), _time(payload.get("exp"))
    not_before = _time(payload.get("nbf", issued_at))
    if now < max(issued_at, not_before) - LEEWAY:
        raise AuthenticationError(Reason.IDENTITY_EARLY)
    if now >= expires_at + LEEWAY:
        raise AuthenticationError(Reason.IDENTITY_EXPIRED)


def _time(value: object) -> float:
    # RFC 7519 (2) lets seconds have a fraction. True is an int, and no number; NaN is a float, and
    # in no range.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _NEVER:
        raise AuthenticationError(Reason.IDENTITY_CLAIMS)
    return value
