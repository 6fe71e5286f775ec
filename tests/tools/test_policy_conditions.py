"""The evaluator of policies under conditions: what it decides, and what it refuses to decide."""

from __future__ import annotations

from typing import Any

import pytest

from tests.policies.policy import (
    ATTRIBUTES,
    LEADING_KEYS,
    RETURN_VALUES,
    Context,
    Policy,
    UnsupportedPolicyError,
    Verdict,
)

ALLOWED, NOT_ALLOWED = Verdict.ALLOWED, Verdict.NOT_ALLOWED
TABLE = "arn:aws:dynamodb:us-east-1:0:table/t"
LIKE, EQUAL, IF_THERE = (
    "ForAllValues:StringLike",
    "ForAllValues:StringEquals",
    "StringEqualsIfExists",
)


def statement(action: str, conditions: object = None, effect: str = "Allow") -> dict[str, Any]:
    """Return a statement on the table, with conditions if there are any."""
    more = {} if conditions is None else {"Condition": conditions}
    return {"Effect": effect, "Action": action, "Resource": TABLE, **more}


def parsed(*statements: dict[str, Any]) -> Policy:
    """Return a policy of these statements."""
    return Policy.parse({"Version": "2012-10-17", "Statement": list(statements)})


def there(*keys: str) -> dict[str, Any]:
    """Return the condition that a request has these keys."""
    return {"Null": dict.fromkeys(keys, "false")}


def under(conditions: dict[str, Any], asked: Context, effect: str = "Allow") -> Verdict:
    """Decide on a request under conditions."""
    policy = parsed(statement("dynamodb:*", conditions, effect))
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
    first = statement("dynamodb:*", conditions)
    both = parsed(first, statement("dynamodb:GetItem"))
    assert both.decide("dynamodb:GetItem", TABLE) is ALLOWED
    assert both.decide("dynamodb:PutItem", TABLE) is NOT_ALLOWED
    assert len(both.about("dynamodb:GetItem", TABLE).permissions) == 2
    assert len(both.about("dynamodb:PutItem", TABLE).permissions) == 1


def test_what_is_not_known_is_not_decided() -> None:
    """A condition on what nobody knows is an error, unless another one does not hold anyway."""
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


def test_no_refusal_under_a_condition() -> None:
    """AWS advises against them, and none is read here."""
    with pytest.raises(UnsupportedPolicyError):
        under({"Null": {LEADING_KEYS: "true"}}, Context(), "Deny")
