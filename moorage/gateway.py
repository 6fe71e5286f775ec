"""An HTTP server that behaves as API Gateway and Lambda do, in front of any Lambda function.

The local registry runs behind it, so that what works on a laptop works on AWS. It never
imports `app` but in load_function, and is never imported by chalicelib.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from aiohttp import web

from moorage.connections import BoundedServer, Pace, deliver
from moorage.gateway_body import Received, receive
from moorage.gateway_event import Incoming, Route, build_event, match
from moorage.gateway_fault import Fault, GatewayError
from moorage.gateway_function import Invoker, LambdaFunction
from moorage.gateway_response import Answer, HeadMode, read_answer, to_http
from moorage.memory import MOST_HELD, Memory, Share, return_large_buffers

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Gateway", "GatewayOptions", "HeadMode", "LambdaFunction", "load_function", "serve"]

# Connections that are mid-request when the functions have drained.
_SHUTDOWN_SECONDS: Final = 1.0

_log = logging.getLogger("moorage.gateway")


@dataclass(frozen=True)
class GatewayOptions:
    """Where to listen (port 0: any free one) and how to behave.

    `threads` is the number of functions at once; further requests queue. `timeout_seconds` is
    both the integration's timeout and the function's deadline. A client may pause for
    `idle_seconds`, and its body may take `slow_seconds` on top of a second for each 16 KiB.
    `most_held` is how many bytes of bodies all requests together may hold.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    head_mode: HeadMode = HeadMode.BODY
    threads: int = 8
    timeout_seconds: float = 29.0
    idle_seconds: float = 60.0
    slow_seconds: float = 60.0
    most_held: int = MOST_HELD


class Gateway:
    """One listening server in front of one function; start and stop it in one event loop."""

    def __init__(self, function: LambdaFunction, options: GatewayOptions) -> None:
        self._function = function
        self._options = options
        self._port = options.port
        self._pace = Pace(options.idle_seconds, options.slow_seconds)
        self._memory = Memory(options.most_held)
        self._stopping = False
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None
        self._invoker: Invoker | None = None

    @property
    def url(self) -> str:
        """The server's root, without a trailing slash; the registry is under `/v2/` of it."""
        host = self._options.host
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises OSError when the address is taken or not ours."""
        return_large_buffers()
        runner = web.ServerRunner(
            # Lambda runs on when its caller leaves, and so must a write to the registry.
            BoundedServer(self._handle, handler_cancellation=False),
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        await runner.setup()
        site = web.TCPSite(runner, self._options.host, self._options.port)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner, self._site = runner, site
        self._port = runner.addresses[0][1]
        self._invoker = Invoker(
            self._function, self._options.threads, self._options.timeout_seconds
        )
        self._stopping = False

    async def stop(self) -> None:
        """Stop listening, let functions that began end and be answered, close every connection."""
        if self._runner is None or self._site is None or self._invoker is None:
            return
        self._stopping = True
        await self._site.stop()
        await self._invoker.drain()
        await self._runner.cleanup()
        self._invoker.close()
        self._runner = self._site = self._invoker = None

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one request and log it; the one exit, so that no traceback leaves the server."""
        began = time.monotonic()
        incoming = Incoming.of(request, self._port)
        with Share(self._memory) as share:
            answer, close = await self._answer_always(request, incoming, share)
            _log.info(
                "%s %s %d %d ms",
                incoming.method,
                incoming.path,
                answer.status,
                (time.monotonic() - began) * 1000,
            )
            mode = self._options.head_mode
            response = to_http(answer, incoming.method, mode, incoming.request_id, close=close)
            await deliver(request, response, self._pace)
        return response

    async def _answer_always(
        self, request: web.BaseRequest, incoming: Incoming, share: Share
    ) -> tuple[Answer, bool]:
        """Answer whatever happens; the second value says that the connection must close."""
        try:
            return await self._answer(request, incoming, share), False
        except GatewayError as error:
            if error.detail:
                _log.warning("%s [%s]", error.detail, incoming.request_id)
            # What follows a CONNECT is unread, and no next request.
            return Answer.of_fault(error.fault), error.close or incoming.method == "CONNECT"
        except Exception:  # noqa: BLE001 - a bug here is one request's 500, logged, not told
            _log.exception("the gateway failed [%s]", incoming.request_id)
            return Answer.of_fault(Fault.GATEWAY_FAILED), False

    async def _answer(self, request: web.BaseRequest, incoming: Incoming, share: Share) -> Answer:
        received = await receive(request, self._pace, share)
        if self._stopping or self._invoker is None:
            raise GatewayError(Fault.STOPPING, close=True)
        if not received.fits_gateway:
            raise GatewayError(Fault.BODY_TOO_LARGE, close=not received.ended)
        route = match(incoming.method, incoming.path)
        if not received.fits_event:
            raise GatewayError(Fault.EVENT_TOO_LARGE)
        if received.crowded:
            raise GatewayError(Fault.TOO_MANY, "other requests hold all the memory for bodies")

        def make_event() -> dict[str, Any]:
            try:
                return _take_event(incoming, route, received)
            finally:
                share.give_back()

        answer = read_answer(await self._invoker.invoke(make_event, incoming.request_id))
        if not share.take(len(answer.body)):
            raise GatewayError(Fault.TOO_MANY, "other answers hold all the memory for bodies")
        return answer


def _take_event(incoming: Incoming, route: Route, received: Received) -> dict[str, Any]:
    """Build the event and let the raw body go: from here on only its base64 is needed."""
    try:
        return build_event(incoming, route, received.content)
    finally:
        received.content.clear()


def load_function() -> LambdaFunction:
    """Import the registry's own function: `app` in `app.py`, a Chalice object.

    By name and only when asked, so that whatever needs only the gateway loads no registry.
    """
    return cast("LambdaFunction", importlib.import_module("app").app)


async def serve(options: GatewayOptions) -> None:
    """Run the registry's function behind a gateway until SIGINT or SIGTERM, then drain.

    Prints `gateway ready on URL` when it listens. Raises OSError when the port is taken.
    """
    gateway = Gateway(load_function(), options)
    await gateway.start()
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_stop.set)
    sys.stdout.write(f"gateway ready on {gateway.url}\n")
    sys.stdout.flush()
    try:
        await asked_to_stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        await gateway.stop()
