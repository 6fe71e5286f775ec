"""``python -m bench.report``: writes docs/performance.md's tables and plots from results.json.

It reports a missed target as missed, and never drops a run.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import coldstart, cost, memory, plot
from bench.backends import Counts
from bench.commits import Commit
from bench.counting import Asked
from bench.growth import Point, medians, slope
from bench.handler import Spent
from bench.measure import PULL, PUSH, SKOPEO, Run
from bench.memory import Peak
from bench.registries import MOORAGE, PEER
from bench.targets import (
    BYTES,
    RATIO,
    SECONDS,
    SPENT,
    TIMES,
    Target,
    budgets,
    cold_targets,
    commit_targets,
    handler_targets,
    pull_targets,
    ratio_of,
    seconds,
    time_targets,
)
from chalicelib import prices
from tests.clients.tools import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RESULTS = Path(__file__).parent / "results.json"
DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
TEAM = cost.WORKLOADS[1]
"""How many pushes and pulls a month has."""
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


@dataclass(frozen=True)
class Done:
    """A part of a run that is over."""

    name: str
    seconds: float
    load: float
    """How many processes of the whole machine ran or waited when it began: a minute's mean."""
    failed: str | None = None
    """Why it measured nothing."""


@dataclass(frozen=True)
class Results:
    """What one run of the benchmark measured, or a part of it."""

    runs: Sequence[Run] = ()
    asked: Sequence[Asked] = ()
    points: Sequence[Point] = ()
    spent: Sequence[Spent] = ()
    commits: Sequence[Commit] = ()
    cold: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Seconds of each kind of cold start."""
    peaks: Sequence[Peak] = ()
    hashing: Mapping[str, Any] = field(default_factory=dict)
    parts: Sequence[Done] = ()

    def with_part(self, done: Done, measured: Results) -> Results:
        """Return both; what an earlier try of the part said is forgotten."""
        return Results(
            [*self.runs, *measured.runs],
            [*self.asked, *measured.asked],
            [*self.points, *measured.points],
            [*self.spent, *measured.spent],
            [*self.commits, *measured.commits],
            {**self.cold, **measured.cold},
            [*self.peaks, *measured.peaks],
            {**self.hashing, **measured.hashing},
            [*(each for each in self.parts if each.name != done.name), done],
        )

    def targets(self) -> list[Target]:
        """Return every target, with what was measured."""
        return [
            *time_targets(self.runs),
            *budgets(self.asked),
            *pull_targets(self.asked),
            *handler_targets(self.spent),
            *commit_targets(self.commits),
            *cold_targets(self.cold),
        ]


def document(results: Results, **more: object) -> dict[str, Any]:
    """Return everything that a later reader needs to judge the figures."""
    return {
        "targets": [target.row() for target in results.targets()],
        "machine": machine(),
        "versions": versions(),
        **more,
        "parts": [asdict(each) for each in results.parts],
        "hashing": dict(results.hashing),
        "runs": [asdict(each) for each in results.runs],
        "growth": [asdict(each) for each in results.points],
        "handler": [asdict(each) for each in results.spent],
        "commits": [asdict(each) for each in results.commits],
        "cold_starts": dict(results.cold),
        "memory": [asdict(each) for each in results.peaks],
        "requests": [
            {
                **{name: getattr(each, name) for name in ("scenario", "step", "registry")},
                "aws": each.aws.as_rows(),
                "gateway": each.gateway.as_rows() if each.gateway else None,
                "edge": each.edge.as_rows() if each.edge else None,
            }
            for each in results.asked
        ],
    }


def written(document: dict[str, Any]) -> str:
    """Return JSON with a line for each target, run and count: a person reads it, and git."""
    rows = {
        name: ",\n  ".join(json.dumps(row) for row in value)
        for name, value in document.items()
        if isinstance(value, list)
    }
    lines = (
        f"{json.dumps(name)}: " + (f"[\n  {rows[name]}\n ]" if name in rows else json.dumps(value))
        for name, value in document.items()
    )
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def read(path: Path = RESULTS) -> tuple[dict[str, Any], Results]:
    """Return the whole document, and what was measured."""
    found = json.loads(path.read_text())
    asked = [
        Asked(
            *(row["scenario"], row["step"], row["registry"], Counts.of(row["aws"])),
            *(Counts.of(row[door]) if row.get(door) else None for door in ("gateway", "edge")),
        )
        for row in found["requests"]
    ]
    return found, Results(
        [Run(**row) for row in found["runs"]],
        asked,
        [Point(**row) for row in found["growth"]],
        [Spent(**row) for row in found["handler"]],
        [Commit(**row) for row in found["commits"]],
        found["cold_starts"],
        [Peak(**row) for row in found["memory"]],
        found["hashing"],
        [Done(**row) for row in found["parts"]],
    )


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Return versions of what was measured, and of what measured it."""
    return {
        "moorage": version("moorage"),
        PEER: run(PEER, "--version").split()[-1].lstrip("v"),
        "skopeo": run("skopeo", "--version").split()[2],
        "python": platform.python_version(),
        "moto": version("moto"),
        "ministack": version("ministack"),
    }


def tables(found: dict[str, Any], results: Results) -> str:
    """Return the tables of the document."""
    return "\n\n".join(
        (
            _about(found, results.parts),
            "### Targets",
            targets_table([Target(**_without_holds(row)) for row in found["targets"]]),
            "### Times",
            _times(results.runs, slowed=True),
            "Without the time that AWS takes, where the emulators' own work is most of it:",
            _times(results.runs, slowed=False),
            "### How times grow",
            _growth(results.points),
            "### Requests and money",
            _requests(results.asked),
            f"A month of {TEAM.pushes:,} pushes and {TEAM.pulls:,} pulls, in USD:",
            _months(results.asked),
            "### The function's processor, and its start",
            _handler(results.spent),
            _cold(results.cold),
            *(("### Memory", memory.table(results.peaks)) if results.peaks else ()),
        )
    )


def targets_table(targets: Sequence[Target]) -> str:
    """Return a row for each target, missed ones said to be."""
    lines = ["| target | at most | measured | |", "| --- | ---: | ---: | --- |"]
    for target in targets:
        limit, measured = _figure(target.limit, target.unit), _figure(target.measured, target.unit)
        verdict = "holds" if target.holds else "**missed**"
        lines.append(f"| {target.name} | {limit} | {measured} | {verdict} |")
    return "\n".join(lines)


def _without_holds(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "holds"}


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "not measured"
    forms = {RATIO: "{:.2f} x", TIMES: "{:.2f} x", SPENT: "{:.1f} ms", SECONDS: "{:,.0f} s"}
    if unit == BYTES and value:
        return f"{value / 1e6:,.1f} MB"
    return forms.get(unit, "{:,.0f}").format(value)


def _about(found: Mapping[str, Any], parts: Sequence[Done]) -> str:
    used, versions = found["machine"], found["versions"]
    about = (
        f"Measured on {used['cores']} cores of {used['processor']}, with docker-registry "
        f"{versions[PEER]}, skopeo {versions['skopeo']}, moto {versions['moto']} and MiniStack "
        f"{versions['ministack']}, {found['repeats']} rounds."
    )
    if parts:
        minutes, load = sum(each.seconds for each in parts) / 60, parts[0].load
        about += f" It took {minutes:.0f} minutes; the load average was {load:.1f} before it began."
    notes = [found["note"]] if "note" in found else []
    notes += [f"**Not measured: {each.name}.** {each.failed}" for each in parts if each.failed]
    return "\n\n".join((about, *notes))


def _times(runs: Sequence[Run], *, slowed: bool) -> str:
    lines = [
        "| backend, image, client | step | Moorage | docker-registry | ratio |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    of = dict.fromkeys((each.backend, each.scenario) for each in runs if each.slowed == slowed)
    for backend, scenario in of:
        for step in dict.fromkeys(each.step for each in runs if each.scenario == scenario):
            ours, theirs = (
                seconds(runs, backend, scenario, step, registry, slowed=slowed)
                for registry in (MOORAGE, PEER)
            )
            if ours and theirs:
                times = f"{_spread(ours)} | {_spread(theirs)} | {ratio_of(ours, theirs):.2f}"
                lines.append(f"| {backend}, {scenario} | {step} | {times} |")
    return "\n".join(lines)


def _spread(times: Iterable[float]) -> str:
    """Return the median, and the least and most."""
    ordered = sorted(times)
    return f"{median(ordered):.2f} s ({ordered[0]:.2f} to {ordered[-1]:.2f})"


def _growth(points: Sequence[Point]) -> str:
    lines = ["| series | registry | medians | slope |", "| --- | --- | --- | ---: |"]
    for series in dict.fromkeys(point.series for point in points):
        for registry in (MOORAGE, PEER):
            times = medians(points, series, registry)
            shown = ", ".join(f"{x:,}: {each:.2f} s" for x, each in times.items())
            lines.append(f"| {series} | {registry} | {shown} | {slope(times):.2f} |")
    return "\n".join(lines)


def _handler(spent: Sequence[Spent]) -> str:
    lines = [
        "| request | median | 99 of 100 take less | millions of instructions |",
        "| --- | ---: | ---: | ---: |",
    ]
    for each in spent:
        counted = f"{each.instructions / 1e6:.1f}" if each.instructions else "-"
        lines.append(f"| {each.name} | {each.p50:.1f} ms | {each.p99:.1f} ms | {counted} |")
    return "\n".join(lines)


def _cold(cold: Mapping[str, Sequence[float]]) -> str:
    lines = ["| first request of a process | median | of the baseline |", "| --- | ---: | ---: |"]
    for name, part in (coldstart.ratios_of(cold) if cold else {}).items():
        lines.append(f"| {name} | {1000 * median(cold[name]):.0f} ms | {part:.2f} |")
    return "\n".join(lines)


def _requests(asked: Sequence[Asked]) -> str:
    columns = "S3 | of them the client's | DynamoDB | API Gateway | edge | USD for 1,000"
    lines = [
        f"| image, client | step | registry | {columns} |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in asked:
        by_client = each.aws.requests("s3", by_url=True)
        doors = (each.gateway, each.edge)
        passed = " | ".join(f"{door.requests('gateway')}" if door else "-" for door in doors)
        counts = f"{each.aws.requests('s3')} | {by_client} | {each.aws.requests('dynamodb')}"
        lines.append(
            f"| {each.scenario} | {each.step} | {each.registry} | {counts} | {passed} |"
            f" {1000 * dollars(each):.3f} |"
        )
    return "\n".join(lines)


def _months(asked: Sequence[Asked]) -> str:
    """Return what the requests of a team's month cost, if all its images are of one kind."""
    lines = ["| image, client | Moorage | docker-registry |", "| --- | ---: | ---: |"]
    found = {(each.scenario, each.registry, each.step): dollars(each) for each in asked}
    for scenario in dict.fromkeys(each.scenario for each in asked if each.step == PULL):
        months = []
        # The peer's clients all ask alike: skopeo stands for each.
        alike = f"{scenario.rpartition(', ')[0]}, {SKOPEO}"
        for registry, name in ((MOORAGE, scenario), (PEER, alike)):
            push, pull = (found.get((name, registry, step)) for step in (PUSH, PULL))
            if push is None or pull is None:
                months.append("-")
            else:
                months.append(f"{TEAM.pushes * push + TEAM.pulls * pull:,.2f}")
        lines.append(f"| {scenario} | {' | '.join(months)} |")
    return "\n".join(lines)


def dollars(asked: Asked) -> float:
    """Return what requests cost, in USD; the machine on which a peer runs is not among it."""
    total = 0.0
    for kind, row in asked.aws.rows.items():
        if kind.service == "dynamodb":
            reads = kind.operation in {"GetItem", "BatchGetItem", "Query"}
            total += row.units * (prices.DYNAMODB_READ if reads else prices.DYNAMODB_WRITE)
        elif kind.service == "s3" and kind.operation in {"GetObject", "HeadObject"}:
            total += row.requests * prices.S3_READ
        elif kind.service == "s3" and not kind.operation.startswith(("Delete", "Abort")):
            total += row.requests * prices.S3_WRITE
    if asked.edge is not None:
        sent = sum(row.moved for kind, row in asked.edge.rows.items() if _sends(kind.operation))
        request = prices.EDGE_REQUEST + 2 * prices.EDGE_FUNCTION + prices.EDGE_KEY_READ
        total += asked.edge.requests("gateway") * request + sent / 1e9 * prices.EDGE_TO_ORIGIN_GB
    if asked.gateway is not None:
        for kind, row in asked.gateway.rows.items():
            uploaded = row.moved if _sends(kind.operation) else 0
            time = row.requests * cost.REQUEST_SECONDS + uploaded / 1e6 * cost.MEGABYTE_SECONDS
            total += row.requests * (prices.GATEWAY_REQUEST + prices.LAMBDA_REQUEST)
            total += cost.API_GB * time * prices.LAMBDA_GB_SECOND
    return total


def _sends(operation: str) -> bool:
    return operation.split(maxsplit=1)[0] in {"PATCH", "PUT", "POST"}


def with_tables(text: str, written: str) -> str:
    """Return the document with its results replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{written}\n\n{END}{after}"


def main() -> int:
    """Write the document anew from the results that are there."""
    found, results = read()
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(), tables(found, results)))
    plot.draw(results.runs, results.asked, results.points, DOCUMENT.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
