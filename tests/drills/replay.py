"""Replaying one case by the name that a drill gave it.

This module must never search: a case says all that there is to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.drills import contests, crashes, crowds, faults, races, spells
from tests.drills.operations import ALL
from tests.drills.support.schedule import following, read
from tests.drills.support.worlds import MemoryWorld, TablesWorld, moto_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.drills.support.worlds import World

WORLDS: dict[str, Callable[[], World]] = {
    "memory": MemoryWorld,
    "tables": TablesWorld,
    "moto": moto_world,
    "ministack": moto_world,  # one call at a time, moto judges as well
}


def replay(case: str) -> Exception | None:
    """Run one case; returns what was violated, and prints the calls that were made."""
    drill, world_name, *rest = case.split("/")
    world = WORLDS[world_name]()
    try:
        if drill == "race":
            race = next(row for row in contests.ALL if row.name == rest[0])
            return races.once(world, race, following(read(rest[1])))[1]
        if drill == "crowd":
            crowds.crowd(world, float(rest[0]), int(rest[1]))
            return None
        if drill == "spell":
            name, service, way, begin, seconds, every = rest
            spell = spells.Case(name, service, way, int(begin), float(seconds), int(every))
            spells.through(world, spell)
            return None
        operation = next(row for row in ALL if row.name == rest[0])
        if drill == "crash":
            told = crashes.Case(rest[0], int(rest[1]), rest[2], rest[3])
            crashes.stop(world, operation, told)
        else:
            faults.disturb(world, operation, int(rest[1]), rest[2], rest[3])
    except Exception as error:  # noqa: BLE001 - that is what was asked for
        return error
    return None
