"""DynamoDB in this process: a client that takes the requests of the stores, in microseconds.

It evaluates the expressions that the stores send, so what a test finds is what a condition says.
It must never accept an expression that it does not know; moto and MiniStack judge whether DynamoDB
reads an expression the same way. It is safe for threads: each request is one step.
"""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from operator import eq, ge, gt, itemgetter, le, lt
from typing import Any

from botocore.exceptions import ClientError

Attributes = Mapping[str, Mapping[str, Any]]
Test = Callable[[Attributes, Attributes], bool]
"""Given an item's attributes and the expression's values."""

_TOKEN = re.compile(
    r"\s*(\(|\)|AND\b|OR\b|NOT\b"
    r"|attribute_(?:not_)?exists\(#\w+\)|#\w+ (?:=|<>|>=|<=|>|<) :\w+)"
)
_ASSIGNMENT = re.compile(r"#(\w+) = (?:#(\w+) \+ )?(:\w+)")
_INDEXED = ("pk", "sk", "session", "sweep_shard", "sweep_at")
_SCANNED = 25
"""Items on a page of a scan: few, so that a drill's table has some pages."""
_COMPARE = {"=": eq, ">": gt, ">=": ge, "<": lt, "<=": le}


class MemoryTables:
    """The part of a boto3 DynamoDB client that the stores use."""

    def __init__(self) -> None:
        self._items: dict[str, dict[str, dict[str, Attributes]]] = {}
        """By table, partition and sort key, which is empty where a table has none."""
        self._lock = threading.Lock()

    def become(self, other: MemoryTables) -> None:
        """Take all items of another client's tables; later neither changes the other's."""
        self._items = {
            table: {partition: dict(rows) for partition, rows in partitions.items()}
            for table, partitions in other._items.items()
        }

    def rows(self, table: str) -> list[Attributes]:
        """Return every item of a table."""
        with self._lock:
            return [item for part in self._items.get(table, {}).values() for item in part.values()]

    def clear(self) -> None:
        """Forget every item."""
        self._items.clear()

    def get_item(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - botocore's parameters
        """Read an item."""
        item = self._item(request["TableName"], request["Key"])
        return {} if item is None else {"Item": item}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
        """Read two thirds of the items asked for, and say what is left; two come whole."""
        ((table, wanted),) = request["RequestItems"].items()
        # DynamoDB ends a batch at 16 MB, and no drill's items come to that.
        now = max(2, len(wanted["Keys"]) * 2 // 3)
        keys, left = wanted["Keys"][:now], wanted["Keys"][now:]
        found = [self._item(table, key) for key in keys]
        names = wanted.get("ExpressionAttributeNames", {}).values()
        items = [_only(item, names) for item in found if item is not None]
        unread = {table: {**wanted, "Keys": left}} if left else {}
        return {"Responses": {table: items}, "UnprocessedKeys": unread}

    def query(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
        """Read a range of a partition, or of a shard of the sweeper's queue, up to the limit."""
        values = request["ExpressionAttributeValues"]
        if "IndexName" in request:
            due = float(values[":now"]["N"])
            queued = [
                (float(row["sweep_at"]["N"]), *_place(row), _only(row, _INDEXED))
                for row in self.rows(request["TableName"])
                if row.get("sweep_shard") == values[":shard"]
            ]
            return _page([row for row in queued if row[0] <= due], request)
        partition, first, last = (values[name]["S"] for name in (":pk", ":first", ":last"))
        with self._lock:
            rows = list(self._partition(request["TableName"], partition).items())
        wanted = request.get("ProjectionExpression", "").split(", ")
        names = [request["ExpressionAttributeNames"][name] for name in wanted if name]
        inside = [
            (0.0, partition, sort, _only(row, names)) for sort, row in rows if first <= sort <= last
        ]
        return _page(inside, request)

    def scan(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
        """Read what is behind the start key, a few items a page: partitions come in no order."""
        names = request["ExpressionAttributeNames"].values()
        rows = [
            (float(zlib.crc32(place[0].encode())), *place, _only(row, names))
            for row in self.rows(request["TableName"])
            for place in [_place(row)]
        ]
        start = request.get("ExclusiveStartKey")
        if start:
            place = _place(start)
            start = (float(zlib.crc32(place[0].encode())), *place)
        page = _page(rows, {"Limit": _SCANNED, "ExclusiveStartKey": start or ()})
        if "LastEvaluatedKey" in page:
            _, partition, sort = page["LastEvaluatedKey"]
            page["LastEvaluatedKey"] = {"pk": {"S": partition}, "sk": {"S": sort}}
        return page

    def put_item(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
        """Put an item."""
        return self._alone("Put", request)

    def delete_item(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
        """Delete an item."""
        return self._alone("Delete", request)

    def update_item(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
        """Update an item."""
        return self._alone("Update", request)

    def transact_write_items(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
        """Write all or nothing."""
        actions = [next(iter(action.items())) for action in request["TransactItems"]]
        places = [(of["TableName"], _place(_key(of))) for _, of in actions]
        if len(set(places)) < len(places) or len(places) > 100:
            raise _error("ValidationException")
        with self._lock:
            refused = [not self._allows(of) for _, of in actions]
            if any(refused):
                reasons = [
                    {"Code": "ConditionalCheckFailed", **self._met(of)} if no else {"Code": "None"}
                    for no, (_, of) in zip(refused, actions, strict=True)
                ]
                raise _error("TransactionCanceledException", CancellationReasons=reasons)
            for kind, of in actions:
                self._do(kind, of)
        return {}

    def _alone(self, kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            if not self._allows(request):
                raise _error("ConditionalCheckFailedException", **self._met(request))
            self._do(kind, request)
            if request.get("ReturnValues") != "ALL_NEW":
                return {}
            return {"Attributes": self._item(request["TableName"], _key(request))}

    def _partition(self, table: str, partition: str) -> dict[str, Attributes]:
        return self._items.setdefault(table, {}).setdefault(partition, {})

    def _item(self, table: str, key: Attributes) -> Attributes | None:
        partition, sort = _place(key)
        return self._items.get(table, {}).get(partition, {}).get(sort)

    def _met(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the item that a condition failed on, for who asked for it."""
        item = self._item(request["TableName"], _key(request))
        asked = request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        return {"Item": item} if asked and item is not None else {}

    def _allows(self, request: Mapping[str, Any]) -> bool:
        text = request.get("ConditionExpression")
        if text is None:
            return True
        item = self._item(request["TableName"], _key(request)) or {}
        return _read(text)(item, request.get("ExpressionAttributeValues", {}))

    def _do(self, kind: str, request: Mapping[str, Any]) -> None:
        partition, sort = _place(_key(request))
        items = self._partition(request["TableName"], partition)
        if kind == "Put":
            items[sort] = dict(request["Item"])
        elif kind == "Delete":
            items.pop(sort, None)
        elif kind == "Update":
            items[sort] = _updated(items.get(sort, request["Key"]), request)


def _updated(before: Attributes, request: Mapping[str, Any]) -> Attributes:
    """Return an item after an UpdateExpression: SET of values and sums, then REMOVE."""
    sets, _, removes = request["UpdateExpression"].partition("REMOVE ")
    values, after = request.get("ExpressionAttributeValues", {}), dict(before)
    for name, added_to, value in _ASSIGNMENT.findall(sets):
        after[name] = values[value]
        if added_to:
            total = int(before[added_to]["N"]) + int(values[value]["N"])
            after[name] = {"N": str(total)}
    for name in re.findall(r"#(\w+)", removes):
        after.pop(name, None)
    return after


def _page(
    rows: Iterable[tuple[float, str, str, Attributes]], request: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the rows after the start key in their order, as many as the limit says."""
    start = request.get("ExclusiveStartKey", ())
    rest = [row for row in sorted(rows, key=itemgetter(0, 1, 2)) if row[:3] > start]
    shown = rest[: request.get("Limit")]
    # The key is opaque to the stores, which only hand it back.
    more = {"LastEvaluatedKey": shown[-1][:3]} if len(shown) < len(rest) else {}
    return {"Items": [row[3] for row in shown], **more}


def _only(item: Attributes, names: Sequence[str]) -> Attributes:
    return {name: item[name] for name in names if name in item} if names else item


def _key(request: Mapping[str, Any]) -> Attributes:
    key: Attributes = request.get("Key") or request["Item"]
    return key


def _place(key: Attributes) -> tuple[str, str]:
    if "session" in key:
        return key["session"]["S"], ""
    return key["pk"]["S"], key["sk"]["S"]


def _error(code: str, **more: Any) -> ClientError:  # noqa: ANN401 - as botocore has it
    response: Any = {
        "Error": {"Code": code, "Message": "drilled"},
        "ResponseMetadata": {"HTTPStatusCode": 400},
        **more,
    }
    return ClientError(response, "drilled")


@cache
def _read(text: str) -> Test:
    """Read a condition; raises ValueError for what is not known here."""
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"unknown condition: {text[at:]!r}")
        tokens.append(found[1])
        at = found.end()
    rest = iter([*tokens, ""])
    test, end = _either(next(rest), rest)
    if end:
        raise ValueError(f"a condition that goes on: {text!r}")
    return test


def _either(word: str, rest: Iterator[str]) -> tuple[Test, str]:
    test, word = _both(word, rest)
    while word == "OR":
        test, word = _joined(test, _both(next(rest), rest), any)
    return test, word


def _both(word: str, rest: Iterator[str]) -> tuple[Test, str]:
    test, word = _single(word, rest)
    while word == "AND":
        test, word = _joined(test, _single(next(rest), rest), all)
    return test, word


def _joined(
    one: Test, more: tuple[Test, str], how: Callable[[Sequence[bool]], bool]
) -> tuple[Test, str]:
    other, word = more
    return (lambda item, values: how([one(item, values), other(item, values)])), word


def _single(word: str, rest: Iterator[str]) -> tuple[Test, str]:
    if word == "NOT":
        inner, word = _single(next(rest), rest)
        return (lambda item, values: not inner(item, values)), word
    if word == "(":
        inner, word = _either(next(rest), rest)
        return inner, next(rest)
    return _atom(word), next(rest)


def _atom(word: str) -> Test:
    if word.startswith("attribute_"):
        named, wanted = word.partition("#")[2].rstrip(")"), word.startswith("attribute_exists")
        return lambda item, _values: (named in item) is wanted
    name, sign, value = word.split(" ")
    if sign == "<>":
        return lambda item, values: item.get(name[1:]) != values[value]
    return lambda item, values: _compared(item.get(name[1:]), sign, values[value])


def _compared(have: Mapping[str, Any] | None, sign: str, wanted: Mapping[str, Any]) -> bool:
    if have is None or have.keys() != wanted.keys():
        return False
    ((kind, left),), ((_, right),) = have.items(), wanted.items()
    if kind == "N":
        left, right = float(left), float(right)
    return bool(_COMPARE[sign](left, right))
