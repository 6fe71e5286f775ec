"""Where every request is let through or not: the one place that asks what somebody may do.

This module must never let an action past that it was not asked about, nor tell by an answer
whether something exists.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from chalicelib.access.authorizer_context import PRINCIPAL, stated
from chalicelib.access.decision import Decision, Principal, decide, look_up, visible
from chalicelib.access.ports import AccessStore
from chalicelib.access.refusals import AuthenticationError
from chalicelib.access.scopes import needs
from chalicelib.errors import DeniedError, UnauthorizedError


class Asked(Protocol):
    """What of a request is looked at."""

    @property
    def method(self) -> str:
        """The HTTP method."""

    @property
    def query(self) -> Mapping[str, Sequence[str]]:
        """The query's parameters."""

    @property
    def authorizer(self) -> Mapping[str, str]:
        """What the gateway's authorizer said of the sender."""


class Caller(Protocol):
    """Somebody who was let through."""

    @property
    def id(self) -> str:
        """Who it is, in sessions and logs."""

    @property
    def sees_all(self) -> bool:
        """Whether lists show every repository."""

    def may_pull(self, repository: str) -> bool:
        """Whether another repository may be pulled from, too."""

    def visible(self, repositories: Sequence[str]) -> list[str]:
        """Return those of some repositories that a list shows."""


class Authorizer(Protocol):
    """Who may do what."""

    def admit(self, request: Asked, action: str, repository: str | None) -> Caller:
        """Return who is let through; raises UnauthorizedError, DeniedError."""


class Everybody(NamedTuple):
    """The caller of an open registry, who may do everything."""

    id: str = ""
    sees_all: bool = True

    def may_pull(self, repository: str) -> bool:
        """Say yes."""
        del repository
        return True

    def visible(self, repositories: Sequence[str]) -> list[str]:
        """Show all."""
        return list(repositories)


class Open:
    """Everybody may do everything: a local registry on loopback."""

    def admit(self, request: Asked, action: str, repository: str | None) -> Caller:
        """Let anybody through."""
        del action, repository
        return Everybody(request.authorizer.get(PRINCIPAL, ""))


class Known(NamedTuple):
    """A caller whose grants, and whose token, are looked at."""

    principal: Principal
    store: AccessStore

    @property
    def id(self) -> str:
        """Who it is."""
        return self.principal.id

    @property
    def sees_all(self) -> bool:
        """Whether no grant has to be looked at."""
        return self.principal.grants.admin

    def judged(self, action: str, repository: str | None) -> Decision:
        """Judge an action; whether the repository is public is read only where that matters."""
        verdict = decide(self.principal, action, repository)
        if verdict is Decision.ALLOWED or action != "pull" or repository is None:
            return verdict
        public = bool(self.store.public_among([repository]))
        return decide(self.principal, action, repository, public=public)

    def may_pull(self, repository: str) -> bool:
        """Whether grants, or everybody's right, and the token hold that."""
        return self.judged("pull", repository) is Decision.ALLOWED

    def visible(self, repositories: Sequence[str]) -> list[str]:
        """Return those that may be pulled from."""
        hidden = [name for name in repositories if not visible(self.principal, name, public=False)]
        unseen = set(hidden) - self.store.public_among(hidden) if hidden else set()
        return [name for name in repositories if name not in unseen]


class Granted:
    """A registry that lets nobody do what was not granted."""

    def __init__(self, store: AccessStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    def admit(self, request: Asked, action: str, repository: str | None) -> Caller:
        """Let through whoever may do this.

        A credential or trust is read again for each request: revoked means refused.
        """
        scopes = needs(action, repository, request.method, request.query).challenge()
        try:
            principal = look_up(stated(request.authorizer), self._store, self._now())
        except AuthenticationError as refused:
            raise UnauthorizedError(refused.message, scopes=scopes) from refused
        caller = Known(principal, self._store)
        verdict = caller.judged(action, repository)
        if verdict is Decision.CHALLENGE:
            raise UnauthorizedError(scopes=scopes)
        if verdict is Decision.DENIED:
            raise DeniedError("this login may not do that here: ask for a grant")
        return caller
