"""Listens between a client and the registry: passes everything on and writes down what it saw.

It changes nothing but the hop, so that a test can say what a client did not have to send.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import ClientSession, DummyCookieJar, web
from multidict import CIMultiDict
from yarl import URL

from tests.support.fake_registry import in_background, listen

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from aiohttp import StreamReader
    from multidict import CIMultiDictProxy

_HOP_BY_HOP = ("Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "TE", "Trailer")
_NO_BODY = ("GET", "HEAD", "DELETE")
_READ = 1 << 18


@dataclass
class TappedExchange:
    """One request and its answer's status; ``sent`` counts the bytes of the request's body."""

    method: str
    path: str
    status: int = 0
    sent: int = 0
    target: str = ""
    """What a request to an AWS service names as its operation; S3's name none."""


@dataclass
class Tap:
    """What has passed; ``host`` is where clients knock, as it stands in a reference."""

    host: str
    exchanges: list[TappedExchange] = field(default_factory=list)

    @property
    def mounts(self) -> list[TappedExchange]:
        """Requests to mount a blob that were granted."""
        return [seen for seen in self.exchanges if _is_mount(seen)]

    @property
    def blob_bytes(self) -> int:
        """Bytes of blobs that clients sent."""
        return sum(seen.sent for seen in self.exchanges if "/blobs/" in seen.path)


def _is_mount(seen: TappedExchange) -> bool:
    """Whether an exchange is a mount that made an upload unnecessary."""
    return seen.method == "POST" and "mount=" in seen.path and seen.status == 201


@contextmanager
def tap(upstream: str, tls: ssl.SSLContext | None = None) -> Iterator[Tap]:
    """Listen on a free loopback port, passing on to the registry at the URL ``upstream``.

    ``tls`` is for clients that speak HTTPS.
    """
    passing = _Passing(upstream, tls)
    with in_background(passing.open):
        yield passing.tap


class _Passing:
    """The server and the session of a tap, both of one event loop."""

    def __init__(self, upstream: str, tls: ssl.SSLContext | None) -> None:
        self._upstream = upstream.rstrip("/")
        self._tls = tls
        self.tap = Tap("")

    async def open(self) -> Callable[[], Awaitable[None]]:
        """Listen; return what ends it."""
        # Bytes pass as they are: nothing is unpacked, no redirect followed, no cookie kept.
        self._session = ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar())
        server = web.Server(self._pass, access_log=None, auto_decompress=False)
        port, end = await listen(server, self._tls)
        self.tap.host = f"127.0.0.1:{port}"

        async def close() -> None:
            await end()
            await self._session.close()

        return close

    async def _pass(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.headers.get("X-Amz-Target", "")
        seen = TappedExchange(request.method, request.raw_path, target=target)
        self.tap.exchanges.append(seen)
        body = None if request.method in _NO_BODY else _counted(request.content, seen)
        async with self._session.request(
            request.method,
            URL(self._upstream + request.raw_path, encoded=True),
            headers=_end_to_end(request.headers),
            data=body,
            allow_redirects=False,
        ) as answer:
            seen.status = answer.status
            response = web.StreamResponse(status=answer.status, headers=_end_to_end(answer.headers))
            await response.prepare(request)
            async for piece in answer.content.iter_chunked(_READ):
                await response.write(piece)
            await response.write_eof()
            return response


async def _counted(content: StreamReader, seen: TappedExchange) -> AsyncIterator[bytes]:
    async for piece in content.iter_chunked(_READ):
        seen.sent += len(piece)
        yield piece


def _end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Headers without those that belong to one connection (RFC 9110, 7.6.1)."""
    kept = CIMultiDict(headers)
    for name in _HOP_BY_HOP:
        kept.popall(name, None)
    return kept
