"""The backend of the command's tests: plain moto, which has SSM and CloudFormation too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.emulators.backends import Backend, moto_backend

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def moto() -> Iterator[Backend]:
    """One moto for all."""
    with moto_backend(strict=False) as started:
        yield started


@pytest.fixture
def backend(moto: Backend) -> Backend:
    """An empty bucket and empty tables."""
    return moto.fresh()
