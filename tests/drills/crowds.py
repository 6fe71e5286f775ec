"""Drill 3, second half: eight clients push and pull while calls fail at random.

Every one of them gets its image in and reads it back, however many of its calls fail. A crowd is
replayed by its seed. This module must never let a client off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.drills import images
from tests.drills.figures import Figures
from tests.drills.support.client import Client, Stage, Upload
from tests.drills.support.invariants import judge
from tests.drills.support.ledger import Violation
from tests.drills.support.requests import expect
from tests.drills.support.schedule import ACTS, at_random, run
from tests.drills.support.wire import letters
from tests.drills.support.worlds import SMALL, AwsWorld
from tests.support.parted import parted

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.drills.support.points import Gate
    from tests.drills.support.worlds import World

CLIENTS = 8
SHARES = (0.1, 0.3)
_FAULTS = "fFtTcrba"
"""Failures before and after the effect, reads that are cut short, repeats, and deaths."""
_TRIES = 600
"""At 30% a request of six calls succeeds one time in nine."""

REPOSITORIES = ("team/one", "team/two")
CONFIG = b"{}"
SHARED = b"a layer that all of them have in common"
PARTS = parted(b"a layer that all of them put to S3 themselves, part by part " * 2, 64)


def drill(world: World, seeds: range) -> Figures:
    """Run a crowd for each share of failing calls and each seed."""
    figures = Figures()
    for share in SHARES:
        for seed in seeds:
            figures.schedules += 1
            with figures.losing(f"crowd/{world.name}/{share}/{seed}"):
                figures.faults += crowd(world, share, seed)
    return figures


def crowd(world: World, share: float, seed: int) -> int:
    """Let eight clients push and pull; returns how many calls were disturbed."""
    stage = Stage.over(world, SMALL)
    wire = world.wire if isinstance(world, AwsWorld) else None
    steps, errors = run(
        [_task(stage, number) for number in range(CLIENTS)],
        at_random(seed, disturb=share, acts=_FAULTS),
        {**ACTS, **letters(wire)} if wire else ACTS,
    )
    for error in errors:
        raise error
    judge(stage)
    return sum(bool(step.choice.act) for step in steps)


def _task(stage: Stage, number: int) -> Callable[[Gate], None]:
    return lambda gate: _push_and_pull(stage.client(gate, tries=_TRIES), number)


def _push_and_pull(client: Client, number: int) -> None:
    repository = REPOSITORIES[number % len(REPOSITORIES)]
    own = b"a layer of client %d, in parts" % number
    client.push(repository, Upload(CONFIG, whole=True))
    client.push(repository, Upload(SHARED, (20,)))
    client.push(repository, Upload(own, (5, 9, number)))
    client.push_parts(repository, PARTS)
    body = images.image([SHARED, own], tag=number)
    client.put_manifest(repository, f"v{number}", body)
    for name in (f"v{number}", "latest"):
        client.put_manifest(repository, name, body)
    got = expect(client.requests.insist("GET", f"{repository}/manifests/v{number}"), 200)
    if got.body != body:
        raise Violation(f"v{number} is another client's manifest")
    for data in (CONFIG, SHARED, own, PARTS.data):
        if client.pull(repository, Upload(data).digest) != data:
            raise Violation(f"{data!r} can't be pulled")
