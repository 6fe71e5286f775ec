"""Emulators as a local registry has them: processes of their own, one without SSM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.emulators.backends import Backend, ministack_backend, moto_backend

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def ministack() -> Iterator[Backend]:
    """One MiniStack for all: it has S3 and DynamoDB, and no SSM."""
    with ministack_backend() as started:
        yield started


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
