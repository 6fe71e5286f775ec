"""The evaluator of policies, under conditions too: what it decides, and what it refuses to."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.common.intrinsics import TemplateError
from tests.infra.intrinsics import Stack
from tests.policies.policy import (
    ATTRIBUTES,
    LEADING_KEYS,
    RETURN_VALUES,
    Context,
    Policy,
    UnsupportedPolicyError,
    Verdict,
)

BUCKET = "arn:aws:s3:::bucket"
TABLE = "arn:aws:dynamodb:us-east-1:0:table/t"
ALLOWED, NOT_ALLOWED = Verdict.ALLOWED, Verdict.NOT_ALLOWED


def statement(
    action: object = "s3:GetObject",
    resource: object = f"{BUCKET}/blobs/*",
    effect: str = "Allow",
    **more: object,
) -> dict[str, Any]:
    """Return a statement, with more elements."""
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def parsed(*statements: dict[str, Any]) -> Policy:
    """Return a policy of these statements."""
    return Policy.parse({"Version": "2012-10-17", "Statement": list(statements)})


@pytest.mark.parametrize(
    ("pattern", "action", "decision"),
    [
        ("s3:GetObject", "s3:GetObject", ALLOWED),
        ("s3:getobject", "S3:GETOBJECT", ALLOWED),
        ("s3:GetObject", "s3:GetObjectAcl", NOT_ALLOWED),
        ("s3:GetObject", "s3:PutObject", NOT_ALLOWED),
        ("s3:GetObject*", "s3:GetObjectAcl", ALLOWED),
        ("s3:GetObject*", "s3:GetObject", ALLOWED),
        ("s3:?etObject", "s3:GetObject", ALLOWED),
        ("s3:?GetObject", "s3:GetObject", NOT_ALLOWED),
        ("s3:*", "s3:DeleteBucket", ALLOWED),
        ("s3:*", "sts:AssumeRole", NOT_ALLOWED),
        ("*", "sts:AssumeRole", ALLOWED),
        (["s3:GetObject", "s3:PutObject"], "s3:PutObject", ALLOWED),
    ],
)
def test_actions_are_compared_without_case_and_with_wildcards(
    pattern: object, action: str, decision: Verdict
) -> None:
    """`*` stands for any run of characters, and `?` for one."""
    assert parsed(statement(pattern)).decide(action, f"{BUCKET}/blobs/x") is decision


@pytest.mark.parametrize(
    ("pattern", "resource", "decision"),
    [
        (BUCKET, BUCKET, ALLOWED),
        (BUCKET, f"{BUCKET}/x", NOT_ALLOWED),
        (f"{BUCKET}/*", BUCKET, NOT_ALLOWED),
        (f"{BUCKET}/*", f"{BUCKET}/a/b:c", ALLOWED),
        (f"{BUCKET}/*", f"{BUCKET}-of-others/a", NOT_ALLOWED),
        (f"{BUCKET}/*", f"{BUCKET}/", ALLOWED),
        (f"{BUCKET}*", f"{BUCKET}-of-others/a", ALLOWED),
        (f"{BUCKET}/blobs/*", f"{BUCKET}/Blobs/x", NOT_ALLOWED),
        (f"{BUCKET}/a?c", f"{BUCKET}/abc", ALLOWED),
        (f"{BUCKET}/a?c", f"{BUCKET}/ac", NOT_ALLOWED),
        (f"{BUCKET}/a.c", f"{BUCKET}/abc", NOT_ALLOWED),
        (f"{BUCKET}/*", f"{BUCKET}/a\nb", ALLOWED),
        ("*", BUCKET, ALLOWED),
        ("arn:aws:*:*:*:*", "arn:aws:ssm:us-east-1:0:parameter/x", ALLOWED),
        ("arn:aws:ssm:*:0:parameter/x", "arn:aws:ssm:us-east-1:0:parameter/x", ALLOWED),
        ("arn:aws:ssm:*:parameter/x:*", "arn:aws:ssm:us-east-1:0:parameter/x", NOT_ALLOWED),
        ([BUCKET, f"{BUCKET}/*"], f"{BUCKET}/x", ALLOWED),
    ],
)
def test_resources_are_compared_part_by_part_with_case(
    pattern: object, resource: str, decision: Verdict
) -> None:
    """Resources are compared part by part, with their case."""
    assert parsed(statement("*", pattern)).decide("s3:GetObject", resource) is decision


@pytest.mark.parametrize(
    "bad",
    [
        statement(Condition={"Bool": {"aws:SecureTransport": "true"}}),
        statement(Principal="*"),
        statement(NotAction="s3:GetObject"),
        {"Effect": "Allow", "NotAction": "s3:GetObject", "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:GetObject", "NotResource": "*"},
        {"Effect": "Allow", "Action": "s3:GetObject"},
        statement("GetObject"),
        statement([]),
        statement([1]),
        statement(resource="arn:aws:s3"),
        statement(resource={"Ref": "Bucket"}),
        statement(resource=f"{BUCKET}/${{aws:username}}"),
        statement(effect="Deny"),
    ],
    ids=range(13),
)
def test_a_statement_with_an_unknown_member_is_an_error(bad: dict[str, Any]) -> None:
    """A statement with anything else in it makes the policy unusable."""
    with pytest.raises(ValueError, match=r"."):
        parsed(statement(), bad)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"Version": "2008-10-17", "Statement": []},
        {"Statement": []},
        {"Version": "2012-10-17", "Statement": [], "Id": "x"},
    ],
)
def test_a_policy_of_another_version_is_refused(document: dict[str, Any]) -> None:
    """Only the version that ours have is read."""
    with pytest.raises(UnsupportedPolicyError):
        Policy.parse(document)


STACK = Stack(
    values={"AWS::Region": "here", "Data": "data", "Commit.Arn": "arn:of-commit"},
    exports={"data-Arn": "arn:of-data"},
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain ${AWS::Region}", "plain ${AWS::Region}"),
        ({"Ref": "Data"}, "data"),
        ({"Fn::Sub": "in ${AWS::Region}"}, "in here"),
        ({"Fn::Sub": "${Commit.Arn}:x"}, "arn:of-commit:x"),
        ({"Fn::ImportValue": "data-Arn"}, "arn:of-data"),
        ({"Fn::ImportValue": {"Fn::Sub": "${Data}-Arn"}}, "arn:of-data"),
        ({"Fn::GetAtt": ["Commit", "Arn"]}, "arn:of-commit"),
        (
            {
                "Fn::Sub": [
                    "${Arn}/${AWS::Region}/*",
                    {"Arn": {"Fn::ImportValue": {"Fn::Sub": "${Data}-Arn"}}},
                ]
            },
            "arn:of-data/here/*",
        ),
    ],
)
def test_intrinsic_functions_are_resolved(value: object, text: str) -> None:
    """Nested ones too, as in a stack."""
    assert STACK.resolved({"a": [value]}) == {"a": [text]}


@pytest.mark.parametrize(
    "value",
    [
        {"Fn::Sub": "${Unknown}"},
        {"Fn::Sub": "${Unknown.Arn}"},
        {"Fn::Sub": ["${Unknown}", {"Known": "x"}]},
        {"Fn::Sub": ["${A}", {"A": ["no text"]}]},
        {"Fn::ImportValue": "unknown"},
        {"Fn::GetAtt": ["Commit", "Name"]},
        {"Fn::GetAtt": "Commit.Arn"},
        {"Fn::Join": ["", ["a", "b"]]},
        {"Fn::Sub": "a", "Other": "b"},
        {"Ref": "Unknown"},
    ],
    ids=range(10),
)
def test_an_unknown_intrinsic_or_name_is_an_error(value: object) -> None:
    """It is never left as it is."""
    with pytest.raises(TemplateError):
        STACK.resolved([value])


# under conditions

LIKE, EQUAL, IF_THERE = (
    "ForAllValues:StringLike",
    "ForAllValues:StringEquals",
    "StringEqualsIfExists",
)


def there(*keys: str) -> dict[str, Any]:
    """Return the condition that a request has these keys."""
    return {"Null": dict.fromkeys(keys, "false")}


def under(conditions: dict[str, Any], asked: Context) -> Verdict:
    """Decide on a request under conditions."""
    policy = parsed(statement("dynamodb:*", TABLE, Condition=conditions))
    return policy.decide("dynamodb:PutItem", TABLE, asked)


def asking(*unknown: str, **values: tuple[str, ...]) -> Context:
    """Return a context; keys by their names behind the service's."""
    return Context(tuple((f"dynamodb:{key}", each) for key, each in values.items()), unknown)


@pytest.mark.parametrize(
    ("operator", "listed", "leading", "decision"),
    [
        (EQUAL, ["a"], ("a",), ALLOWED),
        (EQUAL, "a", ("a",), ALLOWED),
        (EQUAL, ["a", "b"], ("a", "b"), ALLOWED),
        (EQUAL, ["a"], ("a", "b"), NOT_ALLOWED),
        (EQUAL, ["a"], ("A",), NOT_ALLOWED),
        (EQUAL, ["a*"], ("ab",), NOT_ALLOWED),
        (EQUAL, ["a*"], ("a*",), ALLOWED),
        (EQUAL, ["a"], (), NOT_ALLOWED),
        (LIKE, ["a#*"], ("a#b",), ALLOWED),
        (LIKE, ["a#*"], ("a#",), ALLOWED),
        (LIKE, ["a#*"], ("a#b:c\n*",), ALLOWED),
        (LIKE, ["a#*"], ("ab#",), NOT_ALLOWED),
        (LIKE, ["a#*"], ("xa#b",), NOT_ALLOWED),
        (LIKE, ["a#*"], ("A#b",), NOT_ALLOWED),
        (LIKE, ["a#*"], ("*",), NOT_ALLOWED),
        (LIKE, ["a#*", "b?"], ("a#b", "bc"), ALLOWED),
        (LIKE, ["a#*", "b?"], ("a#b", "b"), NOT_ALLOWED),
        (LIKE, ["a#*"], (), NOT_ALLOWED),
    ],
)
def test_conditions_on_sets(
    operator: str, listed: object, leading: tuple[str, ...], decision: Verdict
) -> None:
    """Every value that is asked for has to be among those listed, and there has to be one."""
    conditions = {operator: {LEADING_KEYS: listed}, **there(LEADING_KEYS)}
    assert under(conditions, asking(LeadingKeys=leading)) is decision
    if not leading:
        assert under(conditions, Context()) is decision


@pytest.mark.parametrize(
    ("values", "decision"),
    [((), ALLOWED), (("NONE",), ALLOWED), (("ALL_NEW",), NOT_ALLOWED), (("none",), NOT_ALLOWED)],
)
def test_a_condition_on_what_may_be_absent(values: tuple[str, ...], decision: Verdict) -> None:
    """A value is compared only if there is one."""
    conditions = {IF_THERE: {RETURN_VALUES: ["NONE", "UPDATED_NEW"]}}
    assert under(conditions, asking(ReturnValues=values)) is decision


def test_a_condition_that_a_key_is_absent() -> None:
    """Null can ask for either."""
    conditions = {"Null": {LEADING_KEYS: "true"}}
    assert under(conditions, Context()) is ALLOWED
    assert under(conditions, asking(LeadingKeys=("a",))) is NOT_ALLOWED


def test_all_conditions_have_to_hold() -> None:
    """One that does not is enough; another statement can allow what one does not."""
    conditions = {
        EQUAL: {LEADING_KEYS: ["a"], ATTRIBUTES: ["x", "y"]},
        IF_THERE: {RETURN_VALUES: "NONE"},
        **there(LEADING_KEYS, ATTRIBUTES),
    }
    fine = {"LeadingKeys": ("a",), "Attributes": ("x", "y"), "ReturnValues": ("NONE",)}
    assert under(conditions, asking(**fine)) is ALLOWED
    for key, other in (("LeadingKeys", "b"), ("Attributes", "z"), ("ReturnValues", "ALL_OLD")):
        assert under(conditions, asking(**{**fine, key: (other,)})) is NOT_ALLOWED
    first = statement("dynamodb:*", TABLE, Condition=conditions)
    both = parsed(first, statement("dynamodb:GetItem", TABLE))
    assert both.decide("dynamodb:GetItem", TABLE) is ALLOWED
    assert both.decide("dynamodb:PutItem", TABLE) is NOT_ALLOWED
    assert len(both.about("dynamodb:GetItem", TABLE).permissions) == 2
    assert len(both.about("dynamodb:PutItem", TABLE).permissions) == 1


def test_an_unknown_condition_value_is_an_error() -> None:
    """Unless another condition does not hold anyway."""
    conditions = {
        EQUAL: {LEADING_KEYS: ["a"]},
        IF_THERE: {RETURN_VALUES: "NONE"},
        **there(LEADING_KEYS),
    }
    with pytest.raises(UnsupportedPolicyError, match=RETURN_VALUES):
        under(conditions, asking(RETURN_VALUES, LeadingKeys=("a",)))
    assert under(conditions, asking(RETURN_VALUES, LeadingKeys=("b",))) is NOT_ALLOWED
    with pytest.raises(UnsupportedPolicyError, match=LEADING_KEYS):
        under(conditions, asking(LEADING_KEYS))


@pytest.mark.parametrize(
    "conditions",
    [
        {},
        [],
        {EQUAL: {}},
        {EQUAL: "a"},
        {"Bool": {"aws:SecureTransport": "true"}},
        {"StringEquals": {RETURN_VALUES: "NONE"}},
        {"StringLike": {LEADING_KEYS: "a*"}},
        {"ForAnyValue:StringEquals": {LEADING_KEYS: "a"}, **there(LEADING_KEYS)},
        {"ForAllValues:StringNotLike": {ATTRIBUTES: "a"}, **there(ATTRIBUTES)},
        {"forallvalues:stringequals": {LEADING_KEYS: "a"}, **there(LEADING_KEYS)},
        {EQUAL: {"dynamodb:leadingkeys": "a"}, **there("dynamodb:leadingkeys")},
        {EQUAL: {"dynamodb:Select": "a"}, **there("dynamodb:Select")},
        {EQUAL: {RETURN_VALUES: "NONE"}, **there(RETURN_VALUES)},
        {IF_THERE: {LEADING_KEYS: "a"}},
        {IF_THERE: {RETURN_VALUES: []}},
        {IF_THERE: {RETURN_VALUES: [1]}},
        {EQUAL: {LEADING_KEYS: "a"}},
        {LIKE: {LEADING_KEYS: "a*"}, **there(ATTRIBUTES)},
        {LIKE: {LEADING_KEYS: "${aws:userid}"}, **there(LEADING_KEYS)},
        {"Null": {LEADING_KEYS: False}},
        {"Null": {LEADING_KEYS: "False"}},
        {"Null": {LEADING_KEYS: ["true", "false"]}},
        {"Null": {"aws:userid": "false"}},
    ],
    ids=range(23),
)
def test_conditions_that_are_not_evaluated(conditions: dict[str, Any]) -> None:
    """Another operator, another key, a variable, and a set that may be empty are refused."""
    with pytest.raises(UnsupportedPolicyError):
        under(conditions, Context())
