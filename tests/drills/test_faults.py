"""A bounded part of the fault drills; `make drills` runs all of them."""

from __future__ import annotations

import pytest

from tests.drills import crowds, faults, operations
from tests.support.drill_worlds import TablesWorld, moto_world

LONG = {"put an image of 150 layers", "POST, PATCHes, PUT"}
SHORT = [operation for operation in operations.ALL if operation.name not in LONG]
SAMPLE = {"append a part after a tail", "commit parts and a tail", "pull a blob"}


@pytest.mark.parametrize("operation", SHORT, ids=lambda operation: operation.name)
def test_a_failure_of_any_call_is_told_and_survived(operation: operations.Operation) -> None:
    """A client that tries again gets through, and is never told anything wrong on the way."""
    tally = faults.drill(TablesWorld(), [operation], every=False)
    assert not tally.losses
    assert tally.faults > 0


def test_a_failure_of_any_api_call_is_told_and_survived() -> None:
    """Over botocore and moto, as AWS words its failures, it is the same: a sample."""
    sample = [operation for operation in operations.ALL if operation.name in SAMPLE]
    assert not faults.drill(moto_world(), sample, every=False).losses


@pytest.mark.parametrize("share", crowds.SHARES)
def test_a_crowd_gets_through(share: float) -> None:
    """Eight clients push and pull their images, though so many of all calls fail."""
    assert crowds.crowd(TablesWorld(), share, seed=1) > 0
