"""What a month costs: the document's figures are those of the counts, and the counts are true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench import cost
from bench.cost_measure import Counts, measure
from bench.cost_meter import CallMeter, size_of
from chalicelib.prices import LAMBDA_GB_SECOND
from moorage.common.project import load_template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.emulators.backends import Backend
    from tests.support.registries import RegistryUnderTest

NOTHING = Counts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0)
TEMPLATE = Path(cost.__file__).parents[1] / "infra" / "api.merge.yaml"


def test_the_document_has_the_tables_of_the_counts() -> None:
    """docs/cost.md says what the recorded counts come to: `python -m bench.cost` writes it."""
    document = cost.DOCUMENT.read_text()
    assert cost.with_tables(document, cost.read_counts()) == document


@pytest.mark.timeout(240)
def test_the_counts_are_those_of_a_push_and_a_pull(strict_moto: Backend) -> None:
    """The recorded counts equal new ones; `python -m bench.cost` records a change."""
    assert measure(strict_moto.fresh()) == cost.read_counts()


def test_memory_is_the_templates_default() -> None:
    """The costs use the template's default memory of each function."""
    parameters = load_template(TEMPLATE)["Parameters"]
    memory = {
        "ApiMemory": cost.API_GB,
        "AuthorizerMemory": cost.AUTHORIZER_GB,
        "WorkerMemory": cost.WORKER_GB,
    }
    assert {name: parameters[name]["Default"] / 1024 for name in memory} == memory


def test_a_bill_is_counts_times_prices() -> None:
    """A million of each thing costs its price for a million."""
    million = replace(
        NOTHING,
        gateway=10**6,
        s3_writes=10**6,
        s3_reads=10**6,
        dynamodb_writes=10**6,
        dynamodb_reads=1e6,
    )
    lines = cost.bill(million, 0)
    assert lines["API Gateway"] == pytest.approx(3.50)
    assert lines["S3 requests"] == pytest.approx(5.00 + 0.40)
    assert lines["DynamoDB requests"] == pytest.approx(0.625 + 0.125)
    assert lines["Lambda"] == lines["CloudWatch Logs"] == 0


def test_time_is_billed_by_memory() -> None:
    """An API's second is a GB-second, an authorizer's half of one, a cold start one."""
    api = replace(NOTHING, api=10**6)
    authorizer = replace(NOTHING, authorizer=10**6)
    second = LAMBDA_GB_SECOND
    assert cost.bill(api, 0)["Lambda"] == pytest.approx(0.20 + 1e6 * 0.08 * second)
    assert cost.bill(authorizer, 0)["Lambda"] == pytest.approx(0.20 + 1e6 * 0.025 * second)
    assert cost.bill(NOTHING, 3)["Lambda"] == pytest.approx(3 * second)


def test_a_month_without_a_push_is_storage_and_the_hourly_functions() -> None:
    """What idles costs its bytes, the sweeper's runs, and the collector's walks."""
    counts = {"push": replace(NOTHING, kept_bytes=1), "pull": NOTHING}
    counts |= {"sweep": NOTHING, "collect": NOTHING}
    lines = cost.month(cost.Workload("idle", 0, 0, 100, 1), counts)
    paid = {line for line, amount in lines.items() if amount}
    assert paid == {"the sweeper", "the collector", "S3 storage", "DynamoDB storage and recovery"}
    assert lines["S3 storage"] == pytest.approx(2.30)


@pytest.mark.parametrize(
    ("gigabytes", "expected"),
    [(0, 0), (10_000, 900), (10_001, 900.085), (60_000, 900 + 40_000 * 0.085 + 700)],
)
def test_transfer_is_priced_by_tier(gigabytes: float, expected: float) -> None:
    """The first 10 TB cost more than the next 40."""
    assert cost.transfer(gigabytes) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("item", "size"),
    [
        (None, 0),
        ({"a": {"S": "é"}}, 3),
        ({"a": {"B": b"12345"}}, 6),
        ({"a": {"N": "1795000000.25"}}, 1 + 7),
        ({"a": {"N": "7"}}, 1 + 2),
        ({"a": {"BOOL": True}}, 2),
        ({"a": {"L": [{"S": "xy"}]}}, 1 + 3 + 1 + 2),
        ({"a": {"M": {"k": {"S": "v"}}}}, 1 + 3 + 1 + 1 + 1),
    ],
)
def test_an_item_has_the_size_that_dynamodb_counts(
    item: Mapping[str, Mapping[str, object]] | None, size: int
) -> None:
    """Names, values, and the overhead of lists and maps count."""
    assert size_of(item) == size


def test_a_session_enters_and_leaves_the_index(
    registry: RegistryUnderTest, strict_moto: Backend
) -> None:
    """The first chunk writes the item and an entry of the index, and the item; so does cancelling.

    The entry moves to the time of its cleaning up, which is two writes, and goes: one.
    """
    meter = CallMeter(strict_moto.dynamodb())
    with meter.watch(registry.s3, registry.dynamodb, registry.uploads_table):
        uploads, deadline = registry.registry.uploads, registry.clock.now() + 29
        opened = uploads.start("a/b", "")
        assert meter.dynamodb_writes == 0
        session = uploads.append(opened.owner, opened.ticket or "", b"x", 0, deadline)
        assert meter.dynamodb_writes == 2 + 1
        uploads.cancel(session.owner, session.id)
    assert meter.dynamodb_writes == 2 + 1 + (1 + 2) + (1 + 1)
    assert (meter.dynamodb_reads, meter.s3_writes) == (1.0, 1)


def test_large_items_and_transactions_take_more_units(
    registry: RegistryUnderTest, strict_moto: Backend
) -> None:
    """A write is a unit for each KB begun, twice that in a transaction; a read for each 4 KB."""
    table, meter = registry.registry_table, CallMeter(strict_moto.dynamodb())
    item = {"pk": {"S": "p"}, "sk": {"S": "s"}, "text": {"S": "x" * 5000}}
    with meter.watch(registry.s3, registry.dynamodb, table):
        registry.dynamodb.put_item(TableName=table, Item=item)
        assert meter.dynamodb_writes == 5
        registry.dynamodb.transact_write_items(
            TransactItems=[{"Put": {"TableName": table, "Item": item}}]
        )
        assert meter.dynamodb_writes == 5 + 10
        key = {"pk": item["pk"], "sk": item["sk"]}
        registry.dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)
        registry.dynamodb.get_item(TableName=table, Key=key)
    assert meter.dynamodb_reads == 2 + 1


def test_a_signed_url_is_no_request(registry: RegistryUnderTest, strict_moto: Backend) -> None:
    """The holder of the URL makes the request to S3."""
    meter = CallMeter(strict_moto.dynamodb())
    with meter.watch(registry.s3, registry.dynamodb):
        registry.ports.objects.presign("blobs/x", method="GET", seconds=60)
        assert meter.s3_reads == 0
        registry.ports.objects.put("uploads/x", b"x")
        registry.ports.objects.get("uploads/x")
        registry.ports.objects.delete(["uploads/x"])
    assert (meter.s3_writes, meter.s3_reads) == (1, 1)
