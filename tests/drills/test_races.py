"""A bounded part of the races; `make drills` runs all of them, in every order within bounds."""

from __future__ import annotations

import pytest

from tests.drills import pairs, races
from tests.drills.support.schedule import Choice, following, read, run, written
from tests.drills.support.worlds import TablesWorld

BOUNDS = races.Bounds(changes=1, chances=10)


@pytest.mark.parametrize("race", pairs.ALL, ids=lambda race: race.name)
def test_no_order_of_two_requests_loses_anything(race: races.Race) -> None:
    """With one preemption, repeat or death at any call, and at random, all invariants hold."""
    figures = races.drill_one(TablesWorld(), race, BOUNDS)
    assert not figures.losses
    assert figures.schedules > BOUNDS.chances


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
