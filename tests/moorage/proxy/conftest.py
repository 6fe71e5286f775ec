"""A clock for the proxy's waits, which moves only when the proxy waits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from moorage.proxy import chunked_upload, patience


@dataclass
class SteppedClock:
    """Stands in for the modules `time` and `asyncio`: to sleep is to move it."""

    now: float = 1000.0

    def monotonic(self) -> float:
        """Return the time, in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Move the time, and let other tasks run."""
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SteppedClock:
    """The clock that the module under test goes by."""
    clock = SteppedClock()
    for module in (chunked_upload, patience):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
        monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=clock.sleep))
    return clock
