"""DynamoDB in this process: a client that takes the requests of the stores, in microseconds.

It evaluates the very expressions that go over the wire, so that what a condition says is what is
drilled. It must never take an expression that it does not know for a true one; moto and MiniStack
judge whether DynamoDB reads them so too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from operator import eq, ge, gt, le, lt
from typing import Any

from botocore.exceptions import ClientError

Attributes = Mapping[str, Mapping[str, Any]]
Test = Callable[[Attributes, Attributes], bool]
"""Given an item's attributes and the expression's values."""

_TOKEN = re.compile(
    r"\s*(\(|\)|AND\b|OR\b|NOT\b|attribute_not_exists\(#\w+\)|#\w+ (?:=|>=|<=|>|<) :\w+)"
)
_ASSIGNMENT = re.compile(r"#(\w+) = (?:#(\w+) \+ )?(:\w+)")
_COMPARE = {"=": eq, ">": gt, ">=": ge, "<": lt, "<=": le}


class MemoryTables:
    """The part of a boto3 DynamoDB client that the stores use."""

    def __init__(self) -> None:
        self.items: dict[str, dict[tuple[str, ...], Attributes]] = {}

    def get_item(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - botocore's parameters
        """Read an item."""
        item = self._table(request).get(_place(request["Key"]))
        return {} if item is None else {"Item": item}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
        """Read two thirds of the items asked for, and say what is left; two come whole."""
        ((table, wanted),) = request["RequestItems"].items()
        # DynamoDB ends a batch at 16 MB, and no drill's items come to that.
        now = max(2, len(wanted["Keys"]) * 2 // 3)
        keys, left = wanted["Keys"][:now], wanted["Keys"][now:]
        found = [self.items.get(table, {}).get(_place(key)) for key in keys]
        names = wanted.get("ExpressionAttributeNames", {}).values()
        items = [_only(item, names) for item in found if item is not None]
        unread = {table: {**wanted, "Keys": left}} if left else {}
        return {"Responses": {table: items}, "UnprocessedKeys": unread}

    def query(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
        """Read a range of a partition, or of a shard of the sweeper's queue, all in one page."""
        values = request["ExpressionAttributeValues"]
        rows = self._table(request).values()
        if "IndexName" in request:
            due = float(values[":now"]["N"])
            shard = [row for row in rows if row.get("sweep_shard") == values[":shard"]]
            items = [row for row in shard if float(row["sweep_at"]["N"]) <= due]
            return {"Items": sorted(items, key=lambda row: float(row["sweep_at"]["N"]))}
        first, last = values[":first"]["S"], values[":last"]["S"]
        inside = [row for row in rows if row["pk"] == values[":pk"]]
        items = [row for row in inside if first <= row["sk"]["S"] <= last]
        return {"Items": sorted(items, key=lambda row: str(row["sk"]["S"]))}

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
        if not self._allows(request):
            raise _error("ConditionalCheckFailedException", **self._met(request))
        self._do(kind, request)
        after = self._table(request).get(_place(_key(request)))
        return {} if after is None else {"Attributes": after}

    def _table(self, request: Mapping[str, Any]) -> dict[tuple[str, ...], Attributes]:
        return self.items.setdefault(request["TableName"], {})

    def _met(self, request: Mapping[str, Any]) -> dict[str, Any]:
        item = self._table(request).get(_place(_key(request)))
        return {} if item is None else {"Item": item}

    def _allows(self, request: Mapping[str, Any]) -> bool:
        text = request.get("ConditionExpression")
        if text is None:
            return True
        item = self._table(request).get(_place(_key(request)), {})
        return _read(text)(item, request.get("ExpressionAttributeValues", {}))

    def _do(self, kind: str, request: Mapping[str, Any]) -> None:
        table, place = self._table(request), _place(_key(request))
        if kind == "Put":
            table[place] = dict(request["Item"])
        elif kind == "Delete":
            table.pop(place, None)
        elif kind == "Update":
            before = table.get(place, request["Key"])
            table[place] = _updated(before, request)


def _updated(before: Attributes, request: Mapping[str, Any]) -> Attributes:
    """Return an item after an UpdateExpression: SET of values and sums, then REMOVE."""
    sets, _, removes = request["UpdateExpression"].partition("REMOVE ")
    values, after = request["ExpressionAttributeValues"], dict(before)
    for name, added_to, value in _ASSIGNMENT.findall(sets):
        after[name] = values[value]
        if added_to:
            total = int(before[added_to]["N"]) + int(values[value]["N"])
            after[name] = {"N": str(total)}
    for name in re.findall(r"#(\w+)", removes):
        after.pop(name, None)
    return after


def _only(item: Attributes, names: Sequence[str]) -> Attributes:
    return {name: item[name] for name in names if name in item} if names else item


def _key(request: Mapping[str, Any]) -> Attributes:
    key: Attributes = request.get("Key") or request["Item"]
    return key


def _place(key: Attributes) -> tuple[str, ...]:
    names = ("session",) if "session" in key else ("pk", "sk")
    return tuple(key[name]["S"] for name in names)


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
    if word.startswith("attribute_not_exists"):
        absent = word.partition("#")[2].rstrip(")")
        return lambda item, _values: absent not in item
    name, sign, value = word.split(" ")
    return lambda item, values: _compared(item.get(name[1:]), sign, values[value])


def _compared(have: Mapping[str, Any] | None, sign: str, wanted: Mapping[str, Any]) -> bool:
    if have is None or have.keys() != wanted.keys():
        return False
    ((kind, left),), ((_, right),) = have.items(), wanted.items()
    if kind == "N":
        left, right = float(left), float(right)
    return bool(_COMPARE[sign](left, right))
