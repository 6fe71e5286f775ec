"""Uploads of small blobs: held here until the closing PUT, and then stored by one request.

A blob that fits one chunk is one `POST ?digest=` upstream. What doesn't fit, and whatever only the
registry can judge, goes on in a session upstream. This module must never answer 201 that the
registry has not said, nor hold more bytes than it may, nor drop them before the blob is stored.
"""

import asyncio
import json
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlencode

from multidict import CIMultiDict

from moorage.common.chunked_upload import ChunkedUpload, UploadRefusedError
from moorage.common.patience import AGAIN, UpstreamResponse, ask_patiently
from moorage.proxy.push_rights import lasts
from moorage.proxy.upstream import Upstream

HELD_SECONDS: Final = 900.0
"""How long a held upload waits for its client's next request, in seconds."""
_MOST_HELD: Final = 1024
# Of those that have moved upstream or are stored only the way there is kept: some hundred bytes.
_MOST_PASSED: Final = 4096


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
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    data: bytes = b""
    location: str = ""
    """Where it goes on upstream, once it does; then no bytes are held."""
    stored: Stored | None = None
    gone: bool = False
    """Cancelled, or nobody came for too long."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    timer: asyncio.TimerHandle | None = None

    def told(self, status: HTTPStatus, code: str = "", message: str = "") -> UpstreamResponse:
        """Make an answer about the session, as the registry would; with a code it is an error."""
        size = self.stored.size if self.stored else len(self.data)
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
    """The sessions that are held; `most_bytes` in all, none larger than a chunk."""

    def __init__(self, chunk_size: int, most_bytes: int) -> None:
        self._chunk_size = chunk_size
        self._left = most_bytes
        self._held: dict[str, HeldSession] = {}
        self._passed: OrderedDict[str, HeldSession] = OrderedDict()

    def open(self, name: str) -> HeldSession | None:
        """Open a session in a repository; None when there are too many."""
        if len(self._held) >= _MOST_HELD:
            return None
        session = HeldSession(name)
        self._held[session.id] = session
        with self.using(session):
            return session

    def find(self, name: str, session_id: str) -> HeldSession | None:
        """Return a session of a repository, also one that has moved upstream or is stored."""
        session = self._held.get(session_id) or self._passed.get(session_id)
        return session if session is not None and session.name == name else None

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
        return len(session.data) + len(chunk) <= self._chunk_size

    def keep(self, session: HeldSession, chunk: memoryview) -> bool:
        """Append bytes to a session; False, with nothing kept, where there is no room for them."""
        if not self.fits(session, chunk) or len(chunk) > self._left:
            return False
        self._left -= len(chunk)
        session.data += bytes(chunk)
        return True

    def forget(self, session: HeldSession) -> None:
        """Drop a session and its bytes."""
        session.gone = True
        self._drop(session)

    def moved(self, session: HeldSession, location: str) -> None:
        """Note that a session goes on upstream, which has all its bytes."""
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
        self._left += len(session.data)
        session.data = b""


class HeldUpload:
    """One request to a held session; it does what ChunkedUpload does.

    `offset` is where the client says that its body begins; None, at a closing PUT, is the end.
    """

    def __init__(  # noqa: PLR0913 - a request to a session is all of these
        self,
        held: HeldUploads,
        session: HeldSession,
        upstream: Upstream,
        headers: CIMultiDict[str],
        offset: int | None,
        patience: float,
    ) -> None:
        self._held = held
        self._session = session
        self._upstream = upstream
        self._headers = headers
        self._offset = offset
        self._patience = patience
        self._upload: ChunkedUpload | None = None

    @property
    def offset(self) -> int:
        """How many bytes the session is known to keep."""
        return self._upload.offset if self._upload is not None else len(self._session.data)

    async def append(
        self, chunk: memoryview, algorithm: str = "", *, last: bool = False
    ) -> UpstreamResponse:
        """Hold the last chunk of a body if there is room for it; send any other one upstream.

        Raises UploadRefusedError, ExhaustedError, and what Upstream.ask does.
        """
        session = self._session
        if self._upload is None:
            async with session.lock:
                self._check_open()
                if not session.location:
                    self._check_offset(len(chunk))
                    long_lived = lasts(self._headers, HELD_SECONDS)
                    if last and not algorithm and long_lived and self._held.keep(session, chunk):
                        return session.told(HTTPStatus.ACCEPTED)
                self._upload = await self._upstream_session(algorithm)
        answer = await self._upload.append(chunk, algorithm)
        session.location = self._upload.location
        return answer

    async def close(self, chunk: memoryview, query: str) -> UpstreamResponse:
        """Store the blob by one request if it fits a chunk, else by the session upstream.

        A wrong digest is 400, and the session keeps what it had. Raises as `append` does.
        """
        session = self._session
        if self._upload is None:
            async with session.lock:
                digests = parse_qs(query).get("digest", [])
                if session.stored is not None and [session.stored.digest] == digests:
                    return await self._again(session.stored)
                self._check_open()
                if not session.location:
                    if chunk:
                        self._check_offset(len(chunk))
                    data = memoryview(session.data + chunk) if session.data else chunk
                    # Without a byte and without one digest the registry says what is wrong.
                    if data and len(digests) == 1 and self._held.fits(session, chunk):
                        return await self._store(data, digests[0], query)
                self._upload = await self._upstream_session("")
        return await self._upload.close(chunk, query)

    async def cancel(self) -> UpstreamResponse:
        """Forget the session, which must not have moved; raises UploadRefusedError."""
        async with self._session.lock:
            self._check_open()
            self._held.forget(self._session)
        return UpstreamResponse(HTTPStatus.NO_CONTENT, CIMultiDict(), b"")

    async def _store(self, data: memoryview, digest: str, query: str) -> UpstreamResponse:
        path = f"/v2/{self._session.name}/blobs/uploads/?{urlencode({'digest': digest}, safe=':')}"
        headers = CIMultiDict(self._headers)
        headers["Content-Type"] = "application/octet-stream"
        answer = await ask_patiently(self._upstream, path, headers, data, self._patience)
        if answer.status == HTTPStatus.ACCEPTED and "Location" in answer.headers:
            # A registry that takes no blob by POST has opened a session for it.
            location = answer.headers["Location"]
            upload = ChunkedUpload(self._upstream, location, self._headers, 0, self._patience)
            answer = await upload.close(data, query)
        if answer.status != HTTPStatus.CREATED:
            if answer.status == HTTPStatus.BAD_REQUEST:
                answer.headers.update(self._session.told(HTTPStatus.BAD_REQUEST).headers)
            raise UploadRefusedError(answer)
        self._held.stored(self._session, Stored(digest, len(data), answer))
        return answer

    async def _again(self, stored: Stored) -> UpstreamResponse:
        """Answer a PUT that is repeated, if the blob is still there: 201 once more.

        A login that may push and not pull can't be told that it is gone.
        """
        path = f"/v2/{self._session.name}/blobs/{stored.digest}"
        found = await self._upstream.ask("HEAD", path, self._headers)
        if found.status == HTTPStatus.NOT_FOUND:
            raise self._unknown("the blob of this upload was deleted since: start a new upload")
        if found.status in AGAIN:
            raise UploadRefusedError(UpstreamResponse(found.status, found.headers, b""))
        return stored.answer

    async def _upstream_session(self, algorithm: str) -> ChunkedUpload:
        """Return the session upstream where this one goes on; open it first if there is none."""
        session, patience = self._session, self._patience
        at = len(session.data) if self._offset is None else self._offset
        if session.location:
            return ChunkedUpload(self._upstream, session.location, self._headers, at, patience)
        path = f"/v2/{session.name}/blobs/uploads/"
        opened = await ask_patiently(self._upstream, path, self._headers, None, patience)
        if opened.status != HTTPStatus.ACCEPTED or "Location" not in opened.headers:
            raise UploadRefusedError(opened)
        location = opened.headers["Location"]
        upload = ChunkedUpload(self._upstream, location, self._headers, 0, patience)
        if session.data:
            await upload.append(memoryview(session.data), algorithm)
        self._held.moved(session, upload.location)
        return upload

    def _check_open(self) -> None:
        if self._session.gone or self._session.stored is not None:
            raise self._unknown("the upload is over: start a new one")

    def _check_offset(self, size: int) -> None:
        kept = len(self._session.data)
        if self._offset not in {None, kept}:
            status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            message = f"the upload has {kept} bytes, the {size} that came begin at {self._offset}"
            raise UploadRefusedError(self._session.told(status, "RANGE_INVALID", message))

    def _unknown(self, message: str) -> UploadRefusedError:
        told = self._session.told(HTTPStatus.NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", message)
        return UploadRefusedError(UpstreamResponse(told.status, CIMultiDict(), told.body))
