"""Reads the Authorization header. Nothing is verified here.

This module must never show what a header holds, by `repr` either. Source: RFC 7617, RFC 6750.
"""

import base64
import binascii
import re

from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.dataclass import dataclass

_LONGEST = 10_240
"""More characters than API Gateway lets through."""

_WHITE = " \t"
_SCHEME = re.compile(r"[A-Za-z]{1,16}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Anonymous:
    """No credentials: no header, or `Basic Og==`, which is an empty name and password."""


@dataclass(frozen=True, repr=False)
class Basic:
    """A user name, which decides nothing, and a password: an API token or a login token."""

    user: str
    password: str


@dataclass(frozen=True, repr=False)
class Bearer:
    """A bearer token."""

    token: str


def read_authorization(header: str | None) -> Anonymous | Basic | Bearer:
    """Read an Authorization header; raises AuthenticationError."""
    if header is None or not header.strip(_WHITE):
        return Anonymous()
    scheme, _, rest = header.strip(_WHITE).partition(" ")
    value = rest.strip(_WHITE)
    if len(header) > _LONGEST or not _SCHEME.fullmatch(scheme) or not value:
        raise AuthenticationError(Reason.HEADER)
    match scheme.lower():
        case "basic":
            return _basic(value)
        case "bearer":
            return Bearer(value)
        case _:
            raise AuthenticationError(Reason.SCHEME)


def _basic(value: str) -> Anonymous | Basic:
    try:
        decoded = base64.b64decode(value.encode("ascii"), validate=True).decode()
    except (UnicodeError, binascii.Error):
        raise AuthenticationError(Reason.HEADER) from None
    user, colon, password = decoded.partition(":")
    if not colon or _CONTROLS.search(decoded):
        raise AuthenticationError(Reason.HEADER)
    return Basic(user, password) if user or password else Anonymous()
