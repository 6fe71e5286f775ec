"""One upload, sent upstream chunk by chunk and resumed wherever it breaks.

The current chunk is held until the upstream's status confirms it. This module must
never send a byte to two offsets, nor hold more than the current chunk.
"""

import asyncio
import time
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qs

from moorage.common.http import last_kept_byte, whole_number
from moorage.common.patience import (
    AGAIN,
    FAILURES,
    LONGEST_WAIT,
    Patience,
    UploadUpstream,
    UpstreamResponse,
)


class UploadRefusedError(Exception):
    """The upstream refuses the upload; the client must get its answer."""

    def __init__(self, answer: UpstreamResponse) -> None:
        super().__init__(f"refused with {answer.status}")
        self.answer = answer


def offset_of(headers: Mapping[str, str]) -> int | None:
    """Return how many bytes a session keeps, by its Location's `at`, else by its Range.

    A Range of `0-0` is no byte or one; `at` tells them apart. A Location may be no URL at all: that
    is found when a request is to go there.
    """
    query = headers.get("Location", "").partition("?")[2]
    at = whole_number(parse_qs(query).get("at", [""])[-1])
    if at is not None:
        return at
    last = last_kept_byte(headers)
    return last + 1 if last else last


class ChunkedUpload:
    """An upload session upstream. `offset` is how many bytes it is known to keep.

    `location` is where it goes on: the path and query that the registry named last.
    """

    def __init__(
        self,
        upstream: UploadUpstream,
        location: str,
        headers: Mapping[str, str],
        offset: int,
        patience: float,
    ) -> None:
        self._upstream = upstream
        self.location = location
        self._headers = headers
        self._patience = patience
        self.offset = offset

    async def append(
        self, chunk: memoryview, algorithm: str = "", *, last: bool = False
    ) -> UpstreamResponse:
        """Append a chunk at the offset; return the upstream's last answer (202, or a status).

        The `last` one of a body is sent as any other.
        `algorithm`: that of the digest which is to close the session, if the client has named it.
        The registry then hashes with it from the first chunk on, and need not read the blob back.
        Raises UploadRefusedError, ExhaustedError.
        """
        del last
        query = f"digest-algorithm={algorithm}" if algorithm and not self.offset else ""
        return await self._push("PATCH", query, chunk)

    async def close(self, chunk: memoryview, query: str) -> UpstreamResponse:
        """Close the session with its last chunk, which may be empty; `query` holds the digest.

        A commit whose answer was lost is repeated: the registry answers a repeat. One that takes
        longer than the patience is asked for as long as the registry says that it is driven.
        """
        return await self._push("PUT", query, chunk)

    async def _push(self, method: str, query: str, chunk: memoryview) -> UpstreamResponse:
        first, end = self.offset, self.offset + len(chunk)
        patience = Patience(self._patience)
        furthest, in_doubt = self.offset, False
        while True:
            answer = await self._try(method, query, chunk[self.offset - first :])
            if answer is not None and answer.status < HTTPStatus.MULTIPLE_CHOICES:
                self._moved(answer)
                self.offset = end
                return answer
            failed = answer is None or answer.status in AGAIN
            if failed:
                in_doubt = in_doubt or not _busy(answer)
                answer = await self._after(patience.delay(answer))
            if answer is not None:
                unmoved = answer.status == HTTPStatus.NO_CONTENT and self._is_at(answer)
                if method == "PATCH" and not in_doubt and not unmoved:
                    # No answer was lost: the client itself repeats a chunk or leaves a gap, or
                    # another client has appended other bytes.
                    raise UploadRefusedError(_refusal(answer))
                if method == "PUT" and not chunk and answer.status == HTTPStatus.NO_CONTENT:
                    # There is no chunk to resume: it is enough that the session is there.
                    self._moved(answer)
                    continue
                self._resume(answer, first, end)
                if method == "PATCH" and self.offset == end:
                    return answer
            if self.offset > furthest:
                furthest = self.offset
                patience.renew()
            elif not failed:
                # Refused without progress: the same request at once would be refused again.
                await asyncio.sleep(patience.delay(answer))

    def _resume(self, answer: UpstreamResponse, first: int, end: int) -> None:
        """Continue from the offset of a status or a 416, if the chunk has the bytes from there."""
        kept = offset_of(answer.headers)
        out_of_place = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        if kept is None or answer.status not in {HTTPStatus.NO_CONTENT, out_of_place}:
            raise UploadRefusedError(_refusal(answer))
        if not first <= kept <= end:
            raise UploadRefusedError(_refusal(answer))
        self._moved(answer)
        self.offset = kept

    def _is_at(self, answer: UpstreamResponse) -> bool:
        return offset_of(answer.headers) == self.offset

    def _moved(self, answer: UpstreamResponse) -> None:
        self.location = answer.headers.get("Location", self.location)

    async def _try(self, method: str, query: str, rest: memoryview) -> UpstreamResponse | None:
        """Send the rest of the chunk; None if no answer came."""
        headers = dict(self._headers)
        if rest:
            headers["Content-Range"] = f"{self.offset}-{self.offset + len(rest) - 1}"
            headers["Content-Type"] = "application/octet-stream"
        path = self.location
        if query:
            path += ("&" if "?" in path else "?") + query
        try:
            return await self._upstream.ask(method, path, headers, rest)
        except FAILURES:
            return None

    async def _after(self, delay: float) -> UpstreamResponse | None:
        """Wait, then return the session's status; sooner where its offset has moved meanwhile.

        A status costs little. A chunk that is sent too early is refused and sent again.
        """
        until = time.monotonic() + delay
        while True:
            await asyncio.sleep(min(max(until - time.monotonic(), 0), LONGEST_WAIT))
            status = await self._status()
            moved = status is not None and not self._is_at(status)
            if moved or time.monotonic() >= until:
                return status

    async def _status(self) -> UpstreamResponse | None:
        """Return the session's status; None if the upstream doesn't answer now."""
        try:
            answer = await self._upstream.ask("GET", self.location, self._headers)
        except FAILURES:
            return None
        return None if answer.status in AGAIN else answer


def _busy(answer: UpstreamResponse | None) -> bool:
    """Whether an answer says that the registry kept nothing of the request.

    It answers so while another request holds the session's lease, and only then says the offset.
    """
    if answer is None or answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
        return False
    return offset_of(answer.headers) is not None


def _refusal(answer: UpstreamResponse) -> UpstreamResponse:
    """Return an answer; 416 for the 204 of a status, which must not pass for a chunk's success."""
    if answer.status != HTTPStatus.NO_CONTENT:
        return answer
    out_of_place = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    return UpstreamResponse(out_of_place, answer.headers, answer.body)
