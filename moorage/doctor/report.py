"""What `moorage doctor` prints: a row for each check, what to do, what was seen; or all as JSON.

This module must never print what a server sent without making it fit to be shown: checks do that.
"""

import importlib.metadata
import json
import shutil
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

from moorage.common.http import origin
from moorage.doctor.check import Result
from moorage.doctor.findings import Status
from moorage.doctor.visit import Visit

_WORDS = {Status.OK: "ok", Status.WARN: "WARN", Status.FAIL: "FAIL", Status.SKIP: "-"}
_STATUS_WIDTH, _NAME_WIDTH = 5, 15
_WIDEST, _NARROWEST = 110, 60


def heading(visit: Visit) -> str:
    """Return what stands above the table."""
    return f"{origin(visit.wire.url)}, in {visit.repository} and below it\n\n"


def row(result: Result) -> str:
    """Return a check's row: its status, its name, what was seen."""
    finding = result.finding
    first = f"{_WORDS[finding.status]:<{_STATUS_WIDTH}} {result.check.name:<{_NAME_WIDTH}} "
    return _wrapped(finding.seen, first)


def summary(visit: Visit, results: Sequence[Result]) -> str:
    """Return what stands below the table: what to do about each finding, and the facts."""
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
    told = (f"{counts[status]} {word}" for status, word in _COUNTED if counts[status])
    return f"{text}{', '.join(told)}\n"


def as_json(visit: Visit, results: Sequence[Result]) -> str:
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


def _entry(result: Result) -> dict[str, Any]:
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
    """Return lines as wide as the terminal; those after the first stand below its text."""
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    indent = " " * len(first)
    lines = textwrap.wrap(text, width - len(first), break_on_hyphens=False) or [""]
    return first + f"\n{indent}".join(lines) + "\n"
