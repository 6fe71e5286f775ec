"""Verification: what workers are asked, what is believed of their answers, and what is saved.

No test may wait: the clock is moved.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.digest import Algorithm, Digest, Hasher
from chalicelib.errors import (
    DigestInvalidError,
    RegistryError,
    TooManyRequestsError,
    UnavailableError,
)
from chalicelib.registry.keys import parts_key
from chalicelib.registry.outcomes import ObjectChangedError, ObjectMissingError
from chalicelib.registry.proof import Segment, Stretch, Verdict, arrives
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Session, StoredObject, UploadState
from chalicelib.registry.upload.segments import PartReport, Report, segments
from chalicelib.registry.upload.verification import Verification, Verifier, as_bits, members
from tests.support.memory_objects import MemoryObjectStore
from tests.support.registries import TestClock
from tests.support.values import a_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PART = 64
LIMITS = Limits(
    part_minimum=PART,
    verify_workers=3,
    verify_streams=2,
    verify_run=1,
    verify_least=2 * PART,
    verify_most=4 * PART,
    verify_alone=0,
)
SIZES = (*(PART,) * 9, 5)


@dataclass
class Workers:
    """Workers of one process, which can be told to answer otherwise; remembers the questions."""

    verifier: Verifier
    otherwise: Callable[[Stretch, Verdict], Verdict] = lambda _, verdict: verdict
    asked: list[Stretch] = field(default_factory=list)

    def commit(self, session_id: str) -> None:
        """Do nothing."""

    def verify(self, stretch: Stretch) -> Verdict:
        """Remember, verify, and answer."""
        self.asked.append(stretch)
        return self.otherwise(stretch, self.verifier.verdict(stretch))

    @property
    def indexes(self) -> list[list[int]]:
        """The segments of each question, in order."""
        return sorted([each.index for each in stretch.segments] for stretch in self.asked)


@dataclass
class World:
    """An assembled session over objects in memory, and its verification."""

    limits: Limits = LIMITS
    algorithm: Algorithm = Algorithm.SHA256
    sizes: tuple[int, ...] = SIZES
    objects: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    clock: TestClock = field(default_factory=TestClock)

    def __post_init__(self) -> None:
        self.clock.now = lambda: self.clock.offset  # type: ignore[method-assign]
        self.data = os.urandom(sum(self.sizes))
        unused: Any = None
        self.ports = Ports(self.objects, unused, unused, unused, self.clock, unused)
        self.workers = Workers(Verifier(self.ports, self.limits))
        asking = self.ports._replace(workers=self.workers)
        self.verification = Verification(asking, self.limits)

    @cached_property
    def report(self) -> Report:
        """What an honest client says."""
        hasher, parts, at = Hasher(self.algorithm), [], 0
        for number, size in enumerate(self.sizes, start=1):
            hasher.update(self.data[at : at + size])
            at += size
            last = number == len(self.sizes)
            parts.append(PartReport(number, size, None if last else hasher.words()))
        return Report(tuple(parts))

    @cached_property
    def session(self) -> Session:
        """The session, whose object is stored."""
        session = a_session(by_parts=True, algorithm=self.algorithm, hash_state=None)
        key = parts_key(session.id)
        etag = self.objects.put(key, self.data).etag
        return replace(
            session,
            state=UploadState.ASSEMBLED,
            claim=Digest.of(self.data, self.algorithm),
            report=Digest.of(self.report.dump()),
            staged=StoredObject(key, len(self.data), etag),
        )

    @property
    def stretch(self) -> Stretch:
        """All of it, as one worker is asked about it."""
        staged, report = self.session.staged_object, self.report
        cut = segments(report, report.sizes, self.algorithm)
        return Stretch(staged.key, staged.etag, staged.size, self.session.claimed_digest, cut)

    def step(self, session: Session | None = None, seconds: float = 60.0) -> tuple[bool, set[int]]:
        """Make a step; returns whether all segments hold, and which are saved."""
        until = self.clock.now() + seconds
        done, found = self.verification.step(session or self.session, self.report, until)
        self.saved = found
        return done, set(members(found.verified_segments or b""))


@pytest.fixture
def world() -> World:
    """Ten parts of one session."""
    return World()


@pytest.mark.parametrize("algorithm", Algorithm)
def test_every_segment_is_verified_once(algorithm: Algorithm) -> None:
    """Each worker gets consecutive segments; at the end the session has no set left."""
    block = algorithm.block_size
    world = World(
        LIMITS._replace(verify_least=2 * block, verify_most=4 * block),
        algorithm,
        (*(block,) * 9, 5),
    )
    assert world.step() == (True, set())
    assert world.saved == world.session
    assert world.workers.indexes == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    (digest,) = {stretch.digest for stretch in world.workers.asked}
    assert digest == Digest.of(world.data, algorithm)


@pytest.mark.parametrize(
    ("least", "most", "workers", "expected"),
    [
        (1, 10 * PART, 3, [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        (1, 10 * PART, 64, [[n] for n in range(10)]),
        (5 * PART, 10 * PART, 64, [[*range(5)], [*range(5, 10)]]),
        (1, 2 * PART, 1, [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]),
        (1, 1, 64, [[n] for n in range(10)]),
        (100 * PART, 100 * PART, 64, [[*range(10)]]),
    ],
)
def test_segments_are_divided_by_their_bytes(
    least: int, most: int, workers: int, expected: list[list[int]]
) -> None:
    """A worker gets its share, but not less than is worth a call, nor more than it has time for."""
    limits = LIMITS._replace(verify_least=least, verify_most=most, verify_workers=workers)
    world = World(limits)
    assert world.step() == (True, set())
    assert world.workers.indexes == expected


def test_a_small_upload_calls_no_worker() -> None:
    """Its driver hashes it itself, by the requests of a driver that is alone."""
    alone = LIMITS._replace(verify_alone=sum(SIZES), alone_streams=4, alone_run=2 * PART)
    world = World(alone)
    read = world.objects.read
    with mock.patch.object(world.objects, "read", side_effect=read) as reading:
        assert world.step() == (True, set())
    assert world.workers.asked == []
    spans = {(call.kwargs["first"], call.kwargs["last"]) for call in reading.call_args_list}
    assert spans == {(0, 191), (192, 319), (320, 447), (448, 580)}


def test_a_step_continues_with_the_saved_set(world: World) -> None:
    """No later step verifies a segment that holds, whichever driver makes it."""
    world.workers.otherwise = lambda _, verdict: Verdict(verdict.held & {1, 4, 5})
    assert world.step() == (False, {1, 4, 5})
    world.workers.otherwise = lambda _, verdict: verdict
    world.workers.asked.clear()
    assert world.step(world.saved) == (True, set())
    assert sorted(n for each in world.workers.indexes for n in each) == [0, 2, 3, 6, 7, 8, 9]


def _answers(verdict: Verdict) -> Callable[[Stretch, Verdict], Verdict]:
    return lambda _stretch, _verdict: verdict


def test_an_answer_about_other_segments_is_ignored(world: World) -> None:
    """A late or doubled answer counts for no other segment."""
    world.workers.otherwise = _answers(Verdict(frozenset({0}), frozenset({99})))
    assert world.step() == (False, {0})
    world.workers.otherwise = _answers(Verdict(frozenset({0})))
    with pytest.raises(UnavailableError):
        world.step(world.saved)


def test_ten_answers_about_one_segment_are_not_ten_segments(world: World) -> None:
    """The set is complete only when each segment holds."""
    world.workers.otherwise = lambda stretch, _: Verdict(frozenset({stretch.segments[0].index}))
    assert world.step() == (False, {0, 4, 7})
    assert world.step(world.saved) == (False, {0, 1, 4, 5, 7, 8})


@pytest.mark.parametrize("error", [UnavailableError, TooManyRequestsError])
def test_a_worker_that_fails_costs_its_own_segments_alone(
    world: World, error: type[RegistryError]
) -> None:
    """The others' are saved. One that Lambda is too busy for is asked for until the step ends."""
    good = world.workers.otherwise

    def failing(stretch: Stretch, verdict: Verdict) -> Verdict:
        if stretch.segments[0].index == 4:
            raise error
        return verdict

    world.workers.otherwise = failing
    assert world.step() == (False, {0, 1, 2, 3, 7, 8, 9})
    asked = world.workers.indexes.count([4, 5, 6])
    assert asked == (1 if error is UnavailableError else 60)
    world.workers.otherwise = good
    assert world.step(world.saved) == (True, set())


@pytest.mark.parametrize("error", [UnavailableError, TooManyRequestsError])
def test_a_step_without_an_answer_fails(world: World, error: type[RegistryError]) -> None:
    """So its driver frees the lease, and its client gets 503."""
    with (
        mock.patch.object(world.workers, "verify", side_effect=error),
        pytest.raises(UnavailableError),
    ):
        world.step()


def test_no_worker_is_called_after_the_time_of_a_step(world: World) -> None:
    """Calls in progress end, and the rest is left to the next step."""
    world = World(LIMITS._replace(verify_workers=1, verify_least=1, verify_most=PART))

    def slowly(_: Stretch, verdict: Verdict) -> Verdict:
        world.clock.sleep(25)
        return verdict

    world.workers.otherwise = slowly
    assert world.step() == (False, {0, 1, 2})
    assert len(world.workers.asked) == 3


@pytest.mark.parametrize("run", [1, 10 * PART])
def test_a_worker_begins_no_segment_when_its_time_is_over(run: int) -> None:
    """It answers what it has by then; the first one is always hashed."""
    streams = 10 if run == 1 else 1
    whole = LIMITS._replace(verify_workers=1, verify_least=999, verify_most=999)
    world = World(whole._replace(verify_streams=streams, verify_run=run))
    hashed: list[int] = []

    def slowly(segment: Segment, *rest: Any) -> bool:  # noqa: ANN401 - as arrives
        hashed.append(segment.index)
        world.clock.sleep(25)
        return arrives(segment, *rest)

    one_by_one = world.ports._replace(at_once=lambda _, calls: [call() for call in calls])
    world.workers.verifier = Verifier(one_by_one, world.limits, slowly)
    assert world.step() == (False, {0, 1, 2})
    world.clock.sleep(1000)
    assert world.step(world.saved) == (False, {*range(6)})
    assert hashed == [*range(6)]


@pytest.mark.parametrize(
    ("streams", "run", "reads"),
    [
        (1, 1, [(0, 580)]),
        (2, 1, [(0, 319), (320, 580)]),
        (4, 2 * PART, [(0, 191), (192, 319), (320, 447), (448, 580)]),
        (10, 1, [*((n * PART, n * PART + PART - 1) for n in range(9)), (576, 580)]),
        (10, 3 * PART, [(0, 191), (192, 383), (384, 575), (576, 580)]),
        (4, 100 * PART, [(0, 580)]),
    ],
)
def test_segments_that_follow_one_another_are_read_in_one_request(
    streams: int, run: int, reads: list[tuple[int, int]]
) -> None:
    """As many requests as streams, and fewer where there is little to read; never across a gap."""
    limits = LIMITS._replace(verify_workers=1, verify_least=999, verify_most=999)
    world = World(limits._replace(verify_streams=streams, verify_run=run))
    seen: list[tuple[int, int]] = []
    read = world.objects.read

    def noted(*args: Any, first: int, last: int, **kwargs: Any) -> Iterator[bytes]:  # noqa: ANN401 - as read
        seen.append((first, last))
        return read(*args, first=first, last=last, **kwargs)

    with mock.patch.object(world.objects, "read", noted):
        assert world.step() == (True, set())
        assert sorted(seen) == reads
        seen.clear()
        assert world.step(replace(world.session, verified_segments=as_bits({3}))) == (True, set())
        assert all(first != 3 * PART and not first < 3 * PART < last for first, last in seen)


@pytest.mark.parametrize("chunk", [1, 63, 64, 65, 1000])
def test_segments_of_one_request_are_cut_where_they_end(world: World, chunk: int) -> None:
    """However the bytes come; one byte that differs is in its own segment alone."""
    data = bytearray(world.data)
    data[5 * PART] ^= 1
    stretch = world.stretch
    world.objects.put(stretch.key, bytes(data))

    def read(*_: Any, first: int, last: int, **__: Any) -> Iterator[bytes]:  # noqa: ANN401 - as read
        wanted = bytes(data[first : last + 1])
        return (wanted[at : at + chunk] for at in range(0, len(wanted), chunk))

    limits = world.limits._replace(verify_streams=1, verify_run=999)
    with mock.patch.object(world.objects, "read", read):
        verdict = Verifier(world.ports, limits).verdict(stretch)
    assert verdict == Verdict(frozenset({*range(10)} - {5}), frozenset({5}))


def test_a_request_that_breaks_off_leaves_what_was_read(world: World) -> None:
    """The segments before are judged, and those from there on are neither right nor wrong."""
    limits = world.limits._replace(verify_streams=1, verify_run=999)
    for failing in (True, False):

        def read(*_: Any, failing: bool = failing, **__: Any) -> Iterator[bytes]:  # noqa: ANN401 - as read
            yield world.data[: 4 * PART + 1]
            if failing:
                raise UnavailableError

        with mock.patch.object(world.objects, "read", read):
            verdict = Verifier(world.ports, limits).verdict(world.stretch)
        assert verdict == Verdict(frozenset({0, 1, 2, 3}))


def test_a_segment_that_can_not_be_read_is_not_wrong(world: World) -> None:
    """An error of S3 is no verdict: what could be read is saved, and the rest is read again."""
    read = world.objects.read

    def failing(key: str, *, first: int, **kwargs: Any) -> Iterator[bytes]:  # noqa: ANN401 - as read
        if first == 4 * PART:
            raise UnavailableError
        return read(key, first=first, **kwargs)

    with mock.patch.object(world.objects, "read", failing):
        assert world.step() == (False, {*range(10)} - {4, 5})
    assert world.step(world.saved) == (True, set())


@pytest.mark.parametrize("index", range(len(SIZES)))
def test_one_other_byte_is_found_wherever_it_is(world: World, index: int) -> None:
    """The upload is refused, with the number of the part; segments that hold save nothing."""
    world.report  # noqa: B018 - of the bytes before they change
    data = bytearray(world.data)
    data[index * PART + 3] ^= 1
    claim, world.data = Digest.of(world.data), bytes(data)
    with pytest.raises(DigestInvalidError, match=f"part {index + 1} do not lead"):
        world.step(replace(world.session, claim=claim))


def test_a_digest_of_other_bytes_is_refused(world: World) -> None:
    """The last segment must lead to the digest."""
    other = Digest.of(b"other")
    with pytest.raises(DigestInvalidError, match=f"part 10 do not lead to {other}"):
        world.step(replace(world.session, claim=other))


def test_a_wrong_segment_refuses_the_upload_though_other_workers_fail(world: World) -> None:
    """A verdict is one, also where other workers died."""

    def mostly(stretch: Stretch, verdict: Verdict) -> Verdict:
        if stretch.segments[0].index < 5:
            raise UnavailableError
        return Verdict(verdict.held - {9}, frozenset({9}))

    world.workers.otherwise = mostly
    with pytest.raises(DigestInvalidError):
        world.step()


@pytest.mark.parametrize("between", ["driver and worker", "steps"])
def test_an_object_that_was_replaced_is_not_verified(world: World, between: str) -> None:
    """Its segments belong to its ETag: the bytes are lost, and nothing is believed of others."""
    staged = world.session.staged_object

    def replaced() -> None:
        world.objects.put(staged.key, bytes(staged.size))

    if between == "steps":
        world.workers.otherwise = lambda _, verdict: Verdict(verdict.held & {1})
        world.step()
        replaced()
        with pytest.raises(ObjectChangedError):
            world.step(world.saved)
        return
    verify = world.workers.verify

    def late(stretch: Stretch) -> Verdict:
        replaced()
        return verify(stretch)

    with mock.patch.object(world.workers, "verify", late), pytest.raises(ObjectChangedError):
        world.step()


@pytest.mark.parametrize("seen", [True, False])
def test_an_object_that_is_gone_is_lost(world: World, *, seen: bool) -> None:
    """A worker says so; where S3 tells it nothing, as without a right to list, the driver looks."""
    world.step()
    world.objects.delete([world.session.staged_object.key])
    if not seen:
        world.workers.otherwise = _answers(Verdict())
        failing = mock.patch.object(world.objects, "read", side_effect=UnavailableError)
        with failing, pytest.raises(ObjectChangedError):
            world.step()
        return
    with pytest.raises(ObjectMissingError):
        world.step()


def test_an_object_of_another_size_than_the_reports_is_not_verified(world: World) -> None:
    """The size that pads the hash is the object's own."""
    session = world.session
    longer = replace(session.staged_object, size=session.staged_object.size + 1)
    with pytest.raises(ObjectChangedError):
        world.step(replace(session, staged=longer))
    assert world.workers.asked == []


def test_an_upload_of_one_part_is_one_segment() -> None:
    """It begins with the algorithm's own words and ends with the digest."""
    world = World(sizes=(5,))
    assert world.step() == (True, set())
    assert world.workers.indexes == [[0]]


@given(st.frozensets(st.integers(0, 9_999)))
def test_a_set_is_written_as_bits(indexes: frozenset[int]) -> None:
    """10,000 segments are 1,250 bytes at most."""
    bits = as_bits(indexes)
    assert members(bits) == indexes
    assert len(bits) <= 1250
    assert all(bits[n // 8] >> n % 8 & 1 for n in indexes)


def test_the_real_limits_fit_together() -> None:
    """A step of a driver, with the longest call in it, ends before the driver's lease."""
    limits = Limits()
    assert limits.verify_least < limits.verify_most
    assert limits.verify_alone <= limits.verify_most
