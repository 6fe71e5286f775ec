"""docs/permissions.md says what the policies say, statement by statement, and why."""

from __future__ import annotations

from typing import Any

from moorage.common.project import API_TEMPLATE, PROJECT, load_template
from tests.policies.function_policies import Function, document
from tests.policies.policy import ATTRIBUTES, LEADING_KEYS, RETURN_VALUES, Operator

DOCUMENT = PROJECT / "docs" / "permissions.md"


def table(name: str) -> dict[str, Any]:
    """Return how policies name the ARN of a thing in the data stack."""
    return {"Fn::ImportValue": {"Fn::Sub": f"${{DataStack}}-{name}Arn"}}


def below(thing: dict[str, Any], end: str) -> dict[str, Any]:
    """Return how policies name what an ARN begins, and an end goes on with."""
    return {"Fn::Sub": [f"${{Arn}}{end}", {"Arn": thing}]}


PARAMETER = (
    "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter${SigningKeyParameter}"
)
THINGS: list[tuple[dict[str, Any], str]] = [
    (below(table("Bucket"), "/uploads/*"), "`uploads/*`"),
    (below(table("Bucket"), "/blobs/*"), "`blobs/*`"),
    (below(table("Bucket"), "/direct/*"), "`direct/*`"),
    (table("Bucket"), "the bucket"),
    (table("RegistryTable"), "table `registry`"),
    (table("UploadsTable"), "table `uploads`"),
    (table("AccessTable"), "table `access`"),
    (below(table("RegistryTable"), "/index/sweep"), "index `sweep` of `registry`"),
    (below(table("UploadsTable"), "/index/sweep"), "index `sweep` of `uploads`"),
    ({"Fn::Sub": PARAMETER}, "the signing key's parameter"),
    ({"Fn::GetAtt": ["Commit", "Arn"]}, "function `commit`"),
    ({"Fn::GetAtt": ["Verify", "Arn"]}, "function `verify`"),
]


def in_words(resource: object, function: Function) -> str:
    """Return what the document calls what a statement is about."""
    if isinstance(resource, list):
        return ", ".join(in_words(each, function) for each in resource)
    own = {"Fn::GetAtt": [f"{function.title()}Logs", "Arn"]}
    (words,) = [
        words for thing, words in [*THINGS, (own, "its own log group")] if thing == resource
    ]
    return words


def limited(statement: dict[str, Any]) -> str:
    """Return how the document says what a statement's conditions leave of the thing."""
    limits = {
        key: listed(values)
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
        if operator != Operator.NULL
    }
    words = {LEADING_KEYS: "items of", ATTRIBUTES: "attributes", RETURN_VALUES: "returning"}
    assert limits.keys() <= words.keys()
    return "".join(f", {word} {limits[key]}" for key, word in words.items() if key in limits)


def listed(actions: str | list[str]) -> str:
    """Return how the document lists actions, and what else has names."""
    return " ".join(f"`{each}`" for each in ([actions] if isinstance(actions, str) else actions))


def test_the_table_is_the_policies() -> None:
    """Each statement has a row, in the order of the policies, with its actions and a reason.

    What its conditions leave of a table is told beside the table.
    """
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    told = cells[2:]
    assert [row[:4] for row in told] == [
        [
            function.value,
            statement["Sid"],
            listed(statement["Action"]),
            in_words(statement["Resource"], function) + limited(statement),
        ]
        for function in Function
        for statement in document(function)["Statement"]
    ]
    assert all(row[4] for row in told)


def test_the_permissions_that_tracing_adds_are_documented() -> None:
    """The policy that stands only while tracing is on is named, with each action that it allows."""
    template = load_template(API_TEMPLATE)
    policy = template["Resources"]["TracePolicy"]
    assert policy["Condition"] == "Traced"
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    text = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    told = text.partition("`TracePolicy`")[2].partition(". ")[0]
    assert {each for each in statement["Action"] if f"`{each}`" in told} == set(statement["Action"])
    assert told.count("`xray:") == len(statement["Action"])
    assert f"on `{statement['Resource']}`" in told
