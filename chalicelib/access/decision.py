"""The decision: whether somebody may do this.

It is the same for whoever asks, and asks the world only for a credential or a trust. This module
must never read a clock or a setting, verify a token, nor say more in a refusal than that there is
one.

A token is an upper bound. What it was issued for is looked up again at each use, so that revoking a
credential, narrowing its grants, removing a trust and closing a public repository reach the tokens
that are out.
"""

import enum
from dataclasses import dataclass
from typing import Protocol

from chalicelib.access import scopes
from chalicelib.access.credentials import Credential
from chalicelib.access.grants import NOTHING, Grants, allowed
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.scopes import Scopes
from chalicelib.access.trusts import Trust

_ANONYMOUS = "anonymous"
_CREDENTIAL = "credential:"
_FEDERATED = "federated:"


class Records(Protocol):
    """The part of `AccessStore` that finds credentials and trusts."""

    def get(self, credential_id: str) -> Credential | None:
        """See AccessStore."""

    def find(self, secret_hash: str) -> Credential | None:
        """See AccessStore."""

    def get_trust(self, name: str) -> Trust | None:
        """See AccessStore."""


class PrincipalKind(enum.StrEnum):
    """Where a principal's rights come from."""

    ANONYMOUS = "anonymous"
    CREDENTIAL = "credential"
    FEDERATED = "federated"


@dataclass(frozen=True, slots=True)
class TokenSubject:
    """What a token says of its sender, once it is verified.

    `limit`: its scopes, None where it has none. `source`: the id of the credential, or the name of
    the trust, that it was issued for; `version`: which secret of that credential.
    """

    subject: str
    limit: Scopes | None
    source: str | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody. `limit`: the scopes of the token that was presented, None if it was none.

    `id` names the principal in sessions and logs, and is what its tokens have as their subject.
    `source` and `version` are as in `TokenSubject`.
    """

    kind: PrincipalKind
    id: str
    grants: Grants
    limit: Scopes | None = None
    source: str | None = None
    version: int = 0
    used_day: str | None = None
    """The last day on which the credential was used, as far as is noted."""

    @property
    def is_known(self) -> bool:
        """Whether this is anybody in particular."""
        return self.kind is not PrincipalKind.ANONYMOUS


class Decision(enum.Enum):
    """What becomes of a request."""

    ALLOWED = enum.auto()
    CHALLENGE = enum.auto()
    """401: another login, or a token for more, may be allowed what this one is not."""
    DENIED = enum.auto()
    """403: this principal may not, whatever token it gets."""


ANONYMOUS = Principal(PrincipalKind.ANONYMOUS, _ANONYMOUS, NOTHING)


def of_credential(record: Credential, version: int, limit: Scopes | None = None) -> Principal:
    """Return the holder of a credential's secret."""
    return Principal(
        PrincipalKind.CREDENTIAL,
        _CREDENTIAL + record.id,
        record.grants,
        limit,
        record.id,
        version,
        record.last_used_day,
    )


def of_trust(subject: str, trust: Trust, limit: Scopes | None = None) -> Principal:
    """Return somebody whom another issuer knows, and a trust lets in: see federated_subject."""
    return Principal(PrincipalKind.FEDERATED, subject, trust.grants, limit, trust.name)


def look_up(stated: TokenSubject, records: Records, now: float) -> Principal:
    """Say who this is, with the grants that the credential or trust has now.

    Reads one record at most. Raises AuthenticationError where the credential is gone, revoked or
    expired, its secret was replaced, or the trust is gone or lets in others than this one.
    """
    if stated.subject == _ANONYMOUS and stated.source is None:
        return Principal(PrincipalKind.ANONYMOUS, _ANONYMOUS, NOTHING, stated.limit)
    if stated.subject.startswith(_CREDENTIAL):
        return _holder(stated, records, now)
    if stated.subject.startswith(_FEDERATED):
        return _federated(stated, records)
    raise AuthenticationError(Reason.JWT_CLAIMS)


def federated_subject(issuer: str, subject: str) -> str:
    """Return the id of somebody whom another issuer knows; no credential's id is like it."""
    return f"{_FEDERATED}{issuer}#{subject}"


def decide(
    principal: Principal, action: str, repository: str | None, *, public: bool = False
) -> Decision:
    """Judge an action: one of ping, token, catalog, pull, push, delete, as the routes name them.

    `public`: anybody may pull from this repository. Whether it exists plays no part, and so no
    answer tells. An action that is none of these is denied to everybody.
    """
    match action, repository:
        case "token", _:
            # Whoever asks for a token says who that is in the request itself.
            fine = within = True
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
        return Decision.ALLOWED
    return Decision.DENIED if principal.is_known and not fine else Decision.CHALLENGE


def visible(principal: Principal, repository: str, *, public: bool) -> bool:
    """Whether a list of repositories shows this one: whoever may pull from it sees it."""
    return allowed(principal.grants, "pull", repository, public=public)


def _within(principal: Principal, action: str, repository: str | None) -> bool:
    """Whether a token's scopes hold an action; those that hold pushing hold deleting too.

    crane and regctl ask for a token to push when they are about to delete. Whether the principal
    may delete is another question, and asked as well.
    """
    limit = principal.limit
    if limit is None or scopes.covers(limit, action, repository):
        return True
    return action == "delete" and scopes.covers(limit, "push", repository)


def _holder(stated: TokenSubject, records: Records, now: float) -> Principal:
    record = None if stated.source is None else records.get(stated.source)
    if record is None or stated.subject != _CREDENTIAL + record.id:
        raise AuthenticationError(Reason.CREDENTIAL_UNKNOWN)
    record.check(now)
    if not record.takes_version(stated.version, now):
        raise AuthenticationError(Reason.CREDENTIAL_REPLACED)
    return of_credential(record, stated.version, stated.limit)


def _federated(stated: TokenSubject, records: Records) -> Principal:
    trust = None if stated.source is None else records.get_trust(stated.source)
    if trust is None:
        raise AuthenticationError(Reason.TRUST_GONE)
    subject = stated.subject.removeprefix(federated_subject(trust.issuer, ""))
    known = trust.matches(trust.issuer, frozenset({trust.audience}), subject)
    if subject == stated.subject or not known:
        raise AuthenticationError(Reason.TRUST_GONE)
    return of_trust(stated.subject, trust, stated.limit)
