"""A large blob that a client pulls comes from S3 in ranges, several at once, and goes on in order.

One connection to S3 carries 80 to 90 MB a second, however fast the network is. So the proxy follows
the registry's redirect of a large blob itself. This module must never send a client's header to the
storage, give bytes out of their order, or hold more of a blob than its ranges under way.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import Final

from multidict import CIMultiDict

from chalicelib.limits import MIB
from moorage.common.http import whole_number
from moorage.common.patience import AGAIN, FAILURES, ExhaustedError, Patience
from moorage.common.storage import Storage, Take

Address = Callable[[], Awaitable[str]]
"""Asks the registry for a blob's URL, once more; it is empty where the registry gives none."""

BLOB_SIZE: Final = "Moorage-Blob-Size"
"""The header by which a redirect says how large the blob is."""

_OF_THE_REDIRECT: Final = frozenset(
    {"location", "content-length", "cache-control", BLOB_SIZE.lower()}
)
# The URL may have ended. A fresh one that is refused as well would be so for ever.
_MOST_REFUSALS: Final = 2


class PullBrokenError(Exception):
    """The rest of a blob can't be had; the text says why."""


@dataclass(frozen=True, slots=True)
class PullPlan:
    """How large blobs are pulled; sizes in bytes, times in seconds."""

    least: int = 16 * MIB
    """A smaller blob comes by one connection, which the client makes itself."""
    piece: int = 8 * MIB
    """The size of a range."""
    blobs: int = 3
    """How many blobs are pulled so at once: more of them fill the network as they are."""
    first: float = 5.0
    """How long the first byte may take: the client may reach the storage where the proxy can't."""
    pause: float = 300.0
    """How long clients pull everything themselves after a blob of which no byte came."""

    def requests(self, size: int) -> int:
        """Return how many requests to S3 bring a blob of a size."""
        return 1 if size < self.least else -(-size // self.piece)


def led_to(status: int, headers: Mapping[str, str]) -> tuple[str, int]:
    """Return where a GET of a blob is redirected to, and its size; of another answer "" and 0."""
    if status != HTTPStatus.TEMPORARY_REDIRECT:
        return "", 0
    return headers.get("Location", ""), whole_number(headers.get(BLOB_SIZE, "")) or 0


def of_the_blob(redirect: CIMultiDict[str], size: int) -> CIMultiDict[str]:
    """Return the headers of a blob's bytes from those of the redirect to them."""
    headers = CIMultiDict((k, v) for k, v in redirect.items() if k.lower() not in _OF_THE_REDIRECT)
    headers.update({"Content-Length": str(size), "Accept-Ranges": "bytes"})
    return headers


class RangedPulls:
    """The blobs that the proxy pulls for its clients.

    `streams` is how many ranges of a blob are under way, or held, at once; with 1 clients pull all
    blobs themselves. `patience` is how long a failing range is tried, in seconds.
    """

    def __init__(self, storage: Storage, plan: PullPlan, streams: int, patience: float) -> None:
        self._storage = storage
        self._plan = plan
        self._streams = streams
        self._patience = patience
        self._under_way = 0
        self._paused_until = 0.0

    def takes(self, url: str, size: int) -> bool:
        """Whether the proxy is to pull a blob at a URL now."""
        large = self._streams > 1 and size >= self._plan.least
        free = self._under_way < self._plan.blobs and time.monotonic() >= self._paused_until
        return large and free and not self._storage.why_not(url)

    @contextmanager
    def blob(self, url: str, size: int, fresh: Address) -> Iterator["RangedBlob"]:
        """Give a blob that `takes` has just taken; `fresh` asks for its URL when this one ends."""
        self._under_way += 1
        try:
            yield RangedBlob(
                self._storage, url, size, fresh, self._plan.piece, self._streams, self._patience
            )
        finally:
            self._under_way -= 1

    async def first(self, pieces: AsyncGenerator[bytes, None]) -> bytes:
        """Return the first bytes of a blob; raises PullBrokenError where none come in time."""
        try:
            async with asyncio.timeout(self._plan.first):
                return await anext(pieces)
        except (PullBrokenError, TimeoutError) as broken:
            self._paused_until = time.monotonic() + self._plan.pause
            raise PullBrokenError(str(broken) or "the storage does not answer") from None


class RangedBlob:
    """One blob of `size` bytes at `url`."""

    def __init__(  # noqa: PLR0913 - the place, the blob, and how
        self,
        storage: Storage,
        url: str,
        size: int,
        fresh: Address,
        piece: int,
        streams: int,
        patience: float,
    ) -> None:
        self._storage = storage
        self._url = url
        self._size = size
        self._fresh = fresh
        self._piece = piece
        self._streams = streams
        self._patience = patience
        self._renewing = asyncio.Lock()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Give the blob's bytes in order, as they come; raises PullBrokenError, perhaps midway."""
        starts = iter(range(0, self._size, self._piece))
        ranges = deque(_Range(self, start) for start in islice(starts, self._streams))
        try:
            while ranges:
                while (piece := await ranges[0].come.get()) is not None:
                    yield piece
                await ranges.popleft().done
                if (start := next(starts, None)) is not None:
                    ranges.append(_Range(self, start))
        finally:
            for each in ranges:
                each.done.cancel()
            await asyncio.gather(*(each.done for each in ranges), return_exceptions=True)

    async def read(self, start: int, take: Take) -> None:
        """Read the range that begins at `start`; what a broken connection lacks is asked for again.

        Raises PullBrokenError.
        """
        at, end = start, min(start + self._piece, self._size)
        patience, refusals = Patience(self._patience), 0

        def took(piece: bytes) -> None:
            nonlocal at, refusals
            at, refusals = at + len(piece), 0
            if at > end:
                raise PullBrokenError("the storage sends more bytes than it was asked for")
            take(piece)
            patience.renew()

        while True:
            url, why, refused = self._url, "the answer ended early", False
            try:
                status = await self._storage.read(url, at, end - 1, took)
            except FAILURES as failed:
                why = str(failed) or type(failed).__name__
            else:
                if status != HTTPStatus.PARTIAL_CONTENT:
                    why, refused = f"the storage answered {status}", status not in AGAIN
            if at == end:
                return
            if not refused:
                await _wait(patience, why)
            elif (refusals := refusals + 1) > _MOST_REFUSALS:
                raise PullBrokenError(why)
            else:
                await self._renew(url)

    async def _renew(self, refused: str) -> None:
        """Ask for another URL, once for all the ranges that found this one refused."""
        async with self._renewing:
            if self._url != refused:
                return
            try:
                url = await self._fresh()
            except FAILURES as failed:
                raise PullBrokenError(f"the registry could not be reached: {failed!r}") from None
            if why := self._storage.why_not(url):
                raise PullBrokenError(f"the registry gives no other URL: {why}")
            self._url = url


async def _wait(patience: Patience, why: str) -> None:
    """Wait before the next try; raises PullBrokenError when the patience is over."""
    try:
        await asyncio.sleep(patience.delay(None))
    except ExhaustedError:
        raise PullBrokenError(why) from None


class _Range:
    """A range that is being read: its pieces, then None; `done` says how it ended."""

    def __init__(self, blob: RangedBlob, start: int) -> None:
        self.come: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.done = asyncio.ensure_future(self._read(blob, start))

    async def _read(self, blob: RangedBlob, start: int) -> None:
        try:
            await blob.read(start, self.come.put_nowait)
        finally:
            self.come.put_nowait(None)
