"""The decision: who somebody is, and whether that somebody may do this.

It is the same for whoever asks, and asks the world only for a credential. This module must never
read a clock or a setting, nor say more in a refusal than that there is one.

A token is an upper bound. What it was issued for is looked up again at each use, so that revoking a
credential, narrowing its grants and closing a public repository reach the tokens that are out.
"""

import base64
import binascii
import enum
import re
from dataclasses import dataclass
from typing import Protocol

from chalicelib.access import scopes
from chalicelib.access.credentials import Credential, hash_of, is_access_token, verify
from chalicelib.access.grants import NOTHING, Grants, allowed
from chalicelib.access.refusals import Reason, RefusedError
from chalicelib.access.scopes import Scopes
from chalicelib.access.tokens import Claims, Tokens, Use

_LONGEST_HEADER = 10_240
"""More than API Gateway lets through."""

_WHITE = " \t"
_SCHEME = re.compile(r"[A-Za-z]{1,16}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_ANONYMOUS = "anonymous"
_CREDENTIAL = "credential:"
_FEDERATED = "federated:"


class Records(Protocol):
    """The part of `AccessStore` that finds credentials."""

    def get(self, credential_id: str) -> Credential | None:
        """See AccessStore."""

    def find(self, secret_hash: str) -> Credential | None:
        """See AccessStore."""


@dataclass(frozen=True, slots=True)
class Nobody:
    """A request that says nothing of its sender: no header, or `Basic Og==` (`:`)."""


@dataclass(frozen=True, slots=True)
class Basic:
    """A user name, which is for people, and a password, which must be an access token."""

    user: str
    password: str

    def __repr__(self) -> str:
        return "Basic(...)"


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token."""

    token: str

    def __repr__(self) -> str:
        return "Bearer(...)"


class Kind(enum.StrEnum):
    """Where a principal's rights come from."""

    ANONYMOUS = "anonymous"
    CREDENTIAL = "credential"
    FEDERATED = "federated"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody. `limit`: the scopes of the token that was presented, None if it was none.

    `id` names the principal in sessions and logs, and is what its tokens have as their subject.
    """

    kind: Kind
    id: str
    grants: Grants
    limit: Scopes | None = None
    credential: str | None = None
    version: int = 0

    @property
    def is_known(self) -> bool:
        """Whether this is anybody in particular."""
        return self.kind is not Kind.ANONYMOUS


class Verdict(enum.Enum):
    """What becomes of a request."""

    ALLOWED = enum.auto()
    CHALLENGE = enum.auto()
    """401: another login, or a token for more, may be allowed what this one is not."""
    DENIED = enum.auto()
    """403: this principal may not, whatever token it gets."""


ANONYMOUS = Principal(Kind.ANONYMOUS, _ANONYMOUS, NOTHING)


def read_authorization(header: str | None) -> Nobody | Basic | Bearer:
    """Read an Authorization header; raises RefusedError. Source: RFC 7617, RFC 6750."""
    if header is None or not header.strip(_WHITE):
        return Nobody()
    scheme, _, rest = header.strip(_WHITE).partition(" ")
    value = rest.strip(_WHITE)
    if len(header) > _LONGEST_HEADER or not _SCHEME.fullmatch(scheme) or not value:
        raise RefusedError(Reason.HEADER)
    match scheme.lower():
        case "basic":
            return _basic(value)
        case "bearer":
            return Bearer(value)
        case _:
            raise RefusedError(Reason.SCHEME)


def identify(header: str | None, records: Records, tokens: Tokens, now: float) -> Principal:
    """Say who sent an Authorization header (None: there was none).

    Reads one credential at most. Raises RefusedError.
    """
    match read_authorization(header):
        case Basic() as basic:
            return log_in(basic.password, records, now)
        case Bearer(token):
            return bearer(tokens.verify(token, now), records, now)
        case Nobody():
            return ANONYMOUS


def log_in(password: str, records: Records, now: float) -> Principal:
    """Say whose access token a password is; raises RefusedError.

    One that is mistyped is not looked up.
    """
    if not is_access_token(password):
        raise RefusedError(Reason.CREDENTIAL_FORM)
    record = records.find(hash_of(password))
    if record is None:
        raise RefusedError(Reason.CREDENTIAL_UNKNOWN)
    return _of_credential(record, verify(password, record, now), None)


def bearer(claims: Claims, records: Records, now: float) -> Principal:
    """Say whose token this is, with the grants that its credential has now.

    Raises RefusedError where the credential is gone, revoked or expired, or its secret was
    replaced. `claims` have been verified for an access token.
    """
    if claims.use is not Use.ACCESS:
        raise RefusedError(Reason.JWT_AUDIENCE)
    if claims.credential is not None:
        return _of_token(claims, records, now)
    if claims.subject == _ANONYMOUS:
        return Principal(Kind.ANONYMOUS, _ANONYMOUS, NOTHING, claims.scopes)
    if claims.subject.startswith(_FEDERATED):
        return Principal(
            Kind.FEDERATED, claims.subject, scopes.as_grants(claims.scopes), claims.scopes
        )
    raise RefusedError(Reason.JWT_CLAIMS)


def refresh(token: str, records: Records, tokens: Tokens, now: float) -> Principal:
    """Say whose refresh token this is: to ask for new tokens, within the grants of today.

    Raises RefusedError, as soon as the credential is revoked, expired or has another secret.
    """
    return _of_token(tokens.verify(token, now, Use.REFRESH), records, now, limited=False)


def federated_subject(issuer: str, subject: str) -> str:
    """Return the id of somebody whom another issuer knows; no credential's id is like it."""
    return f"{_FEDERATED}{issuer}#{subject}"


def decide(
    principal: Principal, action: str, repository: str | None, *, public: bool = False
) -> Verdict:
    """Judge an action: one of ping, catalog, pull, push, delete, as the routes name them.

    `public`: anybody may pull from this repository. Whether it exists plays no part, and so no
    answer tells. An action that is none of these is denied to everybody.
    """
    match action, repository:
        case "ping", _:
            # Clients log in where a challenge is: /v2/ itself has to have one.
            fine = within = principal.is_known or principal.limit is not None
        case "catalog", _:
            fine, within = bool(principal.grants), _within(principal, "*", None)
        case _, None:
            fine = within = False
        case _, str(name):
            fine = allowed(principal.grants, action, name, public=public)
            within = _within(principal, action, name)
    if fine and within:
        return Verdict.ALLOWED
    return Verdict.DENIED if principal.is_known and not fine else Verdict.CHALLENGE


def visible(principal: Principal, repository: str, *, public: bool) -> bool:
    """Whether a list of repositories shows this one: whoever may pull from it sees it."""
    return allowed(principal.grants, "pull", repository, public=public)


def _within(principal: Principal, action: str, repository: str | None) -> bool:
    return principal.limit is None or scopes.covers(principal.limit, action, repository)


def _of_token(claims: Claims, records: Records, now: float, *, limited: bool = True) -> Principal:
    record = None if claims.credential is None else records.get(claims.credential)
    if record is None or claims.subject != _CREDENTIAL + record.id:
        raise RefusedError(Reason.CREDENTIAL_UNKNOWN)
    record.check(now)
    if not record.takes_version(claims.version, now):
        raise RefusedError(Reason.CREDENTIAL_REPLACED)
    return _of_credential(record, claims.version, claims.scopes if limited else None)


def _of_credential(record: Credential, version: int, limit: Scopes | None) -> Principal:
    return Principal(
        Kind.CREDENTIAL, _CREDENTIAL + record.id, record.grants, limit, record.id, version
    )


def _basic(value: str) -> Nobody | Basic:
    try:
        decoded = base64.b64decode(value.encode("ascii"), validate=True).decode()
    except (UnicodeError, binascii.Error):
        raise RefusedError(Reason.HEADER) from None
    user, colon, password = decoded.partition(":")
    if not colon or _CONTROLS.search(decoded):
        raise RefusedError(Reason.HEADER)
    return Basic(user, password) if user or password else Nobody()
