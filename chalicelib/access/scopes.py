"""Scopes: those that a client requests, those that are granted, and those that a request requires.

This module must never grant more than was requested, nor more than the grants hold; it leaves out
what it does not understand, for a token with fewer scopes is no error.
Source: Docker Registry v2 token authentication ("Token Scope Documentation"), where a scope is
`type:name:action,action` or `type(class):name:action`, and several are separated by spaces.
"""

import enum
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from chalicelib.access.grants import Grants, Right, allowed
from chalicelib.dataclass import dataclass
from chalicelib.reference import is_name, parse_name

MAX_SCOPES = 32
"""Most scopes in one token."""

MAX_SCOPES_LENGTH = 4096
"""Most characters of all of them: a token has to fit the 10 KB of headers that a request has."""

_ALL = "*"
_CATALOG = "catalog"
_ORDER = (*Right, _ALL)
_TYPE = re.compile(r"([a-z0-9]{1,32})(?:\(([a-z0-9]{1,32})\))?")


class ScopesTooLongError(ValueError):
    """More scopes than fit a token."""


class ResourceType(enum.StrEnum):
    """The types of resources that this registry has."""

    REPOSITORY = "repository"
    REGISTRY = "registry"


@dataclass(frozen=True)
class Scope:
    """One resource and the actions on it; make it by the functions below, which check it."""

    resource: ResourceType
    name: str
    actions: frozenset[str]
    resource_class: str = ""
    """The class that a client gives a repository, such as `plugin`: repeated, and not used."""

    @property
    def key(self) -> tuple[ResourceType, str, str]:
        """Equal for two scopes of the same resource, which are merged."""
        return self.resource, self.resource_class, self.name

    def __str__(self) -> str:
        named = f"({self.resource_class})" if self.resource_class else ""
        actions = ",".join(action for action in _ORDER if action in self.actions)
        return f"{self.resource}{named}:{self.name}:{actions}"


Scopes = tuple[Scope, ...]

CATALOG = Scope(ResourceType.REGISTRY, _CATALOG, frozenset({_ALL}))
"""Listing the repositories."""


def on_repository(name: str, *rights: Right) -> Scope:
    """Return the scope of some rights on a repository; raises NameInvalidError."""
    return Scope(ResourceType.REPOSITORY, parse_name(name), frozenset(map(str, rights)))


def parse_scopes(texts: Iterable[str]) -> Scopes:
    """Read scopes from the values of a repeated parameter, each with one or several of them.

    In the order of their first appearance, one for each resource. Left out: types, names and
    actions that this registry does not have. Raises ScopesTooLongError.
    """
    text = " ".join(texts)
    if len(text) > MAX_SCOPES_LENGTH:
        raise ScopesTooLongError(f"scopes of more than {MAX_SCOPES_LENGTH} characters")
    read = (_scope(word) for word in text.split(" ") if word)
    return bounded(merged(scope for scope in read if scope is not None))


def bounded(scopes: Scopes) -> Scopes:
    """Return scopes that fit a token, as they are; raises ScopesTooLongError.

    An action of `*` is longer when it is read than when it was written.
    """
    if len(scopes) > MAX_SCOPES or len(text_of(scopes)) > MAX_SCOPES_LENGTH:
        raise ScopesTooLongError(
            f"{len(scopes)} scopes: a token has at most {MAX_SCOPES}, and"
            f" {MAX_SCOPES_LENGTH} characters of them"
        )
    return scopes


def merged(scopes: Iterable[Scope]) -> Scopes:
    """Return one scope for each resource, with all actions on it; none without an action."""
    found: dict[tuple[ResourceType, str, str], Scope] = {}
    for scope in scopes:
        before = found.get(scope.key)
        actions = scope.actions | (before.actions if before else frozenset())
        if actions:
            found[scope.key] = _with_actions(scope, actions)
    return tuple(found.values())


def text_of(scopes: Scopes) -> str:
    """Return scopes as one text that `parse_scopes` reads."""
    return " ".join(map(str, scopes))


def covers(scopes: Scopes, action: str, repository: str | None) -> bool:
    """Whether these scopes name an action on a repository; None: on the registry's catalog."""
    resource = ResourceType.REGISTRY if repository is None else ResourceType.REPOSITORY
    name = _CATALOG if repository is None else repository
    return any(
        scope.resource is resource and scope.name == name and action in scope.actions
        for scope in scopes
    )


def granted(requested: Scopes, grants: Grants, public: Collection[str] = ()) -> Scopes:
    """Return the requested scopes cut to the grants; scopes without an action left are dropped.

    `public` are those of the requested repositories that anybody may pull from. Any grant gives the
    catalog: what it lists is then decided name by name.
    """
    return tuple(
        _with_actions(scope, actions)
        for scope in requested
        if (actions := _granted_actions(scope, grants, public))
    )


class RequiredScopes(NamedTuple):
    """The scopes that a request must have, and those that it uses if it has them (`optional`).

    A mount uses a pull on its source: without that it is an upload like any other.
    """

    required: Scopes
    optional: Scopes = ()

    def challenge(self) -> str:
        """Return the scopes that a challenge tells the client to request.

        With push comes pull: every client looks for its blobs before it pushes.
        """
        required = [_with_pull(scope) for scope in self.required]
        return text_of(merged([*required, *self.optional]))


def all_of(required: Iterable[RequiredScopes]) -> RequiredScopes:
    """Return the scopes of a request that requires all of these."""
    required = list(required)
    return RequiredScopes(
        tuple(scope for each in required for scope in each.required),
        tuple(scope for each in required for scope in each.optional),
    )


def required_scopes(
    action: str, repository: str | None, method: str, query: Mapping[str, Sequence[str]]
) -> RequiredScopes:
    """Return the scopes that a request requires, by its route's action and name, method and query.

    `action` is one of ping, token, page, catalog, pull, push, delete. Raises NameInvalidError, and
    ValueError for another action: that is a route which was added without its scopes.
    """
    if action in {"ping", "token", "page"}:
        return RequiredScopes(())
    if action == _CATALOG:
        return RequiredScopes((CATALOG,))
    if repository is None:
        raise ValueError(f"{action!r} is no action on the registry")
    source = _mount_source(query) if (action, method) == (Right.PUSH, "POST") else None
    optional = () if source is None else (on_repository(source, Right.PULL),)
    return RequiredScopes((on_repository(repository, Right(action)),), optional)


def _scope(text: str) -> Scope | None:
    kind, _, rest = text.partition(":")
    name, _, listed = rest.rpartition(":")
    typed = _TYPE.fullmatch(kind)
    actions = frozenset(listed.split(","))
    if typed is None:
        return None
    if typed[1] == ResourceType.REGISTRY:
        return CATALOG if (typed[2], name, actions) == (None, _CATALOG, CATALOG.actions) else None
    if typed[1] != ResourceType.REPOSITORY:
        return None
    if not is_name(name):
        return None
    known = frozenset(map(str, Right))
    wanted = known if _ALL in actions else known & actions
    return Scope(ResourceType.REPOSITORY, name, wanted, typed[2] or "") if wanted else None


def _granted_actions(scope: Scope, grants: Grants, public: Collection[str]) -> frozenset[str]:
    if scope.resource is ResourceType.REGISTRY:
        return scope.actions & CATALOG.actions if grants and scope == CATALOG else frozenset()
    is_public = scope.name in public
    return frozenset(
        action for action in scope.actions if allowed(grants, action, scope.name, public=is_public)
    )


def _with_actions(scope: Scope, actions: frozenset[str]) -> Scope:
    return Scope(scope.resource, scope.name, actions, scope.resource_class)


def _with_pull(scope: Scope) -> Scope:
    pushes = Right.PUSH in scope.actions
    return _with_actions(scope, scope.actions | {Right.PULL.value}) if pushes else scope


def _mount_source(query: Mapping[str, Sequence[str]]) -> str | None:
    """Return the source repository of a mount; None if there is none, or its name is invalid.

    The last value counts, as it does for the handler.
    """
    if not query.get("mount") or not query.get("from"):
        return None
    source = query["from"][-1]
    return source if is_name(source) else None
