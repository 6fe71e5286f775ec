"""Being asked to stop by a signal, outside of asyncio.

What a signal's handler does here must never wait for a lock: the handler runs in the main
thread, which may be the one that holds it.
"""

import contextlib
import queue
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Whether the end was asked for; to be set from a signal's handler, waited on by one thread.

    threading.Event can't be: its `set` takes a lock that an interrupted `wait` may hold, and then
    both wait forever. `SimpleQueue.put` is documented to be reentrant for just this use.
    """

    def __init__(self) -> None:
        self._asked = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Ask for the end, and end the wait that is going on."""
        self._asked = True
        self._wake.put(None)

    def is_set(self) -> bool:
        """Whether the end was asked for."""
        return self._asked

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until the end is asked for or the time is over; return which, as `is_set` does."""
        if not self._asked:
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=timeout_seconds)
        return self._asked


@contextlib.contextmanager
def asked_to_stop() -> Iterator[StopRequest]:
    """Turn the signals that end a program into a request, until the block ends.

    Call it from the main thread: signals' handlers can be set only there.
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
