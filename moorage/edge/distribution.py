"""What infra/edge.yaml tells CloudFront: the origin of each path, and how long errors are kept.

Read from the template itself, so that a deployed edge and the one played here can't differ.
Source: CloudFront Developer Guide, "Cache behavior settings", "How CloudFront caches HTTP 4xx and
5xx status codes from your origin".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

_CACHING_DISABLED: Final = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
_ERROR_SECONDS: Final = 10
"""How long CloudFront keeps an error of a code for which nothing is said."""

_KEPT_ERRORS: Final = frozenset({400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504})
"""The codes that CloudFront keeps at all."""


@dataclass(frozen=True, slots=True)
class CacheBehavior:
    """How requests to some paths are served. `passes_headers`: the origin gets the client's."""

    pattern: re.Pattern[str]
    origin: str
    methods: frozenset[str]
    passes_headers: bool


@dataclass(frozen=True, slots=True)
class Distribution:
    """Behaviours, the one without a path pattern last; origins by id; seconds by error code."""

    behaviors: tuple[CacheBehavior, ...]
    origins: frozenset[str]
    error_seconds: Mapping[int, int]

    @classmethod
    def of(cls, template: Mapping[str, Any]) -> Self:
        """Read the distribution of a template of CloudFormation, as load_template returns it."""
        config = template["Resources"]["Distribution"]["Properties"]["DistributionConfig"]
        listed = [*config["CacheBehaviors"], config["DefaultCacheBehavior"]]
        ages = {
            each["ErrorCode"]: each["ErrorCachingMinTTL"] for each in config["CustomErrorResponses"]
        }
        return cls(
            tuple(_behavior(each) for each in listed),
            frozenset(each["Id"] for each in config["Origins"]),
            {code: ages.get(code, _ERROR_SECONDS) for code in _KEPT_ERRORS},
        )

    def behavior(self, path: str) -> CacheBehavior:
        """Return the first behaviour whose pattern fits a path, which is still percent-encoded."""
        return next(each for each in self.behaviors if each.pattern.fullmatch(path))


def _behavior(said: Mapping[str, Any]) -> CacheBehavior:
    parts = re.split(r"([*?])", said.get("PathPattern", "*"))
    wild = {"*": ".*", "?": "."}
    return CacheBehavior(
        re.compile("".join(wild.get(part) or re.escape(part) for part in parts), re.DOTALL),
        said["TargetOriginId"],
        frozenset(said["AllowedMethods"]),
        said["CachePolicyId"] == _CACHING_DISABLED,
    )
