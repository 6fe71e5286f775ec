"""When a whole run of the drills is good."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.registry.upload.states import TABLE
from tests.drills.figures import Figures, Loss

WHOLE = Figures(
    points=9, drilled=9, schedules=8, faults=7, kills=6, mutants=5, caught=5, rows=set(TABLE)
)


def test_a_whole_run_without_a_loss_is_good() -> None:
    """All points, all rows, all mutants, something of each kind, and nothing lost."""
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
        {"rows": set()},
        {"losses": [Loss("a case", "what was lost")]},
    ],
    ids=str,
)
def test_a_run_that_lacks_one_figure_is_not_good(changes: dict[str, object]) -> None:
    """A run that left something out has not shown that nothing is lost by it."""
    assert not replace(WHOLE, **changes).good  # type: ignore[arg-type]
