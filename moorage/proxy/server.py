"""`moorage proxy`: lets an unmodified docker or podman push layers of any size.

API Gateway takes 10 MB a request and Lambda 4.5 MB, so that large bodies go to S3 past them, or in
chunks. Large layers come from S3 in parallel, HEADs get true lengths, and challenges get scopes;
everything else passes through. This module must never follow a redirect with a client's headers, or
log an Authorization header.
"""

import contextlib
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from chalicelib.access.scopes import required_scopes
from chalicelib.errors import RegistryError
from chalicelib.routes import Action, RouteMatch
from chalicelib.routes import match as route_of
from moorage.common.direct_upload import DirectClient
from moorage.common.hosts import AllowedHosts
from moorage.common.http import is_loopback
from moorage.common.http_server import (
    BoundedServer,
    deliver,
    deliver_piece,
    listen,
    send_continue,
    serve_until_signal,
    url_of,
)
from moorage.common.memory import return_large_buffers
from moorage.common.patience import UpstreamResponse
from moorage.common.storage import Storage
from moorage.proxy.heads import AbsentBlobs, head_of_manifest
from moorage.proxy.options import ProxyOptions
from moorage.proxy.ranged_pulls import PullBrokenError, RangedPulls, led_to, of_the_blob
from moorage.proxy.uploads import UploadRequests
from moorage.proxy.upstream import (
    OF_THE_BODY,
    REQUEST_TIMEOUT,
    ForeignLocationError,
    Upstream,
    error,
    forwarded,
    query_of,
    returned,
    upstream_origin,
)

_log = logging.getLogger("moorage.proxy")
_PASS_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120)
_PIECE = 256 * 1024
_SHUTDOWN_SECONDS = 5.0


class Proxy:
    """The proxy's HTTP server; raises AddressError for an upstream that it can't be."""

    def __init__(self, options: ProxyOptions) -> None:
        self._options = options
        self._origin = upstream_origin(options.upstream)
        self._absent = AbsentBlobs()
        self._runner: web.ServerRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._storage_session: aiohttp.ClientSession | None = None
        self._upstream: Upstream
        self._uploads: UploadRequests
        self._pulls: RangedPulls
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
        # A session of its own: nothing that is set for the registry may go to the storage.
        self._storage_session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        storage = Storage(self._storage_session, local=is_loopback(urlsplit(self._origin)))
        patience = self._options.patience_seconds
        self._pulls = RangedPulls(
            storage, self._options.pull_plan, self._options.pull_streams, patience
        )
        client = DirectClient(self._upstream, storage, patience)
        self._uploads = UploadRequests(
            self._options, self._upstream, client, self._relayed, self._pass
        )
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
            await self._uploads.close()
        for session in (self._session, self._storage_session):
            if session is not None:
                await session.close()

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
        """Take uploads, measure HEADs, and pass everything else."""
        found = _match(request)
        match found.route.operation if found else "":
            case "uploads.append" | "uploads.commit" | "uploads.status" | "uploads.cancel" if found:
                return await self._uploads.go_on(request, found)
            case "uploads.start" if found:
                return await self._uploads.start(request, found.parameters["name"])
            case "manifests.head":
                return await self._head(request, head_of_manifest)
            case "blobs.head" if found:
                self._uploads.expect(found.parameters["name"], found.parameters["digest"])
                return await self._head(request, self._absent.head)
            case "blobs.get" if "Range" not in request.headers:
                return await self._pull(request)
            case _:
                return await self._pass(request)

    def _relayed(self, request: web.BaseRequest, answer: UpstreamResponse) -> web.Response:
        if answer.status == HTTPStatus.CREATED:
            self._absent.came(answer.headers.get("Docker-Content-Digest", ""))
        headers = self._returned(request, answer.status, answer.headers)
        headers.pop("Content-Length", None)
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
            return await self._passed(request, answer)

    async def _passed(
        self, request: web.BaseRequest, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        headers = self._returned(request, answer.status, CIMultiDict(answer.headers))
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        await self._stream(request, response, answer.content.iter_chunked(_PIECE))
        return response

    async def _pull(self, request: web.BaseRequest) -> web.StreamResponse:
        """GET a whole blob: a large one that is in S3 comes from there in parallel."""
        path, headers = request.rel_url.raw_path_qs, forwarded(request, frozenset({"host"}))

        async def fresh() -> str:
            async with self._upstream.request("GET", path, headers, None, REQUEST_TIMEOUT) as again:
                return led_to(again.status, again.headers)[0]

        with contextlib.ExitStack() as taken:
            async with self._upstream.request("GET", path, headers, None, _PASS_TIMEOUT) as answer:
                url, size = led_to(answer.status, answer.headers)
                if not self._pulls.takes(url, size):
                    return await self._passed(request, answer)
                blob = taken.enter_context(self._pulls.blob(url, size, fresh))
                redirect = self._returned(request, answer.status, CIMultiDict(answer.headers))
                redirect.pop("Content-Length", None)
            async with contextlib.aclosing(blob.pieces()) as pieces:
                try:
                    first = await self._pulls.first(pieces)
                except PullBrokenError as broken:
                    _log.warning("%s: its client has to pull it: %s", request.path, broken)
                    return web.Response(status=HTTPStatus.TEMPORARY_REDIRECT, headers=redirect)
                response = web.StreamResponse(headers=of_the_blob(redirect, size))
                await self._stream(request, response, _chained(first, pieces))
                return response

    async def _stream(
        self, request: web.BaseRequest, response: web.StreamResponse, pieces: AsyncIterable[bytes]
    ) -> None:
        try:
            await response.prepare(request)
            async for piece in pieces:
                await deliver_piece(request, response, piece, self._options.pace)
        except (aiohttp.ClientError, TimeoutError, ConnectionError, PullBrokenError) as broken:
            _log.warning("%s %s: broke off: %r", request.method, request.path, broken)
            # Part of the answer was sent: only a broken connection says that it is not whole.
            if request.transport is not None:
                request.transport.abort()


async def _chained(first: bytes, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


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
    return required_scopes(action, name, request.method, query_of(request)).challenge()


async def serve(options: ProxyOptions) -> None:
    """Serve until SIGINT or SIGTERM; raises AddressError, OSError when the address is taken."""
    await serve_until_signal("proxy", Proxy(options))
