"""Strays: which objects of the bucket a pass deletes that nothing names, and when it lists."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

from chalicelib.digest import Digest
from chalicelib.registry.keys import canonical_key, direct_key, timed_id
from chalicelib.registry.session import UploadState
from tests.chalicelib.registry.collector.pushing import (
    DAY,
    LIMITS,
    NAME,
    Shop,
    record,
)
from tests.support.registries import UPLOADS
from tests.support.values import a_session

if TYPE_CHECKING:
    from chalicelib.registry.collector.report import CollectReport

RANDOM = "c0ffee00-c0ff-4eee-8c0f-fee000000000"
"""An id without a time."""


def test_an_object_is_counted_once_though_the_same_pass_lists_the_bucket(shop: Shop) -> None:
    """Its record is gone before the listing, which must not find it any more."""
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


def test_an_object_whose_request_may_be_on_its_way_is_no_stray(shop: Shop) -> None:
    """For so long after its session was opened; then its session is ended, and it goes."""
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
    """Page by page, and gone on with by the next run."""
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
