"""One upload, sent upstream chunk by chunk and resumed wherever it breaks.

The chunk in hand is kept until the upstream's own status says that it has it. This module must
never send a byte twice to two offsets, nor hold more than the chunk in hand.
"""

import asyncio
import io
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=5)
"""A gateway gives up after 29 s; a minute without an answer is a lost answer."""

_FAILURES = (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError)
_AGAIN = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 5.0
# A request that died upstream holds its lease this long at most (34 s), and Retry-After says so.
_LONGEST_TOLD = 40.0
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """An upstream's whole answer; those that come here are small."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


class UploadRefusedError(Exception):
    """The upstream will not take the upload as it is; the client is to hear its answer."""

    def __init__(self, answer: UpstreamResponse) -> None:
        super().__init__(f"refused with {answer.status}")
        self.answer = answer


class ExhaustedError(Exception):
    """The upstream made no progress for longer than our patience; the session is untouched."""


class Upstream:
    """Requests to the registry behind the proxy."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self.base = base.rstrip("/")

    def url(self, path: str) -> URL:
        """Return the URL of a path with its query, both still encoded as the client sent them."""
        return URL(path if "://" in path else self.base + path, encoded=True)

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: memoryview | None = None
    ) -> UpstreamResponse:
        """Send a request whose body is in memory and read the whole answer."""
        async with self._session.request(
            method,
            self.url(path),
            headers=headers,
            data=None if body is None else io.BytesIO(body),
            allow_redirects=False,
            timeout=REQUEST_TIMEOUT,
        ) as response:
            return UpstreamResponse(
                response.status, CIMultiDict(response.headers), await response.read()
            )


def offset_of(headers: Mapping[str, str]) -> int | None:
    """Read how many bytes a session keeps: from its Location's `at`, else from its Range.

    `0-0` alone could be none or one byte; a Location with `at` tells them apart.
    """
    at = parse_qs(urlsplit(headers.get("Location", "")).query).get("at", [""])[-1]
    if at.isdecimal():
        return int(at)
    found = _RANGE.fullmatch(headers.get("Range", ""))
    if found is None:
        return None
    return int(found[1]) + 1 if int(found[1]) else 0


class ChunkedUpload:
    """A session upstream. `offset` is how many bytes it is known to keep."""

    def __init__(
        self,
        upstream: Upstream,
        location: str,
        headers: Mapping[str, str],
        offset: int,
        patience: float,
    ) -> None:
        self._upstream = upstream
        self._location = location
        self._headers = headers
        self._patience = patience
        self.offset = offset

    async def append(self, chunk: memoryview) -> UpstreamResponse:
        """Append a chunk at the offset; returns the upstream's last answer (202, or a status).

        Raises UploadRefusedError, ExhaustedError.
        """
        return await self._push("PATCH", "", chunk)

    async def close(self, chunk: memoryview, query: str) -> UpstreamResponse:
        """Close the session with its last chunk (it may be empty); `query` has the digest.

        A commit whose answer was lost is asked for again: the registry answers a repeat.
        """
        return await self._push("PUT", query, chunk)

    async def _push(self, method: str, query: str, chunk: memoryview) -> UpstreamResponse:
        first, end = self.offset, self.offset + len(chunk)
        patience = _Patience(self._patience)
        furthest, in_doubt = self.offset, False
        while True:
            answer = await self._try(method, query, chunk[self.offset - first :])
            if answer is not None and answer.status < HTTPStatus.MULTIPLE_CHOICES:
                self._moved(answer)
                self.offset = end
                return answer
            failed = answer is None or answer.status in _AGAIN
            if failed:
                in_doubt = True
                answer = await self._after(patience.delay(answer))
            if answer is not None:
                if method == "PATCH" and not in_doubt:
                    # No try of ours was lost: the client itself repeats a chunk, or leaves a gap.
                    raise UploadRefusedError(answer)
                if method == "PUT" and not chunk and answer.status == HTTPStatus.NO_CONTENT:
                    # No byte of ours is missing: that the session lives is all there is to know.
                    self._moved(answer)
                    continue
                self._resume(answer, first, end)
                if method == "PATCH" and self.offset == end:
                    return answer
            if self.offset > furthest:
                furthest = self.offset
                patience.renew()
            elif not failed:
                # Refused, and nothing new is kept: sent again at once, it would fare the same.
                await asyncio.sleep(patience.delay(answer))

    def _resume(self, answer: UpstreamResponse, first: int, end: int) -> None:
        """Go on from what a status or a 416 says is kept, if we still hold what follows."""
        kept = offset_of(answer.headers)
        tells = answer.status in {
            HTTPStatus.NO_CONTENT,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        }
        if not tells or kept is None:
            raise UploadRefusedError(answer)
        if not first <= kept <= end:
            # A status request's 204 must not pass for the success of a chunk.
            out_of_place = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            raise UploadRefusedError(UpstreamResponse(out_of_place, answer.headers, answer.body))
        self._moved(answer)
        self.offset = kept

    def _moved(self, answer: UpstreamResponse) -> None:
        self._location = answer.headers.get("Location", self._location)

    async def _try(self, method: str, query: str, rest: memoryview) -> UpstreamResponse | None:
        """Send what is left of the chunk; None if no answer came."""
        headers = dict(self._headers)
        if rest:
            headers["Content-Range"] = f"{self.offset}-{self.offset + len(rest) - 1}"
            headers["Content-Type"] = "application/octet-stream"
        path = self._location
        if query:
            path += ("&" if "?" in path else "?") + query
        try:
            return await self._upstream.ask(method, path, headers, rest)
        except _FAILURES:
            return None

    async def _after(self, delay: float) -> UpstreamResponse | None:
        """Wait, then ask what is kept; sooner if that turns out to have moved meanwhile.

        Asking costs little. A chunk that comes before its time is sent only to be refused.
        """
        until = time.monotonic() + delay
        while True:
            await asyncio.sleep(min(max(until - time.monotonic(), 0), _LONGEST_WAIT))
            status = await self._status()
            moved = status is not None and offset_of(status.headers) != self.offset
            if moved or time.monotonic() >= until:
                return status

    async def _status(self) -> UpstreamResponse | None:
        """Ask what is kept; None if that can't be known now."""
        try:
            answer = await self._upstream.ask("GET", self._location, self._headers)
        except _FAILURES:
            return None
        return None if answer.status in _AGAIN else answer


class _Patience:
    """How long to go on without progress (seconds), and how long to wait before each new try."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Begin anew: there was progress."""
        self._given_up = time.monotonic() + self._seconds
        self._wait = _FIRST_WAIT

    def delay(self, answer: UpstreamResponse | None) -> float:
        """Seconds until the next try: what Retry-After says, else twice the last; jitter on top.

        Raises ExhaustedError when patience is over.
        """
        if time.monotonic() > self._given_up:
            raise ExhaustedError
        named = answer.headers.get("Retry-After", "") if answer is not None else ""
        seconds = min(float(named), _LONGEST_TOLD) if named.isdecimal() else self._wait
        self._wait = min(self._wait * 2, _LONGEST_WAIT)
        return seconds * random.uniform(1.0, 1.2)  # noqa: S311 - jitter, not a secret
