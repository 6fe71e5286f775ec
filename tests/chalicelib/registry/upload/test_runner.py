"""One driver: who drives a commit, who looks on, and what a driver's death or slowness leaves.

No test may wait: the clock is moved.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import (
    CommitRunningError,
    UnavailableError,
    UploadDigestInvalidError,
    UploadUnknownError,
)
from chalicelib.registry.keys import data_key
from chalicelib.registry.outcomes import MultipartMissingError, UnfinishedError
from chalicelib.registry.service import Limits
from chalicelib.registry.session import WORKER, UploadState
from tests.chalicelib.registry.sessions import BYTES, CLAIM, OWNER, commit, opened
from tests.support.registries import MemoryRegistry, registry_in_memory
from tests.support.values import NOW, as_sealed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chalicelib.registry.session import Session

LIMITS = Limits(part_minimum=8, drive_piece=8)
BY_WORKER = LIMITS._replace(commit_inline=4)
SHA512 = Digest.of(BYTES, Algorithm.SHA512)


@pytest.fixture
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MemoryRegistry:
    """An empty registry in memory, whose clock stands but where somebody sleeps."""
    memory = registry_in_memory(getattr(request, "param", LIMITS))
    monkeypatch.setattr(memory.clock, "now", lambda: NOW + memory.clock.offset)
    return memory


by_worker = pytest.mark.parametrize("memory", [BY_WORKER], indirect=True)
"""Every commit is a worker's, of which none comes by itself."""


def filled(memory: MemoryRegistry) -> Session:
    """Open a session with all of BYTES in it: a part and a tail."""
    return opened(memory, BYTES[:16], BYTES[16:])


def left_sealed(memory: MemoryRegistry, claim: Digest = CLAIM) -> Session:
    """Leave a sealed session that nobody drives."""
    session = filled(memory)
    return memory.sessions.write(session, as_sealed(session, claim, memory.clock.now()))


def resume(memory: MemoryRegistry, session: Session) -> Session:
    """Do what the commit function does."""
    driven = memory.registry.commits.resume(session.id, memory.clock.now() + 600)
    assert driven is not None
    return driven


def running(memory: MemoryRegistry, session: Session, claim: Digest = CLAIM) -> bool:
    """Repeat the closing PUT of a commit that is not over; returns whether it is driven."""
    with pytest.raises(CommitRunningError) as caught:
        commit(memory, session, claim)
    return caught.value.driven


@by_worker
def test_one_worker_is_asked_for_however_often_the_put_is_repeated(memory: MemoryRegistry) -> None:
    """A worker that does not come is not progress; after a while another one is asked for."""
    session = filled(memory)
    waits = int(LIMITS.worker_start / LIMITS.commit_wait)
    assert [running(memory, session) for _ in range(waits)] == [False] * waits
    assert memory.workers.asked == [session.id]
    assert not running(memory, session)
    assert memory.workers.asked == [session.id] * 2


@by_worker
def test_the_seal_and_the_worker_are_one_write(memory: MemoryRegistry) -> None:
    """No write comes between the seal and the request for a worker."""
    session = filled(memory)
    writes: list[UploadState] = []
    write = memory.sessions.write

    def noted(before: Session, after: Session) -> Session:
        writes.append(after.state)
        return write(before, after)

    with mock.patch.object(memory.sessions, "write", noted):
        assert not running(memory, session)
    assert writes == [UploadState.SEALED]
    assert memory.session(session.id).holder == WORKER


@by_worker
def test_a_worker_that_is_started_twice_drives_once(memory: MemoryRegistry) -> None:
    """The second one finds the first at work; a waiting request says that, and asks for nobody."""
    session, copy, seen = filled(memory), memory.objects.copy, []
    assert not running(memory, session)

    def slow(*what: Any, until: float) -> None:  # noqa: ANN401 - as copy
        seen.append((resume(memory, session).state, running(memory, session)))
        copy(*what, until=until)

    with mock.patch.object(memory.objects, "copy", slow):
        assert resume(memory, session).state is UploadState.COMMITTED
    assert seen == [(UploadState.ASSEMBLED, True)]
    assert memory.workers.asked == [session.id]
    assert commit(memory, session, CLAIM).state is UploadState.COMMITTED


def test_a_repeat_waits_for_a_request_that_drives(memory: MemoryRegistry) -> None:
    """It neither drives nor invokes a worker."""
    session, copy, seen = filled(memory), memory.objects.copy, []

    def slow(*what: Any, until: float) -> None:  # noqa: ANN401 - likewise
        soon = memory.clock.now() + 5
        with pytest.raises(CommitRunningError) as caught:
            memory.registry.uploads.commit(OWNER, session.id, CLAIM, b"", None, soon)
        seen.append(caught.value.driven)
        copy(*what, until=until)

    with mock.patch.object(memory.objects, "copy", slow):
        assert commit(memory, session, CLAIM).state is UploadState.COMMITTED
    assert (seen, memory.workers.asked) == ([True], [])


def test_a_request_leaves_what_takes_longer_to_a_worker(memory: MemoryRegistry) -> None:
    """It gives the lease away when its client can't wait any more; the worker goes on at once."""
    session = filled(memory)

    def long(*_: object, until: float) -> None:
        memory.clock.sleep(until - memory.clock.now())
        raise UnfinishedError

    with mock.patch.object(memory.objects, "copy", long):
        assert not running(memory, session)
    assert memory.workers.asked == [session.id]
    assert resume(memory, session).state is UploadState.COMMITTED


def test_a_failed_call_frees_the_lease(memory: MemoryRegistry) -> None:
    """A repeat need not wait for the end of the lease."""
    session = filled(memory)
    with (
        mock.patch.object(memory.objects, "copy", side_effect=UnavailableError),
        pytest.raises(UnavailableError),
    ):
        commit(memory, session, CLAIM)
    assert memory.session(session.id).holder is None
    before = memory.clock.now()
    assert commit(memory, session, CLAIM).state is UploadState.COMMITTED
    assert memory.clock.now() == before


@by_worker
def test_a_worker_that_can_not_be_asked_for_holds_nothing(memory: MemoryRegistry) -> None:
    """The next repeat asks again, at once."""
    session = filled(memory)
    with (
        mock.patch.object(memory.workers, "commit", side_effect=UnavailableError),
        pytest.raises(UnavailableError),
    ):
        commit(memory, session, CLAIM)
    assert not running(memory, session)
    assert memory.workers.asked == [session.id]


class DiedError(BaseException):
    """The process ended."""


def test_the_lease_is_renewed_at_each_step_and_ends_by_itself(memory: MemoryRegistry) -> None:
    """A copy of many steps has one driver; when that dies, the next one goes on after the lease."""
    session = left_sealed(memory)
    leases: list[float] = []

    def long(*_: object, until: float) -> None:
        met = memory.session(session.id)
        leases.append(met.lease_until - memory.clock.now())
        assert resume(memory, session) == met
        if len(leases) == 10:
            raise DiedError
        memory.clock.sleep(until - memory.clock.now())
        raise UnfinishedError

    with mock.patch.object(memory.objects, "copy", long), pytest.raises(DiedError):
        resume(memory, session)
    assert leases == [LIMITS.drive_lease] * 10
    memory.clock.sleep(LIMITS.drive_lease - 1)
    assert resume(memory, session).state is UploadState.ASSEMBLED
    memory.clock.sleep(1)
    assert resume(memory, session).state is UploadState.COMMITTED


def leases_beside(memory: MemoryRegistry, session: Session, seconds: int) -> list[float]:
    """Let a driver die in a call that takes so long; returns its lease's rest, once a second."""
    rests = []

    def long(*_: object, until: float) -> None:
        del until
        for _second in range(seconds):
            memory.clock.sleep(1)
            rests.append(memory.session(session.id).lease_until - memory.clock.now())
        raise DiedError

    with mock.patch.object(memory.objects, "copy", long), pytest.raises(DiedError):
        resume(memory, session)
    return rests


def test_the_lease_is_renewed_beside_a_call_that_outlasts_it(memory: MemoryRegistry) -> None:
    """Every ten seconds; when the driver dies, the next one waits for what is left of it."""
    session = left_sealed(memory)
    rests = leases_beside(memory, session, 3 * int(LIMITS.drive_lease))
    assert min(rests) > LIMITS.drive_lease - LIMITS.drive_beat - 1
    memory.clock.sleep(rests[-1] - 1)
    assert resume(memory, session).state is UploadState.ASSEMBLED
    memory.clock.sleep(1)
    assert resume(memory, session).state is UploadState.COMMITTED


def test_the_lease_is_renewed_though_the_claim_is_replaced(memory: MemoryRegistry) -> None:
    """By another PUT, whose write raises the fence: the lease is the driver's still."""
    session, sleep = left_sealed(memory), memory.clock.sleep

    def replaced(seconds: float) -> None:
        met = memory.session(session.id)
        if met.claim == session.claim:
            memory.replace(replace(met, claim=Digest.of(b"other"), fence=met.fence + 1))
        sleep(seconds)

    with mock.patch.object(memory.clock, "sleep", replaced):
        assert min(leases_beside(memory, session, 2 * int(LIMITS.drive_lease))) > 0


def test_a_driver_that_hangs_loses_the_lease(memory: MemoryRegistry) -> None:
    """No call takes so long: what has it may never end."""
    session = left_sealed(memory)
    longest = int(LIMITS.drive_longest + LIMITS.drive_lease)
    rests = leases_beside(memory, session, longest + 2)
    assert rests[int(LIMITS.drive_longest) - 1] > 0 > rests[longest + 1]
    assert resume(memory, session).state is UploadState.COMMITTED


@pytest.mark.parametrize("failures", [1, 2])
def test_a_renewal_that_fails_is_made_up_for_by_the_next(
    failures: int, memory: MemoryRegistry
) -> None:
    """The lease outlasts two of them; the commit does not fail for it."""
    session, write = left_sealed(memory), memory.sessions.write
    failed: list[Session] = []

    def failing(before: Session, after: Session) -> Session:
        if before.state is after.state is UploadState.ASSEMBLED and len(failed) < failures:
            failed.append(after)
            raise UnavailableError
        return write(before, after)

    with mock.patch.object(memory.sessions, "write", failing):
        assert min(leases_beside(memory, session, 60)) > 0
    assert len(failed) == failures


def test_a_late_renewal_leaves_the_next_drivers_lease_alone(memory: MemoryRegistry) -> None:
    """A driver that was held up past its lease wakes while another one works."""
    session, begun = left_sealed(memory), []

    def held_up(*what: Any, until: float) -> None:  # noqa: ANN401 - as copy
        begun.append(what)
        if len(begun) == 1:
            memory.clock.offset += LIMITS.drive_lease
            with pytest.raises(DiedError):
                resume(memory, session)
            taken = memory.session(session.id)
            memory.clock.sleep(LIMITS.drive_beat)  # the first one's own renewal comes now
            assert memory.session(session.id) == taken
        del until
        raise DiedError

    with mock.patch.object(memory.objects, "copy", held_up), pytest.raises(DiedError):
        resume(memory, session)
    assert len(begun) == 2


def test_a_late_driver_changes_nothing(memory: MemoryRegistry) -> None:
    """Its lease has ended and another driver has committed: it gets the outcome."""
    session, copy, begun = left_sealed(memory), memory.objects.copy, []

    def sleepy(*what: Any, until: float) -> None:  # noqa: ANN401 - likewise
        begun.append(what)
        if len(begun) == 1:
            memory.clock.offset += LIMITS.drive_lease  # it is held up, and renews nothing
            assert resume(memory, session).state is UploadState.COMMITTED
            with pytest.raises(Exception, match="uploads/"):  # its source is cleaned up
                copy(*what, until=until)
            return
        copy(*what, until=until)

    with mock.patch.object(memory.objects, "copy", sleepy):
        late = resume(memory, session)
    assert late == memory.session(session.id)
    assert len(begun) == 2
    assert list(memory.objects.objects) == [late.published_key]


def test_the_first_driver_knows_at_once_that_parts_are_gone(memory: MemoryRegistry) -> None:
    """Nobody has completed the upload before, so a missing upload means lost bytes."""
    session = left_sealed(memory)
    memory.objects.uploads.clear()
    assert resume(memory, session).state is UploadState.CANCELLED
    with pytest.raises(UploadUnknownError):
        commit(memory, session, CLAIM)


@pytest.mark.parametrize("after", [10.0, None])
def test_an_upload_that_is_missed_while_it_may_be_completed_is_waited_for(
    memory: MemoryRegistry, after: float | None
) -> None:
    """A Complete whose answer was lost may take minutes. When they are over, the bytes are gone."""
    session, began = left_sealed(memory), memory.clock.now()
    memory.objects.uploads.clear()
    lost = mock.Mock(side_effect=MultipartMissingError)  # the SDK's second try, after a timeout
    sleep = memory.clock.sleep

    def appears(seconds: float) -> None:
        sleep(seconds)
        if after is not None and memory.clock.now() - began >= after:
            memory.objects.put(data_key(session.id), BYTES)

    with (
        mock.patch.object(memory.objects, "copy_part"),
        mock.patch.object(memory.objects, "list_parts", return_value=_parts_of(memory)),
        mock.patch.object(memory.objects, "complete_multipart", lost),
        mock.patch.object(memory.clock, "sleep", appears),
    ):
        driven = resume(memory, session)
    took = memory.clock.now() - began
    if after is None:
        assert driven.state is UploadState.CANCELLED
        assert LIMITS.assembling <= took <= LIMITS.assembling + 5
    else:
        assert driven.state is UploadState.COMMITTED
        assert took <= after + 5


def _parts_of(memory: MemoryRegistry) -> object:
    other = filled(memory)
    met = memory.session(other.id)
    memory.objects.put_part(data_key(met.id), met.upload_id or "", 2, BYTES[16:])
    return memory.objects.list_parts(data_key(met.id), met.upload_id or "")


def test_a_read_that_died_goes_on_where_it_was_kept(memory: MemoryRegistry) -> None:
    """Each piece is kept as it was read: the next driver reads the rest."""
    session, read = left_sealed(memory, SHA512), memory.objects.read
    firsts: list[int] = []

    def noted(key: str, *, etag: str, chunk_size: int, first: int) -> Iterator[bytes]:
        firsts.append(first)
        if len(firsts) == 3:
            raise UnavailableError("no answer")
        return read(key, etag=etag, chunk_size=chunk_size, first=first)

    with mock.patch.object(memory.objects, "read", noted):
        with pytest.raises(UnavailableError):
            resume(memory, session)
        kept = memory.session(session.id).reading
        assert kept is not None
        assert (kept.algorithm, kept.offset) == (Algorithm.SHA512, 16)
        assert resume(memory, session).state is UploadState.COMMITTED
    assert firsts == [0, 8, 16, 16, 24]


@pytest.mark.parametrize("memory", [LIMITS._replace(drive_piece=1000)], indirect=True)
def test_a_slow_read_ends_its_step_by_time(memory: MemoryRegistry) -> None:
    """However little was read by then, it is kept, and the lease renewed."""
    session, read = left_sealed(memory, SHA512), memory.objects.read
    firsts: list[int] = []

    def slow(key: str, *, etag: str, chunk_size: int, first: int) -> Iterator[bytes]:
        firsts.append(first)
        for chunk in read(key, etag=etag, chunk_size=min(chunk_size, 13), first=first):
            memory.clock.sleep(LIMITS.drive_step)
            yield chunk

    with mock.patch.object(memory.objects, "read", slow):
        assert resume(memory, session).state is UploadState.COMMITTED
    assert firsts == [0, 13]


def test_another_claim_while_it_is_read_costs_no_reading(memory: MemoryRegistry) -> None:
    """The bytes that were read count for the new claim too."""
    wrong = Digest.of(b"other", Algorithm.SHA512)
    session, read = left_sealed(memory, wrong), memory.objects.read
    firsts: list[int] = []

    def claimed(key: str, *, etag: str, chunk_size: int, first: int) -> Iterator[bytes]:
        firsts.append(first)
        met = memory.session(session.id)
        if met.claim == wrong:
            memory.replace(replace(met, claim=SHA512, fence=met.fence + 1))
        return read(key, etag=etag, chunk_size=chunk_size, first=first)

    with mock.patch.object(memory.objects, "read", claimed):
        assert resume(memory, session).state is UploadState.COMMITTED
    assert firsts == [0, 8, 16, 24]


def test_a_session_with_a_mismatch_has_no_driver(memory: MemoryRegistry) -> None:
    """It waits for another claim: nobody takes its lease, and nothing is read again."""
    wrong = Digest.of(b"other", Algorithm.SHA512)
    session = filled(memory)
    for _ in range(2):
        with pytest.raises(UploadDigestInvalidError):
            commit(memory, session, wrong)
    met = memory.session(session.id)
    assert (met.holder, resume(memory, session)) == (None, met)


def test_a_session_is_answered_past_its_life_while_it_is_driven(memory: MemoryRegistry) -> None:
    """Its client waits for the outcome, which then is answered as long as it is remembered."""
    session, copy = left_sealed(memory), memory.objects.copy
    memory.clock.offset = session.life_until - NOW - 1

    def slow(*what: Any, until: float) -> None:  # noqa: ANN401 - likewise
        memory.clock.sleep(2)
        assert running(memory, session)
        copy(*what, until=until)

    with mock.patch.object(memory.objects, "copy", slow):
        resume(memory, session)
    memory.clock.sleep(LIMITS.remember - 60)
    assert commit(memory, session, CLAIM).state is UploadState.COMMITTED


def test_a_closed_session_that_nobody_drives_ends_with_its_life(memory: MemoryRegistry) -> None:
    """A repeat of the PUT is 404 then: the sweeper may be cancelling the session already."""
    session = left_sealed(memory)
    memory.clock.offset = session.life_until - NOW
    with pytest.raises(UploadUnknownError):
        commit(memory, session, CLAIM)
