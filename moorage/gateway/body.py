"""Reads a request's body within bounds of memory.

A body is read to its end before the answer, because an early 4xx breaks clients that still send.
Bytes that no event could carry are never kept.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from moorage.common.http_server import Pace, send_continue
from moorage.gateway.event import MAX_EVENT_BODY
from moorage.gateway.faults import GatewayError, GatewayFault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moorage.common.memory import MemoryShare

MAX_BODY_BYTES: Final = 10 * 1024 * 1024
"""API Gateway's limit on a request's body, inclusive."""

MAX_DISCARDED_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a too large body that are read and thrown away before the connection is closed."""


@dataclass(frozen=True)
class ReceivedBody:
    """A body's length in bytes, its content if an event can hold it, and whether its end came.

    `crowded` says that the content wasn't kept because other requests hold all the memory.
    """

    length: int
    content: bytearray
    ended: bool = True
    crowded: bool = False


async def receive(request: web.BaseRequest, pace: Pace, share: MemoryShare) -> ReceivedBody:
    """Read a body to its end, or to MAX_DISCARDED_BYTES; what is kept counts in `share`.

    Raises GatewayError: 400 when the client leaves, sends less than its Content-Length or breaks
    the chunked framing, 408 when it is slower than `pace`.
    """
    await send_continue(request)
    # A large bytearray grows by an eighth, by remapping: linear time, and one copy in memory.
    content = bytearray()
    length = 0
    crowded = False
    async for piece in _pieces(request, pace):
        length += len(piece)
        if length > MAX_DISCARDED_BYTES:
            return ReceivedBody(length, bytearray(), ended=False)
        crowded = crowded or not share.take(len(piece))
        if length <= MAX_EVENT_BODY and not crowded:
            content += piece
        else:
            content = bytearray()
            share.give_back()
    return ReceivedBody(length, content, crowded=crowded)


async def _pieces(request: web.BaseRequest, pace: Pace) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; aiohttp's errors become GatewayErrors.

    The time limit also ends a wait that aiohttp never ends: for the rest of a body after a
    malformed chunk header that came in a later packet than the request's headers.
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
        raise GatewayError(GatewayFault.STALLED_BODY, detail, close=True) from error
    except (ConnectionError, web.RequestPayloadError) as error:
        # A function must never take part of a body for the whole.
        detail = f"the body broke off: {type(error).__name__}"
        raise GatewayError(GatewayFault.BROKEN_BODY, detail, close=True) from error
