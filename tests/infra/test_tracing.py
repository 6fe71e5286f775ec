"""Tracing as it is deployed: what the template turns on, and who may send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from moorage.common.checkout import CHECKOUT
from moorage.deploy.package import read_package
from tests.infra.intrinsics import decided
from tests.infra.sam import transformed
from tests.policies.function_policies import Function as Named
from tests.policies.policy import Policy

if TYPE_CHECKING:
    from pathlib import Path


ACTIONS = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
"""What Lambda's daemon does as the function, which an execution role of a traced one must allow."""


@pytest.fixture(params=["0", "1"])
def asked(request: pytest.FixtureRequest) -> str:
    """What the parameter says."""
    return str(request.param)


@pytest.fixture
def made(package: Path, asked: str) -> dict[str, Any]:
    """The resources that CloudFormation makes then."""
    template = read_package(package).placed("bucket", "key", "https://registry.example")
    return decided(transformed(template, {"Tracing": asked}), {"Tracing": asked})


def properties(made: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a kind, by their names."""
    return {name: each["Properties"] for name, each in made.items() if each["Type"] == kind}


def test_tracing_is_off_unless_it_is_asked_for(package: Path) -> None:
    """A deployment that says nothing has no price."""
    assert read_package(package).template["Parameters"]["Tracing"]["Default"] == "0"


def test_every_function_is_traced_or_none(made: dict[str, Any], asked: str) -> None:
    """Lambda's part and ours are on together, in all four functions and at the API's stage."""
    functions = properties(made, "AWS::Lambda::Function")
    assert set(functions) == {"APIHandler", "Authorizer", "Commit", "Sweep"}
    for function in functions.values():
        mode = function["TracingConfig"]["Mode"]
        assert mode == {"0": "PassThrough", "1": "Active"}[asked]
        assert function["Environment"]["Variables"]["MOORAGE_TRACING"] == {"Ref": "Tracing"}
    (stage,) = properties(made, "AWS::ApiGateway::Stage").values()
    assert stage["TracingEnabled"] is (asked == "1")


def test_only_a_traced_function_may_send_traces(made: dict[str, Any], asked: str) -> None:
    """The two actions, on "*" for want of resources, in a policy that stands only while it is on.

    A role that names the policy exists after it, and a function after its role: Lambda refuses to
    trace a function whose role does not allow it.
    """
    policies = properties(made, "AWS::IAM::ManagedPolicy")
    roles = properties(made, "AWS::IAM::Role")
    functions = properties(made, "AWS::Lambda::Function").values()
    assert {each["Role"]["Fn::GetAtt"][0] for each in functions} == set(roles)
    named = [role.get("ManagedPolicyArns") for role in roles.values()]
    if asked == "0":
        assert (policies, named) == ({}, [None] * 4)
        return
    ((name, policy),) = policies.items()
    assert named == [[{"Ref": name}]] * 4
    assert not {"Roles", "Users", "Groups"} & set(policy)
    allowed = Policy.parse(policy["PolicyDocument"]).permissions
    assert {each.action for each in allowed} == ACTIONS
    assert {(each.effect, each.resource) for each in allowed} == {("Allow", "*")}


@pytest.mark.parametrize("function", Named)
def test_no_policy_of_a_function_holds_it(function: Named) -> None:
    """What stands in .chalice/ is allowed always."""
    text = (CHECKOUT / ".chalice" / f"policy-{function}.json").read_text(encoding="utf-8")
    assert "xray" not in text
