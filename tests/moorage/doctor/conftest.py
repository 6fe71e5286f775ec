"""The registries that doctor is put before, both ways in which a gateway treats a HEAD."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.settings import HeadStrategy
from tests.moorage.doctor.broken_gateway import MemoryRegistry, run_registry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def counting() -> Iterator[MemoryRegistry]:
    """A registry whose gateway counts a HEAD's body, set up for that."""
    with run_registry(counts=True, strategy=HeadStrategy.BODY) as running:
        yield running


@pytest.fixture(scope="module")
def redirecting() -> Iterator[MemoryRegistry]:
    """A registry whose gateway says 0 to every HEAD, set up for that."""
    with run_registry(counts=False, strategy=HeadStrategy.REDIRECT) as running:
        yield running
