"""What is merged into the template of the API: variables, parameters, and who may do what."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from moorage import access_setup
from moorage.children import CHECKOUT
from moorage.gateway_answers import API_TEMPLATE

TEMPLATE: dict[str, Any] = yaml.safe_load(API_TEMPLATE.read_text(encoding="utf-8"))
PARAMETERS: dict[str, Any] = TEMPLATE["Parameters"]
ACCESS = {"MOORAGE_ACCESS_TABLE", "MOORAGE_URL", "MOORAGE_SIGNING_KEY"}
WATCHED = {"MOORAGE_METRICS", "MOORAGE_TRACING", "POWERTOOLS_SERVICE_NAME"}
DATA = {"MOORAGE_BUCKET", "MOORAGE_REGISTRY_TABLE", "MOORAGE_UPLOADS_TABLE"}


def variables(function: str) -> dict[str, Any]:
    """Return a function's environment."""
    found: dict[str, Any] = TEMPLATE["Resources"][function]["Properties"]["Environment"]
    return dict(found["Variables"])


def statements(policy: str) -> dict[str, dict[str, Any]]:
    """Return a policy's statements by their Sid."""
    text = (CHECKOUT / ".chalice" / policy).read_text(encoding="utf-8")
    return {each["Sid"]: each for each in json.loads(text)["Statement"]}


def test_a_deployment_controls_access() -> None:
    """No function is told otherwise: what opens a registry is for a laptop."""
    for function in ("APIHandler", "Authorizer", "Commit", "Sweep"):
        assert "MOORAGE_AUTH" not in variables(function)


def test_functions_are_told_what_they_need() -> None:
    """The authorizer knows nothing of the data, and those that nobody calls nothing of access."""
    commit = {"MOORAGE_COMMIT_FUNCTION"}
    assert set(variables("APIHandler")) == DATA | ACCESS | WATCHED | commit
    assert set(variables("Authorizer")) == ACCESS | WATCHED
    assert set(variables("Commit")) == set(variables("Sweep")) == DATA | WATCHED
    shared = {name: variables("APIHandler")[name] for name in ACCESS | WATCHED}
    assert shared == variables("Authorizer")


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("", True),
        ("https://abc123.execute-api.eu-west-1.amazonaws.com", True),
        ("https://registry.example:8443", True),
        ("http://registry.example", False),
        ("https://registry.example/", False),
        ("https://registry.example/v2", False),
        ("https://Registry.example", False),
        ("registry.example", False),
        ("https://a'b", False),
        ('https://a"b', False),
        ("https://${x}", False),
    ],
)
def test_a_public_url_is_checked(url: str, *, taken: bool) -> None:
    """Only what stands in a challenge as it is: no path, no quotes, and never without TLS."""
    assert PARAMETERS["PublicUrl"]["Default"] == ""
    assert bool(re.search(PARAMETERS["PublicUrl"]["AllowedPattern"], url)) is taken


def test_the_signing_key_has_one_name() -> None:
    """The commands look where the functions do, and the name fits behind `parameter` in an ARN."""
    parameter = PARAMETERS["SigningKeyParameter"]
    assert parameter["Default"] == access_setup.SIGNING_KEY
    assert re.search(parameter["AllowedPattern"], access_setup.SIGNING_KEY)
    for name in ("", "/", "signing-key", "/a//b", "/a*", "/a/"):
        assert not re.search(parameter["AllowedPattern"], name)


@pytest.mark.parametrize(
    ("policy", "actions"),
    [
        ("policy-authorizer.json", {"GetItem", "UpdateItem"}),
        ("policy-api.json", {"BatchGetItem", "GetItem", "PutItem", "Query", "UpdateItem"}),
    ],
)
def test_who_may_do_what_with_access(policy: str, actions: set[str]) -> None:
    """Neither can delete anything there, nor write a key; and only the one key can be read."""
    access, key = statements(policy)["Access"], statements(policy)["SigningKey"]
    assert set(access["Action"]) == {f"dynamodb:{action}" for action in actions}
    assert access["Resource"] == {"Fn::ImportValue": {"Fn::Sub": "${DataStack}-AccessTableArn"}}
    assert key["Action"] == "ssm:GetParameter"
    assert key["Resource"]["Fn::Sub"].endswith(":parameter${SigningKeyParameter}")


def test_the_authorizer_may_do_nothing_else() -> None:
    """It never touches the data."""
    assert set(statements("policy-authorizer.json")) == {"Logs", "Access", "SigningKey"}


@pytest.mark.parametrize("policy", ["policy-commit.json", "policy-sweep.json"])
def test_functions_that_nobody_calls_know_nobody(policy: str) -> None:
    """They have no way to the access table, nor to the key."""
    text = json.dumps(statements(policy))
    assert "AccessTable" not in text
    assert "ssm:" not in text
