"""The memory that bodies take: a bound on what requests hold, and giving large buffers back.

Bodies of some MiB pass through several threads; glibc's defaults keep them in one arena for each
thread and never shrink those. It never fails where there is no glibc.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

MOST_HELD: Final = 128 * 1024 * 1024
"""Bytes of bodies that all requests together may hold: 28 of the largest that fit an event."""

# From malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

# Measured with 4 MiB bodies, 8 at once: peak growth 50 to 90 MB, against 80 to 115 MB with arenas
# bounded alone and 95 to 155 MB with glibc's defaults. It costs some ms of page faults a body.
_LARGE: Final = 1024 * 1024
_KEPT: Final = 8 * 1024 * 1024


@dataclass
class Memory:
    """The bytes of bodies and answers that all requests hold: never more than `most`."""

    most: int = MOST_HELD
    held: int = 0


class Share:
    """What one request holds of it, given back when the block ends at the latest."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.give_back()

    def take(self, size: int) -> bool:
        """Take `size` bytes more, and say so; take none when there aren't as many."""
        if self._memory.held + size > self._memory.most:
            return False
        self._memory.held += size
        self._size += size
        return True

    def give_back(self) -> None:
        """Give all back."""
        self._memory.held -= self._size
        self._size = 0


def return_large_buffers() -> bool:
    """Make malloc map buffers over 1 MiB alone and share two arenas; say whether it could.

    Setting the mmap threshold also fixes it: by default glibc raises it to the size of the
    largest buffer freed, after which bodies are cut from arenas and fragment them.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_ARENA_MAX, 2), (_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, _KEPT))
    accepted = [mallopt(name, value) == 1 for name, value in settings]
    return all(accepted)
