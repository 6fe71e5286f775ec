"""An emulator without SSM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.emulators.backends import Backend, ministack_backend

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def ministack() -> Iterator[Backend]:
    """One MiniStack for all: it has S3 and DynamoDB, and no SSM."""
    with ministack_backend() as started:
        yield started
