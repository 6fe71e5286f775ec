"""How time grows: with the size of a layer, the number of layers, and of uploads at once.

A slope is the exponent of the best fitting power of x: 0 does not grow, 1 grows as x does. S3 and
DynamoDB take the time of bench/cloud.py.
"""

from __future__ import annotations

import math
import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench import crowd, workload
from bench.backends import BACKENDS, relay
from bench.registries import moorage, peer
from bench.workload import MB, Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from bench.registries import RunningRegistry
    from bench.workload import Layouts

SIZE, LAYERS, SESSIONS = SERIES = (
    "push of one layer, by its MB",
    "push by the number of layers, 10 KB each",
    "uploads of 1 MB at once, by their number",
)
VALUES = {SIZE: (1, 10, 100), LAYERS: (1, 10, 100), SESSIONS: (1, 4, 16, 64)}
LARGE = (1_000, 3_000)
"""MB of layers that are pushed once."""


@dataclass(frozen=True)
class Point:
    """One run: how long a registry took at x."""

    series: str
    registry: str
    x: int
    seconds: float


def measure(
    layouts: Layouts, backend: str, series: str, values: Sequence[int], repeats: int
) -> Iterator[Point]:
    """Run a part of a series `repeats` times with both registries, which take turns."""
    for x in values:
        with ExitStack() as stack:
            aws = _slowed(stack, backend)
            registries = [_started(stack, layouts, start, aws) for start in (moorage, peer)]
            for repeat in range(repeats):
                with _work(layouts, series, x) as act:
                    for registry in registries[:: 1 if repeat % 2 == 0 else -1]:
                        yield Point(series, registry.name, x, act(registry))


def measure_alone(layouts: Layouts, backend: str, size: int) -> Iterator[Point]:
    """Push one large layer of so many MB once to each registry, which has a backend of its own.

    Emulators hold all in memory, and more than once while they put it together. Raises MemoryError
    where the machine has less than that.
    """
    needed, memory = size * MB * COPIES, available_memory()
    if needed > memory:
        raise MemoryError(f"{size} MB need {needed / 1e9:.0f} GB, and {memory / 1e9:.0f} are free")
    with _work(layouts, SIZE, size) as act:
        for start in (moorage, peer):
            with ExitStack() as stack:
                registry = _started(stack, layouts, start, _slowed(stack, backend))
                yield Point(SIZE, registry.name, size, act(registry))


def available_memory() -> int:
    """Return how many bytes new processes can have, what only caches files among them."""
    found = re.search(
        r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE
    )
    if found is None:
        raise MemoryError("the kernel does not say how much memory is available")
    return int(found[1]) * 1024


def _slowed(stack: ExitStack, backend: str) -> str:
    behind = stack.enter_context(BACKENDS[backend]())
    return stack.enter_context(relay(behind, slowed=True)).url


def _started(
    stack: ExitStack,
    layouts: Layouts,
    start: Callable[[str], AbstractContextManager[RunningRegistry]],
    aws: str,
) -> RunningRegistry:
    registry = stack.enter_context(start(aws))
    workload.by_skopeo(registry, layouts.copy(workload.WARM_UP))
    return registry


COPIES = 4
"""How often an emulator holds a layer at most: measured with MiniStack for both registries."""


@contextmanager
def _work(layouts: Layouts, series: str, x: int) -> Iterator[Callable[[RunningRegistry], float]]:
    """Give one run of a series, that both registries are to do."""
    if series == SESSIONS:
        yield partial(crowd.upload_at_once, x)
        return
    image, push = (
        (Image(f"{x} MB", 1, x * MB), workload.by_moorage)
        if series == SIZE
        else (Image(f"{x} layers", x, 10_000), workload.by_skopeo)
    )
    with layouts.once(image) as copy:
        yield partial(push, copy=copy)


def medians(points: Sequence[Point], series: str, registry: str) -> dict[int, float]:
    """Return the median at each x."""
    found: dict[int, list[float]] = {}
    for point in points:
        if (point.series, point.registry) == (series, registry):
            found.setdefault(point.x, []).append(point.seconds)
    return {x: median(times) for x, times in sorted(found.items())}


def slope(times: dict[int, float]) -> float:
    """Return the exponent of x that fits best, by least squares of the logarithms.

    It is not a number where there are fewer than two.
    """
    if len(times) < 2:  # noqa: PLR2004 - a line has two ends
        return math.nan
    logs: list[tuple[float, float]] = [
        (math.log(x), math.log(seconds)) for x, seconds in times.items()
    ]
    middle_x, middle_y = (sum(each[axis] for each in logs) / len(logs) for axis in (0, 1))
    over: float = sum((x - middle_x) * (y - middle_y) for x, y in logs)
    return over / sum((x - middle_x) ** 2 for x, _ in logs)
