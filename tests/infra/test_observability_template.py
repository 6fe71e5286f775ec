"""infra/observability.yaml imports what other stacks export, and costs what the docs say.

This module also reads its alarms and its dashboard for the modules beside it, resolved as in a
deployment whose resources have their names in the template.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

from chalicelib.telemetry.metrics import BILLED, NAMESPACE
from moorage.common.project import PROJECT
from tests.infra.intrinsics import Stack
from tests.infra.templates import API, DATA
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
    made = ("none", "one", "two", "three", "four")[len({each.metric for each in filters()})]
    assert f"or a login was not known: {made}\n" in TEXT
    assert f"and {made} that CloudWatch makes" in DOCS
    assert f"these are {BILLED} at most" in DOCS
    assert f"{(BILLED - 10) * 0.30:.2f} USD a month with all in use" in DOCS


def test_every_alarm_has_a_row_in_the_documentation() -> None:
    """And nothing else has."""
    rows = DOCS.partition("| alarm | sees | does not see |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", rows, re.MULTILINE) == list(ALARMS)
