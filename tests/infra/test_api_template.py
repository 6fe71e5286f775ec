"""What is merged into the template of the API: variables, parameters, and who may do what."""

from __future__ import annotations

import inspect
import json
import logging
import re
from typing import Any

import pytest
import yaml

from chalicelib.settings import Settings, SettingsError
from moorage.access import setup as access_setup
from moorage.common.checkout import API_TEMPLATE, CHECKOUT

TEMPLATE: dict[str, Any] = yaml.safe_load(API_TEMPLATE.read_text(encoding="utf-8"))
PARAMETERS: dict[str, Any] = TEMPLATE["Parameters"]
ACCESS = {"MOORAGE_ACCESS_TABLE", "MOORAGE_URL", "MOORAGE_SIGNING_KEY"}
WATCHED = {
    "MOORAGE_METRICS",
    "MOORAGE_TRACING",
    "POWERTOOLS_LOG_LEVEL",
    "POWERTOOLS_SERVICE_NAME",
}
CHOICES = {
    "MOORAGE_HEAD_STRATEGY": "head_strategy",
    "MOORAGE_INLINE_LIMIT": "inline_limit",
    "MOORAGE_MANIFEST_LIMIT": "manifest_limit",
    "MOORAGE_SPARSE_INDEX": "sparse_index",
}
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
    assert set(variables("APIHandler")) == DATA | ACCESS | WATCHED | commit | set(CHOICES)
    assert set(variables("Authorizer")) == ACCESS | WATCHED
    assert set(variables("Commit")) == set(variables("Sweep")) == DATA | WATCHED
    shared = {name: variables("APIHandler")[name] for name in ACCESS | WATCHED}
    assert shared == variables("Authorizer")


def settings(**choices: str) -> Settings:
    """Return what the code makes of an environment with these variables."""
    return Settings.read(dict.fromkeys(DATA, "x") | choices)


@pytest.mark.parametrize("variable", CHOICES)
def test_a_choice_is_one_that_the_code_takes(variable: str) -> None:
    """A parameter's default is the code's own; whatever the parameter allows, the code takes."""
    parameter = PARAMETERS[variables("APIHandler")[variable]["Ref"]]
    field = CHOICES[variable]
    default = str(parameter["Default"])
    assert getattr(settings(**{variable: default}), field) == getattr(settings(), field)
    if parameter["Type"] == "Number":
        for bound in (parameter["MinValue"], parameter["MaxValue"]):
            assert getattr(settings(**{variable: str(bound)}), field) == bound
        with pytest.raises(SettingsError):
            settings(**{variable: str(parameter["MaxValue"] + 1)})
    else:
        taken = {getattr(settings(**{variable: v}), field) for v in parameter["AllowedValues"]}
        assert len(taken) == len(parameter["AllowedValues"]) > 1
    assert f'"{variable.removeprefix("MOORAGE_")}"' in inspect.getsource(Settings.read)


def test_whatever_is_logged_alarms_have_their_lines() -> None:
    """No level above the one of what alarms count can be chosen."""
    levels = PARAMETERS["LogLevel"]["AllowedValues"]
    assert PARAMETERS["LogLevel"]["Default"] == "INFO"
    assert max(logging.getLevelNamesMapping()[name] for name in levels) == logging.WARNING


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
        ("policy-authorizer.json", {"Access": {"GetItem"}, "DayOfUse": {"UpdateItem"}}),
        (
            "policy-api.json",
            {
                "Access": {"BatchGetItem", "GetItem", "Query"},
                "FailureCounters": {"PutItem", "UpdateItem"},
                "DayOfUse": {"UpdateItem"},
            },
        ),
    ],
)
def test_who_may_do_what_with_access(policy: str, actions: dict[str, set[str]]) -> None:
    """Neither can delete anything there, nor write a key; and only the one key can be read.

    What writes does so under a condition: tests/policies/test_fine_grained.py.
    """
    table = {"Fn::ImportValue": {"Fn::Sub": "${DataStack}-AccessTableArn"}}
    found = {sid: each for sid, each in statements(policy).items() if each["Resource"] == table}
    assert found.keys() == actions.keys()
    for sid, names in actions.items():
        listed = found[sid]["Action"]
        assert {*([listed] if isinstance(listed, str) else listed)} == {
            f"dynamodb:{name}" for name in names
        }
        assert ("Condition" in found[sid]) is (sid != "Access")
    key = statements(policy)["SigningKey"]
    assert key["Action"] == "ssm:GetParameter"
    assert key["Resource"]["Fn::Sub"].endswith(":parameter${SigningKeyParameter}")


def test_the_authorizer_may_do_nothing_else() -> None:
    """It never touches the data."""
    own = {"Logs", "Access", "DayOfUse", "SigningKey"}
    assert set(statements("policy-authorizer.json")) == own


@pytest.mark.parametrize("policy", ["policy-commit.json", "policy-sweep.json"])
def test_functions_that_nobody_calls_know_nobody(policy: str) -> None:
    """They have no way to the access table, nor to the key."""
    text = json.dumps(statements(policy))
    assert "AccessTable" not in text
    assert "ssm:" not in text
