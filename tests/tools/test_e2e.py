"""What `make e2e` stands on: which version it mends, what conditions are told, what is counted."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import yaml

from moorage.common.project import PROJECT
from tests.e2e import leftovers, patched_ministack
from tests.policies.policy import ATTRIBUTES, LEADING_KEYS, RETURN_VALUES

KEY = {"pk": {"S": "CREDENTIAL"}, "sk": {"S": "x"}}
TABLE = {"TableName": "access"}
UPDATE = {**TABLE, "Key": KEY, "UpdateExpression": "SET last_used_day = :day"}

# What AWS deletes with the API, the function or the bucket that it belongs to.
PARTS = {
    "AWS::ApiGateway::BasePathMapping",
    "AWS::ApiGateway::DomainName",
    "AWS::Lambda::Permission",
    "AWS::Logs::MetricFilter",
    "AWS::Route53::RecordSet",
    "AWS::S3::BucketPolicy",
}


def test_the_version_that_is_mended_is_the_one_that_is_installed() -> None:
    """Whoever raises the pin has to look at the mends too."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["optional-dependencies"]["dev"]
    assert f"ministack=={patched_ministack.VERSION}" in wanted


def test_another_version_is_not_started() -> None:
    """The message says what to do."""
    patched_ministack.require_version(patched_ministack.VERSION)
    with pytest.raises(RuntimeError, match="look at each mend again"):
        patched_ministack.require_version("1.5.34")


@pytest.mark.parametrize("mend", patched_ministack.MENDS, ids=lambda mend: mend.name)
def test_a_mend_has_a_reason(mend: patched_ministack.Mend) -> None:
    """In its docstring."""
    assert mend.made.__doc__


@pytest.mark.parametrize(
    ("request_", "keys"),
    [
        ({**TABLE, "Key": KEY}, ["CREDENTIAL"]),
        ({**TABLE, "Item": KEY}, ["CREDENTIAL"]),
        (UPDATE, ["CREDENTIAL"]),
        ({"RequestItems": {"access": {"Keys": [KEY, {**KEY, "pk": {"S": "TRUST"}}]}}}, None),
        ({"TransactItems": [{"Update": UPDATE}]}, ["CREDENTIAL"]),
        (
            {
                **TABLE,
                "KeyConditionExpression": "pk = :pk",
                "ExpressionAttributeValues": {":pk": {"S": "PUBLIC"}},
            },
            ["PUBLIC"],
        ),
    ],
    ids=["get", "put", "update", "batch", "transaction", "query"],
)
def test_conditions_see_the_keys_of_a_request(
    request_: dict[str, Any], keys: list[str] | None
) -> None:
    """As the replay of tests/policies tells them."""
    told = [context.of(LEADING_KEYS) for context in patched_ministack.contexts(request_)]
    assert [list(each or ()) for each in told] == [keys or ["CREDENTIAL", "TRUST"]]


def test_the_context_of_an_update_has_its_attributes_and_return_values() -> None:
    """DayOfUse of .chalice/policy-*.json asks for both."""
    (context,) = patched_ministack.contexts(UPDATE)
    assert context.of(ATTRIBUTES) == ("last_used_day", "pk", "sk")
    assert context.of(RETURN_VALUES) == ("NONE",)


def test_a_request_without_an_item_has_no_context() -> None:
    """Such as one that creates a table."""
    assert list(patched_ministack.contexts(TABLE)) == []


def test_everything_that_a_template_creates_is_counted() -> None:
    """Else `destroy --data delete` could leave it."""
    templates = (PROJECT / "infra").glob("*.yaml")
    resources = [
        each
        for path in templates
        for each in yaml.safe_load(path.read_text(encoding="utf-8"))["Resources"].values()
    ]
    created = {each["Type"] for each in resources if "Type" in each}
    assert created - PARTS <= set(leftovers.TYPES)
