"""The simulated passes of the collector: the made-up table, what a pass leaves, the document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bench.collecting import __main__ as collecting
from bench.collecting.measure import PlannedRegistry, page_seconds
from bench.collecting.table import Plan, PlannedTables, blob_digest, key_of, repository_name
from bench.cost import PASS_GB
from bench.cost_meter import SCANNED, size_of
from tests.support.registries import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAN = Plan(repositories=4, blobs=60, images=5, pushed_at=collecting.PUSHED_AT, unneeded=3)
LATER = collecting.NOW + 100 * collecting.DAY


def pages(tables: PlannedTables, **request: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - DynamoDB's parameters
    """Scan the table page by page."""
    while True:
        page = tables.scan(TableName=REGISTRY, **request)
        yield page
        if "LastEvaluatedKey" not in page:
            return
        request["ExclusiveStartKey"] = dict(page["LastEvaluatedKey"])


@pytest.mark.parametrize("limit", [7, 1000])
def test_a_scan_gives_every_row_once_however_its_pages_are_cut(limit: int) -> None:
    """The table has links, images with tags, records and the catalog; each row has its key."""
    tables = PlannedTables(PLAN)
    found = list(pages(tables, Limit=limit))
    rows = [row for page in found for row in page["Items"]]
    keys = [(row["pk"]["S"], row["sk"]["S"]) for row in rows]
    assert len(set(keys)) == len(rows) == 4 * (60 + 3 * 5) + 4 + 4 * 60
    assert [tables.row(*key) for key in keys] == rows
    assert sum(page[SCANNED] for page in found) == sum(map(size_of, rows))


def test_a_pass_deletes_what_no_image_names() -> None:
    """The last three blobs of each repository lose link, record and object."""
    tables = PlannedTables(PLAN)
    made = PlannedRegistry(tables, collecting.NOW)
    figures = made.measured(lambda registry: registry.collector.run(LATER))
    gone = {repository * 60 + 57 + each for repository in range(4) for each in range(3)}
    assert (figures.links, figures.records, figures.objects) == (12, 12, 12)
    assert made.s3.deleted == {key_of(number) for number in gone}
    for number in range(PLAN.all_blobs):
        record = tables.row(f"BLOB#{blob_digest(number)}", "RECORD")
        link = tables.row(f"REPO#{repository_name(number // 60)}", f"BLOB#{blob_digest(number)}")
        assert (record is None, link is None) == (number in gone, number in gone)
    assert figures.calls["Scan"] == 1
    assert figures.read_units > 0
    assert figures.waited > 0


def test_a_deleted_image_frees_its_blobs() -> None:
    """The blobs of other images stay."""
    tables = PlannedTables(Plan(4, 60, 5, collecting.PUSHED_AT))
    tables.forget_image(1, 2)
    made = PlannedRegistry(tables, collecting.NOW)
    figures = made.measured(lambda registry: registry.collector.run(LATER))
    assert figures.links == figures.objects == 12
    assert made.s3.deleted == {key_of(60 + 24 + each) for each in range(12)}


def test_reading_a_page_takes_time() -> None:
    """The time is measured at botocore, for an answer as DynamoDB sends it."""
    (page,) = pages(PlannedTables(PLAN))
    assert page_seconds({"Items": page["Items"][:5], "Count": 5}, times=1) > 0


def test_the_cost_of_a_month_includes_the_passes() -> None:
    """It counts each GB of the table, with some changes each day."""
    quiet = json.loads(collecting.RECORDED.read_text())["quiet"]
    gigabytes = sum(page[SCANNED] for page in pages(PlannedTables(PLAN))) / PLAN.all_blobs / 1000
    assert sum(collecting.dollars(quiet).values()) / gigabytes == pytest.approx(PASS_GB, rel=0.25)


def test_the_document_has_the_recorded_figures() -> None:
    """`python -m bench.collecting` writes both."""
    passes = json.loads(collecting.RECORDED.read_text())
    document = collecting.DOCUMENT.read_text()
    assert collecting.with_tables(document, passes) == document
