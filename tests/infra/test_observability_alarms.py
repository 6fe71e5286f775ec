"""When each alarm rings, after how long, and who is notified.

This module evaluates the alarms' expressions; test_observability_ends.py has the functions' part.
"""

from __future__ import annotations

import operator
from typing import Any, Final

import pytest

from tests.infra.test_observability_metrics import there_is
from tests.infra.test_observability_template import ALARMS, RESOURCES, Metric, filters, watched

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
        ("SweepAlarm", {}, False),
        ("SweepAlarm", {function("Errors", "Sweep"): 1}, True),
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
    """And not at it."""
    assert rings(ALARMS[name], data) is expected


def test_a_throttled_request_of_any_table_rings_the_alarm() -> None:
    """One is enough."""
    alarm = ALARMS["TableThrottleAlarm"]
    for each in watched(alarm).values():
        assert rings(alarm, {each.metric: 1})


@pytest.mark.parametrize(
    ("name", "seconds", "bad", "of"),
    [
        ("ServerErrorAlarm", 300, 2, 3),
        ("LatencyAlarm", 300, 2, 3),
        ("ConcurrencyAlarm", 300, 1, 1),
        ("TableThrottleAlarm", 300, 2, 3),
        ("SweepAlarm", 3600, 2, 3),
        ("AuthorizerAlarm", 300, 2, 3),
        ("AuthorizerErrorAlarm", 300, 2, 3),
        ("CommitAlarm", 3600, 1, 1),
    ],
)
def test_an_alarm_rings_after_the_documented_time(
    name: str, seconds: int, bad: int, of: int
) -> None:
    """A period without data is a good one."""
    alarm = ALARMS[name]
    assert {each.period for each in watched(alarm).values()} == {seconds}
    assert alarm["EvaluationPeriods"] == of
    assert alarm.get("DatapointsToAlarm", of) == bad
    assert alarm["TreatMissingData"] == "notBreaching"


def test_every_alarm_notifies_the_topic() -> None:
    """When it rings and when it is over."""
    topic = {"Fn::If": ["HasEmail", [{"Ref": "Topic"}], {"Ref": "AWS::NoValue"}]}
    for name, alarm in ALARMS.items():
        assert RESOURCES[name]["Condition"] == "HasAlarms"
        assert (alarm["AlarmActions"], alarm["OKActions"]) == (topic, topic)
        assert alarm.get("ActionsEnabled", True) is True
