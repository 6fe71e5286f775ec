"""Imitates CloudFront in front of a local registry, and runs the function that a deployment runs.

Clients that send a blob in one PUT push layers of any size through it, without a proxy: the body
streams to S3, not through the gateway. The server also imitates CloudFront's traps. It caches
errors, calls no function for an answer of 400 and above, refuses a function that changes what it
must not, and never sends a PUT twice. It caches no object, and must never hold a body in memory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from moorage.common.hosts import AllowedHosts
from moorage.common.http import bearer_challenge, http_url, is_loopback
from moorage.common.http_server import (
    HOP_BY_HOP,
    BoundedServer,
    Pace,
    deliver,
    deliver_piece,
    listen,
    send_continue,
    url_of,
)
from moorage.edge.event import (
    EdgeRequest,
    EdgeValidationError,
    made_request,
    made_response,
    own_answer,
    request_event,
    response_event,
)
from moorage.edge.origins import Origin, send, session
from moorage.edge.runtime import EdgeFunction, EdgeFunctionError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from moorage.edge.distribution import CacheBehavior, Distribution

_PIECE: Final = 256 * 1024
_MOST_DISCARDED: Final = 64 * 1024 * 1024
"""Bytes of a refused body that are read first: an early answer would break the connection."""

_ERROR: Final = 400
_CHALLENGES: Final = frozenset({"www-authenticate", "x-amzn-remapped-www-authenticate"})
_SHUTDOWN_SECONDS: Final = 5.0
_Headers = tuple[tuple[str, str], ...]

_log = logging.getLogger("moorage.edge")


@dataclass(frozen=True, slots=True)
class EdgeOptions:
    """Where to listen (port 0: any free one), whom to answer, and how slow clients may be.

    `allow_hosts` are names beside this machine's, `cors_origins` are of pages of other sites.
    """

    host: str = "127.0.0.1"
    port: int = 5001
    allow_hosts: Sequence[str] = ()
    cors_origins: Sequence[str] = ()
    pace: Pace = field(default_factory=lambda: Pace(idle=120.0, slow=120.0))


@dataclass(frozen=True, slots=True)
class EdgeAnswer:
    """An answer that is whole in memory: the function's, CloudFront's own, or an origin's error."""

    status: int
    headers: _Headers
    body: bytes = b""


class Edge:
    """One distribution, with the function and the origins by their ids in the template."""

    def __init__(
        self,
        options: EdgeOptions,
        distribution: Distribution,
        function: EdgeFunction,
        origins: Mapping[str, Origin],
    ) -> None:
        self._options = options
        self._distribution = distribution
        self._function = function
        self._origins = origins
        self._port = options.port
        self._errors: dict[tuple[str, str, str], tuple[float, EdgeAnswer]] = {}
        self._runner: web.ServerRunner | None = None
        self._client: aiohttp.ClientSession

    @property
    def url(self) -> str:
        """The edge's root, without a trailing slash."""
        return url_of(self._options.host, self._port)

    async def start(self) -> None:
        """Listen; raises OSError when the port is taken."""
        self._client = session()
        hosts = AllowedHosts(
            self._options.host, self._options.allow_hosts, self._options.cors_origins
        )
        server = BoundedServer(self._handle, hosts, handler_cancellation=True)
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
        await self._client.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = _request_of(request)
        try:
            answer = await self._serve(request, seen)
        except EdgeFunctionError as error:
            _log.warning("%s: %s", seen.path, error)
            answer = _cloudfronts(503, "the function at the edge failed")
        except EdgeValidationError as error:
            _log.warning("%s: %s", seen.path, error)
            answer = _cloudfronts(502, f"the edge refuses what the function made: {error}")
        except aiohttp.ClientError as error:
            _log.warning("%s: the origin failed: %s", seen.path, type(error).__name__)
            answer = _cloudfronts(502, "the origin could not be reached, or broke off")
        if isinstance(answer, web.StreamResponse):
            return answer
        return await self._tell(request, answer)

    async def _serve(
        self, request: web.BaseRequest, seen: EdgeRequest
    ) -> web.StreamResponse | EdgeAnswer:
        behavior = self._distribution.behavior(seen.path)
        if seen.method not in behavior.methods:
            return _cloudfronts(403, "this path takes no such method")
        ip = request.remote or "127.0.0.1"
        outcome = self._function(request_event(seen, ip))
        own = own_answer(outcome.value)
        if own is not None:
            return EdgeAnswer(*own)
        made = made_request(seen, outcome.value)
        kept = self._kept(made)
        if kept is not None:
            return kept
        origin = self._origins[outcome.origin or behavior.origin]
        await send_continue(request)
        body = _body(request, self._options.pace) if request.body_exists else None
        async with send(self._client, origin, _forwarded(made, behavior, ip), body) as got:
            sent = tuple(
                (name.lower(), value)
                for name, value in got.headers.items()
                if name.lower() not in HOP_BY_HOP
            )
            if got.status >= _ERROR:
                sent = _with_own_realm(sent, request.headers["Host"])
                return self._keep(made, EdgeAnswer(got.status, sent, await got.read()))
            shown = self.shown(outcome.value, seen)
            event = response_event(shown, ip, got.status, sent)
            status, sent = made_response(sent, self._function(event).value)
            return await self._pass_on(request, status, sent, got)

    def shown(self, made: Mapping[str, Any], seen: EdgeRequest) -> Mapping[str, Any]:
        """Return the request that the function sees beside an answer: the one that it made."""
        del seen
        return made

    async def _pass_on(
        self, request: web.BaseRequest, status: int, headers: _Headers, got: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        for name, value in headers:
            response.headers.add(name, value)
        response.headers.setdefault("x-cache", "Miss from cloudfront")
        await response.prepare(request)
        if request.method != "HEAD":
            async for piece in got.content.iter_chunked(_PIECE):
                await deliver_piece(request, response, piece, self._options.pace)
        await response.write_eof()
        return response

    async def _tell(self, request: web.BaseRequest, answer: EdgeAnswer) -> web.StreamResponse:
        ended = await _discard(request, self._options.pace)
        headers = CIMultiDict(answer.headers)
        length = headers.pop("content-length", str(len(answer.body)))
        body = None if request.method == "HEAD" else answer.body
        response = web.Response(status=answer.status, headers=headers, body=body)
        response.headers["Content-Length"] = length if body is None else str(len(body))
        if not ended:
            response.force_close()
        await deliver(request, response, self._options.pace)
        return response

    def _kept(self, made: EdgeRequest) -> EdgeAnswer | None:
        until, answer = self._errors.get(_cache_key(made), (0.0, None))
        return answer if time.monotonic() < until else None

    def _keep(self, made: EdgeRequest, answer: EdgeAnswer) -> EdgeAnswer:
        seconds = self._distribution.error_seconds.get(answer.status, 0)
        if seconds and made.method in {"GET", "HEAD"}:
            self._errors[_cache_key(made)] = (time.monotonic() + seconds, answer)
        return answer


def _cache_key(made: EdgeRequest) -> tuple[str, str, str]:
    return made.method, made.path, made.query


def _request_of(request: web.BaseRequest) -> EdgeRequest:
    path, _, query = request.raw_path.partition("?")
    headers = tuple(
        (name.decode("latin-1").lower(), value.decode("utf-8", "replace"))
        for name, value in request.raw_headers
    )
    return EdgeRequest(request.method, path, query, headers)


def _forwarded(made: EdgeRequest, behavior: CacheBehavior, ip: str) -> EdgeRequest:
    """Return the request for an origin: by its policies all of it, or path and range alone."""
    if not behavior.passes_headers:
        ranges = tuple((n, v) for n, v in made.headers if n in {"range", "if-range"})
        return replace(made, query="", headers=ranges)
    set_here = HOP_BY_HOP | {"via", "x-forwarded-for"}
    kept = tuple((n, v) for n, v in made.headers if n not in set_here)
    earlier = made.header("x-forwarded-for")
    via = ("via", "1.1 local.cloudfront.net (CloudFront)")
    forwarded = ("x-forwarded-for", ip if earlier is None else f"{earlier}, {ip}")
    return replace(made, headers=(*kept, via, forwarded))


def _with_own_realm(headers: _Headers, host: str) -> _Headers:
    """Return headers whose challenge leads to `host`, this edge as the client has named it.

    A deployed registry's realm is at its edge. A local one's is at its gateway, and crane takes a
    realm on loopback only where it has the host and port that it asked.
    """
    return tuple(
        (name, _realm_here(value, host) if name in _CHALLENGES else value)
        for name, value in headers
    )


def _realm_here(challenge: str, host: str) -> str:
    realm = bearer_challenge(challenge).get("realm", "")
    with suppress(ValueError):
        parts = http_url(realm)
        if parts.scheme == "http" and is_loopback(parts):
            return challenge.replace(realm, parts._replace(netloc=host).geturl())
    return challenge


async def _body(request: web.BaseRequest, pace: Pace) -> AsyncIterator[bytes]:
    """Yield a body as it comes; a client that breaks off breaks the request to the origin."""
    began, length = time.monotonic(), 0
    while True:
        async with asyncio.timeout(pace.left(began, length)):
            piece = await request.content.read(_PIECE)
        if not piece:
            return
        length += len(piece)
        yield piece


async def _discard(request: web.BaseRequest, pace: Pace) -> bool:
    """Read the rest of a body, within bounds; return whether its end came."""
    length = 0
    with suppress(ConnectionError, TimeoutError, web.RequestPayloadError):
        async for piece in _body(request, pace):
            length += len(piece)
            if length > _MOST_DISCARDED:
                return False
        return True
    return False


def _cloudfronts(status: int, message: str) -> EdgeAnswer:
    text = json.dumps({"errors": [{"code": "UNKNOWN", "message": message}]}).encode()
    return EdgeAnswer(
        status, (("content-type", "application/json"), ("x-cache", "Error from cloudfront")), text
    )
