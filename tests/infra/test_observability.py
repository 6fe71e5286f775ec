"""infra/observability.yaml: its imports, its prices, its metrics, and when its alarms ring.

The alarms and the dashboard are resolved as in a deployment whose resources have their names in the
template. A misspelt name would be a metric without data: an alarm on it never rings.

At the end: which alarms ring for each way in which the authorizer and the commit function can end.
The functions run under Lambda's runtime client. Their output goes through the templates' filters,
and the results into the alarms' expressions.
"""

from __future__ import annotations

import json
import operator
import os
import re
import subprocess
import sys
from typing import Any, Final, NamedTuple

import pytest

from chalicelib.routes import Action
from chalicelib.settings import TelemetrySettings
from chalicelib.telemetry.metrics import COLLECTED, METRICS, NAMESPACE, OUTCOMES, MetricsPrinter
from moorage.common.project import PROJECT
from tests.chalicelib.telemetry.test_metrics import a_line
from tests.infra.filter_patterns import matches
from tests.infra.intrinsics import Stack
from tests.infra.templates import API, CONFIG, DATA
from tests.infra.templates import OBSERVABILITY as TEMPLATE
from tests.infra.templates import OBSERVABILITY_TEXT as TEXT

DOCS = (PROJECT / "docs" / "observability.md").read_text(encoding="utf-8")

RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
ALARMS: dict[str, dict[str, Any]] = {
    name: resource["Properties"]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}

API_STACK: Final = Stack({"AWS::StackName": "moorage-x"})
DATA_STACK: Final = Stack({"AWS::StackName": "moorage-x-data"})


def exports(template: dict[str, Any], stack: Stack) -> dict[str, str]:
    """Return a stack's exports: resources' names in the template, by the export's name."""
    return {
        stack.text(output["Export"]["Name"]): output["Value"]["Ref"]
        for output in template["Outputs"].values()
        if "Export" in output and "Ref" in output["Value"]
    }


STACK: Final = Stack(
    {
        "ApiStack": API_STACK.values["AWS::StackName"],
        "DataStack": DATA_STACK.values["AWS::StackName"],
        "Service": API_STACK.values["AWS::StackName"],
        "AWS::Region": "eu-west-1",
    },
    exports(API, API_STACK) | exports(DATA, DATA_STACK),
)


class Metric(NamedTuple):
    """A metric of CloudWatch; another set of dimensions is another metric."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]] = frozenset()


class Watched(NamedTuple):
    """A metric and its statistic, in an alarm or on the dashboard. `period`: seconds."""

    metric: Metric
    statistic: str
    period: int


def watched(alarm: dict[str, Any]) -> dict[str, Watched]:
    """Return an alarm's metrics, by their names in its expression."""
    if "Metrics" not in alarm:
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        return {"": Watched(_metric(alarm), statistic, alarm["Period"])}
    return {
        each["Id"]: Watched(
            _metric(each["MetricStat"]["Metric"]),
            each["MetricStat"]["Stat"],
            each["MetricStat"]["Period"],
        )
        for each in alarm["Metrics"]
        if "MetricStat" in each
    }


def _metric(found: dict[str, Any]) -> Metric:
    dimensions = {each["Name"]: STACK.text(each["Value"]) for each in found.get("Dimensions", [])}
    return Metric(
        STACK.text(found["Namespace"]), found["MetricName"], frozenset(dimensions.items())
    )


class Shown(NamedTuple):
    """A metric on the dashboard, under its label."""

    watched: Watched
    label: str


def dashboard() -> list[Shown]:
    """Return the dashboard's metrics."""
    body = STACK.text(RESOURCES["Board"]["Properties"]["DashboardBody"])
    found = []
    for widget in json.loads(body)["widgets"]:
        assert widget["properties"]["region"] == STACK.values["AWS::Region"]
        for row in widget["properties"]["metrics"]:
            options = {**widget["properties"], **(row[-1] if isinstance(row[-1], dict) else {})}
            space, name, *pairs = (part for part in row if isinstance(part, str))
            dimensions = frozenset(zip(pairs[::2], pairs[1::2], strict=True))
            seen = Watched(Metric(space, name, dimensions), options["stat"], options["period"])
            found.append(Shown(seen, options.get("label", "")))
    return found


class Filter(NamedTuple):
    """A filter that makes a metric: `value` for each event of a log group that matches."""

    log_group: str
    pattern: str
    metric: Metric
    value: int


def filters() -> list[Filter]:
    """Return the template's filters."""
    found = []
    for resource in RESOURCES.values():
        if resource["Type"] == "AWS::Logs::MetricFilter":
            properties = resource["Properties"]
            (made,) = properties["MetricTransformations"]
            # A dimension would make a metric for each value; a default would send one always.
            assert set(made) == {"MetricNamespace", "MetricName", "MetricValue", "Unit"}
            metric = Metric(STACK.text(made["MetricNamespace"]), made["MetricName"])
            group = STACK.text(properties["LogGroupName"])
            found.append(
                Filter(group, properties["FilterPattern"], metric, int(made["MetricValue"]))
            )
    return found


def test_the_dashboard_uses_known_names_only() -> None:
    """Each ${} is a parameter, an import, or a pseudo parameter."""
    body, names = RESOURCES["Board"]["Properties"]["DashboardBody"]["Fn::Sub"]
    used = set(re.findall(r"\$\{([^}]+)\}", body))
    assert used <= {*names, *TEMPLATE["Parameters"], "AWS::Region"}
    assert set(names) <= used


def test_every_import_is_exported_by_the_other_stacks() -> None:
    """All functions and all tables are imported."""
    for stack, template in (("ApiStack", API), ("DataStack", DATA)):
        imported = set(re.findall(rf"ImportValue:\s+Fn::Sub: \$\{{{stack}\}}-(\w+)", TEXT))
        named = {
            name for name in template["Outputs"] if name.endswith(("FunctionName", "TableName"))
        }
        assert imported == named
        for name in imported:
            exported = template["Outputs"][name]["Export"]["Name"]
            assert exported == {"Fn::Sub": f"${{AWS::StackName}}-{name}"}


def test_prices_are_counted_from_the_template() -> None:
    """In the documentation and in the template's own comments."""
    on_board = {shown.watched.metric for shown in dashboard()}
    own = [metric for metric in on_board if metric.namespace == NAMESPACE]
    assert len(on_board) <= 50
    for text in (TEXT, DOCS):
        assert f"this one has {len(on_board)}" in text
    assert f"Of the dashboard, {len(own)} metrics are Moorage's own" in DOCS
    number = sum(len(watched(alarm)) for alarm in ALARMS.values())
    price = f"{number * 0.10:.2f} USD"
    assert f"(ten are free): {number}, so {price}" in TEXT
    assert TEMPLATE["Parameters"]["Alarms"]["Description"].startswith(
        f"Whether there are alarms ({price} a month"
    )
    assert f"These use {number}: {price}." in DOCS
    for name, alarm in ALARMS.items():
        assert re.search(rf"^\| `{name}` \| .* \| {len(watched(alarm))} \|$", DOCS, re.MULTILINE)
    made = ("none", "one", "two", "three", "four", "five")[len({each.metric for each in filters()})]
    assert f"or a login was not known: {made}\n" in TEXT
    assert f"and {made} that CloudWatch makes" in DOCS
    billed = sum(len(metric.values) for metric in METRICS.values())
    assert f"these are {billed} at most" in DOCS
    assert f"{(billed - 10) * 0.30:.2f} USD a month with all in use" in DOCS


def test_every_alarm_has_a_row_in_the_documentation() -> None:
    """The table has no other rows."""
    rows = DOCS.partition("| alarm | sees | does not see |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", rows, re.MULTILINE) == list(ALARMS)


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


def test_metrics_of_aws_are_documented_and_of_existing_resources() -> None:
    """With these names, dimensions and statistics; of the stacks' API, functions and tables."""
    present = there_is()
    seen = [each for each in everything() if each.metric.namespace.startswith("AWS/")]
    assert {each.metric.namespace for each in seen} == set(DOCUMENTED)
    for metric, statistic, _ in seen:
        (row,) = (row for row in DOCUMENTED[metric.namespace] if metric.name in row.names)
        assert {name for name, _ in metric.dimensions} in row.dimensions, metric
        assert re.fullmatch(row.statistic, statistic), metric
        assert dict(metric.dimensions) in present[metric.namespace], metric


def test_every_metric_is_of_aws_of_a_filter_or_emitted() -> None:
    """Any other metric would have no data."""
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
    functions = {name: name.capitalize() for name in ("commit", "verify", "sweep", "collect")}
    functions["API"] = "APIHandler"
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
    functions = (API["Resources"][each]["Properties"] for each in FUNCTIONS)
    variables = [each["Environment"]["Variables"] for each in functions]
    (service,) = {API_STACK.text(each["POWERTOOLS_SERVICE_NAME"]) for each in variables}
    meter = MetricsPrinter(TelemetrySettings.read({"POWERTOOLS_SERVICE_NAME": service}).service)
    did = ("retries", "s3_calls", "dynamodb_calls", "bytes_in", "bytes_out", "bytes_redirected")
    saw = ("cold_start", "resumed", "taken_over", "unhashed", "committed")
    fields = {**dict.fromkeys(did, 1), **dict.fromkeys(saw, True), "operation": "blobs.get"}
    for action in (*(each.value for each in Action), "authorize", "commit", "verify"):
        for status in (200, 404, 429, 503):
            meter(a_line(action=action, status=status, **fields))
    meter(a_line(action="sweep", swept=dict.fromkeys(OUTCOMES, 1)))
    collected = dict.fromkeys(COLLECTED, 1)
    expired = {"images": 1}
    meter(a_line(action="collect", expired=expired, collected=collected, bytes_freed=1, lost=1))
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


OPERATORS: Final = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
}
_MATH: Final = {
    "__builtins__": {},
    "IF": lambda condition, then, otherwise: then if condition else otherwise,
    "FILL": lambda series, _: series,
}
"""Metric math as far as it is used: its operators are Python's. Missing data is 0."""


def rings(alarm: dict[str, Any], data: dict[Metric, float]) -> bool:
    """Return whether one period's sums breach an alarm; missing data is 0."""
    series = {key: data.get(each.metric, 0) for key, each in watched(alarm).items()}
    value = series.get("", 0)
    if "Metrics" in alarm:
        (sought,) = (each for each in alarm["Metrics"] if each.get("ReturnData", True))
        code = compile(sought["Expression"], "an expression", "eval")
        assert set(code.co_names) - set(_MATH) == set(series)
        value = eval(code, _MATH, series)  # noqa: S307 - the template is ours
    return bool(OPERATORS[alarm["ComparisonOperator"]](value, alarm["Threshold"]))


def gateway(name: str) -> Metric:
    """Return a metric of the API."""
    (dimensions,) = there_is()["AWS/ApiGateway"]
    return Metric("AWS/ApiGateway", name, frozenset(dimensions.items()))


def function(name: str, of: str) -> Metric:
    """Return a metric of a function's."""
    return Metric("AWS/Lambda", name, frozenset({("FunctionName", of)}))


def logged(name: str) -> Metric:
    """Return the metric of a filter."""
    (found,) = {each.metric for each in filters() if each.metric.name == name}
    return found


REQUESTS, FAILED = gateway("Count"), gateway("5XXError")
ERRORS, UNKNOWN = function("Errors", "Authorizer"), logged("UnknownLogins")


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("ServerErrorAlarm", {REQUESTS: 49, FAILED: 49}, False),
        ("ServerErrorAlarm", {REQUESTS: 50, FAILED: 1}, False),
        ("ServerErrorAlarm", {REQUESTS: 50, FAILED: 2}, True),
        ("ServerErrorAlarm", {REQUESTS: 5000, FAILED: 100}, False),
        ("ServerErrorAlarm", {REQUESTS: 5000, FAILED: 101}, True),
        ("LatencyAlarm", {gateway("Latency"): 10_000}, False),
        ("LatencyAlarm", {gateway("Latency"): 10_001}, True),
        ("ConcurrencyAlarm", {}, False),
        ("ConcurrencyAlarm", {function("Throttles", "APIHandler"): 1}, True),
        ("TableThrottleAlarm", {}, False),
        # One throttled request of any table is enough.
        *[
            ("TableThrottleAlarm", {each.metric: 1}, True)
            for each in watched(ALARMS["TableThrottleAlarm"]).values()
        ],
        ("SweepAlarm", {}, False),
        ("SweepAlarm", {function("Errors", "Sweep"): 1}, True),
        ("CollectAlarm", {}, False),
        ("CollectAlarm", {function("Errors", "Collect"): 1}, True),
        ("CollectAlarm", {logged("LongPasses"): 1}, True),
        ("LostBlobAlarm", {}, False),
        ("LostBlobAlarm", {logged("LostBlobs"): 1}, True),
        ("AuthorizerAlarm", {}, False),
        ("AuthorizerAlarm", {logged("AuthorizerFailures"): 1}, True),
        ("AuthorizerErrorAlarm", {}, False),
        ("AuthorizerErrorAlarm", {ERRORS: 1}, True),
        ("AuthorizerErrorAlarm", {ERRORS: 1, UNKNOWN: 1}, False),
        # An error's line may fall into the next period, or another one's line into this.
        ("AuthorizerErrorAlarm", {ERRORS: 1000, UNKNOWN: 901}, False),
        ("AuthorizerErrorAlarm", {ERRORS: 1000, UNKNOWN: 899}, True),
        ("AuthorizerErrorAlarm", {ERRORS: 1000, UNKNOWN: 1001}, False),
        ("AuthorizerErrorAlarm", {UNKNOWN: 1}, False),
        ("CommitAlarm", {logged("CommitFailures"): 1, function("Errors", "Commit"): 1}, False),
        ("CommitAlarm", {logged("CommitFailures"): 2, function("Errors", "Commit"): 1}, True),
        ("CommitAlarm", {function("Errors", "Commit"): 3}, True),
    ],
)
def test_an_alarm_rings_just_above_its_threshold(
    name: str, data: dict[Metric, float], *, expected: bool
) -> None:
    """It does not ring at the threshold."""
    assert rings(ALARMS[name], data) is expected


USUAL_TIME: Final = (300, 2, 3)
TIMES: Final = {
    **dict.fromkeys(ALARMS, USUAL_TIME),
    "ConcurrencyAlarm": (300, 1, 1),
    "SweepAlarm": (3600, 2, 3),
    "CollectAlarm": (3600, 2, 3),
    "LostBlobAlarm": (3600, 1, 1),
    "CommitAlarm": (3600, 1, 1),
}
"""A period's seconds, and of how many periods how many have to be bad."""


@pytest.mark.parametrize("name", TIMES)
def test_an_alarm_rings_after_the_documented_time(name: str) -> None:
    """A period without data is a good one. The topic is notified then, and when it is over."""
    alarm = ALARMS[name]
    topic = {"Fn::If": ["HasEmail", [{"Ref": "Topic"}], {"Ref": "AWS::NoValue"}]}
    seconds, bad, of = TIMES[name]
    assert {each.period for each in watched(alarm).values()} == {seconds}
    assert alarm["EvaluationPeriods"] == of
    assert alarm.get("DatapointsToAlarm", of) == bad
    assert alarm["TreatMissingData"] == "notBreaching"
    assert RESOURCES[name]["Condition"] == "HasAlarms"
    assert (alarm["AlarmActions"], alarm["OKActions"]) == (topic, topic)
    assert alarm.get("ActionsEnabled", True) is True


_PROGRAM = """
import json, os, sys
from types import SimpleNamespace as Double
from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller
import app, chalicelib
from chalicelib import errors
from chalicelib.wiring import access
from chalicelib.wiring import registry as wiring
from chalicelib.access.decision import Principal, PrincipalKind
from chalicelib.access.grants import NOTHING
from chalicelib.registry.session import Session, UploadState

def ending(outcome):
    def end(*_):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
    return end

def asking(outcome):
    authenticator = Double(identify=ending(outcome))
    return lambda: setattr(access, "authenticator", lambda: authenticator)

def driving(outcome):
    built = Double(commits=Double(resume=ending(outcome)))
    return lambda: setattr(wiring, "registry", lambda: built)

def ended(state):
    return driving(Session("s", "a/b", "ann", "n", 0.0, 0.0, state=state))

def not_importable():
    del chalicelib.wiring.access
    sys.modules["chalicelib.wiring.access"] = None

event = {"type": "TOKEN", "authorizationToken": "Basic eA==", "methodArn": "a:b:c:d:e:api/v2/GET/"}
authorizer = {
    "unset": lambda: None,  # the authenticator of a deployment, without its settings
    "known": asking(Principal(PrincipalKind.CREDENTIAL, "credential:x", NOTHING)),
    "unknown": asking(None),
    "throttled": asking(errors.TooManyRequestsError()),
    "unavailable": asking(errors.UnavailableError()),
    "fault": asking(ZeroDivisionError()),
    "fault like a 401": asking(ValueError("Unauthorized")),
    "unimportable": not_importable,
}
commit = {
    "committed": ended(UploadState.COMMITTED),
    "unfinished": ended(UploadState.COPIED),
    "lost": ended(UploadState.CANCELLED),
    "gone": driving(None),
    "gone meanwhile": driving(errors.UploadUnknownError()),
    "false": driving(errors.UploadDigestInvalidError(offset=1)),
    "throttled": driving(errors.TooManyRequestsError()),
    "unavailable": driving(errors.UnavailableError()),
    "fault": driving(ZeroDivisionError()),
}
for name, handler, told, ways in (
    ("Authorizer", app.authorize, event, authorizer),
    ("Commit", app.commit, {"session": "s"}, commit),
):
    for way, prepare in ways.items():
        prepare()
        failed = []
        runtime = Double(
            marshaller=LambdaMarshaller(),
            post_invocation_error=lambda *_: failed.append(True),
            post_invocation_result=lambda *_: None,
        )
        bootstrap.handle_event_request(
            runtime, handler, "id", json.dumps(told), "application/json", None, None, "arn", 0,
            None, bootstrap.StandardLogSink(),
        )
        print("ended", json.dumps([name, way, bool(failed)]))
"""
"""Ends the functions in each way; a line after each output says whether Lambda counts an error."""


class End(NamedTuple):
    """The end of an invocation: its log events, and whether Lambda counts an error."""

    events: tuple[str, ...]
    is_error: bool


FAILURES: Final = ("throttled", "unavailable", "fault")
ENDS: Final = {
    (function, way): alarms
    for function, alarms, ways in (
        ("Authorizer", set[str](), ("known", "unknown")),
        (
            "Authorizer",
            {"AuthorizerAlarm", "AuthorizerErrorAlarm"},
            (*FAILURES, "fault like a 401"),
        ),
        ("Authorizer", {"AuthorizerErrorAlarm"}, ("unset", "unimportable", "timed out")),
        ("Commit", set[str](), ("committed", "unfinished", "false")),
        ("Commit", {"CommitAlarm"}, (*FAILURES, "lost", "gone", "gone meanwhile", "timed out")),
    )
    for way in ways
}
"""Every way to end, and the alarms that ring after three such ends."""

LEVELS: Final = API["Parameters"]["LogLevel"]["AllowedValues"]


@pytest.fixture(scope="module", params=LEVELS)
def ends(request: pytest.FixtureRequest) -> dict[tuple[str, str], End]:
    """Return the ends of invocations at a log level."""
    pytest.importorskip("awslambdaric", reason="Lambda's runtime client is Linux's")
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=PROJECT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONUTF8": "1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_NAME": "moorage-x-function",
            "POWERTOOLS_SERVICE_NAME": "moorage-x",
            "POWERTOOLS_LOG_LEVEL": request.param,
        },
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=60,
    )
    found: dict[tuple[str, str], End] = {}
    events: list[str] = []
    for line in ran.stdout.split("\n"):
        if line.startswith("ended "):
            name, way, is_error = json.loads(line.removeprefix("ended "))
            found[name, way] = End(tuple(events), is_error)
            events = []
        else:
            events.append(line)
    for name in ("Authorizer", "Commit"):
        # Lambda stops the function, and logs this line itself.
        seconds = CONFIG["stages"]["v2"]["lambda_functions"][name.lower()]["lambda_timeout"]
        found[name, "timed out"] = End(
            (f"Task timed out after {seconds}.00 seconds",), is_error=True
        )
    return found


def log_group(name: str) -> str:
    """Return the name of a function's log group, whose format is the default: text."""
    config = API["Resources"][name]["Properties"]["LoggingConfig"]
    assert set(config) == {"LogGroup"}
    group = API["Resources"][config["LogGroup"]["Ref"]]
    return API_STACK.text(group["Properties"]["LogGroupName"])


def counted(name: str, end: End, times: int) -> dict[Metric, float]:
    """Return CloudWatch's data after so many such ends of a function."""
    data: dict[Metric, float] = {function("Errors", name): float(end.is_error * times)}
    for each in filters():
        if each.log_group == log_group(name):
            number = sum(matches(each.pattern, event) for event in end.events)
            data[each.metric] = number * each.value * times
    return data


def ringing(name: str, end: End, times: int) -> set[str]:
    """Return the alarms that ring after so many such ends of a function, and no other event."""
    data = {REQUESTS: 100.0, **counted(name, end, times)}
    return {alarm for alarm, properties in ALARMS.items() if rings(properties, data)}


def test_every_outcome_rings_its_alarms(ends: dict[tuple[str, str], End]) -> None:
    """Unknown logins and unfinished commits ring none; failures do, with or without a line."""
    assert {key: ringing(key[0], end, 3) for key, end in ends.items()} == ENDS


def test_no_failure_counts_twice(ends: dict[tuple[str, str], End]) -> None:
    """A line and an error of one commit are one failure, not two."""
    for (name, way), end in ends.items():
        if name == "Commit":
            assert "CommitAlarm" not in ringing(name, end, 2), way


def test_an_unknown_login_is_one_error_and_one_line(ends: dict[tuple[str, str], End]) -> None:
    """So the alarm can subtract the lines from the errors; no other end writes that line."""
    data = counted("Authorizer", ends["Authorizer", "unknown"], 1)
    assert (data[ERRORS], data[UNKNOWN]) == (1, 1)
    for (name, way), end in ends.items():
        if (name, way) != ("Authorizer", "unknown"):
            assert not counted(name, end, 1).get(UNKNOWN), way


def test_every_filter_reads_the_log_group_of_a_function() -> None:
    """No other log group has events."""
    groups = {log_group(name) for name in FUNCTIONS}
    assert {each.log_group for each in filters()} <= groups
