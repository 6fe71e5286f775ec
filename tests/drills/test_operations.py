"""A bounded part of the crash and fault drills; `make drills` runs all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.registry.upload.states import TABLE
from tests.drills import crashes, crowds, faults, operations, throttling
from tests.drills.figures import reached_rows
from tests.drills.support.client import Stage
from tests.drills.support.worlds import AwsWorld, TablesWorld, ministack_world, moto_world

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = {"put an image of 150 layers", "POST, PATCHes, PUT"}
SHORT = [operation for operation in operations.ALL if operation.name not in LONG]
CRASHED = {"append a part after a tail", "put an image anew, move a tag"}
FAILED = {"append a part after a tail", "commit parts and a tail", "pull a blob"}
CONFLICTS = {"commit parts and a tail", "delete a blob", "mount what is there"}
BATCHES = {"put an image"}
SEEN = {"append a part after a tail", "commit parts and a tail", "put an image anew, move a tag"}


def named(names: set[str]) -> list[operations.Operation]:
    """Return the operations with these names."""
    return [operation for operation in operations.ALL if operation.name in names]


@pytest.mark.parametrize("operation", SHORT, ids=lambda operation: operation.name)
def test_a_stop_between_any_two_calls_loses_nothing(operation: operations.Operation) -> None:
    """A process that dies at any call leaves what its client, or the sweeper, can end."""
    figures = crashes.drill_one(TablesWorld(), operation, brief=True)
    assert not figures.losses
    assert figures.drilled == figures.points > 0


def test_a_stop_at_any_api_call_loses_nothing() -> None:
    """Over botocore and moto it is the same: a sample."""
    figures = crashes.drill(moto_world(), named(CRASHED), brief=True)
    assert not figures.losses
    assert figures.drilled == figures.points > 0


@pytest.mark.parametrize("emulated", [moto_world, ministack_world])
@pytest.mark.parametrize("operation", named(SEEN), ids=lambda operation: operation.name)
def test_an_emulator_is_seen_and_copied_as_its_api_shows_it(
    emulated: Callable[[], AwsWorld], operation: operations.Operation
) -> None:
    """What is prepared once and copied, and looked at without a call, is what the calls tell."""
    world, shown = emulated(), []
    for _ in range(2):
        stage, prepared = Stage.prepared(world, operation)
        over = stage.world
        assert isinstance(over, AwsWorld)
        shown.append((over.snapshot(), over.clock.now()))
        assert over.snapshot() == over.asked()
        operation.act(stage.client(), prepared)
        assert over.snapshot() == over.asked()
    assert shown[0] == shown[1]
    assert shown[0][0].sessions or shown[0][0].manifests


@pytest.mark.parametrize("operation", SHORT, ids=lambda operation: operation.name)
def test_a_failure_of_any_call_is_answered_and_survived(operation: operations.Operation) -> None:
    """A client that tries again gets through, and no answer on the way is wrong."""
    figures = faults.drill(TablesWorld(), [operation], every=False)
    assert not figures.losses
    assert figures.faults > 0


def test_a_failure_of_any_api_call_is_answered_and_survived() -> None:
    """Over botocore and moto, as AWS words its failures, it is the same: a sample."""
    assert not faults.drill(moto_world(), named(FAILED), every=False).losses


@pytest.mark.parametrize(("names", "way"), [(CONFLICTS, "conflict"), (BATCHES, "unread")])
def test_requests_that_aws_processes_only_in_part_are_completed(names: set[str], way: str) -> None:
    """Another's Complete or transaction in the way, or a batch half read, is no answer."""
    figures = faults.drill(moto_world(), named(names), every=True, only=way)
    assert not figures.losses
    assert figures.faults >= len(names)


@pytest.mark.parametrize("operation", throttling.OPERATIONS)
def test_throttling_for_minutes_ends_no_upload(operation: str) -> None:
    """For more failures than any limit of failures in a session would allow: every third case."""
    world = TablesWorld()
    rows = throttling.cases(world, throttling.SHORT)
    cases = [case for case in rows if (case.operation, case.way) == (operation, "throttled")][::3]
    figures = throttling.drill(world, cases)
    assert not figures.losses
    assert figures.faults > 64 * len(cases) / 2


def test_a_crowd_gets_through_over_the_wire() -> None:
    """Over botocore and moto it is the same: one share, one seed."""
    assert crowds.crowd(moto_world(), crowds.SHARES[0], seed=1) > 0


@pytest.mark.parametrize("share", crowds.SHARES)
def test_a_crowd_gets_through(share: float) -> None:
    """Eight clients push and pull their images, though so many of all calls fail."""
    assert crowds.crowd(TablesWorld(), share, seed=1) > 0


def test_every_row_of_the_state_table_is_reached_by_an_operation() -> None:
    """A row that no operation reaches is dead, or is not drilled."""
    with reached_rows() as reached:
        for operation in operations.ALL:
            crashes.undisturbed(TablesWorld(), operation)
    assert reached == set(TABLE)
