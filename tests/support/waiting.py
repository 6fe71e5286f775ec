"""Waiting for what comes soon, however slow the machine: never for a time that should be enough."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def until(true: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait until something is true; fail, naming `what` didn't come, when it isn't in time."""
    given_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < given_up, f"in {seconds:.0f} s it never came to be that {what}"
        time.sleep(0.01)
