"""``python -m bench.collecting``: what a pass of the garbage collector asks of AWS, at scale.

Three passes over a registry of a million blobs, in simulated time: one that finds a backlog, one of
the day after, when 0.1 % of the images have gone, and one that finds nothing. And how much memory a
pass needs by the size of its largest repository. It writes figures.json and the tables of
docs/garbage-collection.md; each pass runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import cloud, cost
from bench.collecting.measure import CALL_SECONDS, PlannedRegistry
from bench.collecting.table import Plan, PlannedTables
from chalicelib import prices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RECORDED = Path(__file__).parent / "figures.json"
DOCUMENT = Path(__file__).parents[2] / "docs" / "garbage-collection.md"
BEGIN, END = "<!-- collecting: begin -->", "<!-- collecting: end -->"

NOW = 1_795_000_000.0
DAY = 24 * 3600.0
PUSHED_AT = NOW - 40 * DAY
REPOSITORIES, BLOBS, IMAGES = 1_000, 1_000, 100
BACKLOG = 50
"""Blobs of each repository that nothing names in the first pass: one in twenty."""
CHANGED = 100
"""Images that have gone in the quiet pass: 0.1 % of 100,000."""
SIZES = (1_000, 10_000, 50_000, 100_000)
"""Blobs of the largest repository."""
PASSES = ("backlog", "quiet", "nothing")
_MIB = 1024 * 1024


def plan_of(name: str) -> Plan:
    """Return the registry of a pass; `size N` is one repository of N blobs."""
    if name.startswith("size "):
        size = int(name.removeprefix("size "))
        return Plan(1, size, size // 10, PUSHED_AT)
    unneeded = BACKLOG if name == "backlog" else 0
    return Plan(REPOSITORIES, BLOBS, IMAGES, PUSHED_AT, unneeded)


def measure(name: str) -> dict[str, Any]:
    """Make a pass, in this process."""
    tables = PlannedTables(plan_of(name))
    if name == "quiet":
        for number in range(CHANGED):
            tables.forget_image(number * (REPOSITORIES // CHANGED), number % IMAGES)
    registry = PlannedRegistry(tables, NOW)
    if name != "backlog":
        registry.listed_yesterday()
    return asdict(registry.measured(lambda made: made.collector.run(NOW + 100 * DAY)))


def measured_apart(name: str) -> dict[str, Any]:
    """Make a pass in a process of its own."""
    command = [sys.executable, "-m", "bench.collecting", "--one", name]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(ran.stdout)
    print(f"{name}: {found}", file=sys.stderr, flush=True)
    return found


def function_seconds(figures: Mapping[str, Any]) -> float:
    """Return how long functions run: they wait for AWS, and compute on a part of a processor."""
    calls = sum(figures["calls"].values())
    pages = figures["calls"].get("Scan", 0)
    computed = figures["computed"] + calls * CALL_SECONDS + pages * figures["page"]
    return float(figures["waited"] + computed / cloud.FUNCTION_PROCESSORS)


def dollars(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return what a pass costs, by the line of the bill."""
    return {
        "reading": figures["read_units"] * prices.DYNAMODB_READ,
        "writing": figures["write_units"] * prices.DYNAMODB_WRITE,
        "S3 requests": figures["s3_writes"] * prices.S3_WRITE
        + figures["s3_reads"] * prices.S3_READ,
        "Lambda": function_seconds(figures) * cost.WORKER_GB * prices.LAMBDA_GB_SECOND,
    }


def tables_of(passes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what stands between the markers of the document."""
    shown = [passes[name] for name in PASSES]
    calls = sorted({call for each in shown for call in each["calls"]})
    bills = [dollars(each) for each in shown]
    rows: list[list[str]] = [
        ["links, blobs and objects that go", *(f"{each['links']:,}" for each in shown)],
        *([f"`{call}`", *(f"{each['calls'].get(call, 0):,}" for each in shown)] for call in calls),
        ["read units", *(f"{each['read_units']:,.0f}" for each in shown)],
        ["write units", *(f"{each['write_units']:,}" for each in shown)],
        ["minutes of Lambda", *(f"{function_seconds(each) / 60:,.1f}" for each in shown)],
        ["memory beyond the program's own, MiB", *(f"{_mib(each)}" for each in shown)],
        *([f"USD: {line}", *(f"{bill[line]:.4f}" for bill in bills)] for line in bills[0]),
        ["**USD**", *(f"**{sum(bill.values()):.4f}**" for bill in bills)],
    ]
    head = ["a pass over 1,000,000 blobs", "a backlog of 5 %", "0.1 % changed", "nothing changed"]
    sizes = [passes[f"size {size}"] for size in SIZES]
    memory = [["memory beyond the program's own, MiB", *(f"{_mib(each)}" for each in sizes)]]
    heads = ["blobs of the largest repository", *(f"{size:,}" for size in SIZES)]
    return f"{_table(head, rows)}\n\n{_table(heads, memory)}"


def _mib(figures: Mapping[str, Any]) -> int:
    return round(int(figures["peak"]) / _MIB)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_tables(document: str, passes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the document with the tables of these figures."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise ValueError(f"{DOCUMENT} has not both {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables_of(passes)}\n\n{END}{after}"


def main() -> int:
    """Measure, or take the figures that are recorded, and write both files."""
    parser = argparse.ArgumentParser(prog="python -m bench.collecting", description=__doc__)
    parser.add_argument("--one", help="make this pass alone, and print its figures as JSON")
    parser.add_argument("--recorded", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return 0
    if options.recorded:
        passes = json.loads(RECORDED.read_text())
    else:
        names = (*PASSES, *(f"size {size}" for size in SIZES))
        passes = {name: measured_apart(name) for name in names}
        RECORDED.write_text(json.dumps(passes, indent=2) + "\n")
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(), passes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
