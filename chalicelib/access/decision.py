"""The authorization decision: whether a principal may do an action in a repository.

It depends on nothing but its arguments and, for who the principal is, one credential or trust. This
module must never read a clock or a setting, verify a token, nor give a reason in a refusal.

A token's scopes are an upper bound. The credential or trust that it was issued for is read again at
each use, so that revoking a credential, narrowing its grants, removing a trust and closing a public
repository take effect on the tokens that were issued before.
"""

import enum
from dataclasses import replace

from chalicelib.access import scopes
from chalicelib.access.credentials import Credential
from chalicelib.access.grants import NOTHING, Grants, allowed
from chalicelib.access.ports import AccessStore
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.scopes import Scopes
from chalicelib.access.trusts import Trust
from chalicelib.dataclass import dataclass

_ANONYMOUS = "anonymous"
_CREDENTIAL = "credential:"
_FEDERATED = "federated:"


class PrincipalKind(enum.StrEnum):
    """Where a principal's rights come from."""

    ANONYMOUS = "anonymous"
    CREDENTIAL = "credential"
    FEDERATED = "federated"


@dataclass(frozen=True)
class TokenSubject:
    """Whom a verified token was issued to. `id` is the principal's, the token's `sub` claim.

    `limit`: the token's scopes, None where they are no limit. `source`: the id of the credential,
    or the name of the trust, that it was issued for; `version`: the version of that credential's
    secret. `expired_at`: when the token expired, in seconds since the epoch; None if it has not.
    """

    id: str
    limit: Scopes | None
    source: str | None = None
    version: int = 0
    expired_at: int | None = None


@dataclass(frozen=True)
class Principal:
    """Who sent a request. `id` names the principal in sessions, tokens and logs.

    `limit`: the scopes of the bearer token that was presented, None for Basic and no header.
    `source`, `version` and `expired_at` are as in `TokenSubject`.
    """

    kind: PrincipalKind
    id: str
    grants: Grants
    limit: Scopes | None = None
    source: str | None = None
    version: int = 0
    used_day: str | None = None
    """The last day on which the credential was used, as far as is noted."""
    expired_at: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether the principal is not the anonymous one."""
        return self.kind is not PrincipalKind.ANONYMOUS


class Decision(enum.Enum):
    """What is decided about a request."""

    ALLOWED = enum.auto()
    CHALLENGE = enum.auto()
    """401: another login, or a token with more scopes, may be allowed it."""
    DENIED = enum.auto()
    """403: this principal may not do it with any token."""


ANONYMOUS = Principal(PrincipalKind.ANONYMOUS, _ANONYMOUS, NOTHING)


def of_credential(credential: Credential, version: int, limit: Scopes | None = None) -> Principal:
    """Return the principal who holds a credential's secret of that version."""
    return Principal(
        PrincipalKind.CREDENTIAL,
        _CREDENTIAL + credential.id,
        credential.grants,
        limit,
        credential.id,
        version,
        credential.last_used_day,
    )


def of_trust(subject: str, trust: Trust, limit: Scopes | None = None) -> Principal:
    """Return the principal that a trust lets in; `subject` is of `federated_subject`."""
    return Principal(PrincipalKind.FEDERATED, subject, trust.grants, limit, trust.name)


def look_up(subject: TokenSubject, store: AccessStore, now: float) -> Principal:
    """Return the principal of a token, with the grants that its credential or trust has now.

    That of an expired token is returned too, marked as such. Reads one credential or trust at
    most. Raises AuthenticationError where the credential is gone, revoked or expired, its secret
    was replaced, or the trust is gone or has another subject.
    """
    if subject.id == _ANONYMOUS and subject.source is None:
        principal = Principal(PrincipalKind.ANONYMOUS, _ANONYMOUS, NOTHING, subject.limit)
    elif subject.id.startswith(_CREDENTIAL):
        principal = _holder(subject, store, now)
    elif subject.id.startswith(_FEDERATED):
        principal = _federated(subject, store)
    else:
        raise AuthenticationError(Reason.JWT_CLAIMS)
    return replace(principal, expired_at=subject.expired_at)


def federated_subject(issuer: str, subject: str) -> str:
    """Return the id of a principal whom another issuer knows; no credential's id is like it."""
    return f"{_FEDERATED}{issuer}#{subject}"


def decide(
    principal: Principal, action: str, repository: str | None, *, public: bool = False
) -> Decision:
    """Decide on an action of the routes: ping, token, page, catalog, pull, push or delete.

    `public`: anybody may pull from this repository. Whether it exists plays no part, so no answer
    shows it. An action that is none of these is denied to everybody, and an expired token allows
    nothing: what it may still finish is decided by api/authorization.py.
    """
    if principal.expired_at is not None:
        return Decision.CHALLENGE
    match action, repository:
        case "token" | "page", _:
            # A token request has its own login, which the token service verifies. The page is
            # files alone: it logs in like any client.
            permitted = within = True
        case "ping", _:
            # Clients log in where they are challenged, and they begin with /v2/.
            permitted = within = principal.is_known or principal.limit is not None
        case "catalog", _:
            permitted, within = bool(principal.grants), _within(principal, "*", None)
        case _, None:
            permitted = within = False
        case _, str(name):
            permitted = allowed(principal.grants, action, name, public=public)
            within = _within(principal, action, name)
    if permitted and within:
        return Decision.ALLOWED
    return Decision.DENIED if principal.is_known and not permitted else Decision.CHALLENGE


def _within(principal: Principal, action: str, repository: str | None) -> bool:
    """Whether a token's scopes cover an action; those that cover push cover delete too.

    crane and regctl ask for a token to push when they are about to delete. The principal's grants
    must allow the deletion as well.
    """
    limit = principal.limit
    if limit is None or scopes.covers(limit, action, repository):
        return True
    return action == "delete" and scopes.covers(limit, "push", repository)


def _holder(subject: TokenSubject, store: AccessStore, now: float) -> Principal:
    credential = None if subject.source is None else store.get(subject.source)
    if credential is None or subject.id != _CREDENTIAL + credential.id:
        raise AuthenticationError(Reason.CREDENTIAL_UNKNOWN)
    credential.check(now)
    if not credential.takes_version(subject.version, now):
        raise AuthenticationError(Reason.CREDENTIAL_REPLACED)
    return of_credential(credential, subject.version, subject.limit)


def _federated(subject: TokenSubject, store: AccessStore) -> Principal:
    trust = None if subject.source is None else store.get_trust(subject.source)
    if trust is None:
        raise AuthenticationError(Reason.TRUST_GONE)
    name = subject.id.removeprefix(federated_subject(trust.issuer, ""))
    known = trust.matches(trust.issuer, frozenset({trust.audience}), name)
    if name == subject.id or not known:
        raise AuthenticationError(Reason.TRUST_GONE)
    return of_trust(subject.id, trust, subject.limit)
