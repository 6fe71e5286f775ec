"""Bounds the memory that bodies take, and gives large buffers back to the system.

Bodies of some MiB pass through several threads; glibc keeps them in an arena of each thread, and
never shrinks those. Where there is no glibc, nothing here fails.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_HELD: Final = 128 * 1024 * 1024
"""Bytes of bodies that all requests together may hold: 28 of the largest that fit an event."""

# From malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

# Measured with 4 MiB bodies, 8 at once: peak growth 50 to 90 MB, against 80 to 115 MB with arenas
# bounded alone and 95 to 155 MB with glibc's defaults. The cost is some ms of page faults a body.
_LARGE: Final = 1024 * 1024
_KEPT: Final = 8 * 1024 * 1024


@dataclass
class BodyMemory:
    """The bytes of bodies and answers that all requests hold, at most `most`."""

    most: int = MOST_HELD
    held: int = 0

    @contextlib.contextmanager
    def share(self) -> Iterator[MemoryShare]:
        """Give one request a share, whose bytes are given back when the block ends."""
        share = MemoryShare(self)
        try:
            yield share
        finally:
            share.give_back()


class MemoryShare:
    """The bytes that one request holds."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._size = 0

    def take(self, size: int) -> bool:
        """Take `size` bytes more and return True; False, and none taken, if they aren't free."""
        return self.resize(self._size + size)

    def resize(self, size: int) -> bool:
        """Hold `size` bytes and return True; False, and as many as before, if they aren't free."""
        more = size - self._size
        if more > 0 and self._memory.held + more > self._memory.most:
            return False
        self._memory.held += more
        self._size = size
        return True

    def give_back(self) -> None:
        """Give all of them back."""
        self.resize(0)


def return_large_buffers() -> bool:
    """Make malloc map each buffer over 1 MiB by itself, and use two arenas; return its success.

    A threshold that is set stays: by default glibc raises it to the size of the largest buffer
    that was freed, and later bodies are then cut from arenas, which they fragment.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_ARENA_MAX, 2), (_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, _KEPT))
    accepted = [mallopt(name, value) == 1 for name, value in settings]
    return all(accepted)
