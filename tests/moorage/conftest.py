"""The command, and the backend of its tests: plain moto, which has SSM and CloudFormation too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.emulators.backends import Backend, moto_backend
from tests.support.moorage_command import Command, forget_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def moto() -> Iterator[Backend]:
    """One moto for all."""
    with moto_backend(strict=False) as started:
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
