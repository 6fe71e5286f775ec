"""Drill 1: a process is stopped before and after every single call of every operation.

Then its client tries again, or only the sweeper comes. A point counts as drilled when the process
was stopped at it. This module must never skip a call that an operation makes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from tests.drills import garbage
from tests.drills.figures import Figures
from tests.drills.support import invariants
from tests.drills.support.client import Stage
from tests.drills.support.ledger import Violation
from tests.drills.support.points import Gate, Stopped, stop_after, stop_before
from tests.drills.support.requests import GaveUpError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.drills.operations import Operation
    from tests.drills.support.worlds import World

SIDES = {"before": stop_before, "after": stop_after}
ENDINGS = ("retry", "abandon")


class Case(NamedTuple):
    """Where an operation is stopped, and whether its client tries again."""

    operation: str
    point: int
    side: str
    ending: str


def drill(world: World, operations: Iterable[Operation], *, brief: bool = False) -> Figures:
    """Stop every operation everywhere."""
    figures = Figures()
    for operation in operations:
        figures.add(drill_one(world, operation, brief=brief))
    return figures


def drill_one(
    world: World, operation: Operation, *, brief: bool = False, first_loss: bool = False
) -> Figures:
    """Stop one operation everywhere.

    `brief` for a slow world: a stop before a call is a stop after the one before it, so it stops
    after each call and before the first, with one ending or the other in turn. `first_loss`: end
    with the first loss.
    """
    figures = Figures()
    name = f"crash/{world.name}"
    try:
        trace = undisturbed(world, operation)
    except (Violation, GaveUpError) as error:
        figures.lose(f"{name}/{operation.name}/-/undisturbed/-", error)
        return figures
    figures.points = len(trace)
    stopped: dict[int, set[tuple[str, str]]] = {number: set() for number in range(len(trace))}
    ways = 1 if brief else len(SIDES) * len(ENDINGS)
    for case in cases(operation.name, len(trace)):
        if brief and not _in_brief(case):
            continue
        figures.schedules += 1
        with figures.losing(name, *case):
            if case.point in stop(world, operation, case):
                stopped[case.point].add((case.side, case.ending))
        if first_loss and figures.losses:
            break
    figures.drilled = sum(len(seen) >= ways for seen in stopped.values())
    return figures


def cases(operation: str, points: int) -> Iterator[Case]:
    """All ways to stop an operation of so many calls."""
    for point in range(points):
        for side in SIDES:
            for ending in ENDINGS:
                yield Case(operation, point, side, ending)


def _in_brief(case: Case) -> bool:
    stopped = case.side == "after" or case.point == 0
    return stopped and ENDINGS.index(case.ending) == case.point % 2


def undisturbed(world: World, operation: Operation) -> list[str]:
    """Do an operation without disturbing it; returns the names of its calls.

    At the end everything is deleted, and nothing may be left of it.
    """
    gate = Gate()
    stage, prepared = Stage.prepared(world, operation)
    operation.act(stage.client(gate), prepared)
    judge(stage)
    garbage.nothing_left(stage)
    return gate.trace


def stop(world: World, operation: Operation, case: Case) -> list[int]:
    """Stop an operation at one point; returns where it was stopped."""
    gate = Gate({case.point: SIDES[case.side]})
    stage, prepared = Stage.prepared(world, operation)
    client = stage.client(gate, patient=case.ending == "retry")
    with suppress(GaveUpError, Stopped):
        operation.act(client, prepared)
    judge(stage)
    return gate.disturbed


def judge(stage: Stage) -> None:
    """Assert the invariants, now and at the end, and pull every blob."""
    invariants.judge(stage)
    client = stage.client()
    for (repository, digest), data in stage.ledger.blobs.items():
        if client.pull(repository, digest) not in {data, None}:
            raise Violation(f"{digest} can't be pulled")
