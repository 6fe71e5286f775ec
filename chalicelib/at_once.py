"""Many calls at once, for work that mostly waits for answers; and calls beside such work.

This module must never end a call that has begun, nor hide what one raised.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import Context, copy_context
from threading import Event, Thread
from typing import Protocol, TypeVar

T = TypeVar("T")


class AtOnce(Protocol):
    """Makes calls, at most so many at once."""

    def __call__(self, most: int, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Return the answers in the order of the calls, when all have ended.

        Once one has raised, what has not begun may be left. Its error is raised when what has
        begun has ended.
        """


def in_threads(most: int, calls: Sequence[Callable[[], T]]) -> list[T]:
    """`AtOnce` by threads of this process; where that is one, the caller's own."""
    if min(most, len(calls)) <= 1:
        return [call() for call in calls]
    # Most first requests of a process call nothing at once.
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    # Each thread's calls are the invocation's: they count into its tally.
    contexts = [copy_context() for _ in calls]
    with ThreadPoolExecutor(min(most, len(calls))) as pool:
        return list(pool.map(Context.run, contexts, calls))


class Meanwhile(Protocol):
    """Makes a call again and again while a block runs."""

    def __call__(self, every: float, call: Callable[[], bool]) -> AbstractContextManager[None]:
        """Call after so many seconds, and so on until it returns False, or the block ends.

        The call raises nothing. None is under way any more when the block has ended.
        """


@contextmanager
def in_a_thread(every: float, call: Callable[[], bool]) -> Iterator[None]:
    """`Meanwhile` by a thread of this process, which ends with it."""
    ended = Event()

    def repeat() -> None:
        while not ended.wait(every) and call():
            pass

    thread = Thread(target=copy_context().run, args=(repeat,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
