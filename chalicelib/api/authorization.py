"""Authorization: the one place that decides whether a request reaches its handler.

This module must never allow an action other than the route's, nor let an answer show whether a
repository or blob exists.
"""

# ruff: noqa: D102 - AccessControl and AuthorizedCaller say what each method does

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from chalicelib.access.authorizer_context import PRINCIPAL, from_context
from chalicelib.access.decision import Decision, Principal, decide, look_up
from chalicelib.access.grants import allowed
from chalicelib.access.ports import AccessStore
from chalicelib.access.refusals import AuthenticationError
from chalicelib.access.scopes import all_of, required_scopes
from chalicelib.api.messages import AuthorizedCaller, Request, UnrestrictedCaller
from chalicelib.errors import DeniedError, UnauthorizedError, UploadUnknownError
from chalicelib.registry.session import Owner
from chalicelib.routes import RouteMatch

if TYPE_CHECKING:
    from chalicelib.access.cursors import Cursors
    from chalicelib.registry.registry import Registry


class AccessControl(Protocol):
    """Decides who may do what."""

    def admit(self, request: Request, found: RouteMatch) -> AuthorizedCaller:
        """Return who may do what a request's route does; raises UnauthorizedError, DeniedError."""


class OpenAccess:
    """Anybody may do everything: a local registry on loopback."""

    def admit(self, request: Request, found: RouteMatch) -> AuthorizedCaller:
        del found
        return UnrestrictedCaller(request.authorizer.get(PRINCIPAL, ""))


class PrincipalCaller(NamedTuple):
    """A principal, whose grants and token's scopes decide."""

    principal: Principal
    store: AccessStore
    cursors: "Callable[[], Cursors]"

    @property
    def id(self) -> str:
        return self.principal.id

    @property
    def sees_all(self) -> bool:
        return self.principal.grants.admin

    def decision(self, action: str, repository: str | None) -> Decision:
        """Decide on an action; whether the repository is public is read only if it matters."""
        decision = decide(self.principal, action, repository)
        if decision is Decision.ALLOWED or action != "pull" or repository is None:
            return decision
        public = bool(self.store.public_among([repository]))
        return decide(self.principal, action, repository, public=public)

    def may_pull(self, repository: str) -> bool:
        return self.decision("pull", repository) is Decision.ALLOWED

    def may_delete(self, repository: str) -> bool:
        return self.decision("delete", repository) is Decision.ALLOWED

    def visible(self, repositories: Sequence[str]) -> list[str]:
        grants = self.principal.grants
        hidden = [name for name in repositories if not allowed(grants, "pull", name)]
        # One range of the list: a page has up to a thousand names, and few of them are public.
        public = self.store.public_between(hidden[0], hidden[-1]) if hidden else frozenset()
        unseen = set(hidden) - public
        return [name for name in repositories if name not in unseen]

    def cursor(self, name: str) -> str:
        return self.cursors().write(name)

    def name_of(self, cursor: str) -> str | None:
        return self.cursors().read(cursor)


class GrantedAccess(NamedTuple):
    """A principal may do what was granted, and anybody may pull what is public.

    `now` gives seconds since the epoch. `registry` is asked only about the session of an upload
    that outlives its token; `cursors` are for pages of the catalog that end behind a hidden name.
    """

    store: AccessStore
    now: Callable[[], float]
    registry: "Callable[[], Registry]"
    cursors: "Callable[[], Cursors]"

    def admit(self, request: Request, found: RouteMatch) -> AuthorizedCaller:
        repository = found.parameters.get("name")
        # The credential or trust is read again: a revoked one is refused.
        required = [
            required_scopes(action, repository, request.method, request.query)
            for action in found.route.actions
        ]
        scopes = all_of(required).challenge()
        try:
            principal = look_up(from_context(request.authorizer), self.store, self.now())
        except AuthenticationError as refused:
            raise UnauthorizedError(refused.message, scopes=scopes) from refused
        if self._finishes(principal, found):
            principal = replace(principal, expired_at=None)
        caller = PrincipalCaller(principal, self.store, self.cursors)
        decisions = {caller.decision(action, repository) for action in found.route.actions}
        if Decision.DENIED in decisions:
            raise DeniedError("this login may not do that here: ask for a grant")
        if Decision.CHALLENGE in decisions:
            raise UnauthorizedError(scopes=scopes)
        return caller

    def _finishes(self, principal: Principal, found: RouteMatch) -> bool:
        """Whether an expired token may continue an upload that its principal began before."""
        if principal.expired_at is None or not found.route.outlives_token:
            return False
        owner = Owner(found.parameters["name"], principal.id)
        try:
            opened = self.registry().uploads.opened_at(owner, found.parameters["session"])
        except UploadUnknownError:
            return False
        return opened < principal.expired_at
