"""The arithmetic of growth: slopes are exponents, medians are taken at each x."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from bench import growth
from bench.growth import SIZE, Point, available_memory, medians, slope
from bench.workload import Layouts


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_slope_is_the_exponent_of_a_power(exponent: float) -> None:
    """Whatever the factor before it."""
    assert slope({x: 3.5 * x**exponent for x in (1, 10, 100, 1000)}) == pytest.approx(exponent)


def test_medians_are_of_one_series_and_registry() -> None:
    """At each x, in its order."""
    of = (SIZE, "moorage")
    points = [
        *(Point(*of, 10, seconds) for seconds in (9.0, 2.0, 3.0)),
        Point(*of, 1, 1.0),
        Point(SIZE, "another", 1, 100.0),
        Point("another", "moorage", 1, 100.0),
    ]
    assert list(medians(points, *of).items()) == [(1, 1.0), (10, 3.0)]


def test_one_point_has_no_slope() -> None:
    """A series without points has none either, as when its part failed."""
    assert all(math.isnan(slope(times)) for times in ({}, {1: 2.0}))


def test_memory_that_only_caches_files_is_available() -> None:
    """A benchmark fills it: by free pages alone no large layer would ever fit."""
    rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free, whole = (int(rows[name].split()[0]) * 1024 for name in ("MemFree", "MemTotal"))
    assert free / 2 < available_memory() < whole


def test_a_layer_that_memory_does_not_hold_is_not_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part fails with a message, before any layer is made."""
    monkeypatch.setattr(growth, "available_memory", lambda: 12 * 10**9 - 1)
    layouts: Any = Layouts(Path("/nonexistent"))
    with pytest.raises(MemoryError, match="3000 MB need 12 GB, and 12 are free"):
        next(growth.measure_alone(layouts, "ministack", 3_000))
