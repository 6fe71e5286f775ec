"""Says how runs came out, in lines and in a table. Text only: nothing is judged here."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING

from tests.conformance.gate import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.conformance.runs import Outcome

# A message may quote a manifest of megabytes.
_LONGEST_MESSAGE = 600
_CURRENT_PREFIX = "OCI Conformance Test/"
_GINKGO_GROUPS = ("Pull", "Push", "Content Discovery", "Content Management")


def line(outcome: Outcome) -> str:
    """One run in one line."""
    return f"{outcome.suite} {outcome.door}: {counts(outcome.verdict)}"


def counts(verdict: Verdict) -> str:
    """Counts in the form in which test runners close."""
    return f"{verdict.passed} passed, {verdict.failed} failed, {verdict.skipped} skipped"


def details(outcome: Outcome) -> str:
    """Why a gate does not hold: each failing test with its message, and each count that is off."""
    told = []
    for failure in outcome.verdict.failures:
        message = textwrap.shorten(failure.message, _LONGEST_MESSAGE, placeholder=" [...]")
        told.append(f"  FAILED {failure.name}\n{textwrap.indent(message or 'no message', '    ')}")
    told += [f"  {problem}" for problem in outcome.verdict.problems]
    told.append(f"  everything that was said: {outcome.results}")
    return "\n".join(told)


def closing(outcomes: Iterable[Outcome]) -> str:
    """All runs added up."""
    all_of = [outcome.verdict for outcome in outcomes]
    passed, failed = sum(each.passed for each in all_of), sum(each.failed for each in all_of)
    return counts(Verdict(passed, failed, sum(each.skipped for each in all_of)))


def side_by_side(outcomes: Sequence[Outcome], peers: Sequence[Outcome], peer: str) -> str:
    """Table of both registries, then the groups of tests in which the peer fails."""
    rows = [["suite", *dict.fromkeys(outcome.door for outcome in outcomes), peer]]
    for theirs in peers:
        ours = [outcome.verdict for outcome in outcomes if outcome.suite == theirs.suite]
        rows.append([theirs.suite, *map(counts, [*ours, theirs.verdict])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    told = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for theirs in peers:
        failures = Counter(group(failure.name) for failure in theirs.verdict.failures)
        told.append(f"\n{peer} fails tests of {theirs.suite} in:")
        told += [f"  {number:4} {name}" for name, number in failures.most_common()]
    return "\n".join(told)


def group(name: str) -> str:
    """The part of a suite that a test belongs to."""
    if name.startswith(_CURRENT_PREFIX):
        return name.removeprefix(_CURRENT_PREFIX).split("/")[0]
    plain = name.removeprefix("[It] OCI Distribution Conformance Tests ")
    return next((part for part in _GINKGO_GROUPS if plain.startswith(part)), plain)
