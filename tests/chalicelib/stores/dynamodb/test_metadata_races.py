"""Other writers between two requests of one operation: the conditions that no contract can see.

Each acts at an exact point, so no test here depends on time.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.errors import UnavailableError, UploadBusyError
from chalicelib.registry.model import TagRow, bodies_of
from chalicelib.registry.outcomes import ManifestMovedError, RecordMissingError
from chalicelib.stores.dynamodb import keys
from chalicelib.stores.dynamodb.blobs import TRIES
from chalicelib.stores.dynamodb.codec import CorruptItemError
from chalicelib.stores.dynamodb.items import RECORD
from tests.emulators.lost_answers import meanwhile
from tests.support.calls import record_calls
from tests.support.values import (
    NOW,
    SIZE,
    STAMP,
    a_manifest,
    always,
    begin,
    fresh_digest,
    fresh_name,
    key_of,
    push_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.digest import Digest
    from tests.chalicelib.stores.conftest import Stores

TRANSACTION = "TransactWriteItems"


@pytest.mark.parametrize(
    "changes",
    [
        {"state": {"S": "sealed"}},
        {"holder": {"S": "quicker"}},
        {"holder": None},
        {"fence": {"N": "2"}},
    ],
)
def test_a_dead_lease_that_moves_is_not_taken_over(dynamo: Stores, changes: dict[str, Any]) -> None:
    """A lease is taken over only from the very holder, fence and state that were seen."""
    session = dynamo.stored(holder="dead", lease_until=NOW, fence=1, next_part=7)
    key = keys.session_key(session.id)
    move = partial(dynamo.change, key, **changes)
    with meanwhile(dynamo.client, "UpdateItem", move), pytest.raises(UploadBusyError) as caught:
        dynamo.lease(session, at=None)
    assert caught.value.retry_after == 1
    item = dynamo.item(key)
    assert item is not None
    assert item["burned"] == {"S": ""}
    assert item.get("holder") == changes.get("holder", {"S": "dead"})


@pytest.mark.parametrize(
    ("how", "links"), [("record goes", 1), ("record names other bytes", 2), ("link goes", 1)]
)
def test_what_a_publication_found_changes_before_it_is_written(
    dynamo: Stores, repository: str, how: str, links: int
) -> None:
    """It publishes its own bytes if the record goes, else those that the record names then."""
    digest = dynamo.pushed(repository if how == "link goes" else None)
    before, after = begin(dynamo.sessions, repository, digest)
    key, old = keys.record_key(digest), dynamo.record(digest).key
    renamed = partial(dynamo.change, key, key={"S": "blobs/later"})
    changes: dict[str, tuple[Callable[[], object], str | None]] = {
        "record goes": (partial(dynamo.drop, key), key_of(before)),
        "record names other bytes": (renamed, "blobs/later"),
        "link goes": (partial(dynamo.metadata.delete_link, repository, digest), old),
    }
    change, expected = changes[how]
    with meanwhile(dynamo.client, TRANSACTION, change):
        written = dynamo.metadata.publish(before, after, key_of(before), NOW, is_there=always)
    link, record = dynamo.link(repository, digest), dynamo.record(digest)
    assert written.published_key == link.key == record.key == expected
    assert record.links == links
    if how == "record goes":
        assert written == replace(after, published_key=expected, sweep_at=None)


@pytest.mark.parametrize("how", ["publish", "mount"])
def test_a_record_that_goes_while_only_a_link_may_be_made(
    dynamo: Stores, repository: str, how: str
) -> None:
    """A mount, or a publication without bytes of its own, writes nothing then."""
    digest = dynamo.pushed()
    before, after = begin(dynamo.sessions, repository, digest)
    collect = partial(dynamo.drop, keys.record_key(digest))
    with meanwhile(dynamo.client, "BatchGetItem", collect):
        if how == "mount":
            assert dynamo.metadata.add_link(repository, digest, NOW) is None
        else:
            with pytest.raises(RecordMissingError):
                dynamo.metadata.publish(before, after, None, NOW, is_there=always)
    assert dynamo.sessions.get(before.id) == before
    assert dynamo.metadata.get_link(repository, digest) is None
    assert dynamo.metadata.get_record(digest) is None


def test_a_digest_of_two_sizes_is_published_by_nobody(dynamo: Stores, repository: str) -> None:
    """Bytes of another size than the record's can't have its digest: that raises."""
    digest = dynamo.pushed()
    dynamo.change(keys.record_key(digest), size={"N": str(SIZE + 1)})
    before, after = begin(dynamo.sessions, repository, digest)
    with pytest.raises(CorruptItemError, match=str(digest)):
        dynamo.metadata.publish(before, after, key_of(before), NOW, is_there=always)
    assert dynamo.sessions.get(before.id) == before
    assert dynamo.metadata.get_link(repository, digest) is None


@pytest.mark.parametrize("how", ["record names other bytes", "link comes"])
def test_a_mount_follows_a_changed_record(dynamo: Stores, repository: str, how: str) -> None:
    """It names the bytes that the record then has, and only touches another's link."""
    digest = dynamo.pushed()
    key, old = keys.record_key(digest), dynamo.record(digest).key
    changes: dict[str, tuple[Callable[[], object], str]] = {
        "record names other bytes": (partial(dynamo.change, key, key={"S": "later"}), "later"),
        "link comes": (partial(dynamo.metadata.add_link, repository, digest, NOW), old),
    }
    change, expected = changes[how]
    with meanwhile(dynamo.client, "BatchGetItem", change):
        link = dynamo.metadata.add_link(repository, digest, NOW + 1)
    assert link == dynamo.link(repository, digest)
    assert (link.key, link.touched_at) == (expected, NOW + 1)
    assert dynamo.record(digest).links == 2


def test_a_mount_of_a_vanishing_link_ends_with_503(dynamo: Stores, repository: str) -> None:
    """A mount that finds another state at each attempt ends in bounded time."""
    digest = dynamo.pushed(repository)
    key, moves = keys.link_key(repository, digest), iter(range(1000))
    item = dynamo.item(key)
    assert item is not None

    def move() -> None:
        """Take the link away when it was seen, and bring it back when it was not."""
        if next(moves) % 2:
            dynamo.change(key, **item)
        else:
            dynamo.drop(key)

    with ExitStack() as stack:
        for nth in range(1, TRIES + 1):
            stack.enter_context(meanwhile(dynamo.client, "BatchGetItem", move, nth))
        stack.enter_context(pytest.raises(UnavailableError))
        dynamo.metadata.add_link(repository, digest, NOW)
    assert next(moves) == TRIES


def test_a_touch_of_a_changing_link_ends_with_503(dynamo: Stores, repository: str) -> None:
    """It finds another version and a mark at each attempt."""
    digest = dynamo.pushed(repository)
    link, moves = dynamo.link(repository, digest), iter(range(1000))

    def move() -> None:
        changes = {"version": {"S": f"{next(moves)}"}, "mark": {"S": "a nonce"}}
        dynamo.change(keys.link_key(repository, digest), **changes)

    move()
    with ExitStack() as stack:
        for nth in range(1, TRIES + 1):
            stack.enter_context(meanwhile(dynamo.client, "UpdateItem", move, nth))
        stack.enter_context(pytest.raises(UnavailableError))
        dynamo.metadata.touch_link(link, NOW)


def test_a_deletion_takes_a_link_that_was_touched_meanwhile(
    dynamo: Stores, repository: str
) -> None:
    """It deletes the link as it is, not as it was read."""
    digest = dynamo.pushed(repository)
    link = dynamo.link(repository, digest)
    touch = partial(dynamo.metadata.touch_link, link, NOW + 1)
    with record_calls(dynamo.client) as calls, meanwhile(dynamo.client, "GetItem", touch):
        assert dynamo.metadata.delete_link(repository, digest)
    assert calls.count("dynamodb", TRANSACTION) == 2
    record = dynamo.record(digest)
    assert record.links == 0


@pytest.mark.parametrize("links", [None, {"N": "0"}])
def test_a_link_that_no_record_counts_is_deleted_alone(
    dynamo: Stores, repository: str, links: dict[str, str] | None
) -> None:
    """A link whose record is gone or counts none can be deleted, and nothing is counted off."""
    digest = dynamo.pushed(repository)
    if links is None:
        dynamo.drop(keys.record_key(digest))
    else:
        dynamo.change(keys.record_key(digest), links=links)
    before = dynamo.metadata.get_record(digest)
    assert dynamo.metadata.delete_link(repository, digest)
    assert dynamo.metadata.get_link(repository, digest) is None
    assert dynamo.metadata.get_record(digest) == before


@pytest.mark.parametrize("links", [None, {"N": "0"}])
@pytest.mark.parametrize("subject", [None, fresh_digest()])
def test_a_body_that_no_record_counts_goes_with_its_manifest(
    dynamo: Stores, repository: str, links: dict[str, str] | None, subject: Digest | None
) -> None:
    """A large manifest can be deleted, whatever was lost of the blob that is its body."""
    home = bodies_of(repository)
    digest = dynamo.pushed(home)
    link = dynamo.metadata.get_link(home, digest)
    if links is None:
        dynamo.drop(keys.record_key(digest))
    else:
        dynamo.change(keys.record_key(digest), links=links)
    before = dynamo.metadata.get_record(digest)
    manifest = a_manifest(repository=repository, digest=digest, body=None, subject=subject)
    live = push_manifest(dynamo.metadata, manifest)
    dynamo.metadata.finish_delete(dynamo.metadata.begin_delete(live, NOW, STAMP), link)
    assert dynamo.metadata.get_manifest(repository, digest) is None
    assert dynamo.metadata.get_link(home, digest) is None
    assert dynamo.metadata.get_record(digest) == before


def test_a_record_that_comes_back_before_its_link_is_deleted_counts_it_off(
    dynamo: Stores, repository: str
) -> None:
    """A link that was not counted when it was looked at, and is by then, goes with its count."""
    digest = dynamo.pushed(repository)
    key = keys.record_key(digest)
    there = dynamo.record(digest)
    dynamo.drop(key)
    item = dict(RECORD.encode(there))
    with meanwhile(dynamo.client, TRANSACTION, partial(dynamo.change, key, **item)):
        assert dynamo.metadata.delete_link(repository, digest)
    assert dynamo.record(digest).links == 0


def test_a_push_to_a_link_without_a_record_makes_the_record(
    dynamo: Stores, repository: str
) -> None:
    """Nothing says that the link's object is there: the push's own bytes are published."""
    digest = dynamo.pushed(repository)
    dynamo.drop(keys.record_key(digest))
    for whole in (False, True):
        before, after = begin(dynamo.sessions, repository, digest)
        own = key_of(before) if whole else None
        publish = partial(dynamo.metadata.publish, before, after, own, NOW, is_there=always)
        if not whole:
            with pytest.raises(RecordMissingError):
                publish()
    assert publish().published_key == own
    record = dynamo.record(digest)
    assert (record.key, record.links) == (own, 1)
    assert dynamo.link(repository, digest).key == own


def test_of_two_pushes_that_heal_a_record_one_wins(dynamo: Stores, repository: str) -> None:
    """The other one links to the object of the first."""
    digest, other = dynamo.pushed(), fresh_name()
    dead = dynamo.record(digest).key
    before, after = begin(dynamo.sessions, repository, digest)

    def healed() -> None:
        theirs, done = begin(dynamo.sessions, other, digest)
        dynamo.metadata.publish(theirs, done, "blobs/theirs", NOW, is_there=lambda key: key != dead)

    with meanwhile(dynamo.client, TRANSACTION, healed):
        written = dynamo.metadata.publish(
            before, after, key_of(before), NOW, is_there=lambda key: key != dead
        )
    record = dynamo.record(digest)
    assert written.published_key == record.key == "blobs/theirs"
    assert record.links == 3
    assert written.sweep_at == after.sweep_at


def test_a_tag_that_moves_before_its_deletion_stays(dynamo: Stores, repository: str) -> None:
    """A tag that moves after it was read is not deleted, and its way back stays."""
    live = push_manifest(dynamo.metadata, a_manifest(repository=repository), "v1")
    new = a_manifest(repository=repository)
    dynamo.metadata.put_pending(new)
    move = partial(dynamo.metadata.make_live, new, {"v1": TagRow(live.digest)}, None, STAMP)
    with meanwhile(dynamo.client, "GetItem", move), pytest.raises(ManifestMovedError):
        dynamo.metadata.delete_tag(repository, "v1", STAMP)
    assert dynamo.metadata.get_tags(repository, ["v1"])["v1"].digest == new.digest
    assert list(dynamo.metadata.tags_of(repository, new.digest)) == ["v1"]


@pytest.mark.parametrize("named", [True, False])
def test_a_stray_row_from_manifest_to_tag_is_deleted(
    dynamo: Stores, repository: str, *, named: bool
) -> None:
    """The tag names another manifest, or is gone."""
    live = push_manifest(dynamo.metadata, a_manifest(repository=repository))
    if named:
        push_manifest(dynamo.metadata, a_manifest(repository=repository), "v1")
    dynamo.change(keys.tagged_key(repository, live.digest, "v1"))
    begun = dynamo.metadata.begin_delete(live, NOW, STAMP)
    assert dynamo.metadata.drop_tag(begun, "v1", None)
    assert list(dynamo.metadata.tags_of(repository, live.digest)) == []
    assert bool(dynamo.metadata.get_tags(repository, ["v1"])) == named
