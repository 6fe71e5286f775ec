"""Alarms and dashboard use metrics that AWS documents or Moorage emits, of existing resources.

A misspelt name is a metric without data: an alarm on it never rings.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from chalicelib.api.routes import Action
from chalicelib.settings import TelemetrySettings
from chalicelib.telemetry.metrics import NAMESPACE, OUTCOMES, MetricsPrinter
from tests.chalicelib.telemetry.test_metrics import a_line
from tests.infra.templates import API, CONFIG, DATA
from tests.infra.test_observability_template import (
    ALARMS,
    API_STACK,
    STACK,
    Metric,
    dashboard,
    filters,
    watched,
)

if TYPE_CHECKING:
    import pytest

FUNCTIONS = [
    name for name, each in API["Resources"].items() if "LoggingConfig" in each["Properties"]
]
TABLES = [
    name for name, each in DATA["Resources"].items() if each["Type"] == "AWS::DynamoDB::Table"
]

SUM: Final = "Sum"
MOST: Final = "Maximum"
PERCENTILE: Final = r"p\d\d"


class Documented(NamedTuple):
    """AWS's documentation of metrics: their sets of dimensions, and their statistic."""

    names: frozenset[str]
    dimensions: tuple[frozenset[str], ...]
    statistic: str = SUM


def _documented(names: str, *dimensions: str, statistic: str = SUM) -> Documented:
    sets = tuple(frozenset(each.split()) for each in dimensions)
    return Documented(frozenset(names.split()), sets, statistic)


GATEWAY: Final = ("ApiName", "ApiName Stage", "ApiName Method Resource Stage")
FUNCTION: Final = ("FunctionName", "FunctionName Resource", "FunctionName Resource ExecutedVersion")
TABLE: Final = ("TableName",)
TABLE_OR_INDEX: Final = ("TableName", "TableName GlobalSecondaryIndexName")
OPERATION: Final = ("TableName Operation",)

DOCUMENTED: Final = {
    # API Gateway Developer Guide, "Amazon API Gateway dimensions and metrics": of REST APIs.
    "AWS/ApiGateway": (
        _documented("4XXError 5XXError CacheHitCount CacheMissCount Count", *GATEWAY),
        _documented("IntegrationLatency Latency", *GATEWAY, statistic=PERCENTILE),
    ),
    # Lambda Developer Guide, "Types of metrics for Lambda functions": those that a function has.
    "AWS/Lambda": (
        _documented("Invocations Errors Throttles", *FUNCTION),
        _documented("DeadLetterErrors DestinationDeliveryFailures", *FUNCTION),
        _documented("Duration PostRuntimeExtensionsDuration", *FUNCTION, statistic=PERCENTILE),
        _documented("ConcurrentExecutions", *FUNCTION, statistic=MOST),
    ),
    # DynamoDB Developer Guide, "DynamoDB metrics and dimensions": those of tables on demand.
    "AWS/DynamoDB": (
        _documented("ReadThrottleEvents WriteThrottleEvents", *TABLE_OR_INDEX),
        _documented("ConsumedReadCapacityUnits ConsumedWriteCapacityUnits", *TABLE_OR_INDEX),
        _documented("ConditionalCheckFailedRequests TimeToLiveDeletedItemCount", *TABLE),
        _documented("ThrottledRequests SystemErrors ReturnedItemCount", *OPERATION),
        _documented("SuccessfulRequestLatency", *OPERATION, statistic=PERCENTILE),
    ),
}
"""Those that the templates might use."""


def there_is() -> dict[str, list[dict[str, str]]]:
    """Return the dimensions of the stacks' resources, by namespace."""
    api = API_STACK.text(API["Resources"]["RestAPI"]["Properties"]["Name"])
    return {
        "AWS/ApiGateway": [{"ApiName": api, "Stage": CONFIG["api_gateway_stage"]}],
        "AWS/Lambda": [{"FunctionName": name} for name in FUNCTIONS],
        "AWS/DynamoDB": [{"TableName": name} for name in TABLES],
    }


def everything() -> list[Any]:
    """Return everything that an alarm or the dashboard uses."""
    by_alarms = [each for alarm in ALARMS.values() for each in watched(alarm).values()]
    return by_alarms + [shown.watched for shown in dashboard()]


def test_metrics_of_aws_are_documented() -> None:
    """With these names, dimensions and statistics, for the namespace."""
    seen = [each for each in everything() if each.metric.namespace.startswith("AWS/")]
    assert {each.metric.namespace for each in seen} == set(DOCUMENTED)
    for metric, statistic, _ in seen:
        (row,) = (row for row in DOCUMENTED[metric.namespace] if metric.name in row.names)
        assert {name for name, _ in metric.dimensions} in row.dimensions, metric
        assert re.fullmatch(row.statistic, statistic), metric


def test_metrics_of_aws_are_of_existing_resources() -> None:
    """The API's name and stage, and the stacks' functions and tables."""
    present = there_is()
    for metric, _, _ in everything():
        if metric.namespace.startswith("AWS/"):
            assert dict(metric.dimensions) in present[metric.namespace], metric


def test_every_metric_is_of_aws_of_a_filter_or_emitted() -> None:
    """Nothing else would send its data."""
    made = {each.metric for each in filters()}
    assert {metric.namespace for metric in made} == {STACK.text({"Fn::Sub": "Moorage/${ApiStack}"})}
    for alarm in ALARMS.values():
        for metric, statistic, _ in watched(alarm).values():
            # Not the namespace Moorage: alarms work without MOORAGE_METRICS.
            assert metric.namespace in DOCUMENTED or metric in made
            assert metric.namespace in DOCUMENTED or statistic == SUM
    for shown in dashboard():
        assert shown.watched.metric.namespace in {*DOCUMENTED, NAMESPACE}


def test_labels_on_the_dashboard_name_the_right_function() -> None:
    """A label begins with its metric's function."""
    functions = {"API": "APIHandler", "commit": "Commit", "sweep": "Sweep"}
    rows = [each for each in dashboard() if each.watched.metric.namespace == "AWS/Lambda"]
    assert {row.label.partition(":")[0] for row in rows} == set(functions)
    for row in rows:
        name = functions[row.label.partition(":")[0]]
        assert row.watched.metric.dimensions == {("FunctionName", name)}


def test_every_table_is_watched() -> None:
    """Reads and writes, by alarm and dashboard: any table may have a hot item."""
    expected = {
        Metric("AWS/DynamoDB", name, frozenset({("TableName", table)}))
        for name in ("ReadThrottleEvents", "WriteThrottleEvents")
        for table in TABLES
    }
    alarm = {each.metric for each in watched(ALARMS["TableThrottleAlarm"]).values()}
    shown = {each.watched.metric for each in dashboard()}
    assert alarm == expected
    assert {metric for metric in shown if metric.namespace == "AWS/DynamoDB"} == expected


def emitted(capsys: pytest.CaptureFixture[str]) -> set[Metric]:
    """Return every metric that a deployment's meter can print."""
    services = {
        API_STACK.text(
            API["Resources"][function]["Properties"]["Environment"]["Variables"][
                "POWERTOOLS_SERVICE_NAME"
            ]
        )
        for function in FUNCTIONS
    }
    (service,) = services
    meter = MetricsPrinter(TelemetrySettings.read({"POWERTOOLS_SERVICE_NAME": service}).service)
    did = ("retries", "s3_calls", "dynamodb_calls", "bytes_in", "bytes_out", "bytes_redirected")
    saw = ("cold_start", "resumed", "taken_over", "unhashed", "committed")
    fields = {**dict.fromkeys(did, 1), **dict.fromkeys(saw, True), "operation": "blobs.get"}
    for action in (*(each.value for each in Action), "authorize", "commit"):
        for status in (200, 404, 429, 503):
            meter(a_line(action=action, status=status, **fields))
    meter(a_line(action="sweep", swept=dict.fromkeys(OUTCOMES, 1)))
    found = set()
    for text in capsys.readouterr().out.splitlines():
        document = json.loads(text)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = frozenset((name, document[name]) for name in names)
                for metric in directive["Metrics"]:
                    assert metric["Name"] in document
                    found.add(Metric(directive["Namespace"], metric["Name"], dimensions))
    return found


def test_moorages_own_metrics_are_those_that_are_emitted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With each dimension's value; all are shown but one that is always 0."""
    shown = {each.watched.metric for each in dashboard()}
    own = {metric for metric in shown if metric.namespace == NAMESPACE}
    (unshown,) = emitted(capsys) ^ own
    assert unshown.name == "S3Calls"
    assert ("work", "other") in unshown.dimensions
