"""Listens before the gateway and before S3, and notes bytes that are sent though they were kept.

It breaks a client's connection when the gateway's breaks, so that a killed gateway looks killed.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from moorage.common.chunked_upload import offset_of
from moorage.common.http_server import send_continue
from tests.support.fake_registry import in_background, listen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from multidict import CIMultiDictProxy

_ONE_HOP = ("Connection", "Expect", "Keep-Alive", "Transfer-Encoding")
_NO_BODY = ("GET", "HEAD", "DELETE")
_PIECE = 1 << 18


@dataclass
class Watch:
    """What has passed, in bytes of blobs; `durable`: as many were answered as kept of chunks."""

    sent: int = 0
    durable: int = 0
    again: list[str] = field(default_factory=list)
    """Requests that sent bytes which had been answered as kept."""
    closing: threading.Event = field(default_factory=threading.Event)
    """A closing PUT is under way, or was."""
    stored: set[str] = field(default_factory=set)
    """What S3 has answered that it has of direct uploads: keys, and numbers of parts."""

    def request(self, method: str, begin: int | None) -> None:
        """Note a request; `begin` is the first byte that it carries."""
        if begin is not None and begin < self.durable:
            self.again.append(f"{method} from {begin}, though {self.durable} were kept")
        if method == "PUT":
            self.closing.set()

    def answer(self, headers: CIMultiDictProxy[str]) -> None:
        """Note how many bytes an answer says are kept."""
        self.durable = max(self.durable, offset_of(headers) or 0)


@contextmanager
def watching(watch: Watch, upstream: str) -> Iterator[str]:
    """Listen on a free port of loopback, whose URL is yielded; one upload at a time may pass.

    `upstream` is the gateway, or what stands for AWS.
    """
    passing = _Passing(upstream, watch)
    with in_background(passing.open):
        yield passing.url


class _Passing:
    def __init__(self, upstream: str, watch: Watch) -> None:
        self._upstream = upstream
        self._watch = watch

    async def open(self) -> Callable[[], Awaitable[None]]:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        server = web.Server(self._pass, handler_cancellation=True, access_log=None)
        port, end = await listen(server)
        self.url = f"http://127.0.0.1:{port}"

        async def close() -> None:
            await end()
            await self._session.close()

        return close

    async def _pass(self, request: web.BaseRequest) -> web.StreamResponse:
        await send_continue(request)
        direct = request.method == "PUT" and "X-Amz-Signature" in request.query
        part = f"{request.path} {request.query.get('partNumber')}"
        if direct and part in self._watch.stored:
            self._watch.again.append(f"{part}, though S3 had it")
        elif request.path.startswith("/v2/"):
            span = re.match(r"(\d+)-", request.headers.get("Content-Range", ""))
            self._watch.request(request.method, int(span[1]) if span else None)
        counted = direct or "/blobs/uploads/" in request.path
        try:
            async with self._session.request(
                request.method,
                URL(self._upstream + request.raw_path, encoded=True),
                headers=_end_to_end(request.headers),
                data=None if request.method in _NO_BODY else self._body(request, counted=counted),
                allow_redirects=False,
            ) as answer:
                body = await answer.read()
        except aiohttp.ClientError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        self._watch.answer(answer.headers)
        if direct and answer.status == HTTPStatus.OK:
            self._watch.stored.add(part)
        return web.Response(status=answer.status, headers=_end_to_end(answer.headers), body=body)

    async def _body(self, request: web.BaseRequest, *, counted: bool) -> AsyncIterator[bytes]:
        async for piece in request.content.iter_chunked(_PIECE):
            if counted:
                self._watch.sent += len(piece)
            yield piece


def _end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in _ONE_HOP:
        kept.popall(name, None)
    return kept
