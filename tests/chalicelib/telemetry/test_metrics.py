"""The metrics: what a line adds to them, and their format."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from chalicelib.registry.sweeper import SweepOutcome
from chalicelib.routes import Action
from chalicelib.telemetry.line import LogLine, line_of
from chalicelib.telemetry.metrics import (
    COLLECTED,
    METRICS,
    NAMESPACE,
    OUTCOMES,
    WORKS,
    MetricsPrinter,
    measured,
)
from chalicelib.telemetry.tally import Tally
from moorage.common.project import PROJECT

ROOT = PROJECT
DOCS = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")


def a_line(**changes: Any) -> LogLine:  # noqa: ANN401 - any field
    """Return the line of a ping that did nothing, with `changes`."""
    line = line_of(Tally(), action="ping", status=200, operation="dispatch.ping")
    return line._replace(milliseconds=1500.0, **changes)


def counted(**changes: Any) -> dict[str, float]:  # noqa: ANN401 - any field
    """Return what a line adds to the metrics that have no dimension but `service`."""
    return measured(a_line(**changes)).get(None, {})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"cold_start": True, "retries": 2}, {"ColdStarts": 1, "AwsRetries": 2}),
        ({"status": 404}, {"Refusals": 1}),
        ({"status": 429}, {"Throttled": 1}),
        ({"status": 503}, {"Faults": 1}),
        ({"action": "pull", "operation": "blobs.get", "bytes_out": 7}, {"Pulls": 1, "BytesOut": 7}),
        (
            {"operation": "blobs.get", "status": 307, "bytes_redirected": 9},
            {"Pulls": 1, "BytesRedirected": 9},
        ),
        ({"operation": "manifests.get"}, {"Pulls": 1}),
        ({"operation": "manifests.head"}, {}),
        ({"operation": "lists.tags"}, {}),
        ({"operation": "blobs.get", "status": 404}, {"Refusals": 1}),
        ({"operation": "uploads.append", "status": 202, "bytes_in": 5}, {"BytesIn": 5}),
        (
            {"operation": "uploads.append", "resumed": True, "taken_over": True, "unhashed": True},
            {"Resumes": 1, "LeasesTakenOver": 1, "HashStateFallbacks": 1},
        ),
        (
            {"operation": "uploads.commit", "status": 201, "committed": True},
            {"Pushes": 1, "CommitSeconds": 1.5},
        ),
        ({"operation": "uploads.start", "status": 201}, {}),  # a mount
        ({"operation": "manifests.put", "status": 201}, {"Pushes": 1}),
        # A manifest whose bytes are kept as a blob's is one push all the same.
        ({"operation": "manifests.put", "status": 201, "committed": True}, {"Pushes": 1}),
        ({"operation": "manifests.put", "status": 400}, {"Refusals": 1}),
        ({"action": "commit", "committed": True}, {"Pushes": 1, "CommitSeconds": 1.5}),
        ({"action": "sweep", "committed": True, "swept": {"committed": 3}}, {"Pushes": 3}),
        ({"action": "collect", "bytes_freed": 5, "lost": 2}, {"BytesFreed": 5, "LostBlobs": 2}),
        ({"action": "collect", "expired": {"images": 3, "manifests": 9}}, {"Expired": 3}),
    ],
)
def test_a_log_line_adds_to_its_metrics(
    changes: dict[str, Any], expected: dict[str, float]
) -> None:
    """Each kind of request, once; what it did not do is left out."""
    assert counted(**changes) == expected


@pytest.mark.parametrize(
    ("action", "work"),
    [
        ("pull", "pull"),
        ("push", "push"),
        ("commit", "background"),
        ("sweep", "background"),
        ("collect", "background"),
        ("delete", "other"),
        ("authorize", "other"),
        (None, "other"),
    ],
)
def test_calls_are_counted_by_what_they_were_for(action: str | None, work: str) -> None:
    """Those that made none are counted too: the average is calls for each operation."""
    found = measured(a_line(action=action, s3_calls=2))
    assert found["work", work] == {"S3Calls": 2, "DynamoDBCalls": 0}


def test_what_was_swept_is_counted_by_outcome() -> None:
    """But for what was no longer due."""
    swept = {"cleaned": 4, "failed": 1, "nothing": 7, "cancelled": 0}
    found = measured(a_line(action="sweep", swept=swept))
    swept_only = {key: values for key, values in found.items() if key and key[0] == "outcome"}
    assert swept_only == {("outcome", "cleaned"): {"Swept": 4}, ("outcome", "failed"): {"Swept": 1}}
    assert set(OUTCOMES) == {each.value for each in SweepOutcome} - {"nothing"}


def test_what_was_collected_is_counted_by_kind() -> None:
    """What was only looked at is no metric."""
    collected = {"links": 3, "records": 2, "objects": 0, "repositories": 9}
    found = measured(a_line(action="collect", collected=collected))
    kinds = {key: values for key, values in found.items() if key and key[0] == "kind"}
    assert kinds == {("kind", "links"): {"Collected": 3}, ("kind", "records"): {"Collected": 2}}


@pytest.mark.parametrize(
    "action", [*[each.value for each in Action], "commit", "sweep", "collect", None]
)
def test_only_metrics_in_the_table_are_emitted(action: str | None) -> None:
    """Every metric has its unit, its dimension and that dimension's values there."""
    everything = a_line(
        action=action,
        operation="manifests.put",
        status=201,
        swept=dict.fromkeys(OUTCOMES, 1),
        collected=dict.fromkeys(COLLECTED, 1),
        expired={"images": 1},
        bytes_freed=1,
        lost=1,
        **dict.fromkeys(("cold_start", "resumed", "taken_over", "unhashed", "committed"), True),
    )
    for dimension, values in measured(everything).items():
        for name in values:
            metric = METRICS[name]
            assert metric.dimension == (dimension[0] if dimension else None)
            assert (dimension[1] if dimension else "") in metric.values


def test_they_are_printed_as_cloudwatch_reads_them(capsys: pytest.CaptureFixture[str]) -> None:
    """The embedded metric format: what is said of metrics and dimensions is there as keys."""
    line = a_line(
        action="sweep", cold_start=True, s3_calls=1, swept={"failed": 2}, repository="team/app"
    )
    MetricsPrinter("another")(line)
    MetricsPrinter("another")(line)
    printed = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert len(printed) == 6
    for document in printed:
        about = document["_aws"]
        assert isinstance(about["Timestamp"], int)
        assert about["Timestamp"] > 1_600_000_000_000
        (directive,) = about["CloudWatchMetrics"]
        assert directive["Namespace"] == NAMESPACE
        (dimensions,) = directive["Dimensions"]
        assert "service" in dimensions
        assert len(dimensions) <= 2
        assert all(isinstance(document[name], str) for name in dimensions)
        for metric in directive["Metrics"]:
            assert metric["Unit"] == METRICS[metric["Name"]].unit
            assert all(isinstance(value, float) for value in document[metric["Name"]])
        known = {"_aws", *dimensions, *(metric["Name"] for metric in directive["Metrics"])}
        assert set(document) == known
    assert {document["service"] for document in printed} == {"another"}
    assert "team/app" not in json.dumps(printed)


def test_every_metric_is_documented() -> None:
    """A row for each, with its unit and its dimension."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (?:`(\w+)` )?\| ", DOCS, re.MULTILINE)
    assert {name: (unit, dimension or None) for name, unit, dimension in rows} == {
        name: (metric.unit, metric.dimension) for name, metric in METRICS.items()
    }
    for value in (*WORKS, *OUTCOMES):
        assert f"`{value}`" in DOCS
