"""A registry in memory for the tests of the collector."""

from __future__ import annotations

import pytest

from tests.chalicelib.registry.collector.pushing import Shop


@pytest.fixture
def shop() -> Shop:
    """An empty registry, whose clock stands."""
    return Shop()
