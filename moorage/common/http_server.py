"""The HTTP server below the gateway and the proxy: starting, stopping, and limits for clients.

Clients are limited in number, slowness and idleness, and must name this server as Host. This module
must never cut off a client that keeps up 16 KiB a second, nor log a line that a client sent: it may
be an Authorization header.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from moorage.common.hosts import AllowedHosts

BYTES_PER_SECOND: Final = 16 * 1024
"""A client that is slower for long is cut off: it would hold memory here at no cost to itself."""

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers, in lower case, that concern one connection only and are never passed on."""

# API Gateway's limit on the request line and all headers together; a token may need all of it.
_MAX_HEADER_BYTES: Final = 10_240
# How long a connection may wait for its next request, headers included. Go's clients close theirs
# after 90 s, and a server that closed first could lose a request that is on its way.
_BETWEEN_REQUESTS_SECONDS: Final = 120.0
# How long after an answer the rest of a refused body is still read, so that the client sees the
# answer and not a reset.
_LINGER_SECONDS: Final = 2.0
_MOST_CONNECTIONS: Final = 480
# File descriptors for all but clients: code, logs, the listener, connections to AWS.
_OTHER_FILES: Final = 64

_log = logging.getLogger("moorage.http")


def _hide_what_was_sent(record: logging.LogRecord) -> bool:
    """Keep only the name of a parser's error: its text and traceback quote the refused line."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.msg = f"{record.msg}: {type(record.exc_info[1]).__name__}"
        record.exc_info = None
    return True


_log.addFilter(_hide_what_was_sent)


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow a client may be, in seconds.

    `idle` is how long it may pause in the middle of a body or an answer; `slow` is how long a
    body may take on top of a second for each 16 KiB.
    """

    idle: float = 60.0
    slow: float = 60.0

    def left(self, began: float, received: int) -> float:
        """Seconds for the next byte, `received` bytes having come since `began` (monotonic)."""
        whole = began + self.slow + received / BYTES_PER_SECOND
        return max(min(self.idle, whole - time.monotonic()), 0.0)


def most_connections() -> int:
    """How many connections a server takes: each may need a second descriptor, to go upstream."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(min(_MOST_CONNECTIONS, (files - _OTHER_FILES) // 2), 1)


class BoundedServer(web.Server):
    """An aiohttp server that closes connections above a number, and idle ones.

    Without a bound, silent clients would use up all file descriptors: none would be left for AWS
    or upstream. A request for another host than `hosts` is refused before the handler sees it.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        hosts: AllowedHosts,
        *,
        handler_cancellation: bool,
    ) -> None:
        settings: dict[str, Any] = {
            # A registry stores the bytes that were sent, whatever Content-Encoding says.
            "auto_decompress": False,
            "access_log": None,  # the servers log a line of their own, without secrets
            "logger": _log,
            "max_line_size": _MAX_HEADER_BYTES,
            "max_field_size": _MAX_HEADER_BYTES,
            "keepalive_timeout": _BETWEEN_REQUESTS_SECONDS,
            "lingering_time": _LINGER_SECONDS,
        }

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            refusal = hosts.refusal(request)
            return await handler(request) if refusal is None else refusal

        super().__init__(answer, handler_cancellation=handler_cancellation, **settings)
        self._most = most_connections()

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection; one too many is closed as soon as aiohttp has set it up."""
        super().connection_made(handler, transport)
        if len(self.connections) > self._most:
            _log.warning("more than %d connections: closing the newest", self._most)
            asyncio.get_running_loop().call_soon(transport.abort)


async def listen(
    server: BoundedServer, host: str, port: int, shutdown_seconds: float
) -> web.ServerRunner:
    """Listen, and return the runner, whose cleanup() ends it; raises OSError.

    Connections have `shutdown_seconds` to finish their request in cleanup().
    """
    runner = web.ServerRunner(server, shutdown_timeout=shutdown_seconds)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


def url_of(host: str, port: int) -> str:
    """Return the root of a server's URLs, without a trailing slash."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Startable(Protocol):
    """A server that serve_until_signal can run."""

    @property
    def url(self) -> str:
        """Its root, once it has started."""

    async def start(self) -> None:
        """Listen; raises OSError."""

    async def stop(self) -> None:
        """Answer what has begun, and close."""


async def serve_until_signal(name: str, server: Startable) -> None:
    """Start a server, print `NAME ready on URL`, and stop it at SIGINT or SIGTERM.

    Raises OSError when the address is taken.
    """
    await server.start()
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    sys.stdout.write(f"{name} ready on {server.url}\n")
    sys.stdout.flush()
    try:
        await stopping.wait()
    finally:
        # A second signal ends the process, whatever stop() waits for.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        await server.stop()


async def send_continue(request: web.BaseRequest) -> None:
    """Answer `Expect: 100-continue` (RFC 9110 10.1.1): the client may hold its body back till then.

    aiohttp's low-level server doesn't do it.
    """
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def deliver(request: web.BaseRequest, response: web.StreamResponse, pace: Pace) -> None:
    """Send the rest of a response; break the connection of a client that doesn't read it.

    Without a bound, a client that never reads would keep its answer in memory for good.
    """
    transport = request.transport
    if transport is None:
        return
    # The answer counts as sent when no byte of it is left in this process: bytes that are left
    # when aiohttp closes the connection would wait for their reader without end.
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
    # A client that has left is no error: aiohttp itself finds that out next.
    if not sending.cancelled() and not isinstance(sending.exception(), ConnectionError | None):
        sending.result()


async def deliver_piece(
    request: web.BaseRequest, response: web.StreamResponse, piece: bytes, pace: Pace
) -> None:
    """Send a piece of a streamed response; `deliver` sends the end of it.

    Raises ConnectionResetError after breaking the connection of a client that doesn't read it.
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
