"""What the last line of a whole run takes for good."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.drills.tally import Loss, Tally

WHOLE = Tally(points=9, drilled=9, schedules=8, faults=7, kills=6, mutants=5, caught=5)


def test_a_whole_run_without_a_loss_is_good() -> None:
    """All points, all mutants, something of each kind, and nothing lost."""
    assert WHOLE.good


@pytest.mark.parametrize(
    "changes",
    [
        {"drilled": 8},
        {"points": 0, "drilled": 0},
        {"schedules": 0},
        {"faults": 0},
        {"kills": 0},
        {"caught": 4},
        {"mutants": 0, "caught": 0},
        {"losses": [Loss("a case", "what was lost")]},
    ],
    ids=str,
)
def test_each_lack_alone_is_not_good(changes: dict[str, object]) -> None:
    """A run that left something out has not shown that nothing is lost by it."""
    assert not replace(WHOLE, **changes).good  # type: ignore[arg-type]
