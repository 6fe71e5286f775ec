"""Fixtures shared by all tests: backends are expensive processes, one for each test session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.backends import Backend, moto_backend
from tests.support.registries import RegistryUnderTest, registry_over

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def strict_moto() -> Iterator[Backend]:
    """moto, made to refuse what S3 refuses."""
    with moto_backend() as backend:
        yield backend


@pytest.fixture
def registry(strict_moto: Backend) -> RegistryUnderTest:
    """An empty registry over strict moto."""
    return registry_over(strict_moto.fresh())
