"""Templates, policies and settings use the same names."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from aws_lambda_powertools.shared import constants

from chalicelib.settings import AccessSettings, Settings, SettingsError
from moorage.common.project import API_TEMPLATE, PROJECT
from tests.infra.templates import API, CONFIG, DATA, POLICIES

SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for path in [PROJECT / "app.py", *sorted((PROJECT / "chalicelib").rglob("*.py"))]
)
IMPORTED = re.compile(r"\$\{DataStack\}-(\w+)")
OPTIONAL = {
    "MOORAGE_COMMIT_FUNCTION",
    "MOORAGE_HEAD_STRATEGY",
    "MOORAGE_INLINE_LIMIT",
    "MOORAGE_MANIFEST_LIMIT",
    "MOORAGE_METRICS",
    "MOORAGE_SPARSE_INDEX",
    "MOORAGE_TRACING",
    "POWERTOOLS_LOG_LEVEL",
    "POWERTOOLS_SERVICE_NAME",
}
"""Variables whose settings have a default."""


def variables(function: str) -> set[str]:
    """Return the names of a function's variables."""
    return set(API["Resources"][function]["Properties"]["Environment"]["Variables"])


def exports(template: dict[str, Any]) -> set[str]:
    """Return the names of a template's exports, without the stack's name."""
    names = (output.get("Export", {}).get("Name", {}) for output in template["Outputs"].values())
    return {name["Fn::Sub"].removeprefix("${AWS::StackName}-") for name in names if name}


def needed(kind: type[Settings | AccessSettings], given: set[str]) -> set[str]:
    """Return those of the given variables that settings can't be read without."""
    # Optional ones keep their defaults: another test checks the values that parameters allow.
    environment = dict.fromkeys(given - OPTIONAL, "x") | {"MOORAGE_URL": "https://a"}
    kind.read(environment)
    without = set()
    for name in given:
        less = {other: value for other, value in environment.items() if other != name}
        try:
            kind.read(less)
        except SettingsError:
            without.add(name)
    return without


@pytest.mark.parametrize("function", ["APIHandler", "Authorizer", "Commit", "Sweep"])
def test_a_function_has_the_variables_that_it_reads_and_no_more(function: str) -> None:
    """Each variable is required, or changes a default."""
    given = variables(function)
    read: set[str] = set()
    if function != "Authorizer":
        read |= needed(Settings, given)
    if function in {"APIHandler", "Authorizer"}:
        read |= needed(AccessSettings, given)
    assert given - read <= OPTIONAL
    assert read <= given


def test_every_variable_is_read_by_the_code() -> None:
    """A misspelt one would never be read."""
    for function in ("APIHandler", "Authorizer", "Commit", "Sweep"):
        for name in variables(function):
            ours = f'"{name.removeprefix("MOORAGE_")}"' in SOURCES or f'"{name}"' in SOURCES
            assert ours or name in vars(constants).values(), name


def test_every_import_has_an_export() -> None:
    """The API's stack and its policies import each export of the data stack, and nothing else."""
    texts = [API_TEMPLATE.read_text(encoding="utf-8")]
    texts += [path.read_text(encoding="utf-8") for path in POLICIES.values()]
    imported = {name for text in texts for name in IMPORTED.findall(text)}
    assert imported == exports(DATA)


def test_every_policy_belongs_to_one_function() -> None:
    """No file is unused, and no two functions share one."""
    stage = CONFIG["stages"]["v2"]
    used = [stage["iam_policy_file"]]
    used += [each["iam_policy_file"] for each in stage["lambda_functions"].values()]
    assert sorted(used) == sorted(POLICIES)


def test_the_stage_is_v2() -> None:
    """AWS's own URL is then a registry's: clients look for one at /v2/."""
    assert CONFIG["api_gateway_stage"] == "v2"
    assert list(CONFIG["stages"]) == ["v2"]


def test_no_resource_has_a_price_by_the_hour() -> None:
    """In the stacks that every deployment creates."""
    free_or_by_use = {
        "AWS::ApiGateway::BasePathMapping",
        "AWS::ApiGateway::DomainName",
        "AWS::DynamoDB::Table",
        "AWS::IAM::ManagedPolicy",
        "AWS::Logs::LogGroup",
        "AWS::Route53::RecordSet",
        "AWS::S3::Bucket",
        "AWS::S3::BucketPolicy",
    }
    resources = [*API["Resources"].values(), *DATA["Resources"].values()]
    assert {each["Type"] for each in resources if "Type" in each} == free_or_by_use
    text = json.dumps(API)
    for word in ("ProvisionedConcurrency", "ReservedConcurrent", "CacheCluster", "VpcConfig"):
        assert word not in text
