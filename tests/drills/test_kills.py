"""A gateway that is killed in mid-push costs no byte that was kept."""

from __future__ import annotations

import pytest

from tests.drills import kills


@pytest.mark.timeout(900)  # longer than the drill's own patience
def test_a_push_outlives_its_gateway() -> None:
    """Killed in the body and in the commit, the gateway comes back and the push goes on."""
    assert kills.run(rounds=2, seed=29, size=40_000_000) == 2
