"""A gateway, a proxy or a client that is killed in mid-push loses nothing that was kept."""

from __future__ import annotations

import pytest

from tests.drills import kills


@pytest.mark.timeout(900)  # longer than the drill's own patience
@pytest.mark.parametrize("way", kills.WAYS)
def test_a_push_outlives_its_gateway_or_goes_on(way: str) -> None:
    """Killed in the body and in the commit, the gateway comes back, or the client does."""
    assert kills.run(rounds=2, seed=29, way=way, size=40_000_000) == 2
