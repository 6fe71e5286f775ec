"""The resources of the API and their methods, and which resource a path meets.

It never normalises a path: percent-encoding, `..` and `%2F` stay as the client sent them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moorage.gateway.fault import Fault, GatewayError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

STAGE: Final = "v2"
"""The stage's name is the registry API's own path prefix: the default URL is then a registry."""

ROOT: Final = "/"
GREEDY: Final = "/{proxy+}"
"""The resource that takes every path which no other one has."""

_FIXED: Final = re.compile(r"/[A-Za-z0-9_.-]*(?:/[A-Za-z0-9_.-]+)*")
_SIX: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True)
class MatchedResource:
    """The resource that a path met: `path` is without the stage.

    `proxy` is what the greedy resource took, and None where another one was met.
    """

    resource: str
    path: str
    proxy: str | None


@dataclass(frozen=True)
class Resources:
    """Resources by their path in a template, each with its methods.

    Raises ValueError for one with parameters of its own: the greedy one alone is understood.
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
            raise GatewayError(Fault.FORBIDDEN)
        inside = path.removeprefix(prefix) or ROOT
        proxy = inside.removeprefix("/").removesuffix("/")
        fixed = f"/{proxy}"
        if fixed != GREEDY and (fixed == ROOT or fixed in self.methods):
            route = MatchedResource(fixed, inside, proxy=None)
        else:
            route = MatchedResource(GREEDY, inside, proxy)
        if method not in self.methods.get(route.resource, ()):
            raise GatewayError(Fault.NO_SUCH_METHOD)
        return route


EVERYTHING: Final = Resources({ROOT: _SIX, GREEDY: _SIX})
"""What stands before a function that names no routes."""
