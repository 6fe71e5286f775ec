"""What the servers on a person's machine allow their clients: how many, how slow, how idle.

The gateway and the proxy both stand on it. It must never cut off a client that keeps up 16 KiB
a second, and never log a line that a client sent: that may be an Authorization header.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BYTES_PER_SECOND: Final = 16 * 1024
"""Whoever is slower for long is given up: it would hold memory of ours at no cost to itself."""

# API Gateway's limit on the request line and all headers together; tokens need such a field.
_MAX_HEADER_BYTES: Final = 10_240
# How long a connection may wait for its next request, headers included. Go's clients close theirs
# after 90 s: a server that closed first could meet a request that is on its way.
_BETWEEN_REQUESTS_SECONDS: Final = 120.0
# How long after an answer the rest of a refused body is still read, so that the client gets to
# see the answer rather than a reset.
_LINGER_SECONDS: Final = 2.0
_MOST_CONNECTIONS: Final = 480
# Files that are no client's connection: code, logs, the listener, connections to AWS.
_OTHER_FILES: Final = 64

_log = logging.getLogger("moorage.http")


def _hide_what_was_sent(record: logging.LogRecord) -> bool:
    """Keep the name of a parser's error only: its text and traceback quote the line it refused."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.msg = f"{record.msg}: {type(record.exc_info[1]).__name__}"
        record.exc_info = None
    return True


_log.addFilter(_hide_what_was_sent)


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow a client may be, in seconds.

    `idle` is how long it may do nothing in the middle of a body or an answer; `slow` is how long
    a body may take on top of a second for each 16 KiB.
    """

    idle: float = 60.0
    slow: float = 60.0

    def left(self, began: float, received: int) -> float:
        """Seconds that the next byte may take, when `received` came since `began` (monotonic)."""
        whole = began + self.slow + received / BYTES_PER_SECOND
        return max(min(self.idle, whole - time.monotonic()), 0.0)


def most_connections() -> int:
    """How many connections a server takes: each may need a second file, for the way upstream."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(min(_MOST_CONNECTIONS, (files - _OTHER_FILES) // 2), 1)


class BoundedServer(web.Server):
    """An aiohttp server that closes connections which are too many or idle for too long.

    Without a bound, clients that connect and say nothing would use up all file descriptors, and
    with them the way to AWS or upstream.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        handler_cancellation: bool,
    ) -> None:
        settings: dict[str, Any] = {
            # A registry stores what was sent, whatever Content-Encoding says.
            "auto_decompress": False,
            "access_log": None,  # the servers log a line of their own, which tells no secret
            "logger": _log,
            "max_line_size": _MAX_HEADER_BYTES,
            "max_field_size": _MAX_HEADER_BYTES,
            "keepalive_timeout": _BETWEEN_REQUESTS_SECONDS,
            "lingering_time": _LINGER_SECONDS,
        }
        super().__init__(handler, handler_cancellation=handler_cancellation, **settings)
        self._most = most_connections()

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection in; one too many is closed as soon as aiohttp has set it up."""
        super().connection_made(handler, transport)
        if len(self.connections) > self._most:
            _log.warning("more than %d connections: closing the newest", self._most)
            asyncio.get_running_loop().call_soon(transport.abort)


async def let_it_come(request: web.BaseRequest) -> None:
    """Answer `Expect: 100-continue` (RFC 9110 10.1.1): the client may be holding its body back.

    aiohttp's low-level server leaves that to us.
    """
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def deliver(request: web.BaseRequest, response: web.StreamResponse, pace: Pace) -> None:
    """Send the rest of a response; break the connection of a client that doesn't take it.

    Without a bound, whoever asks and never reads would keep the answer in memory for good.
    """
    transport = request.transport
    if transport is None:
        return
    # The answer counts as sent when nothing of it is left with us: what is left when aiohttp
    # closes a connection would wait for its reader without end.
    transport.set_write_buffer_limits(high=0)
    sending = asyncio.ensure_future(_send(request, response))
    before: float = float("inf")
    try:
        while not (await asyncio.wait({sending}, timeout=pace.idle))[0]:
            left = transport.get_write_buffer_size()
            if left > before - BYTES_PER_SECOND * pace.idle:
                _log.warning("%s: its client doesn't read: closing", request.path)
                transport.abort()
            before = left
    finally:
        sending.cancel()
    # A client that has left is no error; aiohttp, which is about to find out, knows that too.
    if not sending.cancelled() and not isinstance(sending.exception(), ConnectionError | None):
        sending.result()


async def deliver_piece(
    request: web.BaseRequest, response: web.StreamResponse, piece: bytes, pace: Pace
) -> None:
    """Send a piece of a streamed response; `deliver` then sends its end.

    Raises ConnectionResetError after breaking the connection of a client that doesn't take it.
    """
    try:
        async with asyncio.timeout(pace.idle + len(piece) / BYTES_PER_SECOND):
            await response.write(piece)
    except TimeoutError:
        _log.warning("%s: its client doesn't read: closing", request.path)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client doesn't read") from None


async def _send(request: web.BaseRequest, response: web.StreamResponse) -> None:
    await response.prepare(request)
    await response.write_eof()
