"""A blob larger than a chunk: it goes to S3 in parts, several in parallel, while its bytes come.

A blob that is no larger than a few parts waits for its digest, and is one PUT. Bytes are hashed
once, and held until S3 has them. This module must never hold more than its share of the memory,
commit bytes that have another digest, nor use a part's number for other bytes.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from chalicelib.digest import Algorithm, Digest, Hasher
from chalicelib.limits import MIB, PART_MINIMUM
from moorage.common.direct_upload import (
    DirectClient,
    NotDirectError,
    PartSize,
    PartsUpload,
    SentPart,
    WholeUpload,
)
from moorage.common.memory import MemoryShare
from moorage.common.patience import UpstreamResponse

# URLs of so many parts are asked for at once: a slow client would let more of them expire.
_AHEAD: Final = 15


class OtherDigestError(Exception):
    """The bytes that came have another digest than the one that is claimed; `digest` is theirs."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(str(digest))
        self.digest = digest


@dataclass(frozen=True, slots=True)
class PartPlan:
    """How a blob is cut; sizes in bytes."""

    whole: int = 32 * MIB
    """A blob of this size at most waits for its digest, and is one PUT."""
    first: int = 8 * MIB
    minimum: int = PART_MINIMUM
    """The smallest part, the last one excepted."""
    parallel: int = 8
    """How many parts are on their way at once, at most."""

    def size(self, number: int) -> int:
        """Return the size of a part by its number, from 1: they grow, for S3 takes 10,000."""
        return self.first * (1 if number <= 1000 else 2 if number <= 3000 else 4)  # noqa: PLR2004 - see above


@dataclass(eq=False, slots=True)
class _Part:
    """A part; `words` are the hash's after it, `pieces` its bytes until S3 has them."""

    key: PartSize
    words: bytes
    pieces: tuple[bytes, ...]


class DirectStream:
    """A blob whose bytes come in order, and whose digest comes last. One request at a time uses it.

    What fails is raised to the next request that needs it; `go_on` tries it anew. `share` is what
    it may hold: `reserve` bytes from the beginning to the end, which are enough to go on with.
    """

    def __init__(  # noqa: PLR0913 - the way, the place, and how
        self,
        client: DirectClient,
        name: str,
        algorithm: Algorithm,
        plan: PartPlan,
        share: MemoryShare,
        reserve: int,
    ) -> None:
        self._client = client
        self._name = name
        self._plan = plan
        self._share = share
        self._reserve = reserve
        self._hasher = Hasher(algorithm)
        self._waiting: deque[bytes] = deque()
        self._waits = 0
        self._held = 0
        self._announced = 0
        self._parts: list[_Part] = []
        self._sending: dict[_Part, asyncio.Task[None]] = {}
        self._begun = False
        self._failed: Exception | None = None
        self._headers: dict[str, str] = {}
        self._opening = asyncio.Lock()
        self._session: PartsUpload | None = None
        self._whole: WholeUpload | None = None
        self._finished: Digest | None = None

    @property
    def size(self) -> int:
        """How many bytes have come."""
        return self._hasher.offset

    @property
    def finished(self) -> bool:
        """Whether the last bytes have come, and are being committed."""
        return self._finished is not None

    def go_on(self, headers: Mapping[str, str]) -> None:
        """Take up a request: its login is used from now on, and what failed is sent again."""
        self._headers.clear()
        self._headers.update(headers)
        self._failed = None
        if self._begun:
            self._begin()

    def announce(self, size: int) -> None:
        """Hear how many bytes there will be, by a client's word: a large blob is begun at once."""
        self._announced = size

    async def open(self) -> PartsUpload:
        """Open the session for parts, which else is opened with the first one.

        Raises NotDirectError, UploadRefusedError, and one of FAILURES.
        """
        async with self._opening:
            if self._session is None:
                self._session = await self._client.open_parts(
                    self._name, self._hasher.algorithm, self._headers
                )
        rules = self._session.rules
        if rules.minimum > self._plan.minimum or self._plan.minimum % rules.multiple:
            raise NotDirectError
        return self._session

    async def append(self, data: bytes) -> None:
        """Take bytes: all of them, or none where this raises.

        Raises what DirectClient.open_parts and PartsUpload.put do.
        """
        await self._until_sending(self._plan.parallel - 1)
        await self._make_room(len(data))
        self._take(data)
        if max(self.size, self._announced) > self._plan.whole:
            self._begin()

    async def finish(self, digest: Digest, data: bytes) -> None:
        """Take the last bytes, if all of them have the digest; else none of these.

        Raises OtherDigestError, and as `append` does.
        """
        if self._finished is not None:
            if digest != self._finished:
                raise OtherDigestError(self._finished)
            return
        if digest.algorithm is not self._hasher.algorithm and not self._begun:
            pieces, self._hasher = self._pieces(), Hasher(digest.algorithm)
            self._parts, self._waits, self._held = [], 0, 0
            self._waiting.clear()
            for piece in pieces:
                self._take(piece)
        hasher = Hasher.restore(self._hasher.algorithm, self._hasher.state(), self.size)
        hasher.update(data)
        if hasher.digest() != digest:
            raise OtherDigestError(hasher.digest())
        await self._make_room(len(data))
        self._hasher, self._finished = hasher, digest
        if data:
            self._wait(data)

    async def commit(self, digest: Digest) -> UpstreamResponse:
        """Send what S3 lacks, and publish the blob; `finish` comes before. Return the 201.

        Raises what the two kinds of sessions in direct_upload do.
        """
        if not self._begun and self._session is None and digest.algorithm is Algorithm.SHA256:
            return await self._put_whole(digest)
        if self._waiting:
            self._cut(self._waits)
        self._begin()
        await self._until_sending(0)
        session, last = await self.open(), self._parts[-1]
        report = [
            SentPart(*part.key, state=None if part is last else part.words) for part in self._parts
        ]
        return await session.commit(digest, report)

    async def take_back(self) -> Sequence[bytes] | None:
        """Send no more, and return all bytes for another way; None if S3 has some of them."""
        await self._stop_sending()
        if not all(part.pieces for part in self._parts):
            return None
        return self._pieces()

    async def cancel(self) -> None:
        """Give the upload up, here and at the registry."""
        await self._stop_sending()
        for session in (self._session, self._whole):
            if session is not None:
                await session.cancel()

    async def _put_whole(self, digest: Digest) -> UpstreamResponse:
        if self._whole is None:
            self._whole = await self._client.open_whole(
                self._name, digest, self.size, self._headers
            )
        await self._whole.put(self.size, partial(_read, self._pieces()))
        return await self._whole.commit()

    async def _make_room(self, size: int) -> None:
        """Wait until so many bytes more may be held; a short part makes room if none is sent."""
        while not self._share.resize(max(self._held + size, self._reserve)):
            self._begin()
            if not self._sending:
                self._cut(self._waits - self._waits % self._hasher.algorithm.block_size)
            await self._until_sending(len(self._sending) - 1)

    def _take(self, data: bytes) -> None:
        """Hash bytes, and make parts of them."""
        while data:
            size = self._plan.size(len(self._parts) + 1)
            # The words that are reported are those after a part's last byte.
            taken, data = data[: size - self._waits], data[size - self._waits :]
            self._hasher.update(taken)
            self._wait(taken)
            if self._waits == size:
                self._cut(size)

    def _wait(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waits += len(data)
        self._held += len(data)

    def _cut(self, size: int) -> None:
        """Make a part of so many of the bytes that wait."""
        pieces: list[bytes] = []
        left = size
        while left:
            piece = self._waiting.popleft()
            if len(piece) > left:
                self._waiting.appendleft(piece[left:])
                piece = piece[:left]
            pieces.append(piece)
            left -= len(piece)
        self._waits -= size
        key = PartSize(len(self._parts) + 1, size)
        part = _Part(key, self._hasher.words(), tuple(pieces))
        self._parts.append(part)
        if self._begun:
            self._send(part)

    def _begin(self) -> None:
        """Send what S3 lacks, and from now on each part at once."""
        self._begun = True
        for part in self._parts:
            if part.pieces and part not in self._sending:
                self._send(part)

    def _send(self, part: _Part) -> None:
        self._sending[part] = asyncio.create_task(self._put(part))

    def _pieces(self) -> list[bytes]:
        """Return all bytes that are here, in order."""
        return [*(piece for part in self._parts for piece in part.pieces), *self._waiting]

    async def _put(self, part: _Part) -> None:
        try:
            session = await self.open()
            number, size = part.key
            # A shorter part is probably the last one.
            more = _AHEAD if size == self._plan.size(number) else 0
            following = range(number + 1, number + more + 1)
            ahead = [PartSize(each, self._plan.size(each)) for each in following]
            await session.put(part.key, partial(_read, part.pieces), ahead)
        except Exception as error:  # noqa: BLE001 - it is raised to the request that needs the part
            self._failed = self._failed or error
        else:
            part.pieces = ()
            self._held -= part.key.size
            self._share.resize(max(self._held, self._reserve))
        finally:
            self._sending.pop(part, None)

    async def _until_sending(self, most: int) -> None:
        """Wait until no more than so many parts are on their way; raises what one failed with."""
        while self._failed is None and len(self._sending) > most:
            await asyncio.wait(self._sending.values(), return_when=asyncio.FIRST_COMPLETED)
        if self._failed is not None:
            raise self._failed

    async def _stop_sending(self) -> None:
        tasks = list(self._sending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sending.clear()


async def _read(pieces: Sequence[bytes]) -> AsyncGenerator[memoryview, None]:
    for piece in pieces:
        yield memoryview(piece)
