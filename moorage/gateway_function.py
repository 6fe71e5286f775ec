"""Calling the function as Lambda does: a context, a deadline, as many at once as there are threads.

A function that raises, exits or overruns never harms the gateway. It never starts more calls
than threads, so that a deadline counts from the moment a call begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from moorage.gateway_event import ACCOUNT_ID, REGION
from moorage.gateway_fault import Fault, GatewayError

LambdaFunction = Callable[[dict[str, Any], Any], Any]

FUNCTION_NAME: Final = "moorage"
_log = logging.getLogger("moorage.gateway")


@dataclass(frozen=True)
class LambdaContext:
    """The second argument of a Lambda function, with the attributes of the Python runtime.

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
        """Give the milliseconds left before the deadline, never less than zero."""
        return max(0, int((self.deadline - time.monotonic()) * 1000))


@dataclass
class Outcome:
    """What a call came to. A plain value: no exception crosses from a worker thread."""

    value: Any = None
    error: BaseException | None = None


@dataclass
class Invoker:
    """Runs one function in a pool of `threads`; a call is given up after `timeout_seconds`."""

    function: LambdaFunction
    threads: int
    timeout_seconds: float
    _slots: asyncio.Semaphore = field(init=False)
    _pool: ThreadPoolExecutor = field(init=False)
    _idle: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _calls: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.threads)
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="gateway")
        self._idle.set()

    async def invoke(self, make_event: Callable[[], dict[str, Any]], request_id: str) -> Any:  # noqa: ANN401 - a function may return anything
        """Wait for a free thread, build the event, call the function, give what it returned.

        The event is built only then, so that requests that queue hold raw bodies and not base64.
        Raises GatewayError: 502 when the function raised, 504 when it overran, or what
        `make_event` raised.
        """
        outcome = await self.call(make_event, request_id)
        if outcome is None:
            raise GatewayError(
                Fault.TIMED_OUT, f"the function ran longer than {self.timeout_seconds} s"
            )
        if outcome.error is not None:
            _log.error("the function raised [%s]", request_id, exc_info=outcome.error)
            raise GatewayError(Fault.FUNCTION_FAILED)
        return outcome.value

    async def call(
        self, make_event: Callable[[], dict[str, Any]], request_id: str
    ) -> Outcome | None:
        """Do as `invoke` does, and give what it came to; None when the function overran.

        It then runs on, and keeps its thread, since a thread cannot be stopped.
        """
        future = await self._start(make_event, request_id)
        await asyncio.wait({future}, timeout=self.timeout_seconds)
        return future.result() if future.done() else None

    async def _start(
        self, make_event: Callable[[], dict[str, Any]], request_id: str
    ) -> asyncio.Future[Outcome]:
        self._calls += 1
        self._idle.clear()
        try:
            await self._slots.acquire()
            try:
                event = make_event()
                context = LambdaContext(request_id, time.monotonic() + self.timeout_seconds)
                loop = asyncio.get_running_loop()
                future = loop.run_in_executor(self._pool, self._run, event, context)
            except BaseException:
                self._slots.release()
                raise
        except BaseException:
            self._forget()
            raise
        future.add_done_callback(self._finished)
        return future

    def _run(self, event: dict[str, Any], context: LambdaContext) -> Outcome:
        try:
            return Outcome(value=self.function(event, context))
        except BaseException as error:  # noqa: BLE001 - sys.exit in a function must not end the gateway
            return Outcome(error=error)

    def _finished(self, _: asyncio.Future[Outcome]) -> None:
        self._slots.release()
        self._forget()

    def _forget(self) -> None:
        self._calls -= 1
        if self._calls == 0:
            self._idle.set()

    async def drain(self) -> None:
        """Wait for calls that run or queue, at most as long as one call may last."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), self.timeout_seconds)

    def close(self) -> None:
        """Take no more calls; one that overran is left to end by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
