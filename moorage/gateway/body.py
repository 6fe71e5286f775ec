"""Reading a request's body within bounds of memory.

A body is read to its end before anything is answered, because an early 4xx breaks clients that
still send. It never keeps bytes that no event could carry.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from moorage.common.http_server import Pace, let_it_come
from moorage.gateway.event import MAX_EVENT_BODY
from moorage.gateway.fault import Fault, GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moorage.common.memory import Share

MAX_BODY_BYTES: Final = 10 * 1024 * 1024
"""API Gateway's limit on a request's body, inclusive."""

MAX_DISCARDED_BYTES: Final = 64 * 1024 * 1024
"""How much of a body that is too large is read and thrown away before the connection is closed."""


@dataclass(frozen=True)
class Received:
    """A body's length in bytes, its content when an event could hold it, and whether it ended.

    `crowded` says that the content wasn't kept because other requests hold all the memory.
    """

    length: int
    content: bytearray
    ended: bool = True
    crowded: bool = False

    @property
    def fits_gateway(self) -> bool:
        """Say whether API Gateway takes a body of this length."""
        return self.length <= MAX_BODY_BYTES

    @property
    def fits_event(self) -> bool:
        """Say whether the content was kept."""
        return self.length <= MAX_EVENT_BODY


async def receive(request: web.BaseRequest, pace: Pace, share: Share) -> Received:
    """Read a body to its end, or to MAX_DISCARDED_BYTES; what is kept of it is taken of `share`.

    Raises GatewayError: 400 when the client leaves, sends less than its Content-Length or breaks
    the chunked framing, 408 when it is slower than `pace`.
    """
    await let_it_come(request)
    # A bytearray grows by an eighth and, being large, by remapping: linear, with one copy held.
    content = bytearray()
    length = 0
    crowded = False
    async for piece in _pieces(request, pace):
        length += len(piece)
        if length > MAX_DISCARDED_BYTES:
            return Received(length, bytearray(), ended=False)
        crowded = crowded or not share.take(len(piece))
        if length <= MAX_EVENT_BODY and not crowded:
            content += piece
        else:
            content = bytearray()
            share.give_back()
    return Received(length, content, crowded=crowded)


async def _pieces(request: web.BaseRequest, pace: Pace) -> AsyncIterator[bytes]:
    """Give the body as it arrives; what aiohttp raises over a broken one becomes a GatewayError.

    The time limit is more than courtesy: when a chunk's header is malformed and comes in a later
    packet than the headers, aiohttp tells nobody who waits for the body.
    """
    began, length = time.monotonic(), 0
    try:
        while True:
            async with asyncio.timeout(pace.left(began, length)):
                piece = await request.content.readany()
            if not piece:
                return
            length += len(piece)
            yield piece
    except TimeoutError as error:
        detail = f"the body stalled or trickled: {length} bytes in {time.monotonic() - began:.0f} s"
        raise GatewayError(Fault.STALLED_BODY, detail, close=True) from error
    except (ConnectionError, web.RequestPayloadError) as error:
        # No function must ever see part of a body as a whole.
        detail = f"the body broke off: {type(error).__name__}"
        raise GatewayError(Fault.BROKEN_BODY, detail, close=True) from error
