"""Calls a function as Lambda does: with a context and a deadline, each call on its own thread.

A function that raises, exits or never ends does the gateway no harm. No more calls start than there
are threads, so that a deadline counts from the moment when a call begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from moorage.gateway.event import ACCOUNT_ID, REGION
from moorage.gateway.faults import GatewayError, GatewayFault

LambdaFunction = Callable[[dict[str, Any], Any], Any]

FUNCTION_NAME: Final = "moorage"
_log = logging.getLogger("moorage.gateway")


@dataclass(frozen=True)
class LambdaContext:
    """A Lambda function's second argument, with the attributes that Lambda's Python runtime gives.

    `deadline` is on time.monotonic's clock, in seconds.
    """

    aws_request_id: str
    deadline: float
    function_name: str = FUNCTION_NAME
    function_version: str = "$LATEST"
    # The runtime reads this from the environment, so it is a string there too.
    memory_limit_in_mb: str = "1024"
    log_group_name: str = f"/aws/lambda/{FUNCTION_NAME}"
    log_stream_name: str = "local"
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{FUNCTION_NAME}"
    identity: None = None
    client_context: None = None

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds left before the deadline, never less than zero."""
        return max(0, int((self.deadline - time.monotonic()) * 1000))


@dataclass
class InvocationResult:
    """What a call returned or raised, as a value: no exception crosses from a worker thread."""

    value: Any = None
    error: BaseException | None = None


@dataclass
class Invoker:
    """Runs one function at most `threads` times at once; no caller waits over `timeout_seconds`.

    Without `queue` no call waits for a thread either, as Lambda has no queue.

    Each call has a daemon thread. Python joins the threads of a ThreadPoolExecutor when it exits,
    and one call that never ends would keep the gateway from ending.
    """

    function: LambdaFunction
    threads: int
    timeout_seconds: float
    queue: bool = True
    _slots: asyncio.Semaphore = field(init=False)
    _closed: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.threads)

    async def invoke(self, make_event: Callable[[], dict[str, Any]], request_id: str) -> Any:  # noqa: ANN401 - a function may return anything
        """Wait for a free slot, build the event, call the function, and return its value.

        The event is built as late as that, so that queued requests hold raw bodies, not base64.
        Raises GatewayError: 502 when the function raised, 504 when it ran too long, 500 when there
        is no queue and no free thread, or what `make_event` raised.
        """
        outcome = await self.call(make_event, request_id)
        if outcome is None:
            raise GatewayError(
                GatewayFault.TIMED_OUT, f"the function ran longer than {self.timeout_seconds} s"
            )
        if outcome.error is not None:
            _log.error("the function raised [%s]", request_id, exc_info=outcome.error)
            raise GatewayError(GatewayFault.FUNCTION_FAILED)
        return outcome.value

    async def call(
        self, make_event: Callable[[], dict[str, Any]], request_id: str
    ) -> InvocationResult | None:
        """Do as `invoke` does, and return its result; None when the function ran too long.

        The function then runs on and keeps its slot, since a thread cannot be stopped.
        """
        if not self.queue and self._slots.locked():
            raise GatewayError(GatewayFault.FUNCTION_THROTTLED, "every thread runs a function")
        await self._slots.acquire()
        try:
            future = self._start(make_event(), request_id)
        except BaseException:
            self._slots.release()
            raise
        future.add_done_callback(lambda _: self._slots.release())
        await asyncio.wait({future}, timeout=self.timeout_seconds)
        return future.result() if future.done() else None

    def _start(self, event: dict[str, Any], request_id: str) -> asyncio.Future[InvocationResult]:
        if self._closed:
            raise RuntimeError("the gateway has stopped: no call may begin")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[InvocationResult] = loop.create_future()
        context = LambdaContext(request_id, time.monotonic() + self.timeout_seconds)

        def run() -> None:
            outcome = self._run(event, context)
            # The loop is closed where the gateway stopped while this call ran on.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(future.set_result, outcome)

        threading.Thread(target=run, daemon=True).start()
        return future

    def _run(self, event: dict[str, Any], context: LambdaContext) -> InvocationResult:
        try:
            return InvocationResult(value=self.function(event, context))
        except BaseException as error:  # noqa: BLE001 - sys.exit in a function must not end the gateway
            return InvocationResult(error=error)

    async def drain(self) -> None:
        """Wait for calls that run or are queued, at most for `timeout_seconds`; none may follow."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.timeout_seconds):
                for _ in range(self.threads):
                    await self._slots.acquire()

    def close(self) -> None:
        """Take no more calls; one that ran too long ends by itself or with the process."""
        self._closed = True
