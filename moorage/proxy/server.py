"""`moorage proxy`: lets an unmodified docker or podman push layers of any size.

API Gateway takes 10 MB a request and Lambda 4.5 MB: bodies of uploads are cut into chunks. A
blob that fits one chunk is one request upstream. HEADs get true lengths, and challenges get scopes;
everything else passes through. This module must never hold more than chunks in memory, follow a
redirect for a client, or log an Authorization header.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from urllib.parse import parse_qs, quote, unquote_plus

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from chalicelib.access.scopes import required_scopes
from chalicelib.digest import Algorithm
from chalicelib.errors import RegistryError
from chalicelib.routes import Action, RouteMatch
from chalicelib.routes import match as route_of
from moorage.common.chunked_upload import ChunkedUpload, UploadRefusedError
from moorage.common.hosts import AllowedHosts
from moorage.common.http_server import (
    BoundedServer,
    Pace,
    deliver,
    deliver_piece,
    listen,
    send_continue,
    serve_until_signal,
    url_of,
)
from moorage.common.memory import return_large_buffers
from moorage.common.patience import (
    AGAIN,
    ExhaustedError,
    UpstreamResponse,
    ask_patiently,
)
from moorage.proxy.body import BodyError, Chunk, StalledError, announced, chunks, drain, fill
from moorage.proxy.heads import AbsentBlobs, head_of_manifest
from moorage.proxy.held_uploads import HELD_SECONDS, HeldSession, HeldUpload, HeldUploads
from moorage.proxy.push_rights import PushRights, lasts
from moorage.proxy.upstream import (
    OF_THE_BODY,
    ForeignLocationError,
    Upstream,
    error,
    forwarded,
    returned,
    upstream_origin,
)

_log = logging.getLogger("moorage.proxy")
_PASS_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120)
_PIECE = 256 * 1024
_REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
# Twice as patient as the gateway: a client may compress a layer while it sends it.
_PACE = Pace(idle=120.0, slow=120.0)
_SHUTDOWN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """Where the proxy listens, and the registry behind it; sizes in bytes, times in seconds."""

    upstream: str
    """The registry's address, as `upstream_origin` reads it."""
    host: str = "127.0.0.1"
    port: int = 5000
    allow_hosts: Sequence[str] = ()
    """Hosts that it answers to beside those of this machine."""
    chunk_size: int = 4 * 1024 * 1024
    patience_seconds: float = 90.0
    """How long an upload may go without progress; a lease upstream lasts 34 s at most."""
    pace: Pace = _PACE
    """How slow clients may be."""
    uploads: int = 64
    """How many bodies are cut at once, each with two chunks in memory; the rest wait unread."""
    held_bytes: int = 64 * 1024 * 1024
    """How much of small blobs is held until their closing PUTs; beyond, they are sent in chunks."""


class Proxy:
    """The proxy's HTTP server; raises AddressError for an upstream that it can't be."""

    def __init__(self, options: ProxyOptions) -> None:
        self._options = options
        self._origin = upstream_origin(options.upstream)
        self._uploads = asyncio.Semaphore(options.uploads)
        self._absent = AbsentBlobs()
        self._held = HeldUploads(options.chunk_size, options.held_bytes)
        self._runner: web.ServerRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._upstream: Upstream
        self._rights: PushRights
        self._port = options.port

    @property
    def url(self) -> str:
        """The proxy's root, without a trailing slash."""
        return url_of(self._options.host, self._port)

    async def start(self) -> None:
        """Listen; raises OSError when the port is taken."""
        return_large_buffers()
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        self._upstream = Upstream(self._session, self._origin)
        self._rights = PushRights(self._upstream)
        # A request ends when its client leaves: the session upstream keeps what it has.
        hosts = AllowedHosts(self._options.host, self._options.allow_hosts)
        server = BoundedServer(self._answer, hosts, handler_cancellation=True)
        try:
            self._runner = await listen(
                server, self._options.host, self._options.port, _SHUTDOWN_SECONDS
            )
        except OSError:
            await self.stop()
            raise
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """End the requests under way, and close."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request and log it; the one exit, so that no traceback leaves the proxy."""
        began = time.monotonic()
        status = 0
        try:
            response = await self._answer_always(request)
            status = response.status
            await deliver(request, response, self._options.pace)
        finally:
            elapsed = (time.monotonic() - began) * 1000
            _log.info("%s %s %d %.0f ms", request.method, request.path, status, elapsed)
        return response

    async def _answer_always(self, request: web.BaseRequest) -> web.StreamResponse:
        if not request.rel_url.raw_path.startswith("/"):
            return error(
                HTTPStatus.BAD_REQUEST, "the request's target is no path", "REQUEST_INVALID"
            )
        try:
            await send_continue(request)
            return await self._route(request)
        except (aiohttp.ClientError, TimeoutError) as failed:
            _log.warning("%s %s: upstream: %r", request.method, request.path, failed)
            return error(
                HTTPStatus.BAD_GATEWAY,
                f"the registry at {self._origin} could not be reached: is it running?",
            )
        except ForeignLocationError:
            return error(
                HTTPStatus.BAD_GATEWAY,
                f"the registry at {self._origin} sends this upload to another server, which this"
                " proxy doesn't do",
            )
        except Exception:  # noqa: BLE001 - a bug here is one request's 500; its text is logged only
            _log.exception("the proxy failed")
            return error(HTTPStatus.INTERNAL_SERVER_ERROR, "the proxy failed: its log says why")

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        """Hold or cut uploads, repeat closing PUTs, measure HEADs, pass everything else."""
        found = _match(request)
        match found.route.operation if found else "":
            case "uploads.append" | "uploads.commit" | "uploads.status" | "uploads.cancel" if found:
                return await self._go_on(request, found)
            case "uploads.start" if request.body_exists and "digest" in _query(request):
                return await self._upload(request, self._post)
            case "uploads.start" if found and not request.body_exists:
                return await self._start(request, found.parameters["name"])
            case "manifests.head":
                return await self._head(request, head_of_manifest)
            case "blobs.head":
                return await self._head(request, self._absent.head)
            case _:
                return await self._pass(request)

    async def _go_on(self, request: web.BaseRequest, found: RouteMatch) -> web.StreamResponse:
        """Go on with a session: with one that is held here, or upstream."""
        held = await self._find_held(request, found)
        # Without a body too: a client whose commit fails would send the whole layer again.
        repeats = request.body_exists or "digest" in _query(request)
        with nullcontext() if held is None else self._held.using(held):
            here = held is not None and not held.location
            match found.route.operation:
                case "uploads.append" if held or request.body_exists:
                    return await self._upload(request, partial(self._patch, held=held))
                case "uploads.commit" if held or repeats:
                    return await self._upload(request, partial(self._put, held=held))
                case "uploads.cancel" if held and here:
                    return await self._upload(request, partial(self._cancel, held=held))
                case "uploads.status" if held and here:
                    return self._relayed(request, held.told(HTTPStatus.NO_CONTENT))
                case _:
                    return await self._pass(request, held.location if held else "")

    async def _find_held(self, request: web.BaseRequest, found: RouteMatch) -> HeldSession | None:
        """Return the held session that a request names; None too where it may not push there.

        The registry, which doesn't know the session, then says why not. What has moved upstream is
        the registry's to judge in any case.
        """
        held = self._held.find(found.parameters["name"], found.parameters["session"])
        if held is None or held.location:
            return held
        refusal = await self._rights.refusal(held.name, forwarded(request, OF_THE_BODY))
        # A registry that fails now refuses nothing: what is held must not be lost for that.
        return held if refusal is None or refusal.status in AGAIN else None

    async def _start(self, request: web.BaseRequest, name: str) -> web.Response:
        """Open a session: here, where nothing is asked of the registry that only it can do."""
        headers = forwarded(request, OF_THE_BODY)
        if not request.rel_url.raw_query_string and lasts(headers, HELD_SECONDS):
            refusal = await self._rights.refusal(name, headers)
            held = self._held.open(name) if refusal is None else None
            if held is not None:
                return self._relayed(request, held.told(HTTPStatus.ACCEPTED))
            # To ask again would count a wrong login twice.
            if refusal is not None and refusal.status in _REFUSALS:
                return self._relayed(request, refusal)
        path = request.rel_url.raw_path_qs
        return self._relayed(request, await self._ask_patiently(path, headers))

    async def _ask_patiently(
        self, path: str, headers: CIMultiDict[str], body: memoryview | None = None
    ) -> UpstreamResponse:
        patience = self._options.patience_seconds
        return await ask_patiently(self._upstream, path, headers, body, patience)

    async def _upload(
        self,
        request: web.BaseRequest,
        handler: Callable[[web.BaseRequest], Awaitable[web.Response]],
    ) -> web.Response:
        """Run one upload; an upload that ends early is answered once its body is read."""
        try:
            if not request.body_exists:
                return await handler(request)
            async with self._uploads:
                return await handler(request)
        except StalledError as stalled:
            response = error(HTTPStatus.REQUEST_TIMEOUT, f"the body stalled: {stalled}")
            response.force_close()
            return response
        except UploadRefusedError as refused:
            response = self._relayed(request, refused.answer)
        except BodyError as wrong:
            response = error(HTTPStatus.BAD_REQUEST, str(wrong), "BLOB_UPLOAD_INVALID")
        except ExhaustedError:
            response = error(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the registry did not take the upload for"
                f" {self._options.patience_seconds:.0f} s: what it kept is kept, try again",
            )
            response.headers["Retry-After"] = "5"
        await drain(request, self._options.pace)
        return response

    async def _patch(self, request: web.BaseRequest, held: HeldSession | None) -> web.Response:
        upload = self._open(request, request.rel_url.raw_path_qs, held)
        # Upstream a path has the parameter itself.
        named = _query(request).get("digest-algorithm", [""])[-1] if held else ""
        algorithm = quote(named, safe="")
        answer: UpstreamResponse | None = None
        async with aclosing(self._chunks(request)) as pieces:
            async for chunk, last in pieces:
                answer = await upload.append(chunk, algorithm, last=last)
        if answer is None:
            answer = await upload.append(memoryview(b""), algorithm, last=True)
        accepted = UpstreamResponse(HTTPStatus.ACCEPTED, answer.headers, b"")
        return self._relayed(request, accepted, Range=f"0-{max(upload.offset - 1, 0)}")

    async def _put(self, request: web.BaseRequest, held: HeldSession | None = None) -> web.Response:
        offset, closing = _parted("at", request.rel_url.raw_query_string)
        path = request.rel_url.raw_path
        upload = self._open(request, f"{path}?{offset}" if offset else path, held)
        return await self._send_all(request, upload, closing)

    async def _cancel(self, request: web.BaseRequest, held: HeldSession) -> web.Response:
        return self._relayed(request, await self._held_upload(request, held, None).cancel())

    async def _post(self, request: web.BaseRequest) -> web.Response:
        """Pass a small blob in one request; open a session for a larger one."""
        headers = forwarded(request, OF_THE_BODY)
        size = request.content_length
        if size is not None and size <= self._options.chunk_size:
            body = await fill(request, size, self._options.pace)
            headers["Content-Type"] = "application/octet-stream"
            path = request.rel_url.raw_path_qs
            return self._relayed(
                request, await self._ask_patiently(path, headers, memoryview(body))
            )
        opened = await self._ask_patiently(request.rel_url.raw_path, headers)
        if opened.status != HTTPStatus.ACCEPTED or "Location" not in opened.headers:
            raise UploadRefusedError(opened)
        location = opened.headers["Location"]
        upload = self._upload_at(location, headers, 0)
        return await self._send_all(request, upload, request.rel_url.raw_query_string)

    async def _send_all(
        self, request: web.BaseRequest, upload: ChunkedUpload | HeldUpload, query: str
    ) -> web.Response:
        algorithm = _algorithm_in(query)
        async with aclosing(self._chunks(request)) as pieces:
            async for chunk, last in pieces:
                if last:
                    return self._relayed(request, await upload.close(chunk, query))
                await upload.append(chunk, algorithm)
        return self._relayed(request, await upload.close(memoryview(b""), query))

    def _open(
        self, request: web.BaseRequest, location: str, held: HeldSession | None
    ) -> ChunkedUpload | HeldUpload:
        """Return the session, at the offset where the client says that its body begins.

        Raises BodyError where that can't be read, if the registry isn't there to say so.
        """
        span = announced(request)
        at = _query(request).get("at", [""])[-1]
        offset = span[0] if span else int(at) if at.isdecimal() else None
        if held is None:
            return self._upload_at(location, forwarded(request, OF_THE_BODY), offset or 0)
        if at and not at.isdecimal():
            raise BodyError(f"at={at[:100]!r} is no offset: use the Location as it was given")
        if offset is None and request.method == "PATCH":
            offset = 0
        return self._held_upload(request, held, offset)

    def _held_upload(
        self, request: web.BaseRequest, held: HeldSession, offset: int | None
    ) -> HeldUpload:
        headers, patience = forwarded(request, OF_THE_BODY), self._options.patience_seconds
        return HeldUpload(self._held, held, self._upstream, headers, offset, patience)

    def _upload_at(self, location: str, headers: CIMultiDict[str], offset: int) -> ChunkedUpload:
        patience = self._options.patience_seconds
        return ChunkedUpload(self._upstream, location, headers, offset, patience)

    def _relayed(
        self, request: web.BaseRequest, answer: UpstreamResponse, **replaced: str
    ) -> web.Response:
        if answer.status == HTTPStatus.CREATED:
            self._absent.came(answer.headers.get("Docker-Content-Digest", ""))
        headers = self._returned(request, answer.status, answer.headers)
        headers.pop("Content-Length", None)
        headers.update(replaced)
        return web.Response(status=answer.status, headers=headers, body=answer.body)

    def _returned(
        self, request: web.BaseRequest, status: int, headers: CIMultiDict[str]
    ) -> CIMultiDict[str]:
        scopes = _scopes(request) if status == HTTPStatus.UNAUTHORIZED else ""
        return returned(headers, self._origin, request.headers["Host"], scopes)

    async def _head(
        self,
        request: web.BaseRequest,
        ask: Callable[[Upstream, str, CIMultiDict[str]], Awaitable[UpstreamResponse]],
    ) -> web.StreamResponse:
        headers = forwarded(request, OF_THE_BODY)
        answer = await ask(self._upstream, request.rel_url.raw_path_qs, headers)
        headers = self._returned(request, answer.status, answer.headers)
        return web.StreamResponse(status=answer.status, headers=headers)

    async def _pass(self, request: web.BaseRequest, path: str = "") -> web.StreamResponse:
        """Pass a request and its answer through, streaming both; `path` is another one upstream."""
        headers = forwarded(request, frozenset({"host"}))
        body = request.content if request.body_exists else None
        async with self._upstream.request(
            request.method, path or request.rel_url.raw_path_qs, headers, body, _PASS_TIMEOUT
        ) as answer:
            headers = self._returned(request, answer.status, CIMultiDict(answer.headers))
            response = web.StreamResponse(
                status=answer.status, reason=answer.reason, headers=headers
            )
            await self._stream(request, response, answer.content)
            return response

    async def _stream(
        self, request: web.BaseRequest, response: web.StreamResponse, content: aiohttp.StreamReader
    ) -> None:
        try:
            await response.prepare(request)
            async for piece in content.iter_chunked(_PIECE):
                await deliver_piece(request, response, piece, self._options.pace)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as broken:
            _log.warning("%s %s: broke off: %r", request.method, request.path, broken)
            # Part of the answer was sent: only a broken connection says that it is not whole.
            if request.transport is not None:
                request.transport.abort()

    def _chunks(self, request: web.BaseRequest) -> AsyncGenerator[Chunk, None]:
        return chunks(request, self._options.chunk_size, self._options.pace)


def _match(request: web.BaseRequest) -> RouteMatch | None:
    """Return the route of a request; None where the registry has none, and will say so."""
    prefix, path = "/v2/", request.rel_url.raw_path
    if not path.startswith(prefix):
        return None
    try:
        return route_of(request.method, path.removeprefix(prefix).rstrip("/"))
    except RegistryError:
        return None


def _scopes(request: web.BaseRequest) -> str:
    """Return the scopes that a request needs, as a challenge names them; empty where it needs none.

    A HEAD of a blob begins a push: oras-py keeps the first token that it gets for all of it.
    """
    found = _match(request)
    if found is None:
        return ""
    pushes = found.route.operation == "blobs.head"
    action = Action.PUSH if pushes else found.route.action
    name = found.parameters.get("name")
    return required_scopes(action, name, request.method, _query(request)).challenge()


def _query(request: web.BaseRequest) -> dict[str, list[str]]:
    return parse_qs(request.rel_url.raw_query_string, keep_blank_values=True)


def _parted(name: str, query: str) -> tuple[str, str]:
    """Return the parameters of a name, and all others, in the raw form in which they were sent."""
    parts = [part for part in query.split("&") if part]
    named = [part for part in parts if unquote_plus(part.partition("=")[0]) == name]
    return "&".join(named), "&".join(part for part in parts if part not in named)


def _algorithm_in(query: str) -> str:
    """Return the algorithm of a query's digest, if it is another than the one that is assumed."""
    named = parse_qs(query).get("digest", [""])[-1].partition(":")[0]
    others = {algorithm.value for algorithm in Algorithm} - {Algorithm.SHA256.value}
    return named if named in others else ""


async def serve(options: ProxyOptions) -> None:
    """Serve until SIGINT or SIGTERM; raises AddressError, OSError when the address is taken."""
    await serve_until_signal("proxy", Proxy(options))
