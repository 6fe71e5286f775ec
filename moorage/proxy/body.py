"""A client's upload body, cut into chunks while the one before is still being sent.

This module must never hold more than two chunks, nor hand on a chunk of a body that broke off.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import suppress

from aiohttp import web

from moorage.common.http_server import Pace

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,19})-(\d{1,19})(?:/(?:\d+|\*))?")
_DRAIN_LIMIT = 64 * 1024 * 1024
_PIECE = 256 * 1024

Chunk = tuple[memoryview, bool]
"""The bytes, and whether they are the body's last."""


class BodyError(Exception):
    """A body that is not what its Content-Range or its framing announced."""


class StalledError(Exception):
    """A client that stopped sending in the middle of its body, or all but stopped."""


def announced(request: web.BaseRequest) -> tuple[int, int] | None:
    """Read the Content-Range, first and last byte inclusive; raises BodyError if malformed."""
    header = request.headers.get("Content-Range")
    if header is None:
        return None
    found = _CONTENT_RANGE.fullmatch(header.strip())
    if found is None or int(found[1]) > int(found[2]):
        raise BodyError(f"Content-Range {header[:100]!r} is not `first-last`")
    return int(found[1]), int(found[2])


async def chunks(request: web.BaseRequest, size: int, pace: Pace) -> AsyncGenerator[Chunk, None]:
    """Yield a body in chunks of `size` bytes, the last one shorter; reads one chunk ahead.

    A chunk is the caller's until it asks for the next, and is released then.
    A body without Content-Range whose length is a multiple of `size` ends without a last chunk.
    Raises BodyError for a body that is not as long as announced, StalledError for a client slower
    than `pace`, ConnectionError when it breaks off; then the chunk that would have been the last
    is dropped.
    """
    span = announced(request)
    expected = span[1] - span[0] + 1 if span else None
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
            # It has been sent: a client that stalls now must not keep it in memory.
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
    """Read up to `size` bytes, fewer only at the body's end."""
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
    """Read what a client still sends, up to 64 MiB: an early refusal breaks its connection."""
    left, began = _DRAIN_LIMIT, time.monotonic()
    with suppress(ConnectionError, TimeoutError, web.RequestPayloadError):
        while left > 0:
            async with asyncio.timeout(pace.left(began, _DRAIN_LIMIT - left)):
                piece = await request.content.read(_PIECE)
            if not piece:
                return
            left -= len(piece)
