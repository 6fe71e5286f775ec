"""Cuts a client's upload body into chunks, and reads each one while the one before is sent.

This module must never hold more than two chunks, nor yield the last chunk of a body that broke off.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress

from aiohttp import web

from chalicelib.content_range import parse_content_range
from chalicelib.limits import MIB
from moorage.common.http_server import Pace

_DRAIN_LIMIT = 64 * MIB
_PIECE = 256 * 1024

Chunk = tuple[memoryview, bool]
"""The bytes, and whether they are the body's last."""


class BodyError(Exception):
    """A body is not as long as its Content-Range says, or its framing is broken."""


class StalledError(Exception):
    """A client stopped in the middle of its body, or is slower than the pace."""


def announced(request: web.BaseRequest) -> tuple[int, int] | None:
    """Return Content-Range's first and last byte, inclusive; raises BodyError for a bad one."""
    header = request.headers.get("Content-Range")
    if header is None:
        return None
    span = parse_content_range(header)
    if span is None:
        raise BodyError(f"Content-Range {header[:100]!r} is not `first-last`")
    return span


async def chunks(request: web.BaseRequest, size: int, pace: Pace) -> AsyncGenerator[Chunk, None]:
    """Yield a body in chunks of `size` bytes, the last one shorter; read one chunk ahead.

    A chunk is released when the next one is asked for. A body of unknown length that is a multiple
    of `size` ends without a chunk that is marked as the last.
    Raises BodyError for a body that is not as long as announced, StalledError for a client slower
    than `pace`, ConnectionError when it breaks off; the chunk that was being read is then dropped.
    """
    span = announced(request)
    expected = span[1] - span[0] + 1 if span else request.content_length
    total = 0
    current = await fill(request, size, pace)
    while current:
        total += len(current)
        short = len(current) < size
        if expected is not None and (total > expected or (short and total < expected)):
            raise _mismatch(expected, total)
        ahead = asyncio.ensure_future(fill(request, size, pace))
        try:
            chunk = memoryview(current)
            yield chunk, short or total == expected
            # A client that stalls now must not keep a sent chunk in memory.
            chunk.release()
            current = bytearray()
            current = await ahead
        finally:
            ahead.cancel()
            with suppress(asyncio.CancelledError, ConnectionError, BodyError, StalledError):
                await ahead
    if expected is not None and total != expected:
        raise _mismatch(expected, total)


def _mismatch(expected: int, total: int) -> BodyError:
    return BodyError(
        f"Content-Range announces {expected} bytes, the body has another length"
        f" ({total} were read): ask for the upload's status and resume"
    )


async def fill(request: web.BaseRequest, size: int, pace: Pace) -> bytearray:
    """Read `size` bytes, fewer only at the body's end; raises StalledError, BodyError."""
    buffer = bytearray()
    began = time.monotonic()
    try:
        while len(buffer) < size:
            async with asyncio.timeout(pace.left(began, len(buffer))):
                piece = await request.content.read(min(_PIECE, size - len(buffer)))
            if not piece:
                break
            buffer += piece
    except TimeoutError:
        raise StalledError(
            f"{len(buffer)} bytes came in {time.monotonic() - began:.0f} s"
        ) from None
    except web.RequestPayloadError as error:
        raise BodyError("the body ends too early, or its chunks are malformed") from error
    return buffer


async def drain(request: web.BaseRequest, pace: Pace) -> None:
    """Read the rest of a body, up to 64 MiB: an early refusal would break the connection."""
    left, began = _DRAIN_LIMIT, time.monotonic()
    with suppress(ConnectionError, TimeoutError, web.RequestPayloadError):
        while left > 0:
            async with asyncio.timeout(pace.left(began, _DRAIN_LIMIT - left)):
                piece = await request.content.read(_PIECE)
            if not piece:
                return
            left -= len(piece)
