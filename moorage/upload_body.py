"""A client's upload body, cut into chunks while the one before is still being sent.

This module must never hold more than two chunks, nor hand on a chunk of a body that broke off.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import suppress

from aiohttp import web

_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,19})-(\d{1,19})(?:/(?:\d+|\*))?")
_DRAIN_LIMIT = 64 * 1024 * 1024
_PIECE = 256 * 1024

Chunk = tuple[memoryview, bool]
"""The bytes, and whether they are the body's last."""


class BodyError(Exception):
    """A body that is not what its Content-Range announced."""


def announced(request: web.Request) -> tuple[int, int] | None:
    """Read the Content-Range, first and last byte inclusive; raises BodyError if malformed."""
    header = request.headers.get("Content-Range")
    if header is None:
        return None
    found = _CONTENT_RANGE.fullmatch(header.strip())
    if found is None or int(found[1]) > int(found[2]):
        raise BodyError(f"Content-Range {header[:100]!r} is not `first-last`")
    return int(found[1]), int(found[2])


async def chunks(request: web.Request, size: int) -> AsyncGenerator[Chunk, None]:
    """Yield a body in chunks of `size` bytes, the last one shorter; reads one chunk ahead.

    A body without Content-Range whose length is a multiple of `size` ends without a last chunk.
    Raises BodyError for a body that is not as long as announced, ConnectionError when the client
    breaks off; then the chunk that would have been the last is dropped.
    """
    span = announced(request)
    expected = span[1] - span[0] + 1 if span else None
    total = 0
    current = await _fill(request, size)
    while current:
        total += len(current)
        short = len(current) < size
        if expected is not None and (total > expected or (short and total < expected)):
            raise _mismatch(expected, total)
        ahead = asyncio.ensure_future(_fill(request, size))
        try:
            yield memoryview(current), short or total == expected
            current = await ahead
        finally:
            ahead.cancel()
            with suppress(asyncio.CancelledError, ConnectionError, web.HTTPException):
                await ahead
    if expected is not None and total != expected:
        raise _mismatch(expected, total)


def _mismatch(expected: int, total: int) -> BodyError:
    return BodyError(
        f"Content-Range announces {expected} bytes, the body has another length"
        f" ({total} were read): ask for the upload's status and resume"
    )


async def _fill(request: web.Request, size: int) -> bytes:
    """Read up to `size` bytes, fewer only at the body's end."""
    buffer = bytearray()
    while len(buffer) < size:
        piece = await request.content.read(min(_PIECE, size - len(buffer)))
        if not piece:
            break
        buffer += piece
    return bytes(buffer)


async def drain(request: web.Request) -> None:
    """Read what a client still sends, up to 64 MiB: an early refusal breaks its connection."""
    left = _DRAIN_LIMIT
    with suppress(ConnectionError, web.HTTPException):
        while left > 0:
            piece = await request.content.read(_PIECE)
            if not piece:
                return
            left -= len(piece)
