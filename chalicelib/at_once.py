"""Many calls at once, for work that mostly waits for answers.

This module must never end a call that has begun, nor hide what one raised.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
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
    # Each thread's calls are the invocation's: they count into its tally.
    contexts = [copy_context() for _ in calls]
    with ThreadPoolExecutor(min(most, len(calls))) as pool:
        return list(pool.map(Context.run, contexts, calls))
