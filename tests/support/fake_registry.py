"""A registry of upload sessions in memory, with faults to order: what the proxy is tested against.

It must never be kinder than the real one: a chunk out of place is refused, whoever sends it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterator

    from tests.support.fake_direct import FakeDirect

CHUNK_LIMIT = 6_000_000
SHUTDOWN_SECONDS = 1.0
"""How long a server of a test waits for requests that are under way when its test has ended."""
# How long what runs in the background may take to start or end: far more than it needs.
_LIMIT = 60.0


class UploadFault(Enum):
    """What goes wrong with a PATCH or PUT."""

    LOST_BEFORE = auto()
    """The connection breaks, and nothing was kept."""
    LOST_AFTER = auto()
    """All was kept, but the answer is lost."""
    KEPT_PART = auto()
    """Half of the chunk was kept, and the answer is lost."""
    ERROR = auto()
    """500, and nothing was kept."""
    BUSY = auto()
    """503 with Retry-After, and nothing was kept."""


@dataclass
class FakeRegistry:
    """Sessions by path; `faults` are used up, one for each PATCH or PUT that carries bytes.

    `post_faults` are for POSTs likewise. `log` has the method and the target of each request.
    """

    faults: list[UploadFault | None] = field(default_factory=list)
    post_faults: list[UploadFault | None] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)
    """The Authorization headers that may not push."""
    failing: set[str] = field(default_factory=set)
    """The methods that are answered 503."""
    takes_whole: bool = True
    """Whether a blob may come with its POST."""
    sessions: dict[str, bytearray] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, int]] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)
    absolute: bool = False
    """Whether Locations are whole URLs."""
    url: str = ""
    direct: FakeDirect | None = None
    """The direct uploads, if there are any."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        body = await read_body(request)
        self.requests.append((request.method, len(body)))
        self.log.append((request.method, request.path_qs))
        self.authorizations.add(request.headers.get("Authorization", ""))
        direct = self.direct if self.direct and self.direct.takes(request.path) else None
        if refusal := self._refusal(request, 0 if direct else len(body)):
            return refusal
        if direct is not None:
            return direct.answer(request, body, self.blobs, self.url)
        if request.path.startswith("/v2/blob"):
            return self._blob(request)
        if request.method == "HEAD":
            found = self.blobs.get(request.path.rpartition("/")[2])
            told = {} if found is None else {"Content-Length": str(len(found))}
            return web.Response(status=404 if found is None else 200, headers=told)
        if request.method == "POST":
            return self._start(request, body)
        return self._session(request, body)

    def _refusal(self, request: web.BaseRequest, size: int) -> web.Response | None:
        if request.headers.get("Authorization", "") in self.refuses:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Bearer realm="r"'})
        if request.method in self.failing:
            return web.Response(status=503)
        return web.Response(status=413) if size > CHUNK_LIMIT else None

    def _blob(self, request: web.BaseRequest) -> web.Response:
        if request.path.endswith("far"):
            return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/bytes"})
        if request.path.endswith("near"):
            return web.Response(status=201, headers={"Location": f"{self.url}/v2/here"})
        headers = {"Content-Length": "123456", "Docker-Content-Digest": "sha256:x"}
        return web.Response(headers=headers)

    def _start(self, request: web.BaseRequest, body: bytes) -> web.Response:
        digest = request.query.get("digest")
        fault = self.post_faults.pop(0) if self.post_faults else None
        if fault is UploadFault.ERROR:
            return web.Response(status=500)
        if fault is UploadFault.BUSY:
            return web.Response(status=429, headers={"Retry-After": "0"})
        if fault is UploadFault.LOST_BEFORE:
            return self._break(request)
        answer = self._open(request, body, digest if self.takes_whole else None)
        return self._break(request) if fault is not None else answer

    def _open(self, request: web.BaseRequest, body: bytes, digest: str | None) -> web.Response:
        if digest is not None and body:
            if digest != f"sha256:{hashlib.sha256(body).hexdigest()}":
                return web.Response(status=400, text='{"errors":[{"code":"DIGEST_INVALID"}]}')
            self.blobs[digest] = body
            return web.Response(status=201, headers={"Docker-Content-Digest": digest})
        path = f"{request.path.rstrip('/')}/{len(self.sessions)}"
        self.sessions[path] = bytearray()
        return self._told(202, path)

    def _told(self, status: int, path: str, **headers: str) -> web.Response:
        kept = len(self.sessions[path])
        base = self.url if self.absolute else ""
        told = {"Location": f"{base}{path}?at={kept}", "Range": f"0-{max(kept - 1, 0)}", **headers}
        return web.Response(status=status, headers=told)

    def _session(  # noqa: PLR0911 - a fault is an answer of its own
        self, request: web.BaseRequest, body: bytes
    ) -> web.StreamResponse:
        path = request.path
        if path not in self.sessions:
            unknown = '{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}'
            return web.Response(status=404, text=unknown)
        if request.method == "GET":
            return self._told(204, path)
        if request.method == "DELETE":
            del self.sessions[path]
            return web.Response(status=204)
        session = self.sessions[path]
        fault = self.faults.pop(0) if body and self.faults else None
        if fault is UploadFault.ERROR:
            return web.Response(status=500)
        if fault is UploadFault.BUSY:
            return self._told(503, path, **{"Retry-After": "0"})
        if fault is UploadFault.LOST_BEFORE:
            return self._break(request)
        if body and _begin(request) != len(session):
            return self._told(416, path)
        session += body[: len(body) // 2] if fault is UploadFault.KEPT_PART else body
        if fault is not None:
            return self._break(request)
        return self._told(202, path) if request.method == "PATCH" else self._commit(request)

    def _commit(self, request: web.BaseRequest) -> web.Response:
        digest = request.query.get("digest", "")
        data = bytes(self.sessions[request.path])
        if digest != f"sha256:{hashlib.sha256(data).hexdigest()}":
            return self._told(400, request.path)
        self.blobs[digest] = data
        return web.Response(status=201, headers={"Docker-Content-Digest": digest})

    @staticmethod
    def _break(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


def _begin(request: web.BaseRequest) -> int:
    found = re.fullmatch(r"(\d+)-\d+", request.headers.get("Content-Range", ""))
    if found:
        return int(found[1])
    return int(parse_qs(urlsplit(request.path_qs).query).get("at", ["0"])[0])


@contextmanager
def run_fake_registry() -> Iterator[FakeRegistry]:
    """Serve a fake registry on a free port of loopback."""
    fake = FakeRegistry()
    with run_handler(fake.answer) as fake.url:
        yield fake


async def read_body(request: web.BaseRequest) -> bytes:
    """Read a body of any size; request.read() has a limit of its own."""
    body = bytearray()
    while piece := await request.content.readany():
        body += piece
    return bytes(body)


@contextmanager
def run_handler(
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Iterator[str]:
    """Serve on a free port of loopback what answers requests; give its URL."""
    ports: list[int] = []

    async def start() -> Callable[[], Awaitable[None]]:
        port, end = await listen(web.Server(answer, access_log=None, auto_decompress=False))
        ports.append(port)
        return end

    with in_background(start):
        yield f"http://127.0.0.1:{ports[0]}"


async def listen(
    server: web.Server, tls: ssl.SSLContext | None = None
) -> tuple[int, Callable[[], Awaitable[None]]]:
    """Serve on a free port of loopback; return the port, and what ends it."""
    runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    return runner.addresses[0][1], runner.cleanup


@contextmanager
def in_background(start: Callable[[], Awaitable[Callable[[], Awaitable[None]]]]) -> Iterator[None]:
    """Run an event loop on a thread: `start` sets it up and returns what ends it.

    What `start` raises is raised here. No task outlives the block: asyncio.run cancels them.
    """
    started: Future[None] = Future()
    stop = threading.Event()

    async def main() -> None:
        try:
            end = await start()
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            started.set_exception(error)
            return
        started.set_result(None)
        await asyncio.get_running_loop().run_in_executor(None, stop.wait)
        await end()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    try:
        started.result(_LIMIT)
        yield
    finally:
        stop.set()
        thread.join(_LIMIT)
        assert not thread.is_alive(), "the server did not stop"
