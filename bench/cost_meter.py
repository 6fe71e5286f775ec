"""What the calls to S3 and DynamoDB are billed as, counted at botocore while they are made.

Units of DynamoDB follow from the sizes of items, which a client of the meter's own looks up beside
each call. It counts one call at a time, and must never change one.
Source: the DynamoDB Developer Guide, "Read and write operations", "Item sizes and formats" and
"Using global secondary indexes"; S3's price list, for the classes.
"""

from __future__ import annotations

import json
import math
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    Item = Mapping[str, Mapping[str, Any]]

_WRITE_UNIT = 1024
_READ_UNIT = 4096
_TRANSACTED = 2
_EVENTUAL = 0.5
_COMPLETE = "CompleteMultipartUpload"

_DEAR = frozenset(
    {
        "CopyObject",
        "CreateMultipartUpload",
        "ListMultipartUploads",
        "ListObjectsV2",
        "ListParts",
        "PutObject",
        "UploadPart",
        "UploadPartCopy",
        _COMPLETE,
    }
)
"""What S3 asks the price of a PUT for."""

_CHEAP = frozenset({"GetObject", "HeadObject"})
_FREE = frozenset({"AbortMultipartUpload", "DeleteObject", "DeleteObjects"})

SCANNED = "ScannedBytes"
"""What a table that is made up says of a page: the bytes of its items, whole ones."""


@dataclass
class CallMeter:
    """What was billed so far; units as DynamoDB counts them, requests as S3 classes them."""

    looker: DynamoDBClient
    """A client of the meter's own: its calls are not counted."""
    s3_writes: int = 0
    s3_reads: int = 0
    assembled: int = 0
    """Objects that were put together from parts."""
    dynamodb_writes: int = 0
    dynamodb_reads: float = 0.0
    _tables: dict[str, _Table] = field(default_factory=dict)
    _asked: Mapping[str, Any] = field(default_factory=dict)
    _touched: list[_Touched] = field(default_factory=list)

    def know(self, *tables: str) -> None:
        """Look at tables that may be written; no other one may."""
        self._tables = {name: self._described(name) for name in tables}

    @contextmanager
    def watch(self, s3: S3Client, dynamodb: DynamoDBClient, *tables: str) -> Iterator[None]:
        """Count the calls of both clients until the block ends, which writes these tables."""
        self.know(*tables)
        # Signing a URL is no call, and emits neither of these.
        with ExitStack() as stack:
            for client, event, handler in (
                (s3, "before-call", self._s3_called),
                (dynamodb, "before-call", self._dynamodb_asked),
                (dynamodb, "after-call", self._dynamodb_answered),
            ):
                client.meta.events.register(event, handler)
                stack.callback(client.meta.events.unregister, event, handler)
            yield

    def _s3_called(self, model: Any, **_: object) -> None:  # noqa: ANN401 - botocore's own
        self.s3_called(model.name)

    def s3_called(self, name: str) -> None:
        """Count a call of S3 by its price."""
        if name not in _DEAR | _CHEAP | _FREE:
            raise KeyError(f"{name} is in no price class that is known here")
        self.s3_writes += name in _DEAR
        self.s3_reads += name in _CHEAP
        self.assembled += name == _COMPLETE

    def _dynamodb_asked(self, params: Mapping[str, Any], model: Any, **_: object) -> None:  # noqa: ANN401 - likewise
        self.asks(model.name, json.loads(params["body"]))

    def _dynamodb_answered(self, parsed: Mapping[str, Any], model: Any, **_: object) -> None:  # noqa: ANN401 - likewise
        self.answered(model.name, parsed)

    def asks(self, operation: str, request: Mapping[str, Any]) -> None:
        """Look at the items that a call of DynamoDB will write, before it is made."""
        self._asked = request
        self._touched = [
            _Touched(table, key, self._item(table.name, key), weight)
            for table, key, weight in self._writes(operation, request)
        ]

    def answered(self, operation: str, answer: Mapping[str, Any]) -> None:
        """Count that call, whose answer is here."""
        for touched in self._touched:
            after = self._item(touched.table.name, touched.key)
            largest = max(size_of(touched.before), size_of(after))
            self.dynamodb_writes += touched.weight * _units(largest, _WRITE_UNIT)
            self.dynamodb_writes += touched.table.index_writes(touched.before, after)
        read = _READS.get(operation)
        if read is not None:
            self.dynamodb_reads += read(self, self._asked, answer)
        elif not self._touched:
            raise KeyError(f"what {operation} costs is not known here")

    def _writes(
        self, operation: str, request: Mapping[str, Any]
    ) -> Iterator[tuple[_Table, Item, int]]:
        """Yield table, key and weight of each item that a request writes."""
        match operation:
            case "PutItem" | "UpdateItem" | "DeleteItem":
                yield (*self._target(request), 1)
            case "TransactWriteItems":
                for action in request["TransactItems"]:
                    [change] = action.values()
                    yield (*self._target(change), _TRANSACTED)

    def _target(self, change: Mapping[str, Any]) -> tuple[_Table, Item]:
        table = self._tables[change["TableName"]]
        named = change.get("Key") or change["Item"]
        return table, {name: named[name] for name in table.key}

    def _described(self, name: str) -> _Table:
        described = self.looker.describe_table(TableName=name)["Table"]
        indexes = described.get("GlobalSecondaryIndexes", [])
        return _Table(
            name,
            tuple(each["AttributeName"] for each in described["KeySchema"]),
            tuple(tuple(each["AttributeName"] for each in index["KeySchema"]) for index in indexes),
        )

    def _item(self, table: str, key: Item) -> Item | None:
        answer: Mapping[str, Any] = self.looker.get_item(TableName=table, Key=dict(key))
        return answer.get("Item")

    def _get(self, request: Mapping[str, Any], answer: Mapping[str, Any]) -> float:
        return _read(size_of(answer.get("Item")), consistent=request.get("ConsistentRead", False))

    def _batch_get(self, request: Mapping[str, Any], _: Mapping[str, Any]) -> float:
        """Each item is rounded up by itself, and whole whatever of it is sent back."""
        return sum(
            _read(size_of(self._item(table, key)), consistent=wanted.get("ConsistentRead", False))
            for table, wanted in request["RequestItems"].items()
            for key in wanted["Keys"]
        )

    def _query(self, request: Mapping[str, Any], answer: Mapping[str, Any]) -> float:
        """All items are rounded up together, whole ones: see SCANNED of what sends parts."""
        total = answer.get(SCANNED) or sum(size_of(item) for item in answer["Items"])
        return _read(total, consistent=request.get("ConsistentRead", False))

    def _scan(self, request: Mapping[str, Any], answer: Mapping[str, Any]) -> float:
        """All items are rounded up together, and each is whole whatever of it is sent back."""
        total = answer.get(SCANNED)
        if total is None:
            start = {name: request[name] for name in ("ExclusiveStartKey",) if name in request}
            limit = max(len(answer["Items"]), 1)
            whole = self.looker.scan(TableName=request["TableName"], Limit=limit, **start)
            total = sum(map(size_of, whole["Items"]))
        return _read(total, consistent=request.get("ConsistentRead", False))


_READS: Mapping[str, Callable[[CallMeter, Mapping[str, Any], Mapping[str, Any]], float]] = {
    "GetItem": CallMeter._get,  # noqa: SLF001 - the class's own table
    "BatchGetItem": CallMeter._batch_get,  # noqa: SLF001 - likewise
    "Query": CallMeter._query,  # noqa: SLF001 - likewise
    "Scan": CallMeter._scan,  # noqa: SLF001 - likewise
}


@dataclass(frozen=True)
class _Table:
    """A table's key attributes, and those of each of its indexes, which project keys only."""

    name: str
    key: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...]

    def index_writes(self, before: Item | None, after: Item | None) -> int:
        """One write for an entry that comes or goes; one that moves does both."""
        moved = [
            entries
            for index in self.indexes
            if (entries := (_entry(before, index), _entry(after, index)))[0] != entries[1]
        ]
        return sum(entry is not None for entries in moved for entry in entries)


@dataclass(frozen=True)
class _Touched:
    table: _Table
    key: Item
    before: Item | None
    weight: int


def _entry(item: Item | None, index: tuple[str, ...]) -> tuple[object, ...] | None:
    if item is None or any(name not in item for name in index):
        return None
    return tuple(item[name] for name in index)


def size_of(item: Item | None) -> int:
    """Return the bytes of an item, as DynamoDB counts them; 0 for none."""
    if item is None:
        return 0
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(value: Mapping[str, Any]) -> int:
    [(kind, held)] = value.items()
    match kind:
        case "S":
            return len(held.encode())
        case "B":
            return len(held)
        case "N":
            digits = held.strip("-").replace(".", "").strip("0")
            return math.ceil(len(digits) / 2) + 1
        case "BOOL" | "NULL":
            return 1
        case "L":
            return 3 + sum(1 + _value_size(each) for each in held)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _value_size(held[name]) for name in held)
    raise KeyError(f"the size of a {kind} is not known here")


def _read(size: int, *, consistent: bool) -> float:
    return _units(size, _READ_UNIT) * (1 if consistent else _EVENTUAL)


def _units(size: int, unit: int) -> int:
    return max(1, math.ceil(size / unit))
