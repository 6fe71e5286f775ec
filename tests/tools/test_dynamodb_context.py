"""What requests to DynamoDB tell conditions: row by row, and what they leave unknown."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.stores.dynamodb.expressions import Clause, Put, Update
from moorage.common.project import DATA_TEMPLATE, load_template
from tests.policies.dynamodb_context import PARTITION_KEYS
from tests.policies.iam_actions import needs
from tests.policies.policy import ATTRIBUTES, LEADING_KEYS, RETURN_VALUES

Told = tuple[set[str] | None, set[str] | None, set[str] | None]
"""Leading keys, attributes and return values: None stands for what is unknown."""

KEY = {"pk": {"S": "a#1"}, "sk": {"S": "x"}}
OTHER = {"pk": {"S": "b"}, "sk": {"S": "x"}}
ON = {"TableName": "t", "Key": KEY}
KEYS, NOTHING = {"pk", "sk"}, set[str]()
CLAUSE = Clause("attribute_exists(#pk) AND (#day < :day OR #day <> :set)", {"day": {"S": "1"}})
UPDATE = Update("t", {"pk": "a#1", "sk": "x"}, CLAUSE, set={"name": {"S": "n"}}, add={"count": 1})
SILENT = UPDATE._replace(silent=True, remove=("gone",)).request()
SET_ALL = KEYS | {"day", "name", "count", "gone"}
RANGE = {
    "TableName": "t",
    "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :first AND :last",
    "ExpressionAttributeNames": {"#pk": "pk", "#sk": "sk"},
    "ExpressionAttributeValues": {":pk": {"S": "a#1"}, ":first": {"S": "a"}, ":last": {"S": "b"}},
}
DUE = {
    "TableName": "t",
    "IndexName": "sweep",
    "KeyConditionExpression": "#sweep_shard = :shard AND #sweep_at <= :now",
    "ExpressionAttributeNames": {"#sweep_shard": "sweep_shard", "#sweep_at": "sweep_at"},
    "ExpressionAttributeValues": {":shard": {"S": "s"}, ":now": {"N": "1"}},
}
PROJECTED = {"ProjectionExpression": "#a, b.#c, d[0]", "ExpressionAttributeNames": {"#a": "one"}}

ROWS: list[tuple[str, dict[str, Any], Told]] = [
    ("GetItem", ON, ({"a#1"}, KEYS, NOTHING)),
    ("GetItem", {"TableName": "t", "Key": {"session": {"S": "s"}}}, ({"s"}, {"session"}, NOTHING)),
    ("GetItem", {"TableName": "t", "Key": {}}, (None, NOTHING, NOTHING)),
    ("GetItem", {"TableName": "t", "Key": {"else": {"S": "s"}}}, (None, {"else"}, NOTHING)),
    ("DeleteItem", ON, ({"a#1"}, KEYS, {"NONE"})),
    (
        "DeleteItem",
        {**ON, "ReturnValuesOnConditionCheckFailure": "NONE"},
        ({"a#1"}, KEYS, {"NONE"}),
    ),
    (
        "PutItem",
        {"TableName": "t", "Item": {**KEY, "hash": {"S": "h"}}},
        ({"a#1"}, KEYS | {"hash"}, {"NONE"}),
    ),
    (
        "PutItem",
        Put("t", {"pk": "b", "sk": "x"}, {"hash": {"S": "h"}}, CLAUSE).request(),
        ({"b"}, KEYS | {"hash", "day"}, None),
    ),
    ("UpdateItem", SILENT, ({"a#1"}, SET_ALL, {"NONE"})),
    ("UpdateItem", {**SILENT, "ReturnValues": "ALL_NEW"}, ({"a#1"}, SET_ALL, {"ALL_NEW"})),
    ("UpdateItem", UPDATE.request(), ({"a#1"}, SET_ALL - {"gone"}, None)),
    (
        "UpdateItem",
        {**ON, "UpdateExpression": "SET grants = if_not_exists(a.b[1].c, :v) REMOVE x"},
        ({"a#1"}, KEYS | {"grants", "a", "x"}, {"NONE"}),
    ),
    ("Query", RANGE, ({"a#1"}, KEYS, NOTHING)),
    ("Query", {"TableName": "t"}, (None, NOTHING, NOTHING)),
    ("Query", DUE, (None, {"sweep_shard", "sweep_at"}, NOTHING)),
    (
        "BatchGetItem",
        {"RequestItems": {"t": {"Keys": [KEY, OTHER], **PROJECTED}}},
        ({"a#1", "b"}, KEYS | {"one", "b", "d"}, NOTHING),
    ),
    ("BatchGetItem", {"RequestItems": {"t": {"Keys": [KEY, {}]}}}, (None, KEYS, NOTHING)),
    ("BatchGetItem", {"RequestItems": {"t": {}}}, (None, NOTHING, NOTHING)),
    ("TransactWriteItems", {"TransactItems": [{"Update": SILENT}]}, ({"a#1"}, SET_ALL, None)),
    (
        "TransactWriteItems",
        {"TransactItems": [{"Put": {"TableName": "t", "Item": {**OTHER, "hash": {"S": "h"}}}}]},
        ({"b"}, KEYS | {"hash"}, None),
    ),
    (
        "TransactWriteItems",
        {"TransactItems": [{"ConditionCheck": {**ON, "ConditionExpression": "size(#d) > :n"}}]},
        ({"a#1"}, KEYS | {"#d"}, None),
    ),
]


@pytest.mark.parametrize(("operation", "parameters", "told"), ROWS, ids=range(len(ROWS)))
def test_the_context_has_keys_attributes_and_return_values(
    operation: str, parameters: dict[str, Any], told: Told
) -> None:
    """Unknown values are unknown."""
    (need,) = needs("dynamodb", operation, parameters)
    found = [need.context.of(key) for key in (LEADING_KEYS, ATTRIBUTES, RETURN_VALUES)]
    assert [None if values is None else set(values) for values in found] == list(told)


def test_each_part_of_a_transaction_has_its_own_context() -> None:
    """Two writes of a transaction are two requests for permission, each with its own key."""
    parts = [{"Delete": {"TableName": "t", "Key": key}} for key in (KEY, OTHER)]
    found = needs("dynamodb", "TransactWriteItems", {"TransactItems": parts})
    assert sorted(need.context.of(LEADING_KEYS) or () for need in found) == [("a#1",), ("b",)]


def test_a_request_to_another_service_has_no_such_key() -> None:
    """What is no request to DynamoDB has none of these keys."""
    (need,) = needs("s3", "PutObject", {"Bucket": "b", "Key": "pk"})
    assert (need.context.of(LEADING_KEYS), need.context.unknown) == ((), ())


def test_the_partition_keys_are_the_tables() -> None:
    """Each table's partition key is among them, and in no table is one of them anything else."""
    template = load_template(DATA_TEMPLATE)
    found = set()
    for each in template["Resources"].values():
        if each["Type"] == "AWS::DynamoDB::Table":
            names = [key["AttributeName"] for key in each["Properties"]["KeySchema"]]
            assert len(PARTITION_KEYS & set(names)) == 1
            found.add(names[0])
    assert found == PARTITION_KEYS
