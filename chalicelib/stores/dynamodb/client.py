"""Every request to DynamoDB: plumbing that the stores share.

botocore's exceptions stop here: a failed condition raises an error with the item that it found, a
conflict is retried, and every other failure is a RegistryError. This module must never take a
failure for an absent item, and knows no item's meaning.
"""

import heapq
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.config import Config

from chalicelib.errors import UnavailableError
from chalicelib.limits import BATCH_KEYS, THROTTLE_CODES
from chalicelib.stores.aws.clients import client
from chalicelib.stores.aws.failures import AWS_ERRORS, code_of, translate
from chalicelib.stores.dynamodb.expressions import (
    Change,
    ConditionCheck,
    Delete,
    Put,
    Update,
    key_attributes,
    names_in,
)
from chalicelib.stores.dynamodb.keys import SWEEP_SHARDS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

    from chalicelib.stores.dynamodb.codec import Item
    from chalicelib.stores.dynamodb.keys import Key, KeyRange

T = TypeVar("T")

ATTEMPTS = 7
"""How often a request is sent while it conflicts with other transactions: 1.3 s in all."""

CROWDED = 9
"""The same where many meet at one item: 5 s in all."""

_FIRST_WAIT = 0.02
_DUE_PAGE = 250
_CONDITION_FAILED = "ConditionalCheckFailedException"
_REFUSED = "ConditionalCheckFailed"
_CANCELLED = "TransactionCanceledException"
# Another writer was first, or ran at the same time: nothing was written. botocore retries none of
# them, for a transaction's reasons are not errors of their own.
_CONFLICTS = frozenset({"TransactionConflictException", "TransactionInProgressException"})
_CONFLICT_REASONS = THROTTLE_CODES | {"TransactionConflict"}


def dynamodb_config() -> Config:
    """Return how the client is to behave, each value on purpose."""
    return Config(
        retries={"mode": "standard", "total_max_attempts": 4},
        connect_timeout=2,
        read_timeout=5,  # single-digit milliseconds are usual; all attempts fit into a request
        max_pool_connections=16,
        tcp_keepalive=True,
    )


@lru_cache(maxsize=1)
def dynamodb_client() -> Any:  # noqa: ANN401 - clients are made at run time
    """Return this process's client."""
    return client("dynamodb", dynamodb_config())


class ConditionFailedError(Exception):
    """A write's condition did not hold; `item` is what it found (None: no item)."""

    def __init__(self, item: "Item | None") -> None:
        super().__init__("the condition did not hold")
        self.item = item


class TransactionRefusedError(Exception):
    """Conditions of a transaction did not hold: nothing was written.

    `items` has the number of each refused action, with the item that it found (None: no item).
    """

    def __init__(self, items: "Mapping[int, Item | None]") -> None:
        super().__init__(f"the conditions of actions {sorted(items)} did not hold")
        self.items = items


class Dynamo:
    """A DynamoDB client with the failures translated. Reads are strongly consistent."""

    def __init__(self, client: "DynamoDBClient", sleep: Callable[[float], None]) -> None:
        self._client = client
        self._sleep = sleep

    def get(self, table: str, key: "Key", *, consistent: bool = True) -> "Item | None":
        """Read an item; None only if DynamoDB says that there is none."""
        request = {
            "TableName": table,
            "Key": key_attributes(key),
            "ConsistentRead": consistent,
        }
        item: Item | None = self._call(self._client.get_item, request).get("Item")
        return item

    def get_many(
        self, table: str, keys: "Iterable[Key]", attributes: Sequence[str] = ()
    ) -> "list[Item]":
        """Read items, 100 a request, in any order; absent ones are left out.

        With `attributes`, only these are sent back.
        """
        options: dict[str, Any] = {"ConsistentRead": True}
        if attributes:
            text = _projection(attributes)
            options |= {
                "ProjectionExpression": text,
                "ExpressionAttributeNames": names_in(text),
            }
        # A request that names a key twice is refused.
        wanted = list({tuple(sorted(key.items())): key_attributes(key) for key in keys}.values())
        found: list[Item] = []
        for start in range(0, len(wanted), BATCH_KEYS):
            found += self._get_batch(table, wanted[start : start + BATCH_KEYS], options)
        return found

    def query(self, table: str, span: "KeyRange", attributes: Sequence[str] = ()) -> "list[Item]":
        """Read a range of one partition in the order of its sort keys.

        With `attributes`, only these are sent back.
        """
        if span.first > span.last:
            return []
        return list(self._pages(self._client.query, _query(table, span, attributes)))

    def query_page(
        self, table: str, span: "KeyRange", limit: int, attributes: Sequence[str] = ()
    ) -> "tuple[list[Item], bool]":
        """Read the first items of a range in one request, and say whether more come.

        At most `limit` items, and no more than the 1 MB at which DynamoDB ends a request's work.
        With `attributes`, only these are sent back.
        """
        if span.first > span.last:
            return [], False
        # One more than the limit: not every backend says whether more are left.
        request = {**_query(table, span, attributes), "Limit": limit + 1}
        answer = self._call(self._client.query, request)
        items: list[Item] = answer["Items"]
        return items[:limit], len(items) > limit or "LastEvaluatedKey" in answer

    def query_due(self, table: str, now: float) -> "Iterator[Item]":
        """Read the keys of all items in the table's index `sweep` that are due at `now`.

        In the order of their times, whatever the shard: a caller that stops early leaves none
        waiting for ever. A page is read when its first item is needed. An index lags behind its
        table: callers read the item itself before they act on it.
        """
        condition = "#sweep_shard = :shard AND #sweep_at <= :now"
        shards = [
            self._pages(
                self._client.query,
                {
                    "TableName": table,
                    "IndexName": "sweep",
                    "KeyConditionExpression": condition,
                    "ExpressionAttributeNames": names_in(condition),
                    "ExpressionAttributeValues": {":shard": {"S": shard}, ":now": {"N": repr(now)}},
                    "Limit": _DUE_PAGE,
                },
            )
            for shard in SWEEP_SHARDS
        ]
        return heapq.merge(*shards, key=lambda item: float(item["sweep_at"]["N"]))

    def scan(self, table: str, after: "Key | None", attributes: Sequence[str]) -> "Iterator[Item]":
        """Read these attributes of all items behind the key `after`, which need not exist.

        Eventually consistent, a page of 1 MB when its first item is needed. The items of one
        partition come one after the other, by their sort keys.
        """
        text = _projection(attributes)
        request: dict[str, Any] = {
            "TableName": table,
            "ProjectionExpression": text,
            "ExpressionAttributeNames": names_in(text),
        }
        if after is not None:
            request["ExclusiveStartKey"] = key_attributes(after)
        return self._pages(self._client.scan, request)

    def write(self, change: Change) -> "Item":
        """Make one write; an Update that is not silent returns the item as it then is.

        Raises ConditionFailedError.
        """
        request = change.request()
        match change:
            case Put():
                self._call(self._client.put_item, request)
            case Delete():
                self._call(self._client.delete_item, request)
            case Update(silent=True):
                self._call(self._client.update_item, request)
            case Update():
                request["ReturnValues"] = "ALL_NEW"
                item: Item = self._call(self._client.update_item, request)["Attributes"]
                return item
        return {}

    def transact(
        self, changes: Sequence[Change | ConditionCheck], *, crowded: bool = False
    ) -> None:
        """Make all of these writes or none; raises TransactionRefusedError.

        One that is `crowded` writes an item that many others write, too. botocore gives each call
        a token of its own, by which DynamoDB knows its repeats.
        """
        actions = [
            {
                "ConditionCheck" if isinstance(change, ConditionCheck) else type(change).__name__: (
                    change.request()
                )
            }
            for change in changes
        ]
        attempts = CROWDED if crowded else ATTEMPTS
        self._call(self._client.transact_write_items, {"TransactItems": actions}, attempts)

    def _get_batch(
        self, table: str, keys: list[dict[str, Any]], options: Mapping[str, Any]
    ) -> "list[Item]":
        found: list[Item] = []
        stalled = 0
        while keys:
            request = {"RequestItems": {table: {"Keys": keys, **options}}}
            answer = self._call(self._client.batch_get_item, request)
            found += answer["Responses"].get(table, [])
            left = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
            stalled = 0 if len(left) < len(keys) else stalled + 1
            if stalled == ATTEMPTS:
                raise UnavailableError("the storage below leaves a batch unread")
            if left:
                self._wait(stalled)
            keys = left
        return found

    def _pages(self, operation: Callable[..., Any], request: dict[str, Any]) -> "Iterator[Item]":
        while True:
            answer = self._call(operation, request)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            # A page ends at 1 MB, or at its limit.
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _call(  # each operation answers with a shape of its own
        self, operation: Callable[..., Any], request: Mapping[str, Any], attempts: int = ATTEMPTS
    ) -> Any:  # noqa: ANN401 - likewise
        for attempt in range(attempts):
            try:
                return operation(**request)
            except AWS_ERRORS as error:
                if (refusal := _refusal(error)) is not None:
                    raise refusal from error
                if not _is_conflict(error):
                    raise translate(error) from error
            if attempt + 1 < attempts:
                self._wait(attempt)
        raise UnavailableError("others keep writing to the same items")

    def _wait(self, attempt: int) -> None:
        self._sleep(_FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311 - jitter


def _projection(attributes: Sequence[str]) -> str:
    return ", ".join(f"#{name}" for name in attributes)


def _query(table: str, span: "KeyRange", attributes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the parameters that read a range of one partition, strongly consistent.

    All attributes of its items, unless some are given.
    """
    condition = "#pk = :pk AND #sk BETWEEN :first AND :last"
    text = _projection(attributes)
    return {
        "TableName": table,
        "KeyConditionExpression": condition,
        **({"ProjectionExpression": text} if text else {}),
        "ExpressionAttributeNames": names_in(f"{condition} {text}"),
        "ExpressionAttributeValues": {
            ":pk": {"S": span.partition},
            ":first": {"S": span.first},
            ":last": {"S": span.last},
        },
        "ConsistentRead": True,
    }


def _refusal(error: Exception) -> Exception | None:
    """Return the error of a condition that did not hold; None if something else stopped the write.

    A transaction that conflicts with others may have failed conditions besides: it is sent again.
    """
    if _is_conflict(error):
        return None
    response: Mapping[str, Any] = getattr(error, "response", {})
    if code_of(error) == _CONDITION_FAILED:
        return ConditionFailedError(response.get("Item") or None)
    items = {
        number: reason.get("Item") or None
        for number, reason in enumerate(_reasons(error))
        if reason.get("Code") == _REFUSED
    }
    return TransactionRefusedError(items) if items else None


def _is_conflict(error: Exception) -> bool:
    codes = {str(reason.get("Code", "None")) for reason in _reasons(error)}
    codes -= {"None", _REFUSED}
    return code_of(error) in _CONFLICTS or bool(codes and codes <= _CONFLICT_REASONS)


def _reasons(error: Exception) -> Sequence[Mapping[str, Any]]:
    if code_of(error) != _CANCELLED:
        return ()
    response: Mapping[str, Any] = getattr(error, "response", {})
    reasons: Sequence[Mapping[str, Any]] = response.get("CancellationReasons", ())
    return reasons
