"""infra/observability.yaml is a template, names what other stacks have, and costs what is said.

Its alarms and its dashboard are read here, for the modules beside this one too: resolved, as in a
deployment whose resources are named as their template names them.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

from chalicelib.telemetry.metrics import BILLED, NAMESPACE
from moorage.common.checkout import CHECKOUT
from tests.infra.intrinsics import Stack
from tests.infra.templates import API, DATA
from tests.infra.templates import OBSERVABILITY as TEMPLATE
from tests.infra.templates import OBSERVABILITY_TEXT as TEXT

DOCS = (CHECKOUT / "docs" / "observability.md").read_text(encoding="utf-8")

RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
ALARMS: dict[str, dict[str, Any]] = {
    name: resource["Properties"]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}

API_STACK: Final = Stack({"AWS::StackName": "moorage-x"})
DATA_STACK: Final = Stack({"AWS::StackName": "moorage-x-data"})


def exports(template: dict[str, Any], stack: Stack) -> dict[str, str]:
    """Return what a stack exports by name: the resources, by their names in the template."""
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
    """A metric of CloudWatch's, which is another one with each other set of dimensions."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]] = frozenset()


class Watched(NamedTuple):
    """A metric and what is taken of it, in an alarm or on the dashboard. `period`: seconds."""

    metric: Metric
    statistic: str
    period: int


def watched(alarm: dict[str, Any]) -> dict[str, Watched]:
    """Return what an alarm looks at, by the names that its expression has for it."""
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


def _metric(told: dict[str, Any]) -> Metric:
    dimensions = {each["Name"]: STACK.text(each["Value"]) for each in told.get("Dimensions", [])}
    return Metric(STACK.text(told["Namespace"]), told["MetricName"], frozenset(dimensions.items()))


class Shown(NamedTuple):
    """A metric on the dashboard, under its label."""

    watched: Watched
    label: str


def dashboard() -> list[Shown]:
    """Return what the dashboard shows."""
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
    """What makes a metric of a log group's events: `value` for each that the pattern means."""

    log_group: str
    pattern: str
    metric: Metric
    value: int


def filters() -> list[Filter]:
    """Return the template's filters."""
    found = []
    for resource in RESOURCES.values():
        if resource["Type"] == "AWS::Logs::MetricFilter":
            told = resource["Properties"]
            (made,) = told["MetricTransformations"]
            # With a dimension it would be a metric for each value; with a default, one always.
            assert set(made) == {"MetricNamespace", "MetricName", "MetricValue", "Unit"}
            metric = Metric(STACK.text(made["MetricNamespace"]), made["MetricName"])
            group = STACK.text(told["LogGroupName"])
            found.append(Filter(group, told["FilterPattern"], metric, int(made["MetricValue"])))
    return found


def test_the_dashboard_knows_every_name_that_it_uses() -> None:
    """What stands in ${} is a parameter, a name that is imported, or AWS's."""
    body, names = RESOURCES["Board"]["Properties"]["DashboardBody"]["Fn::Sub"]
    used = set(re.findall(r"\$\{([^}]+)\}", body))
    assert used <= {*names, *TEMPLATE["Parameters"], "AWS::Region"}
    assert set(names) <= used


def test_what_is_asked_of_the_other_stacks() -> None:
    """Each name that it imports is exported; all functions, and all tables, are among them."""
    for stack, template in (("ApiStack", API), ("DataStack", DATA)):
        imported = set(re.findall(rf"ImportValue:\s+Fn::Sub: \$\{{{stack}\}}-(\w+)", TEXT))
        named = {
            name for name in template["Outputs"] if name.endswith(("FunctionName", "TableName"))
        }
        assert imported == named
        for name in imported:
            exported = template["Outputs"][name]["Export"]["Name"]
            assert exported == {"Fn::Sub": f"${{AWS::StackName}}-{name}"}


def test_prices_are_those_of_what_there_is() -> None:
    """The numbers in the documentation and in the template are counted here."""
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
    made = ("none", "one", "two", "three", "four")[len({each.metric for each in filters()})]
    assert f"or a login was not known: {made}\n" in TEXT
    assert f"and {made} that CloudWatch makes" in DOCS
    assert f"these are {BILLED} at most" in DOCS
    assert f"{(BILLED - 10) * 0.30:.2f} USD a month with all in use" in DOCS


def test_what_an_alarm_does_not_see_is_documented() -> None:
    """A row for each alarm, and for nothing else."""
    rows = DOCS.partition("| alarm | sees | does not see |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", rows, re.MULTILINE) == list(ALARMS)
