"""A stop that a signal requests, outside of asyncio.

A signal's handler must never wait for a lock: it runs in the main thread, which may be the one that
holds the lock.
"""

import contextlib
import queue
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Whether a stop was requested: set by a signal's handler, waited for by one thread.

    threading.Event would not do: its `set` takes a lock that an interrupted `wait` may hold, and
    then both wait forever. `SimpleQueue.put` is documented to be reentrant for this use.
    """

    def __init__(self) -> None:
        self._asked = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Request the stop, and end a wait."""
        self._asked = True
        self._wake.put(None)

    def is_set(self) -> bool:
        """Whether the stop was requested."""
        return self._asked

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until the stop is requested or the time is over; return `is_set`."""
        if not self._asked:
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=timeout_seconds)
        return self._asked


@contextlib.contextmanager
def asked_to_stop() -> Iterator[StopRequest]:
    """Turn the signals that end a program into a stop request, until the block ends.

    Call it from the main thread, where alone signal handlers can be set.
    """
    stopping = StopRequest()

    def remember(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    before = [signal.signal(number, remember) for number in _SIGNALS]
    try:
        yield stopping
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
