"""Sends blobs straight to a Moorage's storage, by one PUT or by parts: docs/direct-uploads.md.

Blobs that fit a chunk, or can't be sent directly, go as to any other registry. All blobs
together must never have more than `_MEMORY` in memory, however large they are.
"""

import asyncio
import functools
from collections import deque
from collections.abc import AsyncGenerator
from http import HTTPStatus
from itertools import islice

from chalicelib.descriptor import Descriptor
from chalicelib.digest import Algorithm, Hasher
from chalicelib.limits import MIB
from moorage.common.chunked_upload import UploadRefusedError
from moorage.common.direct_upload import (
    SEGMENT,
    DirectClient,
    DirectUpload,
    NotDirectError,
    PartRules,
    PartSize,
    PartsUpload,
    PutExhaustedError,
    SentPart,
    WholeUpload,
)
from moorage.common.patience import AGAIN, FAILURES
from moorage.common.storage import PutRefusedError
from moorage.transfer.client import RegistryClient, refusal
from moorage.transfer.content import (
    PIECE,
    BlobProgress,
    BlobReader,
    TransferError,
    pieces,
    short,
)
from moorage.transfer.kept_sessions import KeptSession
from moorage.transfer.uploads import BlobSender, OpenedUpload

LARGEST_WHOLE = 128 * MIB
"""The largest blob, in bytes, that goes by one PUT: an interruption costs all of it."""
_PART = 8 * MIB
_MEMORY = 64 * MIB
# Pieces that are read while one is sent.
_AHEAD = 3
_NO_HEADERS: dict[str, str] = {}
# A session that was kept and is no good, a fresh one, and one more where somebody has ended that.
_TRIES = 3
_OF_THE_LOGIN = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class DirectSender:
    """See BlobSender; `otherwise` sends what does not go directly.

    Blobs up to `smallest` bytes don't; `patience` in seconds.
    """

    def __init__(
        self, client: RegistryClient, otherwise: BlobSender, smallest: int, patience: float
    ) -> None:
        self._client = client
        self._otherwise = otherwise
        self._smallest = smallest
        self._direct = DirectClient(client, client.storage, patience)
        self._memory = _Memory(_MEMORY)
        self._given_up = False
        """Whether the storage takes nothing."""

    async def send(
        self,
        blob: Descriptor,
        reader: BlobReader,
        progress: BlobProgress,
        opened: OpenedUpload | None,
    ) -> None:
        """See BlobSender; a session that was opened for chunks is left alone."""
        if blob.size > self._smallest and await self._is_offered():
            with KeptSession(self._client.place.repository, blob.digest) as session:
                # One in chunks is gone on with in chunks.
                goes = session.location is None or SEGMENT in session.location
                if goes and await self._send(session, blob, reader, progress):
                    return
        await self._otherwise.send(blob, reader, progress, opened)

    async def _is_offered(self) -> bool:
        return not self._given_up and await self._direct.offered(_NO_HEADERS)

    async def _send(
        self,
        session: KeptSession,
        blob: Descriptor,
        reader: BlobReader,
        progress: BlobProgress,
    ) -> bool:
        """Send a blob; False, with nothing kept, where it must go otherwise."""
        for left in reversed(range(_TRIES)):
            kept = session.location is not None
            try:
                await self._try(session, blob, reader, progress)
            except NotDirectError:
                session.forget()
                return False
            except PutRefusedError as refused:
                session.forget()
                if not (_is_over(refused, blob) and left):
                    self._given_up = not self._direct.storage.worked
                    return False
            except PutExhaustedError as exhausted:
                if self._direct.storage.worked:
                    raise self._client.unreachable(None, f"its storage: {exhausted}") from None
                session.forget()
                self._given_up = True
                return False
            except UploadRefusedError as refused:
                self._look_at(refused, session, blob, again=left > 0, kept=kept)
            except FAILURES as error:
                said = str(error) or type(error).__name__
                raise self._client.unreachable(None, said) from None
            else:
                session.forget()
                progress.moved(blob.size)
                return True
        raise AssertionError

    def _look_at(
        self,
        refused: UploadRefusedError,
        session: KeptSession,
        blob: Descriptor,
        *,
        again: bool,
        kept: bool,
    ) -> None:
        """Raise TransferError for a refusal, unless a new session may do better."""
        answer = refused.answer
        if answer.status in AGAIN:
            raise self._client.unreachable(answer, "") from None
        if answer.status not in _OF_THE_LOGIN:
            session.forget()
            if again and (kept or answer.status == HTTPStatus.NOT_FOUND):
                return
        raise refusal(self._client, answer, f"to push {short(blob.digest)}") from None

    async def _try(
        self,
        session: KeptSession,
        blob: Descriptor,
        reader: BlobReader,
        progress: BlobProgress,
    ) -> None:
        """Send a blob by the session that is kept, or else by a new one."""
        upload = await self._resumed(session, blob)
        fresh = upload is None
        upload = upload or await self._opened(blob)
        session.keep(upload.location)
        try:
            if isinstance(upload, PartsUpload):
                await _PartsOfBlob(self._memory, upload, blob, reader, progress).send()
            elif isinstance(upload, WholeUpload):
                await self._send_whole(upload, blob, reader, progress, fresh=fresh)
            else:
                progress.kept(blob.size)
                await upload.repeat_commit(blob.digest)
        except PutExhaustedError:
            if not self._direct.storage.worked:
                await upload.cancel()
            raise
        except PutRefusedError:
            await upload.cancel()
            raise

    async def _resumed(self, session: KeptSession, blob: Descriptor) -> DirectUpload | None:
        """Return the session of an earlier run, if it can be gone on with."""
        if session.location is None:
            return None
        upload = await self._direct.resume(session.location, _NO_HEADERS)
        if isinstance(upload, PartsUpload):
            planned = dict(planned_parts(blob.size, upload.rules))
            if upload.stored.items() - planned.items():
                # Of a version that cuts blobs in another way.
                await upload.cancel()
                return None
        return upload

    async def _opened(self, blob: Descriptor) -> DirectUpload:
        name, algorithm = self._client.place.name, blob.digest.algorithm
        if algorithm is Algorithm.SHA256 and blob.size <= LARGEST_WHOLE:
            return await self._direct.open_whole(name, blob.digest, blob.size, _NO_HEADERS)
        return await self._direct.open_parts(name, algorithm, _NO_HEADERS)

    async def _send_whole(
        self,
        upload: WholeUpload,
        blob: Descriptor,
        reader: BlobReader,
        progress: BlobProgress,
        *,
        fresh: bool,
    ) -> None:
        if not fresh and await self._is_there(upload):
            progress.kept(blob.size)
            return
        size = (_AHEAD + 1) * PIECE
        await self._memory.take(size)
        try:
            await upload.put(
                blob.size, lambda: pieces(reader, 0, blob.size, PIECE, _AHEAD), progress.moved
            )
        finally:
            self._memory.give(size)
        await upload.commit()

    @staticmethod
    async def _is_there(upload: WholeUpload) -> bool:
        """Whether a run that was killed has put the bytes: then they are committed."""
        try:
            await upload.commit()
        except UploadRefusedError as refused:
            if refused.answer.status != HTTPStatus.BAD_REQUEST:
                raise
            return False
        return True


class _PartsOfBlob:
    """Reads the parts of a blob, hashes them in order, and sends those that are not stored."""

    def __init__(
        self,
        memory: "_Memory",
        upload: PartsUpload,
        blob: Descriptor,
        reader: BlobReader,
        progress: BlobProgress,
    ) -> None:
        self._memory = memory
        self._upload = upload
        self._blob = blob
        self._reader = reader
        self._progress = progress
        self._hasher = Hasher(blob.digest.algorithm)
        self._states: dict[int, bytes] = {}
        self._reading = asyncio.Lock()
        self._moved = dict(upload.stored)
        self._total = sum(self._moved.values())

    async def send(self) -> None:
        """Send what the session lacks, and commit it."""
        plan = planned_parts(self._blob.size, self._upload.rules)
        stored = frozenset(self._upload.stored)
        if stored:
            self._progress.kept(self._total)
        lacking = deque(part for part in plan if part.number not in stored)
        first, before = 0, asyncio.Event()
        before.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                for part in plan:
                    await self._memory.take(part.size)
                    ahead: list[PartSize] | None = None
                    if part.number not in stored:
                        ahead = list(islice(lacking, self._upload.rules.batch))
                        lacking.popleft()
                    hashed = asyncio.Event()
                    task = tasks.create_task(self._send_part(part, first, before, hashed, ahead))
                    task.add_done_callback(functools.partial(self._memory.give, part.size))
                    first, before = first + part.size, hashed
        except ExceptionGroup as failed:
            # What ends one ends all: the first is the cause.
            raise failed.exceptions[0] from None
        await self._upload.commit(
            self._blob.digest, [SentPart(*part, self._states.get(part.number)) for part in plan]
        )

    async def _send_part(
        self,
        part: PartSize,
        first: int,
        before: asyncio.Event,
        hashed: asyncio.Event,
        ahead: list[PartSize] | None,
    ) -> None:
        """Read a part, hash it after the one before, and send it, unless it is stored."""
        if self._reader.parallel:
            data = await self._reader.read(first, part.size)
        else:
            async with self._reading:
                data = await self._reader.read(first, part.size)
        await before.wait()
        if first + part.size < self._blob.size:
            await asyncio.to_thread(self._hash, data)
            self._states[part.number] = self._hasher.words()
        hashed.set()
        if ahead is None:
            return

        async def whole() -> AsyncGenerator[memoryview, None]:
            yield data

        def moved(size: int) -> None:
            self._total += size - self._moved.get(part.number, 0)
            self._moved[part.number] = size
            self._progress.moved(self._total)

        await self._upload.put(part, whole, ahead, moved)

    def _hash(self, data: memoryview) -> None:
        for at in range(0, len(data), MIB):
            self._hasher.update(bytes(data[at : at + MIB]))


class _Memory:
    """Bytes that all blobs together may have in memory; whoever asks first gets them first."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._turn = asyncio.Lock()
        self._more = asyncio.Event()

    async def take(self, size: int) -> None:
        """Wait until so many bytes are free; what is larger than all waits until all are."""
        # Who was cancelled hears of it before it has taken any.
        await asyncio.sleep(0)
        async with self._turn:
            while self._free < min(size, self._size):
                self._more.clear()
                await self._more.wait()
            self._free -= size

    def give(self, size: int, _: object = None) -> None:
        """Give them back."""
        self._free += size
        self._more.set()


def _is_over(refused: PutRefusedError, blob: Descriptor) -> bool:
    """Whether only the session is over; raises TransferError where no other way would do."""
    if refused.wrong_bytes:
        raise TransferError(
            f"{short(blob.digest)} has other bytes than its digest: get the image again"
        ) from None
    return refused.status == HTTPStatus.NOT_FOUND


def planned_parts(size: int, rules: PartRules) -> list[PartSize]:
    """Return the parts of a blob, the same for the same size: the smallest that suffice.

    Raises NotDirectError where the registry takes none of that size.
    """
    least = max(rules.minimum, -(-size // rules.count), 1)
    each = -(-least // _PART) * _PART
    if each > rules.maximum or each % rules.multiple:
        raise NotDirectError
    starts = enumerate(range(0, size, each), 1)
    return [PartSize(number, min(each, size - first)) for number, first in starts]
