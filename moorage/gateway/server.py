"""An HTTP server that behaves as API Gateway and Lambda do, in front of any Lambda function.

The local registry runs behind it, so that what works on a laptop works on AWS. Only load_function
loads app.py, and chalicelib never imports this module.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, replace
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import TYPE_CHECKING, Final, cast

from moorage.common.hosts import AllowedHosts, page_origins
from moorage.common.http_server import (
    BoundedServer,
    Pace,
    deliver,
    listen,
    serve_until_signal,
    url_of,
)
from moorage.common.memory import MOST_HELD, BodyMemory, return_large_buffers
from moorage.common.project import PROJECT
from moorage.gateway.authorizer import RunningAuthorizer
from moorage.gateway.body import MAX_BODY_BYTES, receive
from moorage.gateway.event import MAX_EVENT_BODY, GatewayRequest, build_event
from moorage.gateway.faults import GatewayError, GatewayFault, GatewayResponse
from moorage.gateway.function import Invoker, LambdaFunction
from moorage.gateway.response import HeadMode, read_answer, to_http
from moorage.gateway.rest_api import RestApi, rest_api_of
from moorage.gateway.schedule import Schedule, scheduled_functions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from typing import Any

    from aiohttp import web

    from moorage.common.memory import MemoryShare
    from moorage.gateway.resources import MatchedResource

# How long connections may finish their request after the last function has ended.
_SHUTDOWN_SECONDS: Final = 1.0
_OPEN: Final = RestApi()

_log = logging.getLogger("moorage.gateway")


@dataclass(frozen=True)
class GatewayOptions:
    """Where to listen (port 0: any free one), and the limits.

    `threads` is how many functions run at once; further requests queue, or without `queue` are
    refused as by a Lambda that is throttled. `timeout_seconds` is the integration's timeout and the
    function's deadline. A client may pause for `idle_seconds`, and
    its body may take `slow_seconds` on top of a second for each 16 KiB. `most_held` is how many
    bytes of bodies all requests together may hold. `allow_hosts` are answered to beside this
    machine's names, and pages of `cors_origins`. `every_seconds` is how often scheduled functions
    run; None: as app.py says.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    head_mode: HeadMode = HeadMode.BODY
    threads: int = 8
    queue: bool = True
    timeout_seconds: float = 29.0
    idle_seconds: float = 60.0
    slow_seconds: float = 60.0
    most_held: int = MOST_HELD
    allow_hosts: Sequence[str] = ()
    cors_origins: Sequence[str] = ()
    every_seconds: float | None = None


class Gateway:
    """One listening server in front of one function; start and stop it in one event loop."""

    def __init__(
        self, function: LambdaFunction, options: GatewayOptions, api: RestApi = _OPEN
    ) -> None:
        self._function = function
        self._api = api
        self._options = options
        self._port = options.port
        self._pace = Pace(options.idle_seconds, options.slow_seconds)
        self._memory = BodyMemory(options.most_held)
        self._stopping = False
        self._runner: web.ServerRunner | None = None
        self._invoker: Invoker | None = None
        self._authorizers: dict[int, RunningAuthorizer] = {}
        self._schedule = Schedule(scheduled_functions(function), options.every_seconds)

    @property
    def url(self) -> str:
        """The server's root, without a trailing slash; the registry is under `/v2/` of it."""
        return url_of(self._options.host, self._port)

    async def start(self) -> None:
        """Listen. Raises OSError when the address is taken or is not this machine's."""
        return_large_buffers()
        # Lambda runs on when its caller leaves: a write to the registry must here, too.
        hosts = AllowedHosts(
            self._options.host, self._options.allow_hosts, self._options.cors_origins
        )
        server = BoundedServer(self._handle, hosts, handler_cancellation=False)
        self._runner = await listen(
            server, self._options.host, self._options.port, _SHUTDOWN_SECONDS
        )
        self._port = self._runner.addresses[0][1]
        self._invoker = Invoker(
            self._function,
            self._options.threads,
            self._options.timeout_seconds,
            queue=self._options.queue,
        )
        self._authorizers = {
            id(authorizer): RunningAuthorizer(authorizer, self._options.threads)
            for authorizer in self._api.authorizers.values()
        }
        self._stopping = False
        self._schedule.start()

    async def stop(self) -> None:
        """Stop listening, answer what functions have begun, then close every connection."""
        if self._runner is None or self._invoker is None:
            return
        self._stopping = True
        self._schedule.stop()
        for site in self._runner.sites:
            await site.stop()
        for authorizer in self._authorizers.values():
            await authorizer.drain()
        await self._invoker.drain()
        await self._runner.cleanup()
        for authorizer in self._authorizers.values():
            authorizer.close()
        self._invoker.close()
        self._runner = self._invoker = None

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one request and log it; the one exit, so that no traceback leaves the server."""
        began = time.monotonic()
        incoming = GatewayRequest.of(request, self._port)
        with self._memory.share() as share:
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
        self, request: web.BaseRequest, incoming: GatewayRequest, share: MemoryShare
    ) -> tuple[GatewayResponse, bool]:
        """Answer, whatever happens; the second value says that the connection must close."""
        try:
            return await self._answer(request, incoming, share), False
        except GatewayError as error:
            if error.detail:
                _log.warning("%s [%s]", error.detail, incoming.request_id)
            # The bytes after a CONNECT are unread, and are no next request.
            close = error.close or incoming.method == "CONNECT"
            return self._api.answers.to(error.fault), close
        except Exception:  # noqa: BLE001 - a bug here is one request's 500; its text is logged only
            _log.exception("the gateway failed [%s]", incoming.request_id)
            return self._api.answers.to(GatewayFault.GATEWAY_FAILED), False

    async def _answer(
        self, request: web.BaseRequest, incoming: GatewayRequest, share: MemoryShare
    ) -> GatewayResponse:
        received = await receive(request, self._pace, share)
        self._require_running()
        if received.length > MAX_BODY_BYTES:
            raise GatewayError(GatewayFault.BODY_TOO_LARGE, close=not received.ended)
        route = self._api.resources.match(incoming.method, incoming.path)
        caller = await self._authorize(incoming, route)
        if received.length > MAX_EVENT_BODY:
            raise GatewayError(GatewayFault.EVENT_TOO_LARGE)
        if received.crowded:
            raise GatewayError(GatewayFault.TOO_MANY, "requests hold all the memory for bodies")

        def make_event() -> dict[str, Any]:
            try:
                return build_event(incoming, route, received.content, caller)
            finally:
                # From here on only the base64 is needed.
                received.content.clear()
                share.give_back()

        invoker = self._require_running()
        answer = read_answer(await invoker.invoke(make_event, incoming.request_id))
        if not share.take(len(answer.body)):
            raise GatewayError(GatewayFault.TOO_MANY, "answers hold all the memory for bodies")
        return answer

    def _require_running(self) -> Invoker:
        """Return the invoker; raises GatewayError once stopping, as a function could be cut off."""
        if self._stopping or self._invoker is None:
            raise GatewayError(GatewayFault.STOPPING, close=True)
        return self._invoker

    async def _authorize(
        self, incoming: GatewayRequest, route: MatchedResource
    ) -> Mapping[str, str | int] | None:
        """Return what the method's authorizer says of the caller; None where it has none."""
        authorizer = self._api.authorizers.get((route.resource, incoming.method))
        if authorizer is None:
            return None
        return await self._authorizers[id(authorizer)].authorize(incoming, route)


def load_function() -> LambdaFunction:
    """Load the registry's own function: `app` in the project's app.py, a Chalice object.

    By its path, so that no other module named `app` is taken for it; and only when called, so that
    a program that needs only the gateway loads no registry.
    """
    loader = SourceFileLoader("app", str(PROJECT / "app.py"))
    module = module_from_spec(cast("ModuleSpec", spec_from_loader("app", loader)))
    loader.exec_module(module)
    return cast("LambdaFunction", module.app)


async def serve(options: GatewayOptions) -> None:
    """Run the registry's function behind a gateway until SIGINT or SIGTERM, then drain.

    Prints `gateway ready on URL` when it listens. Raises OSError when the port is taken.
    """
    # Slow to load, and of use only where the function loads it too.
    from moorage.common.aws import quiet_sdk  # noqa: PLC0415

    quiet_sdk()
    function = load_function()
    api = rest_api_of(function, os.environ)
    options = replace(options, cors_origins=page_origins(os.environ))
    await serve_until_signal("gateway", Gateway(function, options, api))
