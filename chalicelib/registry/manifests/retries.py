"""Work on a manifest is done again where others changed what it had read.

This module must never repeat work that failed for another reason.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from chalicelib.errors import UnavailableError
from chalicelib.registry.outcomes import ManifestMovedError

if TYPE_CHECKING:
    from chalicelib.registry.ports import Clock

T = TypeVar("T")

_TRIES = 6


def retried(clock: "Clock", work: Callable[[], T]) -> T:
    """Repeat `work` while others change what it has read; raises UnavailableError."""
    for attempt in range(_TRIES):
        if attempt:
            clock.sleep(random.uniform(0.02, 0.1) * attempt)  # noqa: S311 - jitter
        try:
            return work()
        except ManifestMovedError:
            continue
    raise UnavailableError("the manifest or its tags keep being changed by others")
