"""The requests to uploads, whether the proxy itself has the session or the registry.

Bodies are cut into chunks, and closing PUTs that fail are repeated. This module must never decide
what only the registry can decide, nor leave a body half read when it refuses one.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, nullcontext
from functools import partial
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, quote, unquote_plus

from aiohttp import web
from multidict import CIMultiDict

from chalicelib.digest import Algorithm
from chalicelib.routes import RouteMatch
from moorage.common.chunked_upload import ChunkedUpload, UploadRefusedError
from moorage.common.direct_upload import DirectClient
from moorage.common.http import whole_number
from moorage.common.patience import AGAIN, ExhaustedError, UpstreamResponse, ask_patiently
from moorage.proxy.body import BodyError, Chunk, StalledError, announced, chunks, drain, fill
from moorage.proxy.held_sessions import HELD_SECONDS, HeldSession, HeldUploads
from moorage.proxy.held_uploads import HeldUpload
from moorage.proxy.options import ProxyOptions
from moorage.proxy.push_rights import PushRights, lasts, whose
from moorage.proxy.upstream import OF_THE_BODY, Upstream, error, forwarded, query_of

_REFUSALS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

Relay = Callable[[web.BaseRequest, UpstreamResponse], web.Response]
"""Makes an answer for the client of one of the registry's."""
Pass = Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]
"""Passes a request to a path upstream, its own if that is empty, and its answer back."""


class UploadRequests:
    """Answers the requests to uploads."""

    def __init__(
        self,
        options: ProxyOptions,
        upstream: Upstream,
        client: DirectClient,
        relay: Relay,
        pass_on: Pass,
    ) -> None:
        self._options = options
        self._upstream = upstream
        self._rights = PushRights(upstream)
        self._relay = relay
        self._pass_on = pass_on
        self._held = HeldUploads(client, options.chunk_size, options.memory_bytes, options.plan)
        self._bodies = asyncio.Semaphore(options.uploads)

    async def close(self) -> None:
        """Give up what is held: no other proxy knows of it."""
        await self._held.close()

    def expect(self, name: str, digest: str) -> None:
        """Note which blob a client asks for: it may push it next, and name no algorithm."""
        if not digest.startswith(f"{Algorithm.SHA256}:"):
            self._held.prefer_chunks(name)

    async def start(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        """Answer a POST, with or without a blob."""
        if not request.body_exists:
            return await self._start(request, name)
        if "digest" in query_of(request):
            return await self._upload(request, partial(self._post, name=name))
        return await self._pass_on(request, "")

    async def go_on(self, request: web.BaseRequest, found: RouteMatch) -> web.StreamResponse:
        """Answer a request to a session: to one that is held here, or upstream."""
        held = await self._find_held(request, found)
        # Without a body too: a client whose commit fails would send the whole layer again.
        repeats = request.body_exists or "digest" in query_of(request)
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
                    return self._relay(request, held.response(HTTPStatus.NO_CONTENT))
                case _:
                    return await self._pass_on(request, held.location if held else "")

    async def _find_held(self, request: web.BaseRequest, found: RouteMatch) -> HeldSession | None:
        """Return the held session that a request names; None too where it may not push there.

        And where somebody else has opened it. The registry, which doesn't know the session, then
        says why not. What has moved upstream is the registry's to judge in any case.
        """
        headers = forwarded(request, OF_THE_BODY)
        name, session = found.parameters["name"], found.parameters["session"]
        held = self._held.find(name, session, whose(headers))
        if held is None or held.location:
            return held
        refusal = await self._rights.refusal(name, headers)
        # A registry that fails now refuses nothing: what is held must not be lost for that.
        return held if refusal is None or refusal.status in AGAIN else None

    async def _start(self, request: web.BaseRequest, name: str) -> web.Response:
        """Open a session: in the proxy, unless the request needs what only the registry can do."""
        headers = forwarded(request, OF_THE_BODY)
        if not request.rel_url.raw_query_string and lasts(headers, HELD_SECONDS):
            refusal = await self._rights.refusal(name, headers)
            held = self._held.open(name, whose(headers)) if refusal is None else None
            if held is not None:
                return self._relay(request, held.response(HTTPStatus.ACCEPTED))
            # To ask again would count a wrong login twice.
            if refusal is not None and refusal.status in _REFUSALS:
                return self._relay(request, refusal)
        path = request.rel_url.raw_path_qs
        return self._relay(request, await self._ask_patiently(path, headers))

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
            async with self._bodies:
                return await handler(request)
        except StalledError as stalled:
            response = error(HTTPStatus.REQUEST_TIMEOUT, f"the body stalled: {stalled}")
            response.force_close()
            return response
        except UploadRefusedError as refused:
            response = self._relay(request, refused.answer)
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
        named = query_of(request).get("digest-algorithm", [""])[-1] if held else ""
        algorithm = quote(named, safe="")
        answer: UpstreamResponse | None = None
        async with aclosing(self._chunks(request)) as pieces:
            async for chunk, last in pieces:
                answer = await upload.append(chunk, algorithm, last=last)
        if answer is None:
            answer = await upload.append(memoryview(b""), algorithm, last=True)
        accepted = UpstreamResponse(HTTPStatus.ACCEPTED, answer.headers, b"")
        accepted.headers["Range"] = f"0-{max(upload.offset - 1, 0)}"
        return self._relay(request, accepted)

    async def _put(self, request: web.BaseRequest, held: HeldSession | None = None) -> web.Response:
        offset, closing = _parted("at", request.rel_url.raw_query_string)
        path = request.rel_url.raw_path
        upload = self._open(request, f"{path}?{offset}" if offset else path, held)
        return await self._send_all(request, upload, closing)

    async def _cancel(self, request: web.BaseRequest, held: HeldSession) -> web.Response:
        return self._relay(request, await self._held_upload(request, held, None).cancel())

    async def _post(self, request: web.BaseRequest, name: str) -> web.Response:
        """Pass a small blob in one request; send a larger one as if it came to a session."""
        headers = forwarded(request, OF_THE_BODY)
        size = request.content_length
        if size is not None and size <= self._options.chunk_size:
            body = await fill(request, size, self._options.pace)
            headers["Content-Type"] = "application/octet-stream"
            path = request.rel_url.raw_path_qs
            return self._relay(request, await self._ask_patiently(path, headers, memoryview(body)))
        query = request.rel_url.raw_query_string
        held = self._held.open(name, whose(headers))
        if held is not None:
            with self._held.using(held):
                try:
                    return await self._send_all(request, self._held_upload(request, held, 0), query)
                finally:
                    # Its client doesn't know of it.
                    self._held.forget(held)
        opened = await self._ask_patiently(request.rel_url.raw_path, headers)
        if opened.status != HTTPStatus.ACCEPTED or "Location" not in opened.headers:
            raise UploadRefusedError(opened)
        location = opened.headers["Location"]
        upload = self._upload_at(location, headers, 0)
        return await self._send_all(request, upload, query)

    async def _send_all(
        self, request: web.BaseRequest, upload: ChunkedUpload | HeldUpload, query: str
    ) -> web.Response:
        algorithm = _algorithm_in(query)
        async with aclosing(self._chunks(request)) as pieces:
            async for chunk, last in pieces:
                if last:
                    return self._relay(request, await upload.close(chunk, query))
                await upload.append(chunk, algorithm)
        return self._relay(request, await upload.close(memoryview(b""), query))

    def _open(
        self, request: web.BaseRequest, location: str, held: HeldSession | None
    ) -> ChunkedUpload | HeldUpload:
        """Return the session, at the offset where the client says that its body begins.

        Raises BodyError where that can't be read, if the registry isn't there to say so.
        """
        span = announced(request)
        at = query_of(request).get("at", [""])[-1]
        number = whole_number(at)
        offset = span[0] if span else number
        if held is None:
            return self._upload_at(location, forwarded(request, OF_THE_BODY), offset or 0)
        if at and number is None:
            raise BodyError(f"at={at[:100]!r} is no offset: use the Location as it was given")
        if offset is None and request.method == "PATCH":
            offset = 0
        return self._held_upload(request, held, offset)

    def _held_upload(
        self, request: web.BaseRequest, held: HeldSession, offset: int | None
    ) -> HeldUpload:
        headers, patience = forwarded(request, OF_THE_BODY), self._options.patience_seconds
        length = request.content_length
        return HeldUpload(self._held, held, self._upstream, headers, offset, length, patience)

    def _upload_at(self, location: str, headers: CIMultiDict[str], offset: int) -> ChunkedUpload:
        patience = self._options.patience_seconds
        return ChunkedUpload(self._upstream, location, headers, offset, patience)

    def _chunks(self, request: web.BaseRequest) -> AsyncGenerator[Chunk, None]:
        return chunks(request, self._options.chunk_size, self._options.pace)


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
