"""Records without links, garbage, and what is lost.

No test may wait: the clock is moved.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from unittest import mock

from chalicelib.digest import Digest
from chalicelib.errors import UnavailableError
from chalicelib.stores.dynamodb.items import RECORD
from chalicelib.stores.dynamodb.keys import record_key
from tests.chalicelib.registry.collector.pushing import (
    DAY,
    LIMITS,
    NAME,
    OTHER,
    Shop,
    record,
)

if TYPE_CHECKING:
    import pytest

    from chalicelib.registry.collector.report import CollectReport

GRACE = LIMITS.record_grace


def test_the_time_of_a_record_without_released_at_begins_now(shop: Shop) -> None:
    """Version 0.1 did not record when the last link was deleted."""
    digest = shop.blob(b"deleted by a client of 0.1")
    shop.registry.blobs.delete(NAME, digest)
    shop.change(record_key(digest), released_at=None)
    shop.wait(100 * DAY)
    assert shop.collect().records == 0
    assert record(shop, digest).released_at == shop.time
    shop.wait(GRACE - 1)
    assert shop.collect().records == 0
    shop.wait(1)
    assert shop.collect().records == 1
    assert shop.objects == {}


def test_a_client_that_deletes_a_blob_starts_its_record_s_time(shop: Shop) -> None:
    """The time begins when the link was last relied on."""
    digest = shop.blob(b"deleted")
    shop.wait(GRACE - 1)
    shop.registry.blobs.delete(NAME, digest)
    assert shop.collect().objects == 0
    shop.wait(1)
    assert shop.collect().objects == 1


def test_a_blob_that_is_pushed_again_after_its_record_is_gone_is_new(shop: Shop) -> None:
    """It has another key, which the garbage of the first one does not name."""
    digest = shop.blob(b"layer")
    first = record(shop, digest).key
    shop.wait(GRACE)
    deleting = mock.patch.object(shop.memory.objects, "delete", side_effect=UnavailableError)
    with deleting:
        failed = shop.collect()
    assert (failed.records, failed.objects) == (1, 0)
    assert failed.errors > 0
    shop.blob(b"layer")
    assert record(shop, digest).key != first
    assert sorted(shop.objects) == sorted([first, record(shop, digest).key])
    assert shop.collect().objects == 1
    assert list(shop.objects) == [record(shop, digest).key]


def test_garbage_that_a_record_names_stays(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Only a change of the table by hand can cause this; named bytes are never deleted."""
    digest = shop.blob(b"layer")
    found = record(shop, digest)
    shop.metadata.delete_link(NAME, digest)
    shop.wait(GRACE)
    assert shop.metadata.drop_record(record(shop, digest), shop.time)
    shop.change(record_key(digest), **RECORD.encode(found))
    assert shop.collect().objects == 0
    assert shop.objects
    assert shop.metadata.garbage(10) == []
    assert [each.levelno for each in caplog.records if "garbage" in each.message] == [40]


def test_a_link_without_a_record_is_deleted_alone(shop: Shop) -> None:
    """No record counts it, and no manifest names it."""
    digest = shop.blob(b"layer")
    shop.drop(record_key(digest))
    shop.wait(GRACE)
    done = shop.collect()
    assert (done.links, done.healed, done.records) == (1, 1, 0)
    assert shop.linked() == set()


def a_month(shop: Shop) -> list[CollectReport]:
    """Make a pass on each day of a month."""
    reports = []
    for _ in range(30):
        shop.wait(DAY)
        reports.append(shop.collect())
    return reports


def test_a_lost_object_is_reported_once_a_month_and_healed_by_a_push(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has an error if a manifest names the blob."""
    shop.push(b"layer")
    digest = Digest.of(b"layer")
    del shop.objects[record(shop, digest).key]
    lost = [text for report in a_month(shop) for text in report.lost]
    assert len(lost) == 1
    assert str(digest) in lost[0]
    assert [each.message for each in caplog.records if each.levelno == logging.ERROR] == [
        f"lost: {lost[0]}"
    ]
    shop.blob(b"layer", OTHER)
    assert [report.lost for report in a_month(shop) if report.lost] == []


def test_a_lost_record_is_reported_once_a_month_while_no_listing_is_due(shop: Shop) -> None:
    """A thirtieth of all links is checked each day."""
    shop.push(b"layer")
    shop.wait(LIMITS.link_grace + 1)
    shop.collect()
    digest = Digest.of(b"layer")
    shop.drop(record_key(digest))
    lost: list[str] = []
    for _ in range(29):
        shop.wait(DAY)
        lost += shop.collector.run(shop.time + 600).lost
    assert len(lost) <= 1
    shop.wait(DAY)
    lost += shop.collector.run(shop.time + 600).lost
    assert lost
    assert {f"{NAME} links to {digest}, which has no record: push it again"} == set(lost)


def test_a_record_whose_object_is_gone_is_collected_like_any_other(shop: Shop) -> None:
    """Deleting the missing object is no error."""
    shop.blob(b"layer")
    shop.objects.clear()
    shop.wait(GRACE)
    done = shop.collect()
    assert (done.links, done.records, done.errors, done.lost) == (1, 1, 0, ())
    assert shop.keys("COLLECTOR") == []
