"""Strays: which objects of the bucket a pass deletes that nothing names, and when it lists."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import pytest

from chalicelib.digest import Digest
from chalicelib.errors import BlobUnknownError, UnavailableError
from chalicelib.registry.collector.links import Links, UnknownReferencesError
from chalicelib.registry.collector.report import FindingKind
from chalicelib.registry.keys import canonical_key, direct_key, timed_id
from chalicelib.registry.model import bodies_of
from chalicelib.registry.session import UploadState
from chalicelib.stores.dynamodb.keys import link_key, record_key
from tests.chalicelib.registry.collector.pushing import (
    DAY,
    LIMITS,
    NAME,
    OTHER,
    Shop,
    before,
    index,
    record,
)
from tests.support.registries import UPLOADS
from tests.support.values import a_session

if TYPE_CHECKING:
    from chalicelib.registry.collector.report import CollectReport

RANDOM = "c0ffee00-c0ff-4eee-8c0f-fee000000000"
"""An id without a time."""


def test_an_object_is_counted_once_though_the_same_pass_lists_the_bucket(shop: Shop) -> None:
    """Its record is deleted before the listing, which must not find it again."""
    found = record(shop, shop.blob(b"nobody names this"))
    _, session, _ = found.key.split("/")
    # DynamoDB drops the session's item two days after its end.
    shop.memory.tables.delete_item(TableName=UPLOADS, Key={"session": {"S": session}})
    shop.wait(30 * DAY)
    done = shop.collect()
    assert (done.records, done.objects, done.freed) == (1, 1, 17)


def test_a_pass_that_lists_the_bucket_deletes_strays(shop: Shop) -> None:
    """At canonical keys of both kinds; not what is named, nor what a session may still publish."""
    kept = record(shop, shop.blob(b"kept"))
    digest = Digest.of(b"stray")
    ids = [timed_id(shop.time, RANDOM), RANDOM]
    gone = [canonical_key(digest, "c0ffee"), *(direct_key(digest, each) for each in ids)]
    live = a_session(life_until=shop.time + 7 * DAY, sweep_at=shop.time + 7 * DAY)
    shop.memory.sessions.create(live)
    stay = [kept.key, canonical_key(digest, live.id), f"direct/{live.id}/parts", "uploads/x/data"]
    for key in (*gone, *stay):
        shop.objects[key] = b"stray"
    shop.objects[kept.key] = b"kept"
    shop.registry.blobs.stat(NAME, kept.digest)
    shop.wait(LIMITS.stray_age + 60)
    shop.registry.blobs.stat(NAME, kept.digest)
    done = shop.collect()
    assert (done.objects, done.freed) == (3, 15)
    assert sorted(shop.objects) == sorted(stay)


def test_an_object_of_a_possibly_running_request_is_no_stray(shop: Shop) -> None:
    """After that time its session is ended, and the object deleted."""
    session_id = timed_id(shop.time, RANDOM)
    key = direct_key(Digest.of(b"stray"), session_id)
    shop.objects[key] = b"stray"
    shop.wait(LIMITS.stray_age - 1)
    assert list(shop.collector.preview()) == []
    assert shop.collect().objects == 0
    assert shop.memory.sessions.get(session_id) is None
    shop.wait(1)
    assert [finding.key for finding in shop.collector.preview()] == [key]
    assert shop.memory.sessions.get(session_id) is None
    assert shop.collect().objects == 1
    assert shop.memory.session(session_id).state is UploadState.CANCELLED


def test_the_bucket_is_listed_once_a_month(shop: Shop) -> None:
    """The first pass lists it, and then each that begins 30 days later."""
    lists = []
    for _ in range(65):
        with mock.patch.object(
            shop.memory.objects, "list_between", wraps=shop.memory.objects.list_between
        ) as listing:
            assert shop.collector.run(shop.time + 600).finished
        lists.append(listing.called)
        shop.wait(DAY)
    assert [day for day, listed in enumerate(lists) if listed] == [0, 30, 60]


def test_a_bucket_of_many_pages_is_listed_to_its_end(shop: Shop) -> None:
    """A run that ends earlier is continued by the next one."""
    keys = [canonical_key(Digest.of(b"%d" % number), "c0ffee") for number in range(2500)]
    shop.objects.update(dict.fromkeys(keys, b"stray"))
    reports: list[CollectReport] = []
    original = shop.memory.objects.list_between

    def slow(*arguments: object) -> object:
        shop.wait(400)
        return original(*arguments)  # type: ignore[arg-type]

    with mock.patch.object(shop.memory.objects, "list_between", slow):
        while not (reports and reports[-1].finished):
            reports.append(shop.collector.run(shop.time + 600))
    assert [report.objects for report in reports] == [2000, 500, 0][: len(reports)]
    assert shop.objects == {}


# Links whose records are lost

LAYER = Digest.of(b"layer")
STRAY = canonical_key(Digest.of(b"stray"), "c0ffee")


def spoiled(shop: Shop) -> str:
    """Push an image, lose the record of its layer, and put a stray; return the layer's key."""
    shop.push(b"layer")
    key = record(shop, LAYER).key
    shop.drop(record_key(LAYER))
    shop.wait(30 * DAY)
    # DynamoDB drops the session's item two days after its end.
    shop.memory.tables.delete_item(TableName=UPLOADS, Key={"session": {"S": key.split("/")[1]}})
    shop.objects[STRAY] = b"stray"
    return key


@pytest.mark.parametrize("touched", [False, True])
def test_no_pass_lists_the_bucket_while_a_link_has_no_record(
    shop: Shop, caplog: pytest.LogCaptureFixture, *, touched: bool
) -> None:
    """The link's own key names bytes that a listing would delete; it waits until that is mended."""
    key = spoiled(shop)
    if touched:
        (link,) = shop.metadata.get_links(NAME, [LAYER]).values()
        assert shop.metadata.touch_link(link, shop.time)
    for _ in range(3):
        done = shop.collector.run(shop.time + 600)
        assert done.finished
        assert done.lost == (f"{NAME} links to {LAYER}, which has no record: push it again",)
        assert {key, STRAY} <= shop.objects.keys()
        shop.wait(DAY)
    assert sum("the bucket is not listed" in each.message for each in caplog.records) == 3
    assert shop.registry.blobs.read(shop.registry.blobs.find(NAME, LAYER)) == b"layer"


def test_a_push_of_the_image_creates_a_lost_record_again(shop: Shop) -> None:
    """HEAD is 404, so that the client sends the layer; a pull still works."""
    key = spoiled(shop)
    blobs = shop.registry.blobs
    with pytest.raises(BlobUnknownError):
        blobs.stat(NAME, LAYER)
    assert blobs.read(blobs.find(NAME, LAYER)) == b"layer"
    shop.push(b"layer")
    made = record(shop, LAYER)
    assert (made.links, made.key != key) == (1, True)
    assert blobs.stat(NAME, LAYER).key == made.key
    done = shop.collector.run(shop.time + 600)
    assert (done.lost, done.errors, done.objects) == ((), 0, 2)
    assert not {key, STRAY} & shop.objects.keys()
    assert shop.objects[made.key] == b"layer"


def test_a_link_without_the_new_records_id_is_counted_by_the_next_pass(shop: Shop) -> None:
    """Until then nothing is listed, and pulls and deletions harm nothing."""
    for name in (NAME, OTHER):
        shop.push(b"layer", name=name)
    old = record(shop, LAYER).key
    shop.drop(record_key(LAYER))
    shop.wait(30 * DAY)
    shop.memory.tables.delete_item(TableName=UPLOADS, Key={"session": {"S": old.split("/")[1]}})
    shop.objects[STRAY] = b"stray"
    shop.push(b"layer")
    (skipped,) = shop.collector.preview()
    assert (skipped.kind, skipped.repository) == (FindingKind.SKIPPED, None)
    done = shop.collector.run(shop.time + 600)
    assert (done.healed, done.lost, done.errors, done.objects) == (1, (), 0, 0)
    assert record(shop, LAYER).links == 2
    assert shop.metadata.get_links(OTHER, [LAYER])[LAYER].key == record(shop, LAYER).key != old
    assert {old, STRAY} <= shop.objects.keys()
    shop.wait(DAY)
    assert {each.key for each in shop.collector.preview()} == {old, STRAY}
    assert shop.collector.run(shop.time + 600).objects == 2
    shop.registry.blobs.delete(NAME, LAYER)
    shop.wait(LIMITS.record_grace)
    assert shop.collect().records == 0
    assert shop.registry.blobs.read(shop.registry.blobs.find(OTHER, LAYER)) == b"layer"


@pytest.mark.parametrize("ends", ["pusher", "other"])
def test_a_new_record_is_not_ended_by_a_link_that_it_does_not_count(shop: Shop, ends: str) -> None:
    """Whichever link is deleted first, the other repository keeps its bytes."""
    names = {"pusher": NAME, "other": OTHER}
    for name in names.values():
        shop.blob(b"layer", name)
    shop.drop(record_key(LAYER))
    shop.blob(b"layer", NAME)
    assert record(shop, LAYER).links == 1
    gone = names.pop(ends)
    (kept,) = names.values()
    shop.registry.blobs.delete(gone, LAYER)
    # A mount may touch the link that it is from.
    assert shop.registry.blobs.mount("team/third", kept, LAYER)
    shop.registry.blobs.delete("team/third", LAYER)
    shop.wait(LIMITS.record_grace)
    shop.put(index(blobs=(b"layer",)), name=kept)
    for _ in range(40):
        shop.wait(DAY)
        shop.collector.run(shop.time + 600)
    assert shop.registry.blobs.read(shop.registry.blobs.find(kept, LAYER)) == b"layer"


def test_a_link_is_not_counted_by_a_record_without_an_object(shop: Shop) -> None:
    """The link keeps its own key, whose object exists."""
    for name in (NAME, OTHER):
        shop.push(b"layer", name=name)
    old = record(shop, LAYER).key
    shop.drop(record_key(LAYER))
    shop.push(b"layer")
    del shop.objects[record(shop, LAYER).key]
    done = shop.collect()
    assert (done.healed, done.finished) == (0, True)
    assert (record(shop, LAYER).links, shop.objects[old]) == (1, b"layer")
    assert shop.metadata.get_links(OTHER, [LAYER])[LAYER].key == old


@pytest.mark.parametrize("how", ["push", "mount"])
def test_head_of_an_uncounted_link_is_404_and_a_push_counts_it(shop: Shop, how: str) -> None:
    """A mount counts it too."""
    for name in (NAME, OTHER):
        shop.blob(b"layer", name)
    shop.drop(record_key(LAYER))
    shop.blob(b"layer", NAME)
    blobs = shop.registry.blobs
    with pytest.raises(BlobUnknownError):
        blobs.stat(OTHER, LAYER)
    assert blobs.read(blobs.find(OTHER, LAYER)) == b"layer"
    if how == "push":
        shop.blob(b"layer", OTHER)
    else:
        assert blobs.mount(OTHER, NAME, LAYER)
    assert record(shop, LAYER).links == 2
    assert blobs.stat(OTHER, LAYER).key == record(shop, LAYER).key


@pytest.mark.parametrize("how", ["body", "skipped", "damaged"])
def test_records_are_read_for_links_of_bodies_too(shop: Shop, how: str) -> None:
    """So are those of links that are kept because references are unknown."""
    if how == "body":
        lost, home = shop.push(b"layer", note="x" * 5000), bodies_of(NAME)
    else:
        lost, home = shop.blob(b"nobody names this"), NAME
    key = record(shop, lost).key
    shop.drop(record_key(lost))
    if how == "damaged":
        shop.change(link_key(NAME, lost), size=None)
    shop.wait(30 * DAY)
    unknown = mock.patch.object(
        Links,
        "_named",
        side_effect=UnknownReferencesError("?"),
    )
    with unknown:
        done = shop.collector.run(shop.time + 600)
    assert key in shop.objects
    assert [str(lost) in text and home in text for text in done.lost] == (
        [] if how == "damaged" else [True]
    )


def test_a_failed_read_of_records_prevents_the_listing(shop: Shop) -> None:
    """An error is not taken for a record; the next pass lists the bucket."""
    shop.push(b"layer")
    shop.objects[STRAY] = b"stray"
    with mock.patch.object(Links, "uncounted", side_effect=UnavailableError):
        done = shop.collector.run(shop.time + 600)
    assert (done.errors, done.finished) == (1, True)
    assert STRAY in shop.objects
    shop.wait(DAY)
    assert shop.collector.run(shop.time + 600).objects == 1


def test_a_continued_pass_remembers_a_link_without_a_record(shop: Shop) -> None:
    """The pass lists nothing, though only its first run found the link."""
    key = spoiled(shop)
    for number in range(4):
        shop.push(b"{}", name=f"zoo/{number}")
    shop.wait(DAY)
    runs: list[CollectReport] = []
    with before(shop, "get_records", lambda: shop.wait(40)):
        while not (runs and runs[-1].finished):
            runs.append(shop.collector.run(shop.time + 60))
    assert len(runs) > 1
    assert [bool(each.lost) for each in runs].count(True) == 1
    assert not runs[-1].lost
    assert {key, STRAY} <= shop.objects.keys()


def test_a_link_pushed_between_two_reads_is_not_lost(shop: Shop) -> None:
    """Its record is absent when records are read, and there when links are read."""
    spoiled(shop)
    with before(shop, "get_links", lambda: shop.blob(b"layer")):
        done = shop.collector.run(shop.time + 600)
    assert done.lost == ()


def test_a_preview_and_its_list_leave_strays_while_a_link_has_no_record(shop: Shop) -> None:
    """The preview says so; an older list deletes everything except the strays."""
    shop.push(b"layer")
    shop.wait(30 * DAY)
    shop.objects[STRAY] = b"stray"
    (finding,) = shop.collector.preview()
    shop.drop(record_key(LAYER))
    (skipped,) = shop.collector.preview()
    assert (skipped.kind, skipped.repository) == (FindingKind.SKIPPED, None)
    done = shop.collector.run(shop.time + 600, only=[finding, skipped])
    assert (done.objects, [each.key for each in done.left]) == (0, [STRAY])
    assert len(done.lost) == 1
    shop.blob(b"layer")
    assert shop.collector.run(shop.time + 600, only=[finding]).objects == 1


def test_a_deleted_link_without_a_record_prevents_no_listing(shop: Shop) -> None:
    """No manifest names it, so it is deleted, and its bytes are then strays."""
    lost = shop.blob(b"nobody names this")
    key = record(shop, lost).key
    shop.drop(record_key(lost))
    shop.wait(30 * DAY)
    shop.memory.tables.delete_item(TableName=UPLOADS, Key={"session": {"S": key.split("/")[1]}})
    found = {each.kind for each in shop.collector.preview()}
    assert found == {FindingKind.LINK, FindingKind.STRAY}
    done = shop.collector.run(shop.time + 600)
    assert (done.healed, done.objects, done.lost) == (1, 1, ())
