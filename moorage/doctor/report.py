"""The output of `moorage doctor`: a row for each check, advice and facts; or all of it as JSON.

A server's text comes here only in a form that can be shown (common/http.clean): the checks see to
that.
"""

import importlib.metadata
import json
import shutil
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

from moorage.common.http import origin
from moorage.doctor.checklist import CheckResult
from moorage.doctor.findings import Status
from moorage.doctor.visit import Visit

_WORDS = {Status.OK: "ok", Status.WARN: "WARN", Status.FAIL: "FAIL", Status.SKIP: "-"}
_STATUS_WIDTH, _NAME_WIDTH = 5, 15
_WIDEST, _NARROWEST = 110, 60


def heading(visit: Visit) -> str:
    """Return the lines above the table."""
    return f"{origin(visit.wire.url)}, in {visit.repository} and below it\n\n"


def row(result: CheckResult) -> str:
    """Return a check's row: its status, its name, what it saw."""
    finding = result.finding
    first = f"{_WORDS[finding.status]:<{_STATUS_WIDTH}} {result.check.name:<{_NAME_WIDTH}} "
    return _wrapped(finding.seen, first)


def summary(visit: Visit, results: Sequence[CheckResult]) -> str:
    """Return the lines below the table: advice for each finding, and the facts."""
    counts = Counter(result.finding.status for result in results)
    text = "\n"
    for result in results:
        if result.finding.status in {Status.WARN, Status.FAIL}:
            text += f"{_WORDS[result.finding.status]} {result.check.name}\n"
            text += _wrapped(result.finding.seen, "  seen  ")
            text += _wrapped(result.check.why, "  why   ")
            text += _wrapped(result.todo, "  do    ") + "\n"
    if visit.facts:
        text += "Seen:\n"
        for name, value in visit.facts.items():
            text += _wrapped(_plain(value), f"  {name.replace('_', ' ')}: ")
        text += "\n"
    words = (f"{counts[status]} {word}" for status, word in _COUNTED if counts[status])
    return f"{text}{', '.join(words)}\n"


def as_json(visit: Visit, results: Sequence[CheckResult]) -> str:
    """Return all of it as JSON."""
    counts = Counter(result.finding.status for result in results)
    content = {
        "url": origin(visit.wire.url),
        "repository": visit.repository,
        "moorage": importlib.metadata.version("moorage"),
        "ok": not counts[Status.FAIL],
        "counts": {status.value: counts[status] for status in Status},
        "head_strategy": visit.facts.get("head_strategy"),
        "checks": [_entry(result) for result in results],
        "seen": visit.facts,
    }
    return f"{json.dumps(content, indent=2)}\n"


_COUNTED = (
    (Status.OK, "ok"),
    (Status.WARN, "to look at"),
    (Status.FAIL, "failed"),
    (Status.SKIP, "not looked at"),
)


def _entry(result: CheckResult) -> dict[str, Any]:
    return {
        "name": result.check.name,
        "status": result.finding.status.value,
        "seen": result.finding.seen,
        "why": result.check.why,
        "todo": result.todo or None,
    }


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_plain(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _wrapped(text: str, first: str) -> str:
    """Return lines as wide as the terminal, indented to the end of `first`."""
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    indent = " " * len(first)
    lines = textwrap.wrap(text, width - len(first), break_on_hyphens=False) or [""]
    return first + f"\n{indent}".join(lines) + "\n"
