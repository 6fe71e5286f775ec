"""What a request to DynamoDB tells the conditions of a policy: condition keys, and their values.

It must never guess: what AWS's pages do not say, or what a request of ours does not show, is
unknown, and a policy that asks for it can't be decided.
Sources: DynamoDB Developer Guide, "Using IAM policy conditions for fine-grained access control"
("Specifying conditions: Using condition keys", "Ensuring attribute-based restrictions are
enforced", examples 3 and 6); Service Authorization Reference, "Actions, resources, and condition
keys for Amazon DynamoDB".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.policies.policy import ATTRIBUTES, LEADING_KEYS, RETURN_VALUES, Context

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Values = dict[str, Iterable[str] | None]

PARTITION_KEYS = frozenset({"pk", "session"})
"""The first key attribute of each table: a request names it among others, and not as such."""

_WRITES = frozenset({"DeleteItem", "PutItem", "UpdateItem"})
_EXPRESSIONS = (
    "ConditionExpression",
    "KeyConditionExpression",
    "ProjectionExpression",
    "UpdateExpression",
)
_NAME = re.compile(r"(?<![\w.:#])#?[A-Za-z_]\w*")
"""A name in an expression that is no value, and not nested in another one."""

_EQUALITY = re.compile(r"(#?\w+)\s*=\s*(:\w+)")
_WORDS = frozenset(
    {"ADD", "AND", "BETWEEN", "DELETE", "IN", "NOT", "OR", "REMOVE", "SET"}
    | {"ATTRIBUTE_EXISTS", "ATTRIBUTE_NOT_EXISTS", "ATTRIBUTE_TYPE", "BEGINS_WITH", "CONTAINS"}
    | {"IF_NOT_EXISTS", "LIST_APPEND", "SIZE"}
)


def on_an_item(action: str, parameters: Mapping[str, Any]) -> Context:
    """Return what an operation on one item tells."""
    told = _of_items([parameters.get("Item") or parameters.get("Key", {})], parameters)
    if action not in _WRITES:
        return _context(told)
    # AWS says that the key is the parameter ReturnValues, NONE by default. It does not say whether
    # what a failed condition returns counts, which came later and may show the whole item as well.
    shown = parameters.get("ReturnValuesOnConditionCheckFailure", "NONE") != "NONE"
    return _context({**told, RETURN_VALUES: None if shown else _return_values(parameters)})


def in_a_transaction(part: Mapping[str, Any]) -> Context:
    """Return what one part of a transaction tells, whose action is asked for by itself.

    A part has no ReturnValues, and AWS names that key for it all the same.
    """
    told = _of_items([part.get("Item") or part.get("Key", {})], part)
    return _context({**told, RETURN_VALUES: None})


def in_a_batch(asked: Mapping[str, Any]) -> Context:
    """Return what a batch of reads tells of one table: the keys of all its items."""
    return _context(_of_items(asked.get("Keys", []), asked))


def in_a_query(parameters: Mapping[str, Any]) -> Context:
    """Return what a query tells. What the leading key of an index is, AWS does not say."""
    names = parameters.get("ExpressionAttributeNames", {})
    values = parameters.get("ExpressionAttributeValues", {})
    leading = [
        values[value]["S"]
        for name, value in _EQUALITY.findall(parameters.get("KeyConditionExpression", ""))
        if names.get(name, name) in PARTITION_KEYS
    ]
    known = leading and "IndexName" not in parameters
    return _context({LEADING_KEYS: leading if known else None, ATTRIBUTES: _attributes(parameters)})


def _of_items(items: Iterable[Mapping[str, Any]], parameters: Mapping[str, Any]) -> Values:
    """Return what is told by items, or keys of items, and by the expressions beside them."""
    leading: set[str] = set()
    attributes = _attributes(parameters)
    known = True
    for item in items:
        found = [item[name]["S"] for name in PARTITION_KEYS & item.keys()]
        known = known and len(found) == 1
        leading.update(found)
        attributes.update(item)
    return {LEADING_KEYS: leading if known and leading else None, ATTRIBUTES: attributes}


def _attributes(parameters: Mapping[str, Any]) -> set[str]:
    """Return the top-level attributes that expressions name, in the place of each placeholder."""
    placeholders = parameters.get("ExpressionAttributeNames", {})
    text = " ".join(parameters.get(each, "") for each in _EXPRESSIONS)
    names = {each for each in _NAME.findall(text) if each.upper() not in _WORDS}
    return {placeholders.get(each, each) for each in names}


def _return_values(parameters: Mapping[str, Any]) -> list[str]:
    return [parameters.get("ReturnValues", "NONE")]


def _context(told: Values) -> Context:
    return Context(
        values=tuple(
            (key, tuple(sorted(values)))
            for key, values in sorted(told.items())
            if values is not None
        ),
        unknown=tuple(sorted(key for key, values in told.items() if values is None)),
    )
