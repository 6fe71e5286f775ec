"""What every metadata store does for the collector: walking, marking, sweeping, garbage, state.

No test may know which store it has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.digest import Digest
from chalicelib.registry.model import (
    CollectorPhase,
    CollectorState,
    Damaged,
    Garbage,
    Link,
    Manifest,
    Record,
    TagRow,
    bodies_of,
)
from chalicelib.registry.outcomes import CollectorMovedError, Sweep
from chalicelib.stores.dynamodb.codec import TIME, WHOLE
from chalicelib.stores.dynamodb.keys import link_key, manifest_key, record_key
from tests.support.calls import record_calls
from tests.support.values import (
    NOW,
    SIZE,
    a_manifest,
    fresh_digest,
    fresh_name,
    push,
    push_manifest,
)

if TYPE_CHECKING:
    from chalicelib.registry.model import ScannedRow
    from tests.chalicelib.stores.conftest import Stores

LATER = NOW + 1000
UNCOUNTED = {Sweep.UNCOUNTED, Sweep.SWEPT}
"""A call that was sent twice may say the second."""


def walked(stores: Stores, after: str | None = None) -> list[ScannedRow]:
    """Return all rows behind a place."""
    return list(stores.metadata.scan(after))


@pytest.fixture
def filled(fresh_stores: Stores) -> Stores:
    """Stores with two repositories: links, a manifest with its tag and referrer row, a body."""
    for name in ("team/a", "team/b"):
        for _ in range(3):
            fresh_stores.pushed(name)
        manifest = a_manifest(repository=name, subject=fresh_digest())
        push_manifest(fresh_stores.metadata, manifest, "v1", "v2")
        push(fresh_stores.sessions, fresh_stores.metadata, bodies_of(name), manifest.digest)
        fresh_stores.metadata.add_repository(name)
    return fresh_stores


def test_a_scan_finds_every_row_once_and_each_repository_together(filled: Stores) -> None:
    """Links before manifests before tags, and every record; manifests without bodies."""
    rows = walked(filled)
    homes = [row.home for row in rows if row.home is not None]
    assert len(dict.fromkeys(homes)) == len({*homes}) == 4
    runs = [home for at, home in enumerate(homes) if at == 0 or homes[at - 1] != home]
    assert len(runs) == 4
    assert len({row.place for row in rows}) == len(rows)
    for name in ("team/a", "team/b"):
        values = [row.value for row in rows if row.home == name and row.value is not None]
        kinds = [Link, Link, Link, Manifest, TagRow, TagRow]  # and rows without a value
        assert [type(value) for value in values] == kinds
        (manifest,) = [value for value in values if isinstance(value, Manifest)]
        assert manifest == replace(
            filled.metadata.get_manifests(name, [manifest.digest])[manifest.digest], body=None
        )
        links = [value for value in values if isinstance(value, Link)]
        assert links == sorted(links, key=lambda link: str(link.digest))
        assert links == [filled.link(name, link.digest) for link in links]
    records = [row.value for row in rows if isinstance(row.value, Record)]
    assert {each.digest for each in records} == {
        row.value.digest for row in rows if isinstance(row.value, Link)
    }


def test_a_scan_continues_after_any_row(filled: Stores) -> None:
    """It finds the later rows, even if that row is deleted."""
    rows = walked(filled)
    for at, row in enumerate(rows):
        assert walked(filled, row.place) == rows[at + 1 :]
    at = next(number for number, row in enumerate(rows) if isinstance(row.value, Link))
    link = rows[at].value
    assert isinstance(link, Link)
    assert filled.metadata.sweep_link(link) is Sweep.SWEPT
    rest = [row for row in rows[at + 1 :] if row.value != filled.metadata.get_record(link.digest)]
    found = {row.place for row in walked(filled, rows[at].place)}
    assert found >= {row.place for row in rest if not isinstance(row.value, Record)}
    assert rows[at].place not in found


def test_an_unreadable_row_is_reported_and_the_scan_continues(filled: Stores) -> None:
    """Its content counts as unknown, and not as empty."""
    manifest = next(row.value for row in walked(filled) if isinstance(row.value, Manifest))
    key = manifest_key(manifest.repository, manifest.digest)
    before = walked(filled)
    filled.change(key, state={"S": "unheard-of"})
    after = walked(filled)
    assert len(after) == len(before)
    (damaged,) = [row for row in after if isinstance(row.value, Damaged)]
    assert damaged.home == manifest.repository
    assert isinstance(damaged.value, Damaged)
    assert str(manifest.digest) in damaged.value.why


def test_a_mark_is_written_under_a_fresh_version(stores: Stores, repository: str) -> None:
    """After it, a writer that read the link before is refused."""
    link = stores.link(repository, stores.pushed(repository))
    marked = stores.metadata.mark_link(link, "nonce")
    assert marked == replace(link, mark="nonce", version=marked.version if marked else "")
    assert marked is not None
    assert marked.version != link.version
    assert stores.link(repository, link.digest) == marked
    assert stores.metadata.mark_link(link, "another") is None
    stores.metadata.unmark_link(marked)
    free = stores.link(repository, link.digest)
    assert (free.mark, free.touched_at) == (None, link.touched_at)
    assert free.version not in {link.version, marked.version}
    assert stores.metadata.sweep_link(marked) is Sweep.USED
    assert stores.metadata.mark_link(replace(link, digest=fresh_digest()), "nonce") is None


@pytest.mark.parametrize("use", ["touch", "mount", "push"])
def test_a_link_that_is_used_after_its_mark_is_not_swept(
    stores: Stores, repository: str, use: str
) -> None:
    """Every use of a link touches it and removes the mark."""
    link = stores.link(repository, stores.pushed(repository))
    marked = stores.metadata.mark_link(link, "nonce")
    assert marked is not None
    if use == "touch":
        assert stores.metadata.touch_link(link, LATER)
    elif use == "mount":
        stores.metadata.add_link(repository, link.digest, LATER)
    else:
        push(stores.sessions, stores.metadata, repository, link.digest, LATER)
    assert stores.metadata.sweep_link(marked) is Sweep.USED
    used = stores.link(repository, link.digest)
    assert (used.mark, used.touched_at) == (None, LATER)
    assert stores.record(link.digest).links == 1


def test_a_swept_link_lowers_the_count_and_sets_released_at(
    stores: Stores, repository: str
) -> None:
    """It is the latest use of all swept links, in any order."""
    digest, homes = fresh_digest(), [repository, fresh_name(), fresh_name(), fresh_name()]
    for home, at in zip(homes, (NOW, LATER, NOW + 500, LATER + 1), strict=True):
        push(stores.sessions, stores.metadata, home, digest, at)
    noted = []
    for links, home in reversed(list(enumerate(homes[:3]))):
        assert stores.metadata.sweep_link(stores.link(home, digest)) is Sweep.SWEPT
        record = stores.record(digest)
        assert record.links == links + 1
        noted.append(record.released_at)
    assert noted == [NOW + 500, LATER, LATER]
    assert stores.metadata.delete_link(homes[3], digest)
    assert stores.record(digest).released_at == LATER + 1


@pytest.mark.parametrize("lost", ["first", "second", "neither"])
def test_a_link_that_another_record_has_counted_is_counted_by_no_one_else(
    stores: Stores, repository: str, lost: str
) -> None:
    """Whether the old record, the new one, or neither is of 0.1, which had no ids."""
    other, third = fresh_name(), fresh_name()
    digest = stores.pushed(other)
    key = record_key(digest)
    if lost == "first":
        stores.change(key, count_id=None)
        stores.change(link_key(other, digest), count_id=None)
    stores.drop(key)
    push(stores.sessions, stores.metadata, repository, digest)
    if lost == "second":
        stores.change(key, count_id=None)
        stores.change(link_key(repository, digest), count_id=None)
    old, made = stores.metadata.get_links(other, [digest])[digest], stores.record(digest)
    assert (made.links, made.counts(old), stores.link(other, digest).recorded) == (1, False, False)
    # A touch leaves it the key that it has: the record may end, and its object.
    assert stores.metadata.touch_link(stores.link(other, digest), LATER)
    touched = stores.metadata.get_links(other, [digest])[digest]
    assert touched == replace(old, touched_at=LATER, version=touched.version)
    old = touched
    assert stores.metadata.count_link(old, replace(made, key="blobs/another"), NOW) is None
    assert stores.metadata.count_link(replace(old, version="another"), made, NOW) is None
    assert stores.metadata.count_link(old, made, old.touched_at)
    counted = stores.link(other, digest)
    assert (counted.recorded, counted.key, counted.touched_at) == (True, made.key, old.touched_at)
    assert stores.metadata.count_link(old, made, NOW) == counted
    assert stores.record(digest).links == 2
    push(stores.sessions, stores.metadata, third, digest)
    assert stores.record(digest).links == 3
    for left, home in ((2, other), (1, third), (0, repository)):
        assert stores.metadata.sweep_link(stores.link(home, digest)) is Sweep.SWEPT
        assert stores.record(digest).links == left


@pytest.mark.parametrize("old", [False, True], ids=["", "of 0.1"])
def test_deleting_an_uncounted_link_leaves_the_count(
    stores: Stores, repository: str, *, old: bool
) -> None:
    """By a client's DELETE, and by the collector."""
    homes = fresh_name(), fresh_name()
    digest = stores.pushed(homes[0])
    stores.metadata.add_link(homes[1], digest, NOW)
    if old:
        for home in homes:
            stores.change(link_key(home, digest), count_id=None)
    stores.drop(record_key(digest))
    push(stores.sessions, stores.metadata, repository, digest)
    assert stores.metadata.delete_link(homes[0], digest)
    assert stores.metadata.sweep_link(stores.link(homes[1], digest)) in UNCOUNTED
    assert [stores.metadata.get_link(home, digest) for home in homes] == [None, None]
    assert stores.record(digest).links == 1
    assert stores.link(repository, digest).recorded


def test_a_link_that_is_gone_or_uncounted_is_swept_alone(stores: Stores, repository: str) -> None:
    """No count is lowered."""
    link = stores.link(repository, stores.pushed(repository))
    stores.change(record_key(link.digest), links=WHOLE.encode(0))
    assert stores.metadata.sweep_link(link) in UNCOUNTED
    assert stores.metadata.sweep_link(link) is Sweep.SWEPT
    assert stores.record(link.digest).links == 0
    lonely = stores.link(repository, stores.pushed(repository))
    stores.drop(record_key(lonely.digest))
    assert stores.metadata.sweep_link(lonely) in UNCOUNTED
    assert stores.metadata.get_link(repository, lonely.digest) is None
    assert stores.metadata.get_record(lonely.digest) is None


def unlinked(stores: Stores) -> Record:
    """Return the record of a blob that no repository links to."""
    repository = fresh_name()
    digest = stores.pushed(repository)
    assert stores.metadata.delete_link(repository, digest)
    return stores.record(digest)


def test_a_record_is_deleted_in_one_transaction_with_a_row_of_garbage(stores: Stores) -> None:
    """A repeat finds it done."""
    record = unlinked(stores)
    assert stores.metadata.drop_record(record, LATER)
    assert stores.metadata.get_record(record.digest) is None
    row = Garbage(record.key, record.digest, SIZE, LATER)
    assert row in stores.metadata.garbage(1000)
    assert stores.metadata.drop_record(record, LATER)
    assert stores.metadata.get_garbage([row.key, "blobs/none"]) == [row]
    stores.metadata.forget_garbage([row])
    assert row not in stores.metadata.garbage(1000)
    stores.metadata.forget_garbage([row])
    stores.metadata.forget_garbage([])


@pytest.mark.parametrize("changed", ["linked", "linked and released", "another object"])
def test_a_record_that_was_used_since_stays(stores: Stores, changed: str) -> None:
    """It must be unchanged: without links, and with the same `released_at`."""
    record, home = unlinked(stores), fresh_name()
    if changed == "another object":
        stores.change(record_key(record.digest), key={"S": "blobs/another"})
    else:
        stores.metadata.add_link(home, record.digest, LATER)
    if changed == "linked and released":
        assert stores.metadata.delete_link(home, record.digest)
    before = stores.record(record.digest)
    assert not stores.metadata.drop_record(record, LATER)
    assert stores.record(record.digest) == before
    assert record.key not in {row.key for row in stores.metadata.garbage(1000)}


def test_released_at_is_set_once_and_only_without_links(stores: Stores, repository: str) -> None:
    """Rows of 0.1 lack it."""
    record = unlinked(stores)
    stores.change(record_key(record.digest), released_at=None)
    for at in (LATER, LATER + 1):
        stores.metadata.note_release(stores.record(record.digest), at)
        assert stores.record(record.digest).released_at == LATER
    linked = stores.record(stores.pushed(repository))
    stores.metadata.note_release(linked, LATER)
    assert stores.record(linked.digest) == linked
    absent = replace(linked, digest=Digest.of(b"nobody has this"))
    stores.metadata.note_release(absent, LATER)
    assert stores.metadata.get_record(absent.digest) is None


def test_garbage_is_read_and_deleted_in_pages(fresh_stores: Stores) -> None:
    """100 rows a request."""
    records = [unlinked(fresh_stores) for _ in range(5)]
    for record in records:
        assert fresh_stores.metadata.drop_record(record, LATER)
    rows = fresh_stores.metadata.garbage(1000)
    assert [row.key for row in rows] == sorted(record.key for record in records)
    assert fresh_stores.metadata.garbage(2) == rows[:2]
    many = [replace(rows[0], key=f"blobs/{number}") for number in range(150)]
    fresh_stores.metadata.forget_garbage([*rows, *many])
    assert fresh_stores.metadata.garbage(1000) == []


def test_the_state_is_written_only_by_its_last_reader(fresh_stores: Stores) -> None:
    """A second collector finds that the first one has continued."""
    metadata = fresh_stores.metadata
    assert metadata.collector_state() is None
    first = metadata.save_collector_state(None, CollectorState(""))
    assert metadata.collector_state() == first
    full = CollectorState(
        "", CollectorPhase.LIST, "blobs/a", NOW, NOW + 1.5, NOW + 2.5, 1, 2, 3, 2**40, lists=False
    )
    second = metadata.save_collector_state(first, full)
    assert metadata.collector_state() == second == replace(full, version=second.version)
    for stale in (None, first):
        with pytest.raises(CollectorMovedError):
            metadata.save_collector_state(stale, full)
    assert metadata.collector_state() == second


def test_each_step_of_the_collector_is_one_request(dynamo: Stores, repository: str) -> None:
    """A mark or its removal is one write, a sweep or a deleted record one transaction."""
    link = dynamo.link(repository, dynamo.pushed(repository))
    with record_calls(dynamo.client) as calls:
        marked = dynamo.metadata.mark_link(link, "nonce")
        assert marked is not None
        dynamo.metadata.sweep_link(marked)
        record = Record(link.digest, link.key, link.size, 0, link.touched_at)
        assert dynamo.metadata.drop_record(record, NOW)
        (row,) = [row for row in dynamo.metadata.garbage(1000) if row.key == link.key]
        dynamo.metadata.forget_garbage([row])
        next(iter(dynamo.metadata.scan(None)), None)
    asked = {"UpdateItem": 1, "TransactWriteItems": 3, "Query": 1, "Scan": 1}
    assert calls.operations("dynamodb") == asked


def test_microseconds_survive_a_sweep(stores: Stores, repository: str) -> None:
    """`released_at` is exactly the time of the link's last touch."""
    link = stores.link(repository, stores.pushed(repository))
    at = NOW + 0.654321
    stores.change(link_key(repository, link.digest), touched_at=TIME.encode(at))
    stores.metadata.sweep_link(stores.link(repository, link.digest))
    assert stores.record(link.digest).released_at == at
