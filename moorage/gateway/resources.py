"""The resources of the API and their methods, and which resource a path matches.

A path is never normalised: percent-encoding, `..` and `%2F` stay as the client sent them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moorage.gateway.faults import GatewayError, GatewayFault

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

STAGE: Final = "v2"
"""The stage has the name of the registry API's path prefix, so that the default URL works."""

ROOT: Final = "/"
GREEDY: Final = "/{proxy+}"
"""The resource that matches every path which no other resource matches."""

_FIXED: Final = re.compile(r"/[A-Za-z0-9_.-]*(?:/[A-Za-z0-9_.-]+)*")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True)
class MatchedResource:
    """The resource that a path matched; `path` is without the stage.

    `proxy` is the part that the greedy resource matched, and None at any other resource.
    """

    resource: str
    path: str
    proxy: str | None


@dataclass(frozen=True)
class Resources:
    """Resources by their path in a template, each with its methods.

    Raises ValueError for a resource with path parameters, but for the greedy one.
    """

    methods: Mapping[str, Collection[str]]

    def __post_init__(self) -> None:
        for resource in self.methods:
            if resource != GREEDY and not _FIXED.fullmatch(resource):
                raise ValueError(f"the gateway knows no resource like {resource}")

    def match(self, method: str, path: str) -> MatchedResource:
        """Find the resource of a raw path; raises GatewayError.

        A fixed path wins over `{proxy+}`, whatever the method. A greedy `{proxy+}` takes at least
        one character, so `/v2/` is the root. The event keeps a trailing slash in `path` and drops
        it from `proxy`, as API Gateway does.
        """
        prefix = f"/{STAGE}"
        if path != prefix and not path.startswith(prefix + "/"):
            raise GatewayError(GatewayFault.FORBIDDEN)
        inside = path.removeprefix(prefix) or ROOT
        proxy = inside.removeprefix("/").removesuffix("/")
        fixed = f"/{proxy}"
        if fixed != GREEDY and (fixed == ROOT or fixed in self.methods):
            route = MatchedResource(fixed, inside, proxy=None)
        else:
            route = MatchedResource(GREEDY, inside, proxy)
        if method not in self.methods.get(route.resource, ()):
            raise GatewayError(GatewayFault.NO_SUCH_METHOD)
        return route


EVERYTHING: Final = Resources({ROOT: _METHODS, GREEDY: _METHODS})
"""The resources of a function that names no routes."""
