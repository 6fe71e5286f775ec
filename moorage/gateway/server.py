"""An HTTP server that behaves as API Gateway and Lambda do, in front of any Lambda function.

The local registry runs behind it, so that what works on a laptop works on AWS. It never
imports `app` but in load_function, and is never imported by chalicelib.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from aiohttp import web

from moorage.common.http_server import BoundedServer, Pace, deliver
from moorage.common.memory import MOST_HELD, Memory, Share, return_large_buffers
from moorage.gateway.authorizer import Guard
from moorage.gateway.body import Received, receive
from moorage.gateway.event import Incoming, build_event
from moorage.gateway.fault import Fault, GatewayError
from moorage.gateway.front import ChaliceApp, Front, front_of
from moorage.gateway.function import Invoker, LambdaFunction
from moorage.gateway.response import GatewayResponse, HeadMode, read_answer, to_http

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from moorage.gateway.routes import MatchedResource

__all__ = [
    "Front",
    "Gateway",
    "GatewayOptions",
    "HeadMode",
    "LambdaFunction",
    "load_function",
    "serve",
]

# Connections that are mid-request when the functions have drained.
_SHUTDOWN_SECONDS: Final = 1.0
_OPEN: Final = Front()

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

    def __init__(
        self, function: LambdaFunction, options: GatewayOptions, front: Front = _OPEN
    ) -> None:
        self._function = function
        self._front = front
        self._options = options
        self._port = options.port
        self._pace = Pace(options.idle_seconds, options.slow_seconds)
        self._memory = Memory(options.most_held)
        self._stopping = False
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None
        self._invoker: Invoker | None = None
        self._guards: dict[int, Guard] = {}

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
        self._guards = {
            id(authorizer): Guard(authorizer, self._options.threads)
            for authorizer in self._front.authorizers.values()
        }
        self._stopping = False

    async def stop(self) -> None:
        """Stop listening, let functions that began end and be answered, close every connection."""
        if self._runner is None or self._site is None or self._invoker is None:
            return
        self._stopping = True
        await self._site.stop()
        for guard in self._guards.values():
            await guard.drain()
        await self._invoker.drain()
        await self._runner.cleanup()
        for guard in self._guards.values():
            guard.close()
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
    ) -> tuple[GatewayResponse, bool]:
        """Answer whatever happens; the second value says that the connection must close."""
        try:
            return await self._answer(request, incoming, share), False
        except GatewayError as error:
            if error.detail:
                _log.warning("%s [%s]", error.detail, incoming.request_id)
            # What follows a CONNECT is unread, and no next request.
            close = error.close or incoming.method == "CONNECT"
            return self._front.answers.to(error.fault), close
        except Exception:  # noqa: BLE001 - a bug here is one request's 500, logged, not told
            _log.exception("the gateway failed [%s]", incoming.request_id)
            return GatewayResponse.of_fault(Fault.GATEWAY_FAILED), False

    async def _answer(
        self, request: web.BaseRequest, incoming: Incoming, share: Share
    ) -> GatewayResponse:
        received = await receive(request, self._pace, share)
        self._require_running()
        if not received.fits_gateway:
            raise GatewayError(Fault.BODY_TOO_LARGE, close=not received.ended)
        route = self._front.resources.match(incoming.method, incoming.path)
        caller = await self._caller(incoming, route)
        if not received.fits_event:
            raise GatewayError(Fault.EVENT_TOO_LARGE)
        if received.crowded:
            raise GatewayError(Fault.TOO_MANY, "other requests hold all the memory for bodies")

        def make_event() -> dict[str, Any]:
            try:
                return _take_event(incoming, route, received, caller)
            finally:
                share.give_back()

        invoker = self._require_running()
        answer = read_answer(await invoker.invoke(make_event, incoming.request_id))
        if not share.take(len(answer.body)):
            raise GatewayError(Fault.TOO_MANY, "other answers hold all the memory for bodies")
        return answer

    def _require_running(self) -> Invoker:
        """Give the invoker; once stopping, no function begins that could be cut off."""
        if self._stopping or self._invoker is None:
            raise GatewayError(Fault.STOPPING, close=True)
        return self._invoker

    async def _caller(
        self, incoming: Incoming, route: MatchedResource
    ) -> Mapping[str, str | int] | None:
        """Ask the method's authorizer who is calling; None where it has none."""
        authorizer = self._front.authorizers.get((route.resource, incoming.method))
        if authorizer is None:
            return None
        return await self._guards[id(authorizer)].admit(incoming, route)


def _take_event(
    incoming: Incoming,
    route: MatchedResource,
    received: Received,
    caller: Mapping[str, str | int] | None,
) -> dict[str, Any]:
    """Build the event and let the raw body go: from here on only its base64 is needed."""
    try:
        return build_event(incoming, route, received.content, caller)
    finally:
        received.content.clear()


def load_function() -> LambdaFunction:
    """Import the registry's own function: `app` in `app.py`, a Chalice object.

    By name and only when asked, so that whatever needs only the gateway loads no registry.
    """
    return cast("LambdaFunction", importlib.import_module("app").app)


def _front(function: LambdaFunction) -> Front:
    """Read what stands before a Chalice object; before any other function, nothing does."""
    routes = getattr(function, "routes", None)
    return _OPEN if routes is None else front_of(cast("ChaliceApp", function), os.environ)


async def serve(options: GatewayOptions) -> None:
    """Run the registry's function behind a gateway until SIGINT or SIGTERM, then drain.

    Prints `gateway ready on URL` when it listens. Raises OSError when the port is taken.
    """
    # At the level of debug the SDK logs what AWS answers, and signing keys are among that.
    sdk = logging.getLogger("botocore")
    sdk.setLevel(max(logging.INFO, sdk.getEffectiveLevel()))
    function = load_function()
    gateway = Gateway(function, options, _front(function))
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
