"""The bytes of a direct upload in parts are hashed by many workers at once, each some segments.

The driver asks and saves, a worker reads and answers. What holds is saved in the session as a set
of segments, which belongs to the report and the ETag that the session names: so a worker that
dies, is late or answers twice changes nothing, and a driver goes on from the set of the one before
it. This module must never count answers, nor take a segment for verified of which nobody said that
it holds.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import accumulate, chain, groupby
from operator import itemgetter

from chalicelib.digest import Digest
from chalicelib.errors import (
    DigestInvalidError,
    RegistryError,
    TooManyRequestsError,
    UnavailableError,
)
from chalicelib.limits import MIB
from chalicelib.registry.outcomes import ObjectChangedError
from chalicelib.registry.proof import Segment, Stretch, Verdict, arrives
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Session
from chalicelib.registry.upload.segments import Report, segments

_READ_CHUNK = MIB
_ASK_AGAIN = 1.0


Proof = Callable[[Segment, Iterable[bytes], int, Digest], bool]
"""Judges the bytes of a segment: `arrives`, unless a simulation has none."""


class Verifier:
    """A worker, which needs nothing of the ports but objects and clock."""

    def __init__(self, ports: Ports, limits: Limits, proof: Proof = arrives) -> None:
        self._ports = ports
        self._limits = limits
        self._proof = proof

    def verdict(self, stretch: Stretch, until: float = math.inf) -> Verdict:
        """Hash the segments of a stretch, as many as the time allows, and none begun after `until`.

        Raises ObjectMissingError, ObjectChangedError if the object is not the one of this ETag.
        """
        until = min(until, self._ports.clock.now() + self._limits.verify_time)
        calls = [partial(self._judged, stretch, run, until) for run in self._runs(stretch)]
        found = dict(chain(*self._ports.at_once(self._limits.verify_streams, calls)))
        held = frozenset(index for index, holds in found.items() if holds)
        return Verdict(held, frozenset(found) - held)

    def _runs(self, stretch: Stretch) -> list[list[Segment]]:
        """Divide a stretch into runs without a gap, each of which is read in one request."""
        sizes = [segment.size for segment in stretch.segments]
        share = max(-(-sum(sizes) // self._limits.verify_streams), self._limits.verify_run)
        begins = accumulate(sizes, initial=0)
        placed = [
            ((begin // share, segment.start - begin), segment)
            for segment, begin in zip(stretch.segments, begins, strict=False)
        ]
        runs = groupby(placed, itemgetter(0))
        return [[segment for _, segment in run] for _, run in runs]

    def _judged(
        self, stretch: Stretch, run: Sequence[Segment], until: float
    ) -> list[tuple[int, bool]]:
        """Return the index of each segment of a run that could be read, and whether it holds."""
        judged: list[tuple[int, bool]] = []
        if self._ports.clock.now() >= until:
            return judged
        with suppress(RegistryError):
            chunks = self._ports.objects.read(
                stretch.key,
                etag=stretch.etag,
                chunk_size=_READ_CHUNK,
                first=run[0].start,
                last=run[-1].end - 1,
            )
            stream = _Stream(chunks)
            for segment in run:
                if judged and self._ports.clock.now() >= until:
                    break
                judged.append((segment.index, self._holds(stretch, segment, stream)))
        return judged

    def _holds(self, stretch: Stretch, segment: Segment, stream: "_Stream") -> bool:
        return self._proof(segment, stream.take(segment.size), stretch.size, stretch.digest)


class _Stream:
    """Bytes that come in chunks, taken in other pieces."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def take(self, size: int) -> Iterator[bytes]:
        """Yield the next `size` bytes; raises UnavailableError where there are fewer.

        All of them have to be used before the next ones are taken.
        """
        while size:
            chunk = self._rest or next(self._chunks, b"")
            if not chunk:
                raise UnavailableError("the store sent less than was asked for")
            self._rest = chunk[size:]
            size -= len(chunk) - len(self._rest)
            yield chunk[: len(chunk) - len(self._rest)]


class Verification:
    """The driver's part."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._verifier = Verifier(
            ports,
            limits._replace(verify_streams=limits.alone_streams, verify_run=limits.alone_run),
        )

    def step(self, session: Session, report: Report, until: float) -> tuple[bool, Session]:
        """Let more segments of an assembled session be hashed; none is begun after `until`.

        `report` is the one that the session names. Returns whether all segments hold, and the
        session with the set of those that do. Raises DigestInvalidError for one that does not,
        UnavailableError where nothing was found, and one of BYTES_LOST.
        """
        staged, digest = session.staged_object, session.claimed_digest
        if staged.size != report.size:
            raise ObjectChangedError(f"{staged.key} has {staged.size} bytes, not {report.size}")
        cut = segments(report, report.sizes, digest.algorithm)
        held = members(session.verified_segments or b"")
        missing = [segment for segment in cut if segment.index not in held]
        stretches = [
            Stretch(staged.key, staged.etag, staged.size, digest, some)
            for some in self._divided(missing, staged.size)
        ]
        found = self._found(stretches, until)
        if found.wrong:
            raise DigestInvalidError(_refusal(cut[min(found.wrong)], report, digest))
        if missing and not found.held:
            stat = self._ports.objects.stat(staged.key)
            if stat is None or stat.etag != staged.etag:
                raise ObjectChangedError(f"{staged.key} is not what was assembled")
            raise UnavailableError("no part of the upload could be verified now")
        held |= found.held
        done = len(held) == len(cut)
        return done, replace(session, verified_segments=None if done else as_bits(held))

    def _divided(self, missing: Sequence[Segment], size: int) -> Iterator[tuple[Segment, ...]]:
        """Divide segments among workers: each gets some that follow one another.

        A driver gets all of them where it asks no worker, for a blob of this size.
        """
        limits, sizes = self._limits, [segment.size for segment in missing]
        share = -(-sum(sizes) // limits.verify_workers)
        share = min(max(share, limits.verify_least), limits.verify_most)
        if size <= limits.verify_alone:
            share = size
        begins = accumulate(sizes, initial=0)
        for _, some in groupby(zip(missing, begins, strict=False), lambda each: each[1] // share):
            yield tuple(segment for segment, _ in some)

    def _found(self, stretches: Sequence[Stretch], until: float) -> Verdict:
        """Ask for all verdicts, and join them."""
        calls = [partial(self._asked, stretch, until) for stretch in stretches]
        verdicts = self._ports.at_once(self._limits.verify_workers, calls)
        return Verdict(
            frozenset().union(*(verdict.held for verdict in verdicts)),
            frozenset().union(*(verdict.wrong for verdict in verdicts)),
        )

    def _asked(self, stretch: Stretch, until: float) -> Verdict:
        """Ask one worker; without an answer, nothing was found."""
        wanted = frozenset(segment.index for segment in stretch.segments)
        alone = stretch.size <= self._limits.verify_alone
        while self._ports.clock.now() < until:
            try:
                if alone:
                    answer = self._verifier.verdict(stretch, until)
                else:
                    answer = self._ports.workers.verify(stretch)
            except TooManyRequestsError:  # Lambda runs no more functions at once
                self._ports.clock.sleep(_ASK_AGAIN)
            except RegistryError:
                break
            else:
                return Verdict(answer.held & wanted, answer.wrong & wanted)
        return Verdict()


def _refusal(wrong: Segment, report: Report, digest: Digest) -> str:
    """Say what is wrong with a claim, by its first segment that is."""
    leads_to = f"to {digest}" if wrong.after is None else "from state to state of the report"
    number = report.parts[wrong.index].number
    return f"the bytes of part {number} do not lead {leads_to}: start a new upload"


def members(bits: bytes) -> frozenset[int]:
    """Return the indexes that a set names: bit n % 8 of byte n // 8 stands for n."""
    return frozenset(
        8 * at + bit for at, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1
    )


def as_bits(indexes: Iterable[int]) -> bytes:
    """Write a set of indexes: see `members`."""
    bits = sum(1 << index for index in indexes)
    return bits.to_bytes(-(-bits.bit_length() // 8), "little")
