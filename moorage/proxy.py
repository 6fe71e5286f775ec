"""`moorage proxy`: lets an unmodified docker or podman push layers of any size.

A gateway takes 10 MB a request and a Lambda 4.5: bodies of uploads are cut into chunks, everything
else passes through. This module must never hold a blob in memory, follow a redirect for a client,
or log an Authorization value.
"""

import asyncio
import json
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from moorage.rechunk import Answer, ChunkedUpload, ExhaustedError, RefusedError, Upstream
from moorage.upload_body import BodyError, announced, chunks, drain

_log = logging.getLogger("moorage.proxy")
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OF_THE_BODY = frozenset({"content-length", "content-range", "content-type", "host"})
_PASS_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120)
_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """Where the proxy listens and what it speaks to; sizes in bytes, times in seconds."""

    upstream: str
    """Base URL: the registry lives at /v2/ under it."""
    host: str = "127.0.0.1"
    port: int = 5000
    chunk_size: int = 4 * 1024 * 1024
    patience_seconds: float = 90.0
    """How long an upload may make no progress; a lease upstream lasts 34 s at most."""


class Proxy:
    """The proxy's HTTP server."""

    def __init__(self, options: ProxyOptions) -> None:
        self._options = options
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._port = options.port

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self._options.host}:{self._port}"

    async def start(self) -> None:
        """Listen; raises OSError when the port is taken."""
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, self._options.host, self._options.port)
            await site.start()
        except OSError:
            await self.stop()
            raise
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """End what is under way and close."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        began = time.monotonic()
        status = 0
        try:
            response = await self._route(request)
            status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            _log.warning("%s %s: upstream: %r", request.method, request.path, error)
            response = _error(
                HTTPStatus.BAD_GATEWAY,
                f"the registry at {self._options.upstream} could not be reached: is it running?",
            )
            status = response.status
        finally:
            elapsed = (time.monotonic() - began) * 1000
            _log.info("%s %s %d %.0f ms", request.method, request.path, status, elapsed)
        return response

    async def _route(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if request.body_exists and "/blobs/uploads/" in path:
            handlers: dict[str, Callable[[web.Request, Upstream], Awaitable[web.Response]]] = {
                "PATCH": self._patch,
                "PUT": self._put,
            }
            if "digest=" in request.rel_url.raw_query_string:
                handlers["POST"] = self._post
            if request.method in handlers:
                return await self._upload(request, handlers[request.method])
        return await self._pass(request)

    async def _upload(
        self,
        request: web.Request,
        handler: Callable[[web.Request, Upstream], Awaitable[web.Response]],
    ) -> web.Response:
        """Run one upload; whatever ends it early, the client may finish sending first."""
        assert self._session is not None  # noqa: S101 - start() made it
        try:
            return await handler(request, Upstream(self._session, self._options.upstream))
        except RefusedError as refused:
            response = self._relay(refused.answer)
        except BodyError as wrong:
            response = _error(HTTPStatus.BAD_REQUEST, str(wrong), "BLOB_UPLOAD_INVALID")
        except ExhaustedError:
            response = _error(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the registry did not take the upload for"
                f" {self._options.patience_seconds:.0f} s: what it kept is kept, try again",
                "UNAVAILABLE",
            )
            response.headers["Retry-After"] = "5"
        await drain(request)
        return response

    async def _patch(self, request: web.Request, upstream: Upstream) -> web.Response:
        upload = self._open(request, upstream, request.rel_url.raw_path_qs)
        answer: Answer | None = None
        async with aclosing(chunks(request, self._options.chunk_size)) as pieces:
            async for chunk, _last in pieces:
                answer = await upload.append(chunk)
        if answer is None:
            answer = await upload.append(memoryview(b""))
        accepted = Answer(HTTPStatus.ACCEPTED, answer.headers, b"")
        return self._relay(accepted, Range=f"0-{max(upload.offset - 1, 0)}")

    async def _put(self, request: web.Request, upstream: Upstream) -> web.Response:
        query = request.rel_url.raw_query_string
        kept = [part for part in query.split("&") if not part.startswith("at=")]
        upload = self._open(request, upstream, request.rel_url.raw_path_qs, drop="digest")
        return await self._send_all(request, upload, "&".join(kept))

    async def _post(self, request: web.Request, upstream: Upstream) -> web.Response:
        """Pass a small blob on in one request; open a session for a larger one."""
        headers = _forwarded(request, _OF_THE_BODY)
        size = request.content_length
        if size is not None and size <= self._options.chunk_size:
            body = await request.content.read(-1)
            headers["Content-Type"] = "application/octet-stream"
            path = request.rel_url.raw_path_qs
            return self._relay(await upstream.ask("POST", path, headers, memoryview(body)))
        opened = await upstream.ask("POST", request.rel_url.raw_path, headers)
        if opened.status != HTTPStatus.ACCEPTED or "Location" not in opened.headers:
            raise RefusedError(opened)
        location = opened.headers["Location"]
        upload = ChunkedUpload(upstream, location, headers, 0, self._options.patience_seconds)
        return await self._send_all(request, upload, request.rel_url.raw_query_string)

    async def _send_all(
        self, request: web.Request, upload: ChunkedUpload, query: str
    ) -> web.Response:
        async with aclosing(chunks(request, self._options.chunk_size)) as pieces:
            async for chunk, last in pieces:
                if last:
                    return self._relay(await upload.close(chunk, query))
                await upload.append(chunk)
        return self._relay(await upload.close(memoryview(b""), query))

    def _open(
        self, request: web.Request, upstream: Upstream, path: str, drop: str = ""
    ) -> ChunkedUpload:
        """Go on with a session where the client says that its body begins."""
        plain, _, query = path.partition("?")
        parts = [part for part in query.split("&") if part and part.partition("=")[0] != drop]
        location = plain + ("?" + "&".join(parts) if parts else "")
        span = announced(request)
        at = parse_qs(urlsplit(path).query).get("at", ["0"])[-1]
        offset = span[0] if span else int(at) if at.isdecimal() else 0
        headers = _forwarded(request, _OF_THE_BODY)
        return ChunkedUpload(upstream, location, headers, offset, self._options.patience_seconds)

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        """Pass a request and its answer through, streaming both."""
        assert self._session is not None  # noqa: S101 - start() made it
        upstream = Upstream(self._session, self._options.upstream)
        async with self._session.request(
            request.method,
            upstream.url(request.rel_url.raw_path_qs),
            headers=_forwarded(request, frozenset({"host"})),
            data=request.content if request.body_exists else None,
            allow_redirects=False,
            timeout=_PASS_TIMEOUT,
        ) as answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            response.headers.extend(self._returned(CIMultiDict(answer.headers)))
            await response.prepare(request)
            async for piece in answer.content.iter_chunked(_PIECE):
                await response.write(piece)
            await response.write_eof()
            return response

    def _relay(self, answer: Answer, **replaced: str) -> web.Response:
        headers = self._returned(answer.headers)
        headers.pop("Content-Length", None)
        headers.update(replaced)
        return web.Response(status=answer.status, headers=headers, body=answer.body)

    def _returned(self, headers: CIMultiDict[str]) -> CIMultiDict[str]:
        """Headers for the client: none of one connection only, and places that lead back here."""
        kept = CIMultiDict(
            (name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP
        )
        origin = self._options.upstream.rstrip("/")
        location = kept.get("Location", "")
        if location.startswith(origin + "/"):
            kept["Location"] = location.removeprefix(origin)
        return kept


def _forwarded(request: web.Request, dropped: frozenset[str]) -> CIMultiDict[str]:
    named = {name.strip().lower() for name in request.headers.get("Connection", "").split(",")}
    gone = _HOP_BY_HOP | dropped | named
    return CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in gone)


def _error(status: HTTPStatus, message: str, code: str = "UNAVAILABLE") -> web.Response:
    body = json.dumps({"errors": [{"code": code, "message": message}]})
    return web.Response(status=status, text=body, content_type="application/json")


async def serve(options: ProxyOptions) -> None:
    """Serve until SIGINT or SIGTERM; raises OSError when the port is taken."""
    proxy = Proxy(options)
    await proxy.start()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    print(f"proxy ready on {proxy.url}", flush=True)  # noqa: T201 - the command's own word
    try:
        await stopping.wait()
    finally:
        await proxy.stop()
