"""Drill 2: pairs of requests, their calls in every order within bounds, and in random ones beyond.

Bounded schedules have two preemptions, or one beside one call that is repeated or dies; in those
of a late writer one task dies at each of its calls, after each step of the task that took over.
This module must never run two calls at once: a schedule is exactly what happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.drills.figures import Figures
from tests.drills.support.client import Client, Stage
from tests.drills.support.invariants import check, judge
from tests.drills.support.requests import GaveUpError
from tests.drills.support.schedule import (
    Choice,
    Chooser,
    Step,
    at_random,
    explore,
    following,
    run,
    written,
)
from tests.drills.support.worlds import SMALL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from chalicelib.registry.service import Limits
    from tests.drills.support.points import Gate
    from tests.drills.support.worlds import World

Body = Callable[[Client, Any], object]


def _nothing(_client: Client, _prepared: object) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Race:
    """Bodies that run beside each other on what was prepared, and what is checked after."""

    name: str
    prepare: Callable[[Stage], Any]
    bodies: Sequence[Body]
    finish: Body = _nothing
    limits: Limits = SMALL
    late: bool = False
    """Whether the first body is a late writer, whose client never comes back."""


@dataclass(frozen=True)
class Bounds:
    """How many preemptions and disturbances a schedule has, and random schedules for each race."""

    changes: int = 2
    chances: int = 100
    seed: int = 0
    acts: str = "rba"
    """What may disturb a call, by letters of ACTS."""
    every: int = 1
    """Every how many preemptions and disturbances one is made."""
    every_late: int = 1
    """Every how many schedules of a late writer one is run; the first and the last always are."""
    first_loss: bool = False
    """Whether to end with the first loss."""

    def within(self, preemptions: int, disturbances: int) -> bool:
        """Whether a schedule is within the bounds."""
        return preemptions + disturbances <= self.changes and disturbances <= 1


def drill(world: World, races: Iterable[Race], bounds: Bounds) -> Figures:
    """Run every race in every order within the bounds, and in some beyond."""
    figures = Figures()
    for race in races:
        figures.add(drill_one(world, race, bounds))
    return figures


def drill_one(world: World, race: Race, bounds: Bounds) -> Figures:
    """Run one race."""
    figures = Figures()

    def attempt(choose: Chooser) -> list[Step]:
        steps, error = once(world, race, choose)
        figures.schedules += 1
        if error is not None:
            choices = written([step.choice for step in steps])
            figures.lose(f"race/{world.name}/{race.name}/{choices}", error)
        return steps

    for _ in _attempts(attempt, race, bounds):
        if bounds.first_loss and figures.losses:
            break
    return figures


def _attempts(
    attempt: Callable[[Chooser], list[Step]], race: Race, bounds: Bounds
) -> Iterator[object]:
    """Make all attempts, one at each step."""
    if race.late:
        late = list(_late(attempt))
        for schedule in [*late[:: bounds.every_late], late[-1]]:
            yield attempt(following(schedule))
    yield from explore(attempt, bounds.within, bounds.acts, bounds.every)
    for number in range(bounds.chances):
        yield attempt(at_random(bounds.seed + number, disturb=0.1 if number % 2 else 0.0))


def _late(attempt: Callable[[Chooser], list[Step]]) -> Iterator[list[Choice]]:
    """All schedules in which the first task waits at a call, the second goes on, the first dies."""
    alone = sum(step.choice.task == 0 for step in attempt(following([])))
    for held in range(alone):
        beginning = [Choice(0)] * held
        rest = attempt(following([*beginning, Choice(1)]))
        other = sum(step.choice.task == 1 for step in rest)
        for steps in range(other + 1):
            yield [*beginning, *[Choice(1)] * steps, Choice(0, "a")]


def once(world: World, race: Race, choose: Chooser) -> tuple[list[Step], Exception | None]:
    """Run one race in one order; returns its steps, and what was violated."""
    stage, prepared = Stage.prepared(world, race)

    def task(body: Body, number: int) -> Callable[[Gate], None]:
        def go(gate: Gate) -> None:
            with suppress(GaveUpError):
                body(stage.client(gate, patient=not (race.late and number == 0)), prepared)

        return go

    bodies = [task(body, number) for number, body in enumerate(race.bodies)]
    steps, errors = run(bodies, choose)
    try:
        for error in errors:
            raise error  # noqa: TRY301 - what a task raised is judged like the rest
        _judge(stage, race, prepared)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is a loss, and has a case
        return steps, error
    return steps, None


def _judge(stage: Stage, race: Race, prepared: object) -> None:
    check(stage.world.snapshot(), stage.ledger)
    race.finish(stage.client(), prepared)
    judge(stage)
