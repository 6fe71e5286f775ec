"""The command, the backend of its tests (plain moto, which has SSM too), and a clock for waits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from moorage.common import chunked_upload, patience
from tests.support.moorage_command import Command, forget_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.emulators.backends import Backend


@pytest.fixture(scope="session")
def moto() -> Iterator[Backend]:
    """One moto for all, in this process: it has an account of its own beside strict moto's."""
    # moto takes a second, which whoever only hands out the tests need not take.
    from tests.emulators.moto_here import moto_here  # noqa: PLC0415 - as said

    with moto_here(strict=False, account="111111111111") as started:
        yield started


@pytest.fixture
def backend(moto: Backend) -> Backend:
    """An empty bucket and empty tables."""
    return moto.fresh()


@pytest.fixture
def moorage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """The command on a machine without any settings of AWS."""
    forget_settings(monkeypatch, tmp_path)
    return Command(capsys)


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
    """The clock that waits for a registry go by."""
    clock = SteppedClock()
    for module in (chunked_upload, patience):
        monkeypatch.setattr(
            module, "time", SimpleNamespace(monotonic=clock.monotonic, time=clock.monotonic)
        )
        monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=clock.sleep))
    return clock
