"""moto as a local registry has it: a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.emulators.backends import Backend, moto_backend

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def strict_moto() -> Iterator[Backend]:
    """Strict moto as a child process, whose memory and port can be looked at."""
    with moto_backend() as started:
        yield started


@pytest.fixture(scope="session")
def moto() -> Iterator[Backend]:
    """Moto as a child process: what `moorage local` starts."""
    with moto_backend(strict=False) as started:
        yield started
