"""Drill 7: the program is changed where it matters, in this process only, and a drill must fail.

Each mutant names the drills that are to catch it: rows of the other drills, run over the DynamoDB
stores on tables in memory. This module must never change a file.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from chalicelib.stores.dynamodb.expressions import Clause
from tests.drills import crashes, faults, operations, pairs, races
from tests.drills.figures import Figures
from tests.drills.support.worlds import TablesWorld

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


ALWAYS = Clause("attribute_not_exists(#no_item_has_this)")
"""A clause that every item fulfils, and an absent one too."""

PATCHES = ("PATCH, PATCH, other bytes", "PATCH, PATCH, parts of other bytes")


@dataclass(frozen=True)
class Change:
    """One attribute of a module or class, and what stands there instead."""

    owner: Any
    name: str
    value: Any


@dataclass(frozen=True)
class Mutant:
    """A changed program, and the rows of other drills that catch the change, likeliest first."""

    name: str
    changes: Sequence[Change]
    crashed: Sequence[str] = ()
    """Operations to be stopped everywhere."""
    failed: Sequence[str] = ()
    """Operations whose calls are to fail in every way."""
    raced: Sequence[str] = ()
    """Races to be run in every order."""
    checked: Sequence[Callable[[], Figures]] = ()
    """Checks of a store by itself."""


def drill(mutants: Iterable[Mutant]) -> Figures:
    """Change the program in each way, one after the other; a mutant that survives is a loss."""
    figures = Figures()
    for mutant in mutants:
        figures.mutants += 1
        case = caught(mutant)
        if case is None:
            figures.lose(f"mutant/{mutant.name}", AssertionError("no drill caught it"))
        else:
            figures.caught += 1
    return figures


def caught(mutant: Mutant) -> str | None:
    """Return the first case that catches the mutant; None if it survives."""
    with ExitStack() as stack:
        broken = stack.enter_context(_broken_mutants())
        for change in mutant.changes:
            stack.enter_context(mock.patch.object(change.owner, change.name, change.value))
        for attempt in _attempts(mutant):
            figures = attempt()
            if broken:
                raise AssertionError(f"the mutant {mutant.name!r} does not run: {broken[0]}")
            if figures.losses:
                return f"{figures.losses[0].case}: {figures.losses[0].what}"
    return None


@contextmanager
def _broken_mutants() -> Iterator[list[str]]:
    """Collect errors of a mutant that does not run at all: any drill would catch it."""
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


def _attempts(mutant: Mutant) -> Iterator[Callable[[], Figures]]:
    yield from mutant.checked
    world = TablesWorld()
    rows = {operation.name: operation for operation in operations.ALL}
    for name in mutant.crashed:
        yield lambda name=name: crashes.drill_one(world, rows[name])  # type: ignore[misc]
    for name in mutant.failed:
        yield lambda name=name: faults.drill(world, [rows[name]], every=True)  # type: ignore[misc]
    raced = {race.name: race for race in pairs.ALL}
    for changes in (1, 2):
        bounds = races.Bounds(changes=changes, chances=50 * (changes - 1), first_loss=True)
        for name in mutant.raced:
            yield lambda name=name, bounds=bounds: races.drill_one(  # type: ignore[misc]
                world, raced[name], bounds
            )
