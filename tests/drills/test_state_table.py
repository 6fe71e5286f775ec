"""Every move of a session that the state table allows is made by some drill."""

from __future__ import annotations

from chalicelib.registry.upload.states import TABLE
from tests.drills import crashes, operations
from tests.drills.figures import reached_rows
from tests.drills.support.worlds import TablesWorld


def test_every_row_of_the_state_table_is_reached_by_an_operation() -> None:
    """A row that no operation reaches is dead, or is not drilled."""
    with reached_rows() as reached:
        for operation in operations.UPLOADS + operations.COMMITS + operations.SWEEPS:
            crashes.undisturbed(TablesWorld(), operation)
    assert reached == set(TABLE)
