"""How time grows: with the size of a layer, the number of layers, and of uploads at once.

A slope is the exponent of the best fitting power of x: 0 does not grow, 1 grows as x does. S3 and
DynamoDB take the time of bench/cloud.py.
"""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from bench import crowd, workload
from bench.backends import BACKENDS, relay
from bench.registries import moorage, peer
from bench.workload import MB, Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.registries import RunningRegistry
    from bench.workload import Layouts

SIZE, LAYERS, SESSIONS = SERIES = (
    "push of one layer, by its MB",
    "push by the number of layers, 10 KB each",
    "uploads of 1 MB at once, by their number",
)
VALUES = {
    SIZE: (1, 10, 100, 1_000, 3_000),
    LAYERS: (1, 10, 100),
    SESSIONS: (1, 4, 16, 64),
}


@dataclass(frozen=True)
class Point:
    """One run: how long a registry took at x."""

    series: str
    registry: str
    x: int
    seconds: float


def measure(layouts: Layouts, backend: str, repeats: int) -> Iterator[Point]:
    """Run each series with both registries; leaves out what the memory does not hold."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for series, values in VALUES.items():
        for x in values:
            if series == SIZE and x * MB * _COPIES > memory:
                continue
            # Emulators hold all in memory, some of it several times.
            together = series != SIZE or x < _ONCE
            for starts in ((moorage, peer),) if together else ((moorage,), (peer,)):
                with ExitStack() as stack:
                    behind = stack.enter_context(BACKENDS[backend]())
                    aws = stack.enter_context(relay(behind, slowed=True)).url
                    registries = [stack.enter_context(start(aws)) for start in starts]
                    for registry in registries:
                        workload.by_skopeo(registry, layouts.copy(workload.WARM_UP))
                    for repeat in range(repeats if x < _ONCE else 1):
                        act = _work(layouts, series, x)
                        for registry in registries[:: 1 if repeat % 2 == 0 else -1]:
                            yield Point(series, registry.name, x, act(registry))


_ONCE = 1_000
"""From here on it is run once, and each registry has a backend of its own for it."""

_COPIES = 6


def _work(layouts: Layouts, series: str, x: int) -> Callable[[RunningRegistry], float]:
    """Return one run of a series, that both registries are to do."""
    if series == SIZE:
        copy = layouts.copy(Image(f"{x} MB", 1, x * MB))
        return partial(workload.by_moorage, copy=copy)
    if series == LAYERS:
        return partial(workload.by_skopeo, copy=layouts.copy(Image(f"{x} layers", x, 10_000)))
    return partial(crowd.upload_at_once, x)


def medians(points: Sequence[Point], series: str, registry: str) -> dict[int, float]:
    """Return the median at each x."""
    found: dict[int, list[float]] = {}
    for point in points:
        if (point.series, point.registry) == (series, registry):
            found.setdefault(point.x, []).append(point.seconds)
    return {x: median(times) for x, times in sorted(found.items())}


def slope(times: dict[int, float]) -> float:
    """Return the exponent of x that fits best, by least squares of the logarithms."""
    logs: list[tuple[float, float]] = [
        (math.log(x), math.log(seconds)) for x, seconds in times.items()
    ]
    middle_x, middle_y = (sum(each[axis] for each in logs) / len(logs) for axis in (0, 1))
    over: float = sum((x - middle_x) * (y - middle_y) for x, y in logs)
    return over / sum((x - middle_x) ** 2 for x, _ in logs)
