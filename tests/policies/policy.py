"""A small evaluator of IAM identity policies: what ours are written in, and a refusal of the rest.

Small on purpose: moto's own evaluator passes over `Condition`, and no package for Python was found
that decides offline. It must never guess: an element that it does not know makes the whole policy
unusable, and a condition on something that is not known of a request makes it undecidable.
Sources: IAM User Guide, "Policy evaluation logic", "IAM JSON policy elements: Action", "IAM JSON
policy elements: Resource", "IAM JSON policy elements: Condition operators", "Single-valued vs.
multivalued context keys", "Multivalued context key examples".
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_CHARACTERS = 10_240
"""Of all inline policies of one role, white space not counted (IAM quotas)."""

_VERSION = "2012-10-17"
_ELEMENTS = frozenset({"Effect", "Action", "Resource"})
_OPTIONAL = frozenset({"Sid", "Condition"})
_ACTION = re.compile(r"[a-z0-9-]+:[A-Za-z0-9*?]+")
_ARN_PARTS = 6

LEADING_KEYS = "dynamodb:LeadingKeys"
ATTRIBUTES = "dynamodb:Attributes"
RETURN_VALUES = "dynamodb:ReturnValues"
_OF_MANY_VALUES = frozenset({LEADING_KEYS, ATTRIBUTES})
_OF_ONE_VALUE = frozenset({RETURN_VALUES})


class UnsupportedPolicyError(ValueError):
    """A policy with something in it that is not evaluated here; the message says what."""


class Verdict(enum.StrEnum):
    """What a policy says of a request."""

    ALLOWED = "allowed"
    NOT_ALLOWED = "not allowed"


class Operator(enum.StrEnum):
    """How a condition compares."""

    ALL_EQUAL = "ForAllValues:StringEquals"
    ALL_LIKE = "ForAllValues:StringLike"
    EQUAL_IF_THERE = "StringEqualsIfExists"
    NULL = "Null"


_KEYS = {
    Operator.ALL_EQUAL: _OF_MANY_VALUES,
    Operator.ALL_LIKE: _OF_MANY_VALUES,
    Operator.EQUAL_IF_THERE: _OF_ONE_VALUE,
    Operator.NULL: _OF_MANY_VALUES | _OF_ONE_VALUE,
}
"""What each operator can be about: an operator for sets needs a key that has many values."""


@dataclass(frozen=True, order=True, slots=True)
class Context:
    """What a request says by condition keys, beside its action and its resource.

    `unknown`: keys of which AWS does not say what they are for such a request. Any other key that
    is not among the values is absent.
    """

    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    unknown: tuple[str, ...] = ()

    def of(self, key: str) -> tuple[str, ...] | None:
        """Return the values of a key, none for one that is absent; None: nobody knows."""
        return None if key in self.unknown else dict(self.values).get(key, ())


NO_CONTEXT = Context()


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key."""

    operator: Operator
    key: str
    values: tuple[str, ...]

    def holds(self, context: Context) -> bool | None:
        """Whether a request fulfils it; None if that can't be known."""
        asked = context.of(self.key)
        if asked is None:
            return None
        match self.operator:
            case Operator.NULL:
                return (not asked) is (self.values == ("true",))
            case Operator.EQUAL_IF_THERE:
                return not asked or set(asked) <= set(self.values)
            # Both are true of a key that is absent, so they never stand without a Null.
            case Operator.ALL_EQUAL:
                return set(asked) <= set(self.values)
            case Operator.ALL_LIKE:
                return all(any(_matches(each, text) for each in self.values) for text in asked)


@dataclass(frozen=True, slots=True)
class Permission:
    """One action on one resource, as a statement has them: both may have wildcards."""

    sid: str
    action: str
    resource: str
    conditions: tuple[Condition, ...] = ()

    def covers(self, action: str, resource: str, context: Context = NO_CONTEXT) -> bool:
        """Whether a request is one that this is about, and that fulfils all conditions.

        Raises UnsupportedPolicyError if that depends on what nobody knows of the request.
        """
        if not self.names(action, resource):
            return False
        holding = [each.holds(context) for each in self.conditions]
        if None in holding and False not in holding:
            raise UnsupportedPolicyError(
                f"{self.sid}: nobody has looked up what {', '.join(context.unknown)} is for"
                f" {action} as it was asked"
            )
        return False not in holding

    def names(self, action: str, resource: str) -> bool:
        """Whether this is about an action on a resource, whatever the conditions."""
        return _matches(self.action.lower(), action.lower()) and self._is_about(resource)

    def _is_about(self, resource: str) -> bool:
        if self.resource == "*":
            return True
        # Part by part: an asterisk that lets something does not reach over a colon but the last.
        mine, asked = (arn.split(":", _ARN_PARTS - 1) for arn in (self.resource, resource))
        return len(mine) == len(asked) and all(map(_matches, mine, asked))


@dataclass(frozen=True, slots=True)
class Policy:
    """An identity policy, as its permissions."""

    permissions: tuple[Permission, ...]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read a document whose intrinsic functions are resolved; raises UnsupportedPolicyError."""
        if document.keys() != {"Version", "Statement"} or document["Version"] != _VERSION:
            raise UnsupportedPolicyError(f"a policy is of Version {_VERSION}, with a Statement")
        statements = document["Statement"]
        listed = statements if isinstance(statements, list) else [statements]
        return cls(tuple(each for statement in listed for each in _permissions(statement)))

    def decide(self, action: str, resource: str, context: Context = NO_CONTEXT) -> Verdict:
        """Decide on a request; `resource` is a whole ARN. Raises UnsupportedPolicyError."""
        covering = self.covering(action, resource, context)
        return Verdict.ALLOWED if covering else Verdict.NOT_ALLOWED

    def covering(
        self, action: str, resource: str, context: Context = NO_CONTEXT
    ) -> list[Permission]:
        """Return the permissions that are about a request; raises UnsupportedPolicyError."""
        return [each for each in self.permissions if each.covers(action, resource, context)]

    def about(self, action: str, resource: str) -> Policy:
        """Return what is left of it for an action on a resource, whatever the conditions."""
        return Policy(tuple(each for each in self.permissions if each.names(action, resource)))


def _permissions(statement: Mapping[str, Any]) -> Iterable[Permission]:
    unknown = statement.keys() - _ELEMENTS - _OPTIONAL
    missing = _ELEMENTS - statement.keys() - _OPTIONAL
    if unknown or missing:
        raise UnsupportedPolicyError(
            f"a statement has {', '.join(sorted(_ELEMENTS | _OPTIONAL))} and nothing else: "
            f"{sorted(unknown)} is not evaluated, {sorted(missing)} is missing"
        )
    if statement["Effect"] != "Allow":
        raise UnsupportedPolicyError(f"a statement allows: {statement['Effect']} is not evaluated")
    sid = statement.get("Sid", "")
    conditions = tuple(_conditions(statement["Condition"])) if "Condition" in statement else ()
    for action in _texts(statement["Action"]):
        if action != "*" and not _ACTION.fullmatch(action):
            raise UnsupportedPolicyError(f"{action!r} is no action")
        for resource in _texts(statement["Resource"]):
            yield Permission(sid, action, _checked(resource), conditions)


def _conditions(block: object) -> Iterable[Condition]:
    if not isinstance(block, dict) or not block:
        raise UnsupportedPolicyError(f"{block!r} is no block of conditions")
    for keys in block.values():
        if not isinstance(keys, dict) or not keys:
            raise UnsupportedPolicyError(f"{keys!r} names no condition keys")
    found = [
        _condition(operator, key, tuple(_texts(values)))
        for operator, keys in block.items()
        for key, values in keys.items()
    ]
    there = {each.key for each in found if each.operator is Operator.NULL}
    for each in found:
        if each.operator in {Operator.ALL_EQUAL, Operator.ALL_LIKE} and each.key not in there:
            raise UnsupportedPolicyError(
                f"{each.operator} is true of a request without {each.key}: ask by Null besides"
            )
    return found


def _condition(operator: str, key: str, values: tuple[str, ...]) -> Condition:
    if operator not in list(Operator) or key not in _KEYS[Operator(operator)]:
        raise UnsupportedPolicyError(f"{operator} of {key} is not evaluated")
    if operator == Operator.NULL and values not in {("true",), ("false",)}:
        raise UnsupportedPolicyError(f"{operator} is asked by true or false, not {values}")
    if any("${" in each for each in values):
        raise UnsupportedPolicyError(f"variables are not evaluated: {values}")
    return Condition(Operator(operator), key, values)


def _checked(resource: str) -> str:
    if "${" in resource:
        raise UnsupportedPolicyError(f"variables are not evaluated: {resource}")
    if resource != "*" and len(resource.split(":", _ARN_PARTS - 1)) != _ARN_PARTS:
        raise UnsupportedPolicyError(f"{resource!r} is no whole ARN")
    return resource


def _texts(value: object) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    texts = [each for each in listed if isinstance(each, str)]
    if not texts or len(texts) != len(listed):
        raise UnsupportedPolicyError(f"{value!r} is not a text or a list of texts")
    return texts


def _matches(pattern: str, text: str) -> bool:
    """Whether a text fits: `*` is any run of characters, `?` any one, all else is itself."""
    return _expression(pattern).fullmatch(text) is not None


@cache  # every call of the suite to AWS asks for the patterns of a few policies
def _expression(pattern: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    expression = "".join(wild.get(character) or re.escape(character) for character in pattern)
    return re.compile(expression, re.DOTALL)
