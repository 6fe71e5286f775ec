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
from queue import SimpleQueue
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
    """Runs one function on at most `threads` threads; nobody waits longer than `timeout_seconds`.

    The threads are daemons. Python joins those of a ThreadPoolExecutor when it exits, and one call
    that never ends would keep the gateway from ending.
    """

    function: LambdaFunction
    threads: int
    timeout_seconds: float
    _slots: asyncio.Semaphore = field(init=False)
    _idle: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _calls: int = field(init=False, default=0)
    _closed: bool = field(init=False, default=False)
    _work: SimpleQueue[Callable[[], None] | None] = field(init=False, default_factory=SimpleQueue)
    _workers: int = field(init=False, default=0)
    _running: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.threads)
        self._idle.set()

    async def invoke(self, make_event: Callable[[], dict[str, Any]], request_id: str) -> Any:  # noqa: ANN401 - a function may return anything
        """Wait for a free thread, build the event, call the function, and return its value.

        The event is built as late as that, so that queued requests hold raw bodies, not base64.
        Raises GatewayError: 502 when the function raised, 504 when it ran too long, or what
        `make_event` raised.
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

        The function then runs on and keeps its thread, since a thread cannot be stopped.
        """
        future = await self._start(make_event, request_id)
        await asyncio.wait({future}, timeout=self.timeout_seconds)
        return future.result() if future.done() else None

    async def _start(
        self, make_event: Callable[[], dict[str, Any]], request_id: str
    ) -> asyncio.Future[InvocationResult]:
        self._calls += 1
        self._idle.clear()
        try:
            await self._slots.acquire()
            try:
                future = self._begin(make_event(), request_id)
            except BaseException:
                self._slots.release()
                raise
        except BaseException:
            self._uncount()
            raise
        future.add_done_callback(self._finished)
        return future

    def _begin(self, event: dict[str, Any], request_id: str) -> asyncio.Future[InvocationResult]:
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

        if self._running == self._workers:
            threading.Thread(target=_run_all, args=(self._work,), daemon=True).start()
            self._workers += 1
        self._work.put(run)
        self._running += 1
        return future

    def _run(self, event: dict[str, Any], context: LambdaContext) -> InvocationResult:
        try:
            return InvocationResult(value=self.function(event, context))
        except BaseException as error:  # noqa: BLE001 - sys.exit in a function must not end the gateway
            return InvocationResult(error=error)

    def _finished(self, _: asyncio.Future[InvocationResult]) -> None:
        self._running -= 1
        self._slots.release()
        self._uncount()

    def _uncount(self) -> None:
        self._calls -= 1
        if self._calls == 0:
            self._idle.set()

    async def drain(self) -> None:
        """Wait for calls that run or are queued, at most for `timeout_seconds`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), self.timeout_seconds)

    def close(self) -> None:
        """Take no more calls; one that ran too long ends by itself or with the process."""
        self._closed = True
        for _ in range(self._workers):
            self._work.put(None)


def _run_all(work: SimpleQueue[Callable[[], None] | None]) -> None:
    """Run one call after the other until None comes; hold no reference to a finished call."""
    while True:
        call = work.get()
        if call is None:
            return
        call()
        del call
