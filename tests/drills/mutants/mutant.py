"""Drill 7: the program is changed where it matters, in this process only, and a drill must fail.

Each mutant names the drills that are to catch it: rows of the other drills, run over the DynamoDB
stores on tables in memory. This module must never change a file, nor hold a mutant: they stand
beside it, by what they change, and each must be a mistake that somebody could make.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from chalicelib.errors import (
    TooManyRequestsError,
    UnavailableError,
)
from chalicelib.stores.dynamodb.expressions import Clause
from tests.drills import (
    crashes,
    faults,
    operations,
    pairs,
    races,
)
from tests.drills.figures import Figures
from tests.drills.support.ledger import Violation
from tests.drills.support.worlds import TablesWorld

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import ModuleType

    Original = Callable[..., Any]


ALWAYS = Clause("attribute_not_exists(#no_item_has_this)")
"""A clause that every item fulfils, and an absent one too."""


_SLOW_STEPS = 5
"""Steps of half a lease each: a copy takes longer than the lease."""


DELETED = ("delete a manifest",)


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
    checked: Sequence[Callable[[], None]] = ()
    """Checks of a store by itself, which raise Violation."""


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
    for check in mutant.checked:
        yield lambda check=check: _checked(check)  # type: ignore[misc]
    world = TablesWorld()
    rows = {operation.name: operation for operation in operations.ALL}
    for name in mutant.crashed:
        yield lambda name=name: crashes.drill_one(  # type: ignore[misc]
            world, rows[name], first_loss=True
        )
    for name in mutant.failed:
        yield lambda name=name: faults.drill(  # type: ignore[misc]
            world, [rows[name]], every=True, first_loss=True
        )
    raced = {race.name: race for race in pairs.ALL}
    # Orders with two changes are many, and chance finds most of what they do.
    for changes, chances in ((1, 0), (0, 200), (2, 0)):
        bounds = races.Bounds(changes=changes, chances=chances, first_loss=True)
        for name in mutant.raced:
            yield lambda name=name, bounds=bounds: races.drill_one(  # type: ignore[misc]
                world, raced[name], bounds
            )


def _checked(check: Callable[[], None]) -> Figures:
    figures = Figures()
    try:
        check()
    except Violation as loss:
        figures.lose(f"check/{check.__name__}", loss)
    return figures


FAILURES = (UnavailableError, TooManyRequestsError)


NEVER = Clause("#state = :never", {"never": {"S": "no state of ours"}})


def rules_of(mutants: list[Mutant]) -> Callable[..., Callable[[Original], Original]]:
    """Return a decorator that adds the function below it to `mutants`."""

    def rule(
        name: str,
        attribute: str,
        *owners: type | ModuleType,
        **drills: Any,  # noqa: ANN401 - fields of a Mutant
    ) -> Callable[[Original], Original]:
        """Make the function below a mutant: it replaces `attribute` of each owner.

        Its first argument is what stood there.
        """

        def note(changed: Original) -> Original:
            original = getattr(owners[0], attribute)

            def replacement(*args: object, **kwargs: object) -> object:
                return changed(original, *args, **kwargs)

            changes = [Change(owner, attribute, replacement) for owner in owners]
            mutants.append(Mutant(name, changes, **drills))
            return changed

        return note

    return rule
