"""Runs one case again, by the name that a drill gave it.

This module must never search: the name says the whole case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.drills import crashes, crowds, faults, pairs, races, throttling
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
            race = next(row for row in pairs.ALL if row.name == rest[0])
            return races.once(world, race, following(read(rest[1])))[1]
        if drill == "crowd":
            crowds.crowd(world, float(rest[0]), int(rest[1]))
            return None
        if drill == "throttling":
            name, service, way, begin, seconds, every = rest
            slow = throttling.Case(name, service, way, int(begin), float(seconds), int(every))
            throttling.through(world, slow)
            return None
        operation = next(row for row in ALL if row.name == rest[0])
        if drill == "crash":
            crash = crashes.Case(rest[0], int(rest[1]), rest[2], rest[3])
            crashes.stop(world, operation, crash)
        else:
            faults.disturb(world, operation, int(rest[1]), rest[2], rest[3])
    except Exception as error:  # noqa: BLE001 - whatever the case raises is its result
        return error
    return None
