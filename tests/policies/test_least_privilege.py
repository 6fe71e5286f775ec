"""Each function may do what it does, and nothing else: what it asks of AWS, against its policy.

What a function asks is replayed here, by flows that have names: chalicelib/wiring builds the
functions in this process over strict moto, and botocore says what they call. So this module
knows which function runs, and needs no other test to have run before it, in this process or in
another: one replay in each process that runs a test of this file, whatever their order. The rest of
the suite is watched in tests/conftest.py, call by call, against all policies together.

A call that a policy does not allow fails here with the flow that made it; a permission that no flow
needed fails here unless UNSEEN says why it is there.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.registry.service import Limits
from chalicelib.routes import ROUTES
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.keys import credential_key
from moorage.deploy.trim_sdk import OPERATIONS
from tests.infra.templates import API
from tests.policies.aws_calls import AwsCall, Origin, Watch
from tests.policies.deployed import COMMIT_INLINE, COPY_WHOLE, Replay, deployed
from tests.policies.flows import FLOWS
from tests.policies.function_policies import DeployedNames, Function, document, policy
from tests.policies.policy import MAX_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.emulators.backends import Backend
    from tests.policies.policy import Permission

UNSEEN = {"Logs": "Lambda itself writes the log, as the function; botocore sees nothing of it"}
"""Statements whose permissions no call of ours needs, and why they are there."""


@pytest.fixture(scope="module")
def replay(strict_moto: Backend) -> Iterator[Replay]:
    """Run every flow."""
    with deployed(strict_moto.fresh()) as deployment:
        for flow in FLOWS:
            with deployment.replay.flow(flow.__name__):
                flow(deployment)
        yield deployment.replay


def permissions(function: Function, names: DeployedNames) -> list[Permission]:
    """Return what a function may do, but for what botocore can't see."""
    listed = policy(function, names).permissions
    return [each for each in listed if each.sid not in UNSEEN]


@pytest.mark.parametrize("function", Function)
def test_every_call_is_allowed(function: Function, replay: Replay) -> None:
    """One permission of its policy allows each, on the very bucket, table and key.

    Conditions are read as well: which items, which attributes. No call has a second permission, so
    that one that is taken away is missed.
    """
    granted, uses = policy(function, replay.names), sorted(replay.uses)
    allowed = {
        f"{use.flow}: {use.need}": len(
            granted.covering(use.need.action, use.need.resource, use.need.context)
        )
        for use in uses
        if use.function is function
    }
    assert {call: number for call, number in allowed.items() if number != 1} == {}
    assert allowed


@pytest.mark.parametrize("function", Function)
def test_every_permission_is_used(function: Function, replay: Replay) -> None:
    """Each action on each resource of each statement was needed in some flow, as it is allowed."""
    needed = replay.of(function)
    unused = [
        f"{each.sid}: {each.action} on {each.resource}"
        for each in permissions(function, replay.names)
        if not any(each.covers(need.action, need.resource, need.context) for need in needed)
    ]
    assert unused == []


@pytest.mark.parametrize("function", Function)
def test_policies_name_what_they_grant(function: Function, replay: Replay) -> None:
    """Actions are spelled out; only keys, and what follows a log group, are left open."""
    open_ends = {"s3": "/*", "logs": ":*"}
    for each in policy(function, replay.names).permissions:
        assert not set("*?") & set(each.action)
        end = open_ends.get(each.action.partition(":")[0], "")
        assert not set("*?") & set(each.resource.removesuffix(end))
    sids = [statement["Sid"] for statement in document(function)["Statement"]]
    assert [sid for sid, times in Counter(sids).items() if times > 1] == []


@pytest.mark.parametrize("function", Function)
def test_a_policy_fits_into_its_role(function: Function) -> None:
    """IAM takes so many characters, with names as long as they can be."""
    long = DeployedNames(
        "b" * 63, "r" * 255, "u" * 255, "a" * 255, "/" + "k" * 1010, "c" * 64, "v" * 64
    )
    text = json.dumps(long.stack().resolved(document(function)), separators=(",", ":"))
    assert len(text) <= MAX_CHARACTERS


def test_logs_go_to_groups_that_are_declared() -> None:
    """No function may make a log group, for the template has them; each writes to its own."""
    for function in Function:
        (logs,) = [each for each in document(function)["Statement"] if each["Sid"] == "Logs"]
        group = f"{function.title()}Logs"
        assert logs["Resource"] == {"Fn::GetAtt": [group, "Arn"]}
        assert "logs:CreateLogGroup" not in logs["Action"]
        assert API["Resources"][group]["Type"] == "AWS::Logs::LogGroup"


def test_the_replay_covers_all_routes_and_functions(replay: Replay) -> None:
    """Every row of the table of routes was requested, and every function ran without a fault."""
    assert set(replay.routes) == set(ROUTES)
    assert replay.faults == []
    assert {use.function for use in replay.uses} == set(Function)


def test_the_packaged_sdk_is_what_is_called(replay: Replay) -> None:
    """It has each operation that some flow calls, and no other: the watch asks the same of all."""
    kept = {(service, each) for service, names in OPERATIONS.items() for each in names}
    assert kept == replay.operations


def test_the_api_never_copies_in_parts() -> None:
    """What would take that is left to the commit function: so the API need not end such copies.

    The replay's own numbers stand in the same order as a deployment's.
    """
    assert Limits().commit_inline < Limits().copy_whole
    assert COMMIT_INLINE < COPY_WHOLE


ACCESS = f"test-{'0' * 12}-access"


def a_call(operation: str = "GetItem", **changes: Any) -> AwsCall:  # noqa: ANN401 - any field
    """Return a call that functions make, with changes."""
    name = f"test-{'0' * 12}-registry"
    fields = {"parameters": {"TableName": name, "Key": {}}, "caller": Origin.FUNCTION, **changes}
    return AwsCall("dynamodb", operation, **fields)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (a_call("Scan"), "not in tests/policies/iam_actions.py"),
        (a_call("GetItem", parameters={"TableName": "x", "Key": {}, "Other": 1}), "Other"),
        (a_call("DeleteItem", parameters={"TableName": ACCESS}), "DeleteItem"),
        (
            a_call(
                "PutItem",
                parameters={"TableName": ACCESS, "Item": key_attributes(credential_key("id"))},
            ),
            "no function has dynamodb:PutItem on .*LeadingKeys=CREDENTIAL",
        ),
        (a_call("UpdateItem", parameters={"TableName": ACCESS, "Key": {}}), "LeadingKeys"),
        (a_call("GetItem", parameters={"TableName": "someone-elses"}), "someone-elses"),
        (a_call("GetItem", presigned=True), "URL"),
        (a_call("TransactGetItems"), "the packaged SDK lacks it"),
    ],
)
def test_an_unknown_or_forbidden_call_fails_the_test(call: AwsCall, told: str) -> None:
    """Once, for any test."""
    watch = Watch()
    watch.look(call)
    with pytest.raises(AssertionError, match=told):
        watch.check()
    watch.check()


@pytest.mark.parametrize("caller", [Origin.OWNER, Origin.TEST])
def test_the_watch_covers_only_functions(caller: Origin) -> None:
    """Calls of tests and of owners' commands are ignored."""
    watch = Watch()
    watch.look(a_call("Scan", caller=caller))
    watch.look(a_call())
    watch.check()
    assert watch.looked_at == 1
