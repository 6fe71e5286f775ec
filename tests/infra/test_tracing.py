"""Tracing in the template: what the parameter switches on, and who may send traces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from moorage.deploy.package import read_package
from tests.infra.intrinsics import decided, transformed
from tests.policies.function_policies import Function as Named
from tests.policies.function_policies import document
from tests.policies.policy import Policy

if TYPE_CHECKING:
    from pathlib import Path


ACTIONS = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
"""The daemon's actions with the function's role, which must allow them."""


@pytest.fixture(params=["0", "1"])
def asked(request: pytest.FixtureRequest) -> str:
    """The parameter's value."""
    return str(request.param)


@pytest.fixture
def made(package: Path, asked: str) -> dict[str, Any]:
    """The resources that CloudFormation then creates."""
    template = read_package(package).placed("bucket", "key", "https://registry.example")
    return decided(transformed(template, {"Tracing": asked}), {"Tracing": asked})


def properties(made: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a kind, by their names."""
    return {name: each["Properties"] for name, each in made.items() if each["Type"] == kind}


def test_tracing_is_off_by_default(package: Path) -> None:
    """It has a price."""
    assert read_package(package).template["Parameters"]["Tracing"]["Default"] == "0"


def test_every_function_is_traced_or_none(made: dict[str, Any], asked: str) -> None:
    """Lambda's tracing and Moorage's own are switched together, and so is the API's stage."""
    functions = properties(made, "AWS::Lambda::Function")
    assert set(functions) == {"APIHandler", "Authorizer", "Commit", "Verify", "Sweep", "Collect"}
    for function in functions.values():
        mode = function["TracingConfig"]["Mode"]
        assert mode == {"0": "PassThrough", "1": "Active"}[asked]
        assert function["Environment"]["Variables"]["MOORAGE_TRACING"] == {"Ref": "Tracing"}
    (stage,) = properties(made, "AWS::ApiGateway::Stage").values()
    assert stage["TracingEnabled"] is (asked == "1")


def test_only_a_traced_function_may_send_traces(made: dict[str, Any], asked: str) -> None:
    """Two actions on "*", for they have no resources, in a policy that exists only with tracing.

    A role that names the policy is created after it, and a function after its role: Lambda refuses
    to trace a function whose role does not allow it.
    """
    policies = properties(made, "AWS::IAM::ManagedPolicy")
    roles = properties(made, "AWS::IAM::Role")
    functions = properties(made, "AWS::Lambda::Function").values()
    assert {each["Role"]["Fn::GetAtt"][0] for each in functions} == set(roles)
    named = [role.get("ManagedPolicyArns") for role in roles.values()]
    if asked == "0":
        assert (policies, named) == ({}, [None] * 6)
        return
    ((name, policy),) = policies.items()
    assert named == [[{"Ref": name}]] * 6
    assert not {"Roles", "Users", "Groups"} & set(policy)
    allowed = Policy.parse(policy["PolicyDocument"]).permissions
    assert {each.action for each in allowed} == ACTIONS
    assert {each.resource for each in allowed} == {"*"}


@pytest.mark.parametrize("function", Named)
def test_no_policy_without_tracing_allows_it(function: Named) -> None:
    """The policies in .chalice/ are always in force."""
    assert "xray" not in json.dumps(document(function))
