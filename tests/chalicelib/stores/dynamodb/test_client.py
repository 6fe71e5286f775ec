"""The client's wrapper: what it retries, what it translates, and what it never takes for absent.

The client here answers from a script, so that failures come exactly where they are wanted.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from chalicelib.errors import RegistryError, TooManyRequestsError, UnavailableError
from chalicelib.registry.model import (
    CatalogFacts,
    CollectorState,
    Garbage,
    Link,
    Record,
    RetentionState,
)
from chalicelib.registry.session import Owner
from chalicelib.stores.dynamodb import codec, keys
from chalicelib.stores.dynamodb.client import (
    ATTEMPTS,
    ConditionFailedError,
    TransactionRefusedError,
)
from chalicelib.stores.dynamodb.expressions import Clause, ConditionCheck, Delete, Put, Update
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from tests.chalicelib.stores.conftest import Script, error
from tests.emulators.dynamodb import MemoryTables
from tests.support.registries import stores_over
from tests.support.values import NOW, STAMP, a_manifest, always, begin, fresh_digest

if TYPE_CHECKING:
    from collections.abc import Callable

CLAUSE = Clause("#state = :state", {"state": codec.TEXT.encode("open")})
KEY = keys.session_key("s")
UPDATE = Update("uploads", KEY, CLAUSE, set={"size": codec.WHOLE.encode(1)})
SPAN = keys.tags_after("a", None)


def cancelled(*codes: str) -> ClientError:
    """Return what botocore raises for a cancelled transaction."""
    reasons = [{"Code": code} for code in codes]
    return error("TransactionCanceledException", CancellationReasons=reasons)


CONFLICTS = [
    error("TransactionConflictException"),
    error("TransactionInProgressException"),
    cancelled("None", "TransactionConflict"),
    cancelled("ThrottlingError", "None"),
    cancelled("ProvisionedThroughputExceeded", "TransactionConflict"),
]


@pytest.mark.parametrize("failure", CONFLICTS)
def test_a_conflict_is_repeated_up_to_an_end(failure: Exception) -> None:
    """A write that conflicts with others is sent again after rising waits, and then is 503."""
    script = Script(failure, failure, failure, {"Attributes": {"fence": {"N": "1"}}})
    assert script.dynamo.write(UPDATE) == {"fence": {"N": "1"}}
    assert script.requests == [script.requests[0]] * 4
    for number, wait in enumerate(script.waits):
        assert 0.01 * 2**number <= wait <= 0.03 * 2**number
    script = Script(failure)
    with pytest.raises(UnavailableError):
        script.dynamo.transact([UPDATE])
    assert (len(script.requests), len(script.waits)) == (ATTEMPTS, ATTEMPTS - 1)
    assert sum(script.waits) < 2.5


@pytest.mark.parametrize("first", [True, False])
def test_a_condition_that_fails_beside_a_conflict_is_looked_at_again(*, first: bool) -> None:
    """The transaction is sent again: only conditions that fail without a conflict are refused."""
    conflict, refused = {"Code": "TransactionConflict"}, {"Code": "ConditionalCheckFailed"}
    found = {**refused, "Item": {"pk": {"S": "a"}}}
    mixed = [conflict, found] if first else [found, conflict]
    script = Script(
        error("TransactionCanceledException", CancellationReasons=[*mixed, {"Code": "None"}]),
        error("TransactionCanceledException", CancellationReasons=[found, refused]),
    )
    with pytest.raises(TransactionRefusedError) as caught:
        script.dynamo.transact([UPDATE])
    assert caught.value.items == {0: {"pk": {"S": "a"}}, 1: None}
    assert len(script.requests) == 2


@pytest.mark.parametrize("item", [None, {"session": {"S": "s"}}])
def test_a_failed_condition_has_the_item_that_it_found(item: dict[str, Any] | None) -> None:
    """A refused write has the item that it found, or None where there is none."""
    response = {} if item is None else {"Item": item}
    script = Script(error("ConditionalCheckFailedException", **response))
    for change in (UPDATE, Put("t", KEY, {}, CLAUSE), Delete("t", KEY, CLAUSE)):
        with pytest.raises(ConditionFailedError) as caught:
            script.dynamo.write(change)
        assert caught.value.item == item


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (cancelled("ValidationError", "None"), UnavailableError),
        (cancelled("ValidationError", "TransactionConflict"), UnavailableError),
        (cancelled("None"), UnavailableError),
        (error("InternalServerError"), UnavailableError),
        (error("ResourceNotFoundException"), UnavailableError),
        (error("ProvisionedThroughputExceededException"), TooManyRequestsError),
        (error("ThrottlingException"), TooManyRequestsError),
        (EndpointConnectionError(endpoint_url="http://nowhere"), UnavailableError),
        (ReadTimeoutError(endpoint_url="http://nowhere"), UnavailableError),
    ],
)
def test_other_failures_are_translated_and_not_repeated(
    failure: Exception, expected: type[RegistryError]
) -> None:
    """What botocore has given up on is 503 or 429 at once, for reads as for writes."""
    script = Script(failure)
    calls: list[Callable[[], object]] = [
        lambda: script.dynamo.get("t", KEY),
        lambda: script.dynamo.get_many("t", [KEY]),
        lambda: script.dynamo.query("t", SPAN),
        lambda: script.dynamo.write(UPDATE),
        lambda: script.dynamo.transact([UPDATE]),
    ]
    for call in calls:
        with pytest.raises(expected) as caught:
            call()
        assert caught.value.__cause__ is failure
    assert len(script.requests) == len(calls)


def test_no_operation_takes_a_failure_for_an_answer() -> None:
    """Every operation of both stores raises when DynamoDB can't be reached."""
    client = cast("Any", Script(EndpointConnectionError(endpoint_url="http://nowhere")))
    sessions = DynamoSessionStore(client, "uploads")
    metadata = DynamoMetadataStore(client, "registry", "uploads")
    before, after = begin(stores_over(MemoryTables())[0], "a", fresh_digest())
    owner, manifest, digest = Owner("a", ""), a_manifest(), fresh_digest()
    link = Link("a", digest, 1, "key", NOW, "version")
    given: dict[str, object] = {
        "session": before,
        "session_id": "s",
        "before": before,
        "after": after,
        "owner": owner,
        "at": None,
        "claim": None,
        "holder": "h",
        "now": NOW,
        "until": NOW + 1,
        "key": "key",
        "keys": ["key"],
        "is_there": always,
        "repository": "a",
        "digest": digest,
        "digests": [digest],
        "subject": digest,
        "manifest": manifest,
        "others": [manifest],
        "sweep_at": NOW,
        "referrer": None,
        "link": link,
        "body": link,
        "limit": 1,
        "prefix": "",
        "tag": "v1",
        "name": "v1",
        "tags": {"v1": None},
        "stamp": STAMP,
        "since": NOW,
        "mark": "nonce",
        "record": Record(digest, "key", 1, 0, NOW),
        "age": 60.0,
        "rules": 1,
        "covered": None,
        "new_tags": None,
        "blobs": [digest],
        "content": b"bytes",
        "garbage": [Garbage("key", digest, 1, NOW)],
        "facts": CatalogFacts(NOW, 1, 1, 0, 1),
    }
    states = {
        "save_collector_state": CollectorState(""),
        "put_retention_state": RetentionState(NOW, "", "", None, ""),
    }
    operations = [
        getattr(store, name)
        for store in (sessions, metadata)
        for name in dir(store)
        if not name.startswith("_")
    ]
    assert len(operations) > 50
    for operation in operations:
        wanted = {name: given[name] for name in inspect.signature(operation).parameters}
        if "after" in wanted and operation.__name__ not in {"publish", "write"}:
            wanted["after"] = None
        if operation.__name__ in states:
            wanted = {"before": None, "after": states[operation.__name__]}
        with pytest.raises(UnavailableError):
            list(operation(**wanted))


def batch(found: int, *unread: int) -> dict[str, Any]:
    """Return an answer to BatchGetItem with so many items, and these keys unread."""
    left = {"t": {"Keys": [{"session": {"S": str(number)}} for number in unread]}}
    items = [{"session": {"S": "x"}}] * found
    return {"Responses": {"t": items}, "UnprocessedKeys": left if unread else {}}


def test_unread_keys_of_a_batch_are_read_again() -> None:
    """What a batch leaves unread is read by further requests, with waits; it is never absent."""
    script = Script(batch(1, 1, 2), batch(0, 1, 2), batch(1, 2), batch(1))
    wanted = [keys.session_key(str(number)) for number in range(3)]
    assert len(script.dynamo.get_many("t", wanted)) == 3
    sent = [len(request["RequestItems"]["t"]["Keys"]) for request in script.requests]
    assert sent == [3, 2, 2, 1]
    assert all(request["RequestItems"]["t"]["ConsistentRead"] for request in script.requests)
    assert len(script.waits) == 3
    script = Script(batch(0, 1))
    with pytest.raises(UnavailableError):
        script.dynamo.get_many("t", [keys.session_key("1")])
    assert len(script.requests) == ATTEMPTS


def test_keys_are_read_by_the_hundred_and_once() -> None:
    """A batch has at most 100 keys, no key twice, and nothing is asked for none."""
    script = Script(batch(0))
    numbers = [str(number % 205) for number in range(500)]
    script.dynamo.get_many("t", [keys.session_key(number) for number in numbers])
    sizes = [len(request["RequestItems"]["t"]["Keys"]) for request in script.requests]
    assert sizes == [100, 100, 5]
    script.dynamo.get_many("t", [])
    assert len(script.requests) == 3


def page(*names: str, more: bool) -> dict[str, Any]:
    """Return an answer to Query."""
    items = [{"sk": {"S": f"TAG#{name}"}} for name in names]
    return {"Items": items} | ({"LastEvaluatedKey": {"sk": items[-1]["sk"]}} if more else {})


def test_a_page_is_one_request() -> None:
    """A query that DynamoDB ends at 1 MB is a shorter page, which says that more come."""
    script = Script(page("a", "b", more=True))
    store = DynamoMetadataStore(cast("Any", script), "registry", "uploads")
    for limit, items in ((1, ["a"]), (2, ["a", "b"]), (1000, ["a", "b"])):
        found = store.list_tags("a", None, limit)
        assert (found.items, found.more) == (items, True)
    assert [request["Limit"] for request in script.requests] == [2, 3, 1001]


def test_a_whole_range_goes_on_where_it_is_cut() -> None:
    """What has to be read whole goes on behind each cut, to the end."""
    script = Script(page("a", "b", more=True), page("c", more=True), page("d", more=False))
    store = DynamoMetadataStore(cast("Any", script), "registry", "uploads")
    assert len(store.tags_of("a", fresh_digest())) == 4
    assert len(script.requests) == 3
    assert script.requests[1]["ExclusiveStartKey"] == {"sk": {"S": "TAG#b"}}
    assert "Limit" not in script.requests[0]


@pytest.mark.parametrize(
    "change",
    [UPDATE, Put("t", KEY, {}, CLAUSE), Delete("t", KEY, CLAUSE), ConditionCheck("t", KEY, CLAUSE)],
)
def test_every_condition_requests_the_item_that_it_finds(
    change: Update | Put | Delete | ConditionCheck,
) -> None:
    """A write under a condition asks for the item that the condition fails on."""
    request = change.request()
    assert request["ConditionExpression"] == "#state = :state"
    assert request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
    assert request["ExpressionAttributeNames"]["#state"] == "state"
    assert request["ExpressionAttributeValues"][":state"] == {"S": "open"}


def test_a_silent_update_requests_no_item() -> None:
    """A silent update requests neither the item that fails its condition nor the new one.

    A policy that lets a function write one attribute only refuses requests for more.
    """
    script = Script({})
    assert script.dynamo.write(UPDATE._replace(silent=True)) == {}
    (request,) = script.requests
    assert request["ConditionExpression"] == "#state = :state"
    assert not [name for name in request if name.startswith("ReturnValues")]
