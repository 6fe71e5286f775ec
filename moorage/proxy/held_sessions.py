"""The upload sessions that the proxy keeps itself, and the bytes that it holds of them.

A blob that fits a chunk is held whole; a larger one is a DirectStream, where the registry has
direct uploads. This module must never hold more bytes than it may, nor drop them before the blob is
stored.
"""

import asyncio
import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from multidict import CIMultiDict

from chalicelib.digest import Algorithm
from moorage.common.direct_upload import DirectClient
from moorage.common.memory import BodyMemory, MemoryShare
from moorage.common.patience import UpstreamResponse
from moorage.proxy.direct_stream import DirectStream, PartPlan

HELD_SECONDS: Final = 900.0
"""How long a held upload waits for its client's next request, in seconds."""
_MOST_HELD: Final = 1024
# Of those that have moved upstream or are stored only the way there is kept: some hundred bytes.
_MOST_PASSED: Final = 4096
# For so many seconds there are chunks for a registry whose storage took nothing, and for a
# repository that uses other digests than sha256.
_CHUNKS_SECONDS: Final = 600.0
# When the proxy ends, it gives up for so long what its clients can't go on with, in seconds.
_END_SECONDS: Final = 5.0
_ALGORITHMS: Final = frozenset({"", *(algorithm.value for algorithm in Algorithm)})


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob that was stored: its digest, its size in bytes, and the registry's answer."""

    digest: str
    size: int
    answer: UpstreamResponse


@dataclass(eq=False, slots=True)
class HeldSession:
    """A session that a client has here; change it under its lock alone."""

    name: str
    owner: str
    """Whose it is: see push_rights.whose."""
    share: MemoryShare
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    pieces: list[bytes] = field(default_factory=list)
    stream: DirectStream | None = None
    """What has the bytes once they are more than a chunk."""
    location: str = ""
    """The session upstream in which it continues, if it does; then no bytes are held."""
    stored: Stored | None = None
    gone: bool = False
    """Cancelled, or nobody came for too long."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    timer: asyncio.TimerHandle | None = None

    @property
    def size(self) -> int:
        """How many bytes it has; unused once it continues upstream."""
        if self.stored is not None:
            return self.stored.size
        return sum(map(len, self.pieces)) if self.stream is None else self.stream.size

    def response(self, status: int, code: str = "", message: str = "") -> UpstreamResponse:
        """Make an answer about the session, as the registry would; with a code it is an error."""
        size = self.size
        headers = CIMultiDict(
            {
                "Location": f"/v2/{self.name}/blobs/uploads/{self.id}?at={size}",
                "Range": f"0-{max(size - 1, 0)}",
                "Docker-Upload-UUID": self.id,
            }
        )
        if not code:
            return UpstreamResponse(status, headers, b"")
        headers["Content-Type"] = "application/json"
        body = json.dumps({"errors": [{"code": code, "message": message}]})
        return UpstreamResponse(status, headers, body.encode())


class HeldUploads:
    """The sessions that are held; the bytes of all are `most_bytes` at most."""

    def __init__(
        self, client: DirectClient, chunk_size: int, most_bytes: int, plan: PartPlan
    ) -> None:
        self._client = client
        self._chunk_size = chunk_size
        self._memory = BodyMemory(most_bytes)
        self._plan = plan
        self._held: dict[str, HeldSession] = {}
        self._passed: OrderedDict[str, HeldSession] = OrderedDict()
        self._ending: set[asyncio.Task[None]] = set()
        self._in_chunks_until: OrderedDict[str, float] = OrderedDict()

    def open(self, name: str, owner: str) -> HeldSession | None:
        """Open somebody's session in a repository; None when there are too many."""
        if len(self._held) >= _MOST_HELD:
            return None
        session = HeldSession(name, owner, MemoryShare(self._memory))
        self._held[session.id] = session
        with self.using(session):
            return session

    def find(self, name: str, session_id: str, owner: str) -> HeldSession | None:
        """Return somebody's session of a repository, also if it has moved upstream or is stored."""
        session = self._held.get(session_id) or self._passed.get(session_id)
        if session is None or (session.name, session.owner) != (name, owner):
            return None
        return session

    @contextmanager
    def using(self, session: HeldSession) -> Iterator[None]:
        """Use a session; when nobody has used it for long, it is forgotten."""
        if session.timer is not None:
            session.timer.cancel()
        session.users += 1
        try:
            yield
        finally:
            session.users -= 1
            if not session.users and session.id in self._held:
                loop = asyncio.get_running_loop()
                session.timer = loop.call_later(HELD_SECONDS, self.forget, session)

    def fits(self, session: HeldSession, chunk: memoryview) -> bool:
        """Whether a session is no longer than a chunk with these bytes."""
        return session.stream is None and session.size + len(chunk) <= self._chunk_size

    def keep(self, session: HeldSession, chunk: memoryview) -> bool:
        """Append bytes to a session; False, with nothing kept, if there is no room for them."""
        if not self.fits(session, chunk) or not session.share.take(len(chunk)):
            return False
        session.pieces.append(bytes(chunk))
        return True

    async def stream(
        self, session: HeldSession, algorithm: str, headers: Mapping[str, str]
    ) -> DirectStream | None:
        """Return a session's stream, which now has its bytes; None where chunks have to do.

        That is where the registry has no direct uploads, or not this algorithm, where nobody knows
        which it will be, and where there is no room for what a stream holds at least.
        """
        if session.stream is None:
            reserve = self._chunk_size + self._plan.minimum
            if algorithm not in _ALGORITHMS or self._is_in_chunks(session.name, algorithm):
                return None
            if not await self._client.offered(headers) or not session.share.resize(reserve):
                return None
            kind = Algorithm(algorithm or Algorithm.SHA256)
            session.stream = DirectStream(
                self._client, session.name, kind, self._plan, session.share, reserve
            )
            for piece in session.pieces:
                await session.stream.append(piece)
            session.pieces = []
        session.stream.go_on(headers)
        return session.stream

    async def take_back(self, session: HeldSession, stream: DirectStream) -> bool:
        """Continue a failed stream in chunks; False if S3 has some of its bytes."""
        pieces = await stream.take_back()
        if pieces is None:
            return False
        self.prefer_chunks()
        session.pieces, session.stream = list(pieces), None
        await stream.cancel()
        return True

    async def rewind(self, session: HeldSession, stream: DirectStream, size: int) -> None:
        """Let a session have only its first `size` bytes again, and its stream begin anew.

        Where some of these bytes are at S3 alone, all stay.
        """
        if size == stream.size:
            return
        pieces = await stream.take_back() if size else ()
        if pieces is None:
            return
        await stream.cancel()
        kept = memoryview(b"".join(pieces))[:size]
        session.pieces, session.stream = [bytes(kept)] if kept else [], None
        session.share.resize(size)

    def prefer_chunks(self, name: str = "") -> None:
        """Let blobs whose algorithm is not named go in chunks; of all repositories, without a name.

        The registry can read a blob back, and then takes a digest that it did not expect.
        """
        self._in_chunks_until[name] = time.monotonic() + _CHUNKS_SECONDS
        self._in_chunks_until.move_to_end(name)
        if len(self._in_chunks_until) > _MOST_PASSED:
            self._in_chunks_until.popitem(last=False)

    def _is_in_chunks(self, name: str, algorithm: str) -> bool:
        until = self._in_chunks_until.get("" if algorithm else name, 0.0)
        return time.monotonic() < max(until, self._in_chunks_until.get("", 0.0))

    def forget(self, session: HeldSession) -> None:
        """End a session that nobody waits for."""
        task = asyncio.get_running_loop().create_task(self.end(session))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def end(self, session: HeldSession) -> None:
        """Drop a session and its bytes, here and in S3."""
        session.gone = True
        self._held.pop(session.id, None)
        if session.stream is not None:
            await session.stream.cancel()
        self._drop(session)

    async def close(self) -> None:
        """End all sessions, for no other proxy knows them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await asyncio.gather(*map(self.end, list(self._held.values())), *self._ending)

    def moved(self, session: HeldSession, location: str) -> None:
        """Note that a session continues upstream, where all its bytes are."""
        session.location = location
        self._pass(session)

    def stored(self, session: HeldSession, stored: Stored) -> None:
        """Note that a session's blob is stored."""
        session.stored = stored
        self._pass(session)

    def _pass(self, session: HeldSession) -> None:
        self._drop(session)
        self._passed[session.id] = session
        while len(self._passed) > _MOST_PASSED:
            self._passed.popitem(last=False)

    def _drop(self, session: HeldSession) -> None:
        self._held.pop(session.id, None)
        if session.timer is not None:
            session.timer.cancel()
        session.share.give_back()
        session.pieces, session.stream = [], None
