"""The sweeper's rounds at the end of a drill: time passes until nothing is due any more.

It must never touch what clients do, nor end anything itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.drills.support.invariants import check, require_nobody_cancelled
from tests.drills.support.ledger import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.drills.support.client import Stage
    from tests.drills.support.snapshot import Snapshot

_ROUNDS = 6
"""How often the sweeper may have to look at one thing."""


def judge(stage: Stage) -> None:
    """Assert the invariants now, and once more when the sweeper has nothing left to do."""
    seen = stage.world.snapshot()
    check(seen, stage.ledger)
    check(settle(stage, seen), stage.ledger, final=True)


def settle(stage: Stage, seen: Snapshot) -> Snapshot:
    """Let the sweeper come each time that something is due; returns what is there at the end.

    Raises Violation if a session was cancelled for no reason, before the sweeper came or by it.
    """
    clock = stage.world.clock
    require_nobody_cancelled(seen, stage.ledger, clock.now())
    rounds = _ROUNDS * (1 + len(list(_times(seen))))
    for _ in range(rounds):
        due = min(_times(seen), default=None)
        if due is None:
            return seen
        clock.time = max(clock.time, due) + 1
        stage.registry().sweeper.sweep(clock.time + 600)
        seen = stage.world.snapshot()
        require_nobody_cancelled(seen, stage.ledger, clock.now())
    raise Violation(f"something is still due after {rounds} rounds of the sweeper")


def _times(seen: Snapshot) -> Iterator[float]:
    sessions = (session.sweep_at for session in seen.sessions.values())
    manifests = (manifest.sweep_at for manifest in seen.manifests.values())
    for time in (*sessions, *manifests):
        if time is not None:
            yield time
