"""What the stores send: how many requests, under which token, and what stands in the items."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.stores.dynamodb import keys
from chalicelib.stores.dynamodb.codec import CorruptItemError
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import MANIFEST, RECORD, SESSION
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from tests.emulators.lost_answers import answer_lost
from tests.support.calls import record_calls
from tests.support.values import (
    NOW,
    STAMP,
    a_full_session,
    a_manifest,
    a_session,
    always,
    begin,
    fresh_digest,
    fresh_name,
    key_of,
    push,
    push_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chalicelib.stores.conftest import Stores

READS = {"GetItem", "BatchGetItem", "Query"}


def sent(dynamo: Stores, act: Callable[[], object]) -> dict[str, int]:
    """Return how many requests of each operation an act takes."""
    with record_calls(dynamo.client) as calls:
        act()
    return dict(calls.operations("dynamodb"))


def test_an_append_is_two_writes_and_no_read(dynamo: Stores) -> None:
    """Creating, leasing and writing a session take one request each, a take-over two."""
    session = a_session()
    assert sent(dynamo, lambda: dynamo.sessions.create(session)) == {"PutItem": 1}
    assert sent(dynamo, lambda: dynamo.lease(session, until=NOW + 1)) == {"UpdateItem": 1}
    assert sent(dynamo, lambda: dynamo.lease(session, holder="b", now=NOW + 1)) == {"UpdateItem": 2}
    before = dynamo.sessions.get(session.id)
    assert before is not None
    after = replace(before, offset=3)
    assert sent(dynamo, lambda: dynamo.sessions.write(before, after)) == {"UpdateItem": 1}
    assert sent(dynamo, lambda: dynamo.sessions.write(after, after)) == {}
    assert dynamo.waits == []


def test_a_publication_is_one_transaction(dynamo: Stores, repository: str) -> None:
    """What is new takes one transaction and no read; what is there, one more or one read."""
    digest = fresh_digest()

    def published(name: str, *, whole: bool) -> dict[str, int]:
        before, after = begin(dynamo.sessions, name, digest)
        key = key_of(before) if whole else None
        return sent(
            dynamo, lambda: dynamo.metadata.publish(before, after, key, NOW, is_there=always)
        )

    assert published(repository, whole=True) == {"TransactWriteItems": 1}
    assert published(fresh_name(), whole=True) == {"TransactWriteItems": 2}
    assert published(repository, whole=True) == {"TransactWriteItems": 2}
    linked = {"BatchGetItem": 1, "TransactWriteItems": 1}
    assert published(fresh_name(), whole=False) == linked
    assert published(repository, whole=False) == linked


def test_making_a_manifest_live_is_one_transaction(dynamo: Stores, repository: str) -> None:
    """However many tags and links it has."""
    manifest = a_manifest(repository=repository)
    put = sent(dynamo, lambda: push_manifest(dynamo.metadata, manifest, "a", "b"))
    assert put == {"PutItem": 1, "TransactWriteItems": 1}
    digests = [fresh_digest() for _ in range(150)]
    read = sent(dynamo, lambda: dynamo.metadata.get_links(repository, digests))
    assert read == {"BatchGetItem": 2}
    assert sent(dynamo, lambda: dynamo.metadata.list_tags(repository, None, 1)) == {"Query": 1}


def test_the_catalog_is_asked_twice_only_for_what_it_lacks(dynamo: Stores) -> None:
    """A repository that is found takes one cheap read; an absent one a consistent read more."""
    name = fresh_name()
    with record_calls(dynamo.client) as calls:
        assert not dynamo.metadata.has_repository(name)
    assert [call.params["ConsistentRead"] for call in calls.of("dynamodb")] == [False, True]
    dynamo.metadata.add_repository(name)
    with record_calls(dynamo.client) as calls:
        assert dynamo.metadata.has_repository(name)
    assert [call.params["ConsistentRead"] for call in calls.of("dynamodb")] == [False]


def test_all_other_reads_are_strongly_consistent(dynamo: Stores, repository: str) -> None:
    """Whatever a client may have just written is read as it was written."""
    digest = fresh_digest()
    metadata = dynamo.metadata
    push(dynamo.sessions, metadata, repository, digest)
    push_manifest(metadata, a_manifest(repository=repository, digest=digest), "v1")
    with record_calls(dynamo.client) as calls:
        dynamo.sessions.get("nobody")
        metadata.get_link(repository, digest)
        metadata.get_links(repository, [digest])
        metadata.get_record(digest)
        metadata.get_records([digest])
        metadata.list_manifests(repository, None, 1)
        metadata.list_links(repository, None, 1)
        metadata.list_tag_rows(repository, None, 1)
        metadata.get_manifest(repository, digest)
        metadata.get_manifests(repository, [digest])
        metadata.get_tags(repository, ["v1"])
        metadata.add_link(repository, digest, NOW)
        metadata.list_tags(repository, None, 1)
        metadata.list_referrers(repository, digest, None, 1)
        metadata.list_repositories("~", 1)
        metadata.tags_of(repository, digest)
        metadata.delete_tag(repository, "v1", STAMP)
        metadata.delete_link(repository, digest)
    reads = [call.params for call in calls.of("dynamodb") if call.operation in READS]
    assert len(reads) == 17
    for params in reads:
        tables = params.get("RequestItems", {"": params}).values()
        assert all(table.get("ConsistentRead") for table in tables), params


def test_bodies_are_not_sent_with_many_manifests(dynamo: Stores, repository: str) -> None:
    """Reading many manifests asks for every attribute but the body."""
    with record_calls(dynamo.client) as calls:
        dynamo.metadata.get_manifests(repository, [fresh_digest()])
    (call,) = calls.of("dynamodb")
    (request,) = call.params["RequestItems"].values()
    asked = set(request["ExpressionAttributeNames"].values())
    assert asked == {field.stored_as for field in MANIFEST.fields} - {"body"}


def test_a_repeated_transaction_has_one_token(dynamo: Stores, repository: str) -> None:
    """A transaction is sent again under the token that it had, and the next under its own."""
    tokens = []

    def note(request: Any, **_: object) -> None:  # noqa: ANN401 - botocore's prepared request
        tokens.append(json.loads(request.body)["ClientRequestToken"])

    dynamo.client.meta.events.register_first("before-send.dynamodb.TransactWriteItems", note)
    try:
        with answer_lost(dynamo.client, "TransactWriteItems"):
            push(dynamo.sessions, dynamo.metadata, repository, fresh_digest())
        push(dynamo.sessions, dynamo.metadata, repository, fresh_digest())
    finally:
        dynamo.client.meta.events.unregister("before-send.dynamodb.TransactWriteItems", note)
    first, again, other = tokens
    assert first == again != other


def test_versions_come_from_the_ids_that_are_given(dynamo: Stores, repository: str) -> None:
    """Each write of a link takes its version from the source of fresh ids, as a record its id."""
    ids = iter(["count", "one", "two", "three"])
    metadata = DynamoMetadataStore(
        dynamo.client, dynamo.registry_table, dynamo.uploads_table, new_id=lambda: next(ids)
    )
    digest, other = fresh_digest(), fresh_name()
    push(dynamo.sessions, metadata, repository, digest)
    link = dynamo.link(repository, digest)
    assert link.version == "one"
    assert metadata.touch_link(link, NOW)
    touched = metadata.get_link(repository, digest)
    assert touched == replace(link, version="two")
    mounted = metadata.add_link(other, digest, NOW)
    assert mounted is not None
    assert mounted.version == "three"


def test_a_touch_removes_the_mark(dynamo: Stores, repository: str) -> None:
    """So do a mount and a push."""
    digest = dynamo.pushed(repository)
    link = dynamo.link(repository, digest)
    touches: list[Callable[[], object]] = [
        lambda: dynamo.metadata.touch_link(link, NOW),
        lambda: dynamo.metadata.add_link(repository, digest, NOW),
        lambda: push(dynamo.sessions, dynamo.metadata, repository, digest),
    ]
    for touch in touches:
        dynamo.change(keys.link_key(repository, digest), mark={"S": "a nonce"})
        assert dynamo.link(repository, digest).mark == "a nonce"
        touch()
        assert dynamo.link(repository, digest).mark is None


def test_a_session_is_in_the_sweepers_queue_while_it_has_a_time(dynamo: Stores) -> None:
    """A session enters the queue with its sweep_at and leaves it when it loses that."""

    def due(at: float) -> bool:
        return session.id in dynamo.sessions.due(at)

    session = dynamo.stored(sweep_at=NOW + 600)
    assert (due(NOW + 599), due(NOW + 600)) == (False, True)
    done = dynamo.sessions.write(session, replace(session, sweep_at=None, expires_at=NOW + 1))
    assert not due(NOW + 600)
    item = dynamo.item(keys.session_key(session.id))
    assert item is not None
    assert not {"sweep_at", "sweep_shard"} & set(item)
    assert item["expires_at"] == {"N": "1764000002"}
    assert dynamo.sessions.write(done, replace(done, sweep_at=NOW + 600)).sweep_at == NOW + 600
    assert due(NOW + 600)


def test_a_session_item_is_small(dynamo: Stores) -> None:
    """A session with everything in it is two write units, however long its upload."""
    session = replace(a_full_session(), burned=tuple(range(9_900, 9_964)), hash_state=bytes(204))
    dynamo.sessions.create(session)
    item = dynamo.item(keys.session_key(session.id))
    assert item is not None
    assert set(item) - {"sweep_shard"} == {field.stored_as for field in SESSION.fields}
    assert len(repr(item)) < 5000


@pytest.mark.parametrize("attribute", ["offset", "state", "burned", "fence"])
def test_a_corrupt_item_is_never_taken_for_absent(dynamo: Stores, attribute: str) -> None:
    """Every operation reports a session item that lost an attribute."""
    session = dynamo.stored(holder="other", lease_until=NOW + 9)
    key = keys.session_key(session.id)
    dynamo.change(key, **{attribute: None})
    with pytest.raises(CorruptItemError, match=f"{session.id}.*{attribute}"):
        dynamo.sessions.get(session.id)
    with pytest.raises(CorruptItemError):
        dynamo.lease(session)
    with pytest.raises(CorruptItemError):
        dynamo.sessions.write(replace(session, fence=7), replace(session, offset=1))


def test_too_many_tags_or_an_empty_claim_is_an_error_of_the_caller(dynamo: Stores) -> None:
    """More tags than a transaction takes, or a claim of nothing, is a mistake of the caller."""
    with pytest.raises(ValueError, match="25 tags"):
        dynamo.metadata.make_live(a_manifest(), {str(n): None for n in range(25)}, None, STAMP)
    before, after = begin(dynamo.sessions, fresh_name(), fresh_digest())
    with pytest.raises(ValueError, match="no claim"):
        dynamo.metadata.publish(before, replace(after, claim=None), "key", NOW, is_there=always)


def test_a_record_item_is_as_it_is_drawn(dynamo: Stores, repository: str) -> None:
    """A record stands under its digest with key, size and links, numbers as numbers."""
    digest = fresh_digest()
    session = push(dynamo.sessions, dynamo.metadata, repository, digest)
    count_id = dynamo.link(repository, digest).count_id
    assert count_id
    assert dynamo.item(keys.record_key(digest)) == {
        **key_attributes({"pk": f"BLOB#{digest}", "sk": "RECORD"}),
        "digest": {"S": str(digest)},
        "key": {"S": session.published_key},
        "size": {"N": "5"},
        "links": {"N": "1"},
        "count_id": {"S": count_id},
    }
    at_first = {"digest", "key", "size", "links", "count_id"}
    assert {field.stored_as for field in RECORD.fields} == at_first | {"released_at", "content"}
