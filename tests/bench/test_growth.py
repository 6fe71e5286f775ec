"""The arithmetic of growth: slopes are exponents, medians are taken at each x."""

from __future__ import annotations

import pytest

from bench.growth import SIZE, Point, medians, slope


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
