"""A bounded part of the races; `make drills` runs all of them, in every order within bounds."""

from __future__ import annotations

import pytest

from tests.drills import pairs, races
from tests.drills.support.schedule import Choice, following, read, run, written
from tests.drills.support.worlds import TablesWorld

ACTS = "rba"


@pytest.mark.parametrize(
    ("number", "race"),
    [pytest.param(number, race, id=race.name) for number, race in enumerate(pairs.ALL)],
)
def test_no_order_of_two_requests_loses_anything(number: int, race: races.Race) -> None:
    """With one preemption, or one repeat or death at any call, and at random, invariants hold.

    Each race has one of the three disturbances here, and its neighbours have the others. Of the
    preemptions and disturbances every third is made, whichever request begins, and of the schedules
    of a late writer every seventh: `make drills` has them all.
    """
    acts = ACTS[number % len(ACTS)]
    bounds = races.Bounds(changes=1, chances=10, acts=acts, every=3, every_late=7)
    figures = races.drill_one(TablesWorld(), race, bounds)
    assert not figures.losses
    assert figures.schedules > bounds.chances


def test_a_repeat_is_a_step_of_its_own() -> None:
    """Another task may act between a call's effect and the same call's repeat by the SDK."""
    made: list[str] = []
    bodies = [lambda gate, name=name: gate(name, lambda: made.append(name)) for name in "ab"]
    steps, errors = run(bodies, following([Choice(0, "r"), Choice(1), Choice(0)]))
    assert (made, errors) == (["a", "b", "a"], [])
    assert written([step.choice for step in steps]) == "0r.1.0"


def test_a_schedule_reads_back_as_it_was_written() -> None:
    """A schedule's text is the schedule."""
    schedule = [Choice(0), Choice(1, "a"), Choice(10, "r")]
    assert written(schedule) == "0.1a.10r"
    assert read(written(schedule)) == schedule
    assert read(written([])) == []
