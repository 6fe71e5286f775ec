"""What an authorizer's output allows, and what of it is no output at all."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.gateway.policy import PolicyError, read_result

BASE = "arn:aws:execute-api:us-east-1:000000000000:local/v2/"
GET = f"{BASE}GET/team/app/tags/list"


def statement(
    resource: object, effect: str = "Allow", action: object = "execute-api:Invoke"
) -> Any:  # noqa: ANN401 - as wrong as a test wants it
    """Write a statement."""
    return {"Action": action, "Effect": effect, "Resource": resource}


def result(*statements: object, **more: object) -> dict[str, Any]:
    """Write an authorizer's output."""
    policy = {"Version": "2012-10-17", "Statement": list(statements)}
    return {"principalId": "ann", "policyDocument": policy, **more}


@pytest.mark.parametrize(
    ("resource", "allowed"),
    [
        (GET, True),
        ("*", True),
        (f"{BASE}*/*", True),
        (f"{BASE}GET/*", True),
        (f"{BASE}GET/team/*/list", True),
        (f"{BASE}GET/team/a??/tags/list", True),
        ([f"{BASE}PUT/*", GET], True),
        (f"{BASE}PUT/*", False),
        (f"{BASE}GET/team/a?/tags/list", False),
        (f"{BASE}GET/team", False),
        (f"{BASE}get/*", False),
        (f"{BASE}GET/team.app/tags/list", False),
        ([f"{BASE}GET/other/*"], False),
        ([], False),
    ],
)
def test_a_resource_is_a_pattern(resource: object, *, allowed: bool) -> None:
    """`*` is any text, with slashes, `?` one character, and the rest itself."""
    assert read_result(result(statement(resource))).allows(GET) is allowed


@pytest.mark.parametrize(
    ("action", "allowed"),
    [
        ("execute-api:Invoke", True),
        ("execute-api:invoke", True),
        ("execute-api:*", True),
        ("*", True),
        (["s3:GetObject", "execute-api:Invoke"], True),
        ("execute-api:ManageConnections", False),
        ("s3:*", False),
    ],
)
def test_only_statements_about_invoking_count(action: object, *, allowed: bool) -> None:
    """A statement for another action allows nothing."""
    assert read_result(result(statement("*", action=action))).allows(GET) is allowed


def test_nothing_is_allowed_without_an_allow() -> None:
    """A policy that only denies allows nothing."""
    assert not read_result(result(statement("*", effect="Deny"))).allows(GET)


@pytest.mark.parametrize("order", [1, -1])
def test_a_denial_wins(order: int) -> None:
    """What one statement denies, no other one allows, wherever it stands."""
    both = [statement("*"), statement(f"{BASE}GET/*", effect="Deny")][::order]
    verdict = read_result(result(*both))
    assert not verdict.allows(GET)
    assert verdict.allows(f"{BASE}PUT/team")


def test_a_policy_may_have_one_statement_without_a_list() -> None:
    """IAM accepts a single statement without a list."""
    alone = {"principalId": "ann", "policyDocument": {"Statement": statement("*")}}
    assert read_result(alone).allows(GET)


def test_the_context_becomes_strings() -> None:
    """A function behind the gateway gets numbers and booleans as strings."""
    given = {"text": "ä", "whole": 7, "part": 1.5, "yes": True, "empty": ""}
    assert read_result(result(statement("*"), context=given)).context == {
        "text": "ä",
        "whole": "7",
        "part": "1.5",
        "yes": "true",
        "empty": "",
    }
    assert read_result(result(statement("*"), context=None)).context == {}
    assert read_result(result(statement("*"))).principal == "ann"


@pytest.mark.parametrize(
    "returned",
    [
        None,
        "allow",
        [],
        {},
        {"principalId": "ann"},
        {"principalId": "ann", "policyDocument": "{}"},
        {"principalId": "ann", "policyDocument": {}},
        {"principalId": "ann", "policyDocument": {"Statement": ["*"]}},
        result(statement("*")) | {"principalId": None},
        result(statement("*")) | {"principalId": ""},
        result(statement("*")) | {"principalId": 7},
        result(statement("*"), isAuthorized=True),
        result(statement("*", effect="allow")),
        result({"Effect": "Allow", "Action": "*"}),
        result({"Effect": "Allow", "Resource": "*"}),
        result(statement([GET, 7])),
        result(statement("*") | {"Condition": {}}),
        result({"Effect": "Allow", "Action": "*", "NotResource": GET}),
        result(statement("*"), context={"nested": {}}),
        result(statement("*"), context={"listed": []}),
        result(statement("*"), context={"null": None}),
        result(statement("*"), context={1: "a"}),
        result(statement("*"), context="text"),
    ],
)
def test_any_other_output_is_an_error(returned: object) -> None:
    """What can be read of it allows nothing."""
    with pytest.raises(PolicyError):
        read_result(returned)


def test_an_error_quotes_no_value() -> None:
    """The context may hold what no log should."""
    with pytest.raises(PolicyError) as caught:
        read_result(result(statement("*"), context={"secret": ["hunter2"]}))
    assert "hunter2" not in str(caught.value)
