"""Judges a run by the counts in its junit.xml, and by nothing else.

Exit codes are never asked: a suite that could not read its configuration exits 0. No file is
opened and nothing is started here.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.conformance.suites import Program

if TYPE_CHECKING:
    from tests.conformance.suites import Expected

_PASSED, _SKIPPED = "passed", "skipped"
# Ginkgo reports its own set-up and tear-down beside the tests.
_GINKGO_TEST = "[It]"


@dataclass(frozen=True)
class Report:
    """A junit.xml: its bytes, and when it was written (seconds since 1970)."""

    content: bytes
    written: float


@dataclass(frozen=True)
class Failure:
    """A test that failed, and what the suite says about it."""

    name: str
    message: str


@dataclass(frozen=True)
class Verdict:
    """What was counted, and what is wrong with it: the gate holds when nothing is."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: tuple[Failure, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the run is as good as it must be."""
        return not self.problems


@dataclass(frozen=True)
class _Case:
    name: str
    status: str
    message: str


class _UnreadableError(Exception):
    """Not a whole report; the text says why."""


def judge(report: Report | None, expected: Expected, began: float) -> Verdict:
    """Compare a report with what is expected of a run that began at ``began`` (since 1970)."""
    if report is None:
        return Verdict(problems=("there is no junit.xml: the suite did not run to its end",))
    if report.written < began:
        return Verdict(problems=("the junit.xml is older than this run",))
    try:
        root = _root(report.content)
        cases = [_case(element) for element in root.iter("testcase")]
        passed, failed, skipped = _counts(root, cases, expected.program)
    except _UnreadableError as error:
        return Verdict(problems=(f"the junit.xml can't be read: {error}",))
    failures = tuple(
        Failure(case.name, case.message) for case in cases if case.status not in {_PASSED, _SKIPPED}
    )
    failed = max(failed, len(failures))
    problems = [f"{failed} failed"] if failed else []
    if passed < expected.passed:
        problems.append(f"{passed} passed: fewer than the {expected.passed} there are")
    problems += _skip_problems(skipped, cases, expected)
    return Verdict(passed, failed, skipped, failures, tuple(problems))


def _skip_problems(skipped: int, cases: list[_Case], expected: Expected) -> list[str]:
    """Say which tests were skipped and should not be, and the reverse."""
    named = {case.name for case in cases if case.status == _SKIPPED}
    problems = [f"skipped: {name}" for name in sorted(named - expected.skipped)]
    problems += [f"not skipped: {name}" for name in sorted(expected.skipped - named)]
    # A test case with several checks counts as passed when only some of them were skipped.
    if not problems and skipped != len(expected.skipped):
        problems.append(f"{skipped} skipped, instead of {len(expected.skipped)}")
    return problems


def _root(content: bytes) -> ET.Element:
    try:
        root = ET.fromstring(content)  # noqa: S314 - written by a program that we built
    except ET.ParseError as error:
        raise _UnreadableError(str(error)) from None
    if root.tag != "testsuites" or root.find("testsuite") is None:
        raise _UnreadableError("it holds no test suites")
    told = sum(_number(suite, "tests") for suite in root.findall("testsuite"))
    if told != _number(root, "tests"):
        raise _UnreadableError("its counts contradict each other")
    return root


def _counts(root: ET.Element, cases: list[_Case], program: Program) -> tuple[int, int, int]:
    """Count passes, failures and skips, the way that the program counts."""
    failed = _number(root, "failures") + _number(root, "errors")
    if program is Program.GINKGO:
        tests = [case.status for case in cases if case.name.startswith(_GINKGO_TEST)]
        return tests.count(_PASSED), failed, tests.count(_SKIPPED)
    skipped = _number(root, "skipped") + _number(root, "disabled")
    passed = _number(root, "tests") - failed - skipped
    if passed and not cases:
        raise _UnreadableError("it counts passes and holds no test case")
    return passed, failed, skipped


def _number(element: ET.Element, name: str) -> int:
    """Read a count; one that is absent is 0, which both programs mean by it."""
    text = element.get(name, "0")
    if not text.isdecimal():
        raise _UnreadableError(f"{name} is {text!r}")
    return int(text)


def _case(element: ET.Element) -> _Case:
    """Read a test case; the two programs keep the message in different places."""
    told = [(element.findtext("system-out") or "").strip()]
    told += [
        found.get("message") or (found.text or "").strip()
        for tag in ("failure", "error")
        for found in element.findall(tag)
    ]
    message = "\n".join(text for text in told if text)
    return _Case(element.get("name", ""), element.get("status", "unknown"), message)
