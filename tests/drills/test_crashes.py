"""A bounded part of the crash drills; `make drills` runs all of them."""

from __future__ import annotations

import pytest

from tests.drills import crashes, operations
from tests.drills.support.worlds import TablesWorld, moto_world

LONG = {"put an image of 150 layers", "POST, PATCHes, PUT"}
SHORT = [operation for operation in operations.ALL if operation.name not in LONG]
SAMPLE = {"append a part after a tail", "put an image anew, move a tag"}


@pytest.mark.parametrize("operation", SHORT, ids=lambda operation: operation.name)
def test_a_stop_between_any_two_calls_loses_nothing(operation: operations.Operation) -> None:
    """A process that dies at any call leaves what its client, or the sweeper, can end."""
    figures = crashes.drill_one(TablesWorld(), operation, brief=True)
    assert not figures.losses
    assert figures.drilled == figures.points > 0


def test_a_stop_at_any_api_call_loses_nothing() -> None:
    """Over botocore and moto it is the same: a sample."""
    sample = [operation for operation in operations.ALL if operation.name in SAMPLE]
    figures = crashes.drill(moto_world(), sample, brief=True)
    assert not figures.losses
    assert figures.drilled == figures.points > 0
