"""Drill 7: the program is changed where it matters, in this process only, and a drill must see it.

Each mutant names the drills that are to catch it; they are cases of the other drills, run over the
stores of DynamoDB on tables in memory. This module must never write to the source.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from tests.drills import contests, crashes, faults, operations, races
from tests.drills.support.worlds import TablesWorld
from tests.drills.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


@dataclass(frozen=True)
class Change:
    """One attribute of a module or class, and what stands there instead."""

    owner: Any
    name: str
    value: Any


@dataclass(frozen=True)
class Mutant:
    """A changed program, and the rows of other drills that show the change, likeliest first."""

    name: str
    changes: Sequence[Change]
    crashed: Sequence[str] = ()
    """Operations to be stopped everywhere."""
    failed: Sequence[str] = ()
    """Operations whose calls are to fail in every way."""
    raced: Sequence[str] = ()
    """Races to be run in every order."""
    looked: Sequence[Callable[[], Tally]] = ()
    """Looks of its own."""


def rule(name: str, owner: Any, attribute: str, value: Any, **drills: Any) -> Mutant:  # noqa: ANN401 - anything
    """Bend one rule: put `value` in its place."""
    return Mutant(name, [Change(owner, attribute, value)], **drills)


def drill(mutants: Iterable[Mutant]) -> Tally:
    """Change the program in each way, one after the other; a mutant that lives is a loss."""
    tally = Tally()
    for mutant in mutants:
        tally.mutants += 1
        case = caught(mutant)
        if case is None:
            tally.lose(f"mutant/{mutant.name}", AssertionError("no drill caught it"))
        else:
            tally.caught += 1
    return tally


def caught(mutant: Mutant) -> str | None:
    """Return the first case that shows the change; None if all is well with it."""
    with ExitStack() as stack:
        broken = stack.enter_context(_broken_mutants())
        for change in mutant.changes:
            stack.enter_context(mock.patch.object(change.owner, change.name, change.value))
        for look in _looks(mutant):
            tally = look()
            if broken:
                raise AssertionError(f"the mutant {mutant.name!r} is no program: {broken[0]}")
            if tally.losses:
                return f"{tally.losses[0].case}: {tally.losses[0].what}"
    return None


@contextmanager
def _broken_mutants() -> Iterator[list[str]]:
    """Collect what mutants raise by mistake: that would be caught for what nobody would write."""
    broken: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            if isinstance(error, (TypeError, AttributeError, NameError)):
                broken.append(f"{type(error).__name__}: {error}")

    collector, root = Collector(), logging.getLogger()
    root.addHandler(collector)
    try:
        yield broken
    finally:
        root.removeHandler(collector)


def _looks(mutant: Mutant) -> Iterator[Callable[[], Tally]]:
    yield from mutant.looked
    world = TablesWorld()
    rows = {operation.name: operation for operation in operations.ALL}
    for name in mutant.crashed:
        yield lambda name=name: crashes.drill_one(world, rows[name])  # type: ignore[misc]
    for name in mutant.failed:
        yield lambda name=name: faults.drill(world, [rows[name]], every=True)  # type: ignore[misc]
    contestants = {race.name: race for race in contests.ALL}
    for changes in (1, 2):
        bounds = races.Bounds(changes=changes, chances=50 * (changes - 1), first_loss=True)
        for name in mutant.raced:
            yield lambda name=name, bounds=bounds: races.drill_one(  # type: ignore[misc]
                world, contestants[name], bounds
            )
