"""``python -m bench.cost``: what a registry costs a month on AWS, beside Amazon ECR.

It counts what a push and a pull ask of AWS (cost_measure.py), keeps the counts in cost.json,
multiplies them by list prices, and writes the tables of docs/cost.md. Nothing here runs on AWS: how
long functions take is assumed, and each assumption is a constant below.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cost_image
from bench.cost_measure import Counts, measure
from chalicelib.prices import (
    DYNAMODB_GB_MONTH,
    DYNAMODB_READ,
    DYNAMODB_WRITE,
    ECR_GB_MONTH,
    EDGE_FUNCTION,
    EDGE_KEY_READ,
    EDGE_REQUEST,
    EDGE_TIERS,
    EDGE_TO_ORIGIN_GB,
    GATEWAY_REQUEST,
    LAMBDA_GB_SECOND,
    LAMBDA_REQUEST,
    LOGS_GB,
    RECOVERY_GB_MONTH,
    S3_GB_MONTH,
    S3_READ,
    S3_WRITE,
    TRANSFER_TIERS,
)
from tests.emulators.backends import moto_backend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RECORDED = Path(__file__).parent / "cost.json"
DOCUMENT = Path(__file__).parents[1] / "docs" / "cost.md"
THROUGH_EDGE = "edge "
"""What stands before `push` and `pull` where they go through the edge."""

BEGIN, END = "<!-- cost: begin -->", "<!-- cost: end -->"

# --- Assumptions: nobody has measured these on AWS yet. ---

API_GB, AUTHORIZER_GB, WORKER_GB = 1.0, 0.5, 1.0
"""Memory of the functions, as a deployment starts (infra/api.merge.yaml)."""
REQUEST_SECONDS = 0.08
"""A request to the API without a body."""
MEGABYTE_SECONDS = 0.065
"""More for each MB of a body: a chunk of 4 MiB takes 0.35 s in all."""
ASSEMBLED_SECONDS = 0.6
"""More for a closing PUT that has S3 put parts together, and copy the whole."""
AUTHORIZER_SECONDS = 0.05
SWEEP_SECONDS = 0.5
PASS_GB = 0.05
"""USD that a pass of the collector costs for each GB of the table: `python -m bench.collecting`."""
COLD_SECONDS = 1.0
"""What a cold start adds; it is billed."""
LOG_BYTES = 1_200
"""An invocation's line, and the three of Lambda's own."""
HOURS = 730

_MILLION, _GB = 1e6, 1e9


@dataclass(frozen=True)
class Workload:
    """A month. `cold_starts` is how many a push or pull meets, by assumption."""

    name: str
    pushes: int
    pulls: int
    stored_gb: int
    cold_starts: float


WORKLOADS = (
    Workload("solo developer", 20, 100, 5, 4),
    Workload("team with CI", 1_500, 10_000, 100, 1),
    Workload("busy CI", 20_000, 200_000, 1_000, 0.2),
)


def bill(counts: Counts, cold_starts: float) -> dict[str, float]:
    """Return what one operation costs, in USD by line of the bill; storage is not among it."""
    invocations = counts.api + counts.authorizer
    seconds = (
        API_GB
        * (
            counts.api * REQUEST_SECONDS
            + counts.bytes_in / _MILLION * MEGABYTE_SECONDS
            + counts.assembled * ASSEMBLED_SECONDS
            + cold_starts * COLD_SECONDS
        )
        + AUTHORIZER_GB * counts.authorizer * AUTHORIZER_SECONDS
    )
    return {
        "API Gateway": counts.gateway * GATEWAY_REQUEST,
        "Lambda": invocations * LAMBDA_REQUEST + seconds * LAMBDA_GB_SECOND,
        "DynamoDB requests": counts.dynamodb_writes * DYNAMODB_WRITE
        + counts.dynamodb_reads * DYNAMODB_READ,
        "S3 requests": counts.s3_writes * S3_WRITE + counts.s3_reads * S3_READ,
        "CloudWatch Logs": invocations * LOG_BYTES / _GB * LOGS_GB,
        **({"CloudFront": _edge(counts)} if counts.edge else {}),
    }


def _edge(counts: Counts) -> float:
    """Return what CloudFront takes for one operation's requests, but for bytes to the client."""
    request = EDGE_REQUEST + 2 * EDGE_FUNCTION + EDGE_KEY_READ
    to_origin = counts.bytes_in + counts.edge_bytes_in
    return counts.edge * request + to_origin / _GB * EDGE_TO_ORIGIN_GB


def sweeping(sweep: Counts) -> float:
    """Return what an hourly function costs a month with nothing to do, each run a cold start."""
    seconds = WORKER_GB * (SWEEP_SECONDS + COLD_SECONDS)
    run = (
        LAMBDA_REQUEST
        + seconds * LAMBDA_GB_SECOND
        + sweep.dynamodb_reads * DYNAMODB_READ
        + LOG_BYTES / _GB * LOGS_GB
    )
    return HOURS * run


def collecting(collect: Counts, tables_gb: float) -> float:
    """Return what the collector costs a month: its hourly runs, and a pass a day over the table."""
    return sweeping(collect) + HOURS / 24 * tables_gb * PASS_GB


def month(workload: Workload, counts: Mapping[str, Counts], through: str = "") -> dict[str, float]:
    """Return a month's bill, in USD by line; `through` is what pushes and pulls go through."""
    push = bill(counts[f"{through}push"], workload.cold_starts)
    pull = bill(counts[f"{through}pull"], workload.cold_starts)
    tables_gb = workload.stored_gb / cost_image.NEW * counts["push"].kept_bytes
    return {
        **{line: workload.pushes * push[line] + workload.pulls * pull[line] for line in push},
        "the sweeper": sweeping(counts["sweep"]),
        "the collector": collecting(counts["collect"], tables_gb),
        "S3 storage": workload.stored_gb * S3_GB_MONTH,
        "DynamoDB storage and recovery": tables_gb * (DYNAMODB_GB_MONTH + RECOVERY_GB_MONTH),
    }


def transfer(gigabytes: float, tiers: Sequence[tuple[float, float]] = TRANSFER_TIERS) -> float:
    """Return what so many GB out to the internet cost in a month, in USD."""
    cost = 0.0
    for size, price in tiers:
        cost += min(gigabytes, size) * price
        gigabytes = max(gigabytes - size, 0)
    if gigabytes:
        raise ValueError("no price is known here for so much")
    return cost


def tables(counts: Mapping[str, Counts]) -> str:
    """Return what stands between the markers of docs/cost.md."""
    parts = (_months(counts), _with_edge(counts), _operations(counts), _break_even(counts))
    return "\n\n".join(parts)


def _months(counts: Mapping[str, Counts]) -> str:
    months = [month(workload, counts) for workload in WORKLOADS]
    totals = [sum(lines.values()) for lines in months]
    ecr = [workload.stored_gb * ECR_GB_MONTH for workload in WORKLOADS]
    out = [transfer(each.pulls * counts["pull"].bytes_out / _GB) for each in WORKLOADS]
    return _table(
        ["USD a month", *(workload.name for workload in WORKLOADS)],
        [
            ["pushes", *(f"{workload.pushes:,}" for workload in WORKLOADS)],
            ["pulls", *(f"{workload.pulls:,}" for workload in WORKLOADS)],
            ["GB stored", *(f"{workload.stored_gb:,}" for workload in WORKLOADS)],
            *([line, *_money([lines[line] for lines in months])] for line in months[0]),
            ["**Moorage**", *(f"**{text}**" for text in _money(totals))],
            ["**ECR** (storage)", *(f"**{text}**" for text in _money(ecr))],
            ["either: transfer, if every pull leaves AWS", *_money(out)],
        ],
    )


def _with_edge(counts: Mapping[str, Counts]) -> str:
    """Return a month with the edge beside one without it; what both have alike is one line."""
    with_edge = [month(each, counts, THROUGH_EDGE) for each in WORKLOADS]
    without = [month(each, counts) for each in WORKLOADS]
    gigabytes = [each.pulls * counts["pull"].bytes_out / _GB for each in WORKLOADS]
    shown = ("API Gateway", "Lambda", "DynamoDB requests", "S3 requests", "CloudFront")
    rest = [sum(v for line, v in lines.items() if line not in shown) for lines in with_edge]
    totals = [sum(lines.values()) for lines in with_edge]
    before = [sum(lines.values()) for lines in without]
    edge_out = [transfer(each, EDGE_TIERS) for each in gigabytes]
    s3_out = [transfer(each) for each in gigabytes]
    alls = [
        [one + other for one, other in zip(*pair, strict=True)]
        for pair in ((totals, edge_out), (before, s3_out))
    ]
    return _table(
        ["USD a month, with the edge", *(workload.name for workload in WORKLOADS)],
        [
            *([line, *_money([lines[line] for lines in with_edge])] for line in shown),
            ["logs, the hourly functions, storage", *_money(rest)],
            ["**Moorage, with the edge**", *(f"**{text}**" for text in _money(totals))],
            ["**Moorage, without**", *(f"**{text}**" for text in _money(before))],
            ["transfer out of CloudFront, if every pull leaves AWS", *_money(edge_out)],
            ["transfer out of S3, without the edge", *_money(s3_out)],
            ["**all of it, with the edge**", *(f"**{text}**" for text in _money(alls[0]))],
            ["**all of it, without**", *(f"**{text}**" for text in _money(alls[1]))],
        ],
    )


def _operations(counts: Mapping[str, Counts]) -> str:
    push, pull = counts["push"], counts["pull"]
    dear, cheap = (sum(bill(each, 1).values()) * 1000 for each in (push, pull))
    rows = [
        ("requests at API Gateway", push.gateway, pull.gateway),
        ("invocations of the API", push.api, pull.api),
        ("invocations of the authorizer", push.authorizer, pull.authorizer),
        ("S3: PUT class", push.s3_writes, pull.s3_writes),
        ("S3: GET class, the client's own among them", push.s3_reads, pull.s3_reads),
        ("DynamoDB: write units", push.dynamodb_writes, pull.dynamodb_writes),
        ("DynamoDB: read units", push.dynamodb_reads, pull.dynamodb_reads),
    ]
    return _table(
        ["of one", "push", "pull"],
        [
            *([name, f"{pushed:g}", f"{pulled:g}"] for name, pushed, pulled in rows),
            ["MB to the client", *(f"{each.bytes_out / _MILLION:.0f}" for each in (push, pull))],
            ["USD for 1,000, with a cold start each", *_money([dear, cheap])],
        ],
    )


def _break_even(counts: Mapping[str, Counts]) -> str:
    pull = sum(bill(counts["pull"], WORKLOADS[-1].cold_starts).values())
    push = sum(bill(counts["push"], WORKLOADS[-1].cold_starts).values())
    saved = ECR_GB_MONTH - S3_GB_MONTH
    return (
        f"Each GB stored saves {saved:.3f} USD a month. At the busy CI's prices, that is eaten up"
        f" by {saved / pull:,.0f} pulls or {saved / push:,.0f} pushes. Where nothing else happens,"
        f" the sweeper costs {sweeping(counts['sweep']):.2f} USD a month, and the collector"
        f" {collecting(counts['collect'], 0):.2f}."
    )


def _money(amounts: Sequence[float]) -> list[str]:
    return [f"{amount:,.2f}" if amount >= 0.005 or not amount else "< 0.01" for amount in amounts]  # noqa: PLR2004 - what is no cent


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read_counts(path: Path = RECORDED) -> dict[str, Counts]:
    """Return the counts that were recorded."""
    recorded = json.loads(path.read_text())
    return {name: Counts(**fields) for name, fields in recorded["counts"].items()}


def with_tables(document: str, counts: Mapping[str, Counts]) -> str:
    """Return docs/cost.md with the tables of these counts."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise ValueError(f"{DOCUMENT} has not both {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables(counts)}\n\n{END}{after}"


def main() -> int:
    """Count, or take the counts that are recorded, and write both files."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=__doc__)
    parser.add_argument("--recorded", action="store_true", help="count nothing: use cost.json")
    options = parser.parse_args()
    if options.recorded:
        counts = read_counts()
    else:
        with moto_backend() as backend:
            counts = measure(backend.fresh())
        kept = {"counts": {name: asdict(each) for name, each in counts.items()}}
        RECORDED.write_text(json.dumps(kept, indent=2) + "\n")
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(), counts))
    print(tables(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
