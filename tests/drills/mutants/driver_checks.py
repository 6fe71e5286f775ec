"""Checks that a commit has one driver.

What several of them do can be done again, so that nothing is lost by it: it is done for nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from chalicelib.digest import Digest
from chalicelib.errors import (
    UnavailableError,
)
from chalicelib.registry.outcomes import (
    UnfinishedError,
)
from chalicelib.registry.session import Session, UploadState
from tests.drills import (
    operations,
)
from tests.drills.support.client import HOME, TEXT, Stage
from tests.drills.support.ledger import Ledger, Violation
from tests.drills.support.points import Gate
from tests.drills.support.requests import expect
from tests.drills.support.worlds import BY_WORKER, SMALL, TablesWorld
from tests.support.memory_objects import MemoryObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable

    Original = Callable[..., Any]
from tests.drills.mutants.mutant import _SLOW_STEPS


def one_worker_is_asked_for() -> None:
    """Repeat a closing PUT: while a worker is awaited or drives, no other one is asked for."""
    stage = Stage.over(TablesWorld(), BY_WORKER._replace(commit_wait=2.0))
    session = operations.opened(20, 20)(stage)
    asked: list[str] = []
    stage.world.workers.drive = asked.append
    target = f"{HOME}/blobs/uploads/{session}?digest={Digest.of(TEXT[:40])}"
    requests = stage.client().requests
    for _ in range(5):
        expect(requests.ask("PUT", target), 503)
    found = stage.registry().commits.take(operations.held(stage, session))
    stage.world.clock.sleep(BY_WORKER.drive_lease - 10)
    expect(requests.ask("PUT", target), 503)
    if len(asked) != 1 or not found.driven(stage.world.clock.now()):
        raise Violation(f"workers were asked for {len(asked)} times")


def a_deleted_blob_is_gone() -> None:
    """Repeat a closing PUT whose blob was deleted meanwhile: it is 404."""
    stage = Stage(TablesWorld(), Ledger())
    client, session = stage.client(), operations.opened(12)(stage)
    target = f"{HOME}/blobs/uploads/{session}?digest={Digest.of(TEXT[:12])}"
    expect(client.requests.ask("PUT", target), 201)
    expect(client.requests.ask("PUT", target), 201)
    client.delete_blob(HOME, Digest.of(TEXT[:12]))
    expect(client.requests.ask("PUT", target), 404)


def a_deleted_whole_blob_is_gone() -> None:
    """Repeat the PUT of a blob that came whole, by its ticket, before and after its deletion."""
    stage = Stage(TablesWorld(), Ledger())
    client, session = stage.client(), operations.opened()(stage)
    target = f"{HOME}/blobs/uploads/{session}?digest={Digest.of(TEXT)}"
    for _ in range(2):
        expect(client.requests.ask("PUT", target, TEXT), 201)
    client.delete_blob(HOME, Digest.of(TEXT))
    expect(client.requests.ask("PUT", target, TEXT), 404)


def one_worker_copies() -> None:
    """Let a second worker come while the first one copies, however long: it leaves that alone."""
    stage = Stage(TablesWorld(), Ledger())
    session, clock, copy = operations.sealed(stage), stage.world.clock, MemoryObjectStore.copy
    begun: list[float] = []

    def drive() -> None:
        stage.registry().commits.resume(session, clock.now() + 600)

    def slow(self: MemoryObjectStore, *what: Any, until: float) -> None:  # noqa: ANN401 - as copy
        begun.append(clock.now())
        if len(begun) > _SLOW_STEPS:
            copy(self, *what, until=until)
            return
        steps = len(begun)
        drive()
        clock.sleep(SMALL.drive_lease / 2)
        drive()
        if len(begun) > steps:
            raise Violation("a second driver copies what the first one is copying")
        raise UnfinishedError

    with mock.patch.object(MemoryObjectStore, "copy", slow):
        drive()
    if operations.held(stage, session).state is not UploadState.COMMITTED:
        raise Violation("the copy never ended")


def second_driver_beside(seconds: float) -> bool:
    """Let a driver's copy work for so long; return whether a second driver began one, and ended."""
    stage = Stage(TablesWorld(), Ledger())
    session, clock, copy = operations.sealed(stage), stage.world.clock, MemoryObjectStore.copy
    begun: list[float] = []
    taken_by_another: list[bool] = []

    def slow(self: MemoryObjectStore, *what: Any, until: float) -> None:  # noqa: ANN401 - as copy
        begun.append(clock.now())
        if len(begun) > 1:
            copy(self, *what, until=until)
            return
        while clock.now() - begun[0] < seconds:
            clock.sleep(1.0)
        stage.registry().commits.resume(session, clock.now() + 600)
        taken_by_another.append(len(begun) > 1)
        raise UnfinishedError

    with mock.patch.object(MemoryObjectStore, "copy", slow):
        stage.registry().commits.resume(session, clock.now() + 600)
    if operations.held(stage, session).state is not UploadState.COMMITTED:
        raise Violation("the copy never ended")
    return taken_by_another[0]


def a_call_that_outlasts_the_lease() -> None:
    """Let one call of a driver take longer than its lease: no second driver comes."""
    if second_driver_beside(SMALL.drive_lease + SMALL.drive_beat):
        raise Violation("a second driver does what the first one is doing")


def a_call_that_hangs() -> None:
    """Let one take longer than any does: a second driver comes, and commits."""
    if not second_driver_beside(SMALL.drive_longest + SMALL.drive_lease + 1):
        raise Violation("a driver that hangs keeps the lease for ever")


def a_driver_that_wakes_late() -> None:
    """Hold a driver up past its lease: its renewal leaves the next driver's alone."""
    stage = Stage(TablesWorld(), Ledger())
    session, clock = operations.sealed(stage), stage.world.clock
    taken: list[Session] = []

    def held_up(*_: object, until: float) -> None:
        del until
        clock.time += SMALL.drive_lease + 1  # nothing is renewed meanwhile
        taken.append(stage.registry().commits.take(operations.held(stage, session)))
        clock.sleep(SMALL.drive_beat)
        if operations.held(stage, session) != taken[0]:
            raise Violation("a driver that had lost the lease renewed it")
        raise UnfinishedError

    with mock.patch.object(MemoryObjectStore, "copy", held_up):
        stage.registry().commits.resume(session, clock.now() + 600)
    if len(taken) != 1:
        raise Violation("a driver that had lost the lease went on")


def a_claim_that_is_replaced_meanwhile() -> None:
    """Replace the claim while the driver copies, as another PUT may: it has the lease still."""
    stage = Stage(TablesWorld(), Ledger())
    session, clock = operations.sealed(stage), stage.world.clock

    def replaced(*_: object, until: float) -> None:
        del until
        found = operations.held(stage, session)
        claimed = replace(found, claim=Digest.of(b"other"), fence=found.fence + 1)
        stage.world.ports(Gate()).sessions.write(found, claimed)
        for _second in range(int(SMALL.drive_lease + SMALL.drive_beat)):
            clock.sleep(1.0)
        if not operations.held(stage, session).driven(clock.now()):
            raise Violation("a driver that works has lost the lease")
        raise UnavailableError

    with mock.patch.object(MemoryObjectStore, "copy", replaced), suppress(UnavailableError):
        stage.registry().commits.resume(session, clock.now() + 600)
