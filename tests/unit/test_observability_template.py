"""What infra/observability.yaml looks at is there, and what it costs is what is said."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from chalicelib.api.metrics import BILLED, METRICS, NAMESPACE
from chalicelib.telemetry import Line

ROOT = Path(__file__).parents[2]
TEMPLATE_FILE = ROOT / "infra" / "observability.yaml"
TEMPLATE: dict[str, Any] = yaml.safe_load(TEMPLATE_FILE.read_text(encoding="utf-8"))
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
ALARMS = {name: r for name, r in RESOURCES.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
DOCS = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")


def looked_at() -> list[tuple[str, str, dict[str, str]]]:
    """Return namespace, name and dimensions of every metric on the dashboard."""
    body = RESOURCES["Board"]["Properties"]["DashboardBody"]["Fn::Sub"][0]
    rows = [
        row for widget in json.loads(body)["widgets"] for row in widget["properties"]["metrics"]
    ]
    found = []
    for row in rows:
        texts = [part for part in row if isinstance(part, str)]
        found.append((texts[0], texts[1], dict(zip(texts[2::2], texts[3::2], strict=True))))
    return found


def test_the_dashboard_shows_what_is_emitted() -> None:
    """Each metric of ours on it is in the table, with the dimensions that it is sent with."""
    shown = [(name, where) for space, name, where in looked_at() if space == NAMESPACE]
    for name, where in shown:
        metric = METRICS[name]
        assert where.pop("service") == "${Service}"
        assert set(where) == ({metric.dimension} if metric.dimension else set())
        assert set(where.values()) <= set(metric.values)
    assert {name for name, _ in shown} == set(METRICS)


def test_the_dashboard_knows_every_name_that_it_uses() -> None:
    """What stands in ${} is a parameter, a name that is imported, or AWS's."""
    body, names = RESOURCES["Board"]["Properties"]["DashboardBody"]["Fn::Sub"]
    used = set(re.findall(r"\$\{([^}]+)\}", body))
    assert used <= {*names, *TEMPLATE["Parameters"], "AWS::Region"}
    assert set(names) <= used


def alarm_metrics(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics that an alarm looks at."""
    told = alarm["Properties"]
    if "Metrics" not in told:
        return [told]
    return [each["MetricStat"]["Metric"] for each in told["Metrics"] if "MetricStat" in each]


def filters() -> dict[str, str]:
    """Return the patterns of the metrics that are made of log lines, by the metrics' names."""
    found = {}
    for resource in RESOURCES.values():
        if resource["Type"] == "AWS::Logs::MetricFilter":
            told = resource["Properties"]
            (made,) = told["MetricTransformations"]
            assert made["MetricNamespace"] == {"Fn::Sub": "Moorage/${ApiStack}"}
            found[made["MetricName"]] = told["FilterPattern"]
    return found


def test_alarms_look_at_what_is_there() -> None:
    """AWS's own metrics, and those that the same template makes of log lines."""
    ours = filters()
    for alarm in ALARMS.values():
        for metric in alarm_metrics(alarm):
            if metric["Namespace"] == {"Fn::Sub": "Moorage/${ApiStack}"}:
                assert metric["MetricName"] in ours
            else:
                assert metric["Namespace"] in {"AWS/ApiGateway", "AWS/Lambda", "AWS/DynamoDB"}


def test_filters_read_fields_of_the_line() -> None:
    """A pattern that names a field which no line has would never match."""
    names = set(Line._fields)
    for pattern in filters().values():
        assert set(re.findall(r"\$\.(\w+)", pattern)) <= names
        assert re.search(r'\$\.action = "(authorize|commit)"', pattern)


def exported(template: str, name: str) -> Any:  # noqa: ANN401 - a name, or an intrinsic function
    """Return the name under which a stack exports something."""
    text = (ROOT / "infra" / template).read_text(encoding="utf-8")
    return yaml.safe_load(text)["Outputs"][name]["Export"]["Name"]


def test_what_is_asked_of_the_other_stacks() -> None:
    """The names that it imports, those stacks export; the log groups are those that they make."""
    text = TEMPLATE_FILE.read_text(encoding="utf-8")
    for stack, template in (("ApiStack", "api.merge.yaml"), ("DataStack", "data.yaml")):
        imported = set(re.findall(rf"ImportValue:\s+Fn::Sub: \$\{{{stack}\}}-(\w+)", text))
        assert len(imported) == 3
        for name in imported:
            assert exported(template, name) == {"Fn::Sub": f"${{AWS::StackName}}-{name}"}
    api = (ROOT / "infra" / "api.merge.yaml").read_text(encoding="utf-8")
    for group in re.findall(r"/aws/lambda/\$\{ApiStack\}-\w+", text):
        assert group.replace("ApiStack", "AWS::StackName") in api


def test_prices_are_those_of_what_there_is() -> None:
    """The numbers in the documentation and in the template are counted here."""
    comment = TEMPLATE_FILE.read_text(encoding="utf-8")
    on_board = {(space, name, *where.items()) for space, name, where in looked_at()}
    ours = [each for each in on_board if each[0] == NAMESPACE]
    assert f"this one has {len(on_board)}" in comment
    assert f"this one has {len(on_board)}" in DOCS
    assert len(on_board) <= 50
    assert f"Of the dashboard, {len(ours)} metrics are ours" in DOCS
    watched = sum(len(alarm_metrics(alarm)) for alarm in ALARMS.values())
    assert f"{watched}, so {watched * 0.10:.2f} USD" in comment
    assert f"Twelve are {watched * 0.10:.2f} USD" in DOCS
    for name, alarm in ALARMS.items():
        assert re.search(
            rf"^\| `{name}` \| .* \| {len(alarm_metrics(alarm))} \|$", DOCS, re.MULTILINE
        )
    assert f"these are {BILLED} at most" in DOCS
    assert f"{(BILLED - 10) * 0.30:.2f} USD a month with all in use" in DOCS


def test_cfn_lint_finds_nothing() -> None:
    """The template is one that CloudFormation takes."""
    linter = Path(sys.executable).with_name("cfn-lint")
    result = subprocess.run(
        [linter, "--include-checks", "I", "--", TEMPLATE_FILE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "")
