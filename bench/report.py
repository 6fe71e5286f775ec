"""Turns timed pushes into medians, ratios and a verdict against the targets.

It reports a missed target as missed; it never drops a run.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.workload import WORKLOADS, Push, Workload
from tests.clients.tools import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_OURS = "moorage"
_PEERS = "docker-registry"


@dataclass(frozen=True)
class Comparison:
    """Medians of one workload on one backend; ``ratio`` is ours over the peer's, in seconds."""

    backend: str
    workload: str
    moorage_seconds: float
    peer_seconds: float
    local_copy_seconds: float
    ratio: float
    target: float
    met: bool
    moorage_s3_requests: float | None
    moorage_dynamodb_requests: float | None
    peer_s3_requests: float | None


def compare(pushes: Sequence[Push]) -> list[Comparison]:
    """Compare every workload on every backend that both registries were measured on."""
    backends = list(dict.fromkeys(push.backend for push in pushes))
    return [
        _comparison([push for push in pushes if push.backend == backend], backend, workload)
        for backend in backends
        for workload in WORKLOADS
    ]


def table(comparisons: Sequence[Comparison]) -> str:
    """Write comparisons for a person, one a line."""
    names = f"{'backend':10} {'image':9} {'moorage':>9} {'peer':>9} {'copy':>7} {'ratio':>6}"
    lines = [f"{names} {'target':>6}        requests (S3 ours, DynamoDB ours, S3 peer)"]
    for row in comparisons:
        counts = (row.moorage_s3_requests, row.moorage_dynamodb_requests, row.peer_s3_requests)
        shown = ", ".join("-" if count is None else f"{count:.0f}" for count in counts)
        lines.append(
            f"{row.backend:10} {row.workload:9} {row.moorage_seconds:7.2f} s "
            f"{row.peer_seconds:7.2f} s {row.local_copy_seconds:5.2f} s {row.ratio:6.2f} "
            f"{row.target:6.1f} {'met' if row.met else 'MISSED':6} {shown}"
        )
    return "\n".join(lines)


def document(
    pushes: Sequence[Push], comparisons: Sequence[Comparison], repeats: int
) -> dict[str, Any]:
    """Everything a later reader needs to judge the figures."""
    return {
        "machine": machine(),
        "versions": versions(),
        "method": {
            "client": "skopeo copy --preserve-digests, layers uncompressed and random",
            "repeats": repeats,
            "order": "registries alternate, and swap who goes first with every repeat",
            "statistic": "median",
            "moorage": "through `moorage proxy` and the local gateway",
            "peer": "straight, s3 driver, in-memory blob descriptor cache",
        },
        "comparisons": [asdict(row) for row in comparisons],
        "pushes": [asdict(push) for push in pushes],
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "system": platform.platform(),
        "load_average_at_end": os.getloadavg(),
    }


def versions() -> dict[str, str]:
    """Versions of what was measured and of what measured it."""
    return {
        "moorage": version("moorage"),
        "docker-registry": run("docker-registry", "--version").strip(),
        "skopeo": run("skopeo", "--version").strip(),
        "python": platform.python_version(),
        "moto": version("moto"),
        "ministack": version("ministack"),
    }


def _comparison(pushes: Sequence[Push], backend: str, workload: Workload) -> Comparison:
    ours, peers = (
        [push for push in pushes if (push.registry, push.workload) == (name, workload.name)]
        for name in (_OURS, _PEERS)
    )
    our_seconds = median(push.seconds for push in ours)
    peer_seconds = median(push.seconds for push in peers)
    ratio = our_seconds / peer_seconds
    return Comparison(
        backend,
        workload.name,
        our_seconds,
        peer_seconds,
        median(push.local_copy_seconds for push in (*ours, *peers)),
        ratio,
        workload.target,
        ratio <= workload.target,
        _median_count(push.s3_requests for push in ours),
        _median_count(push.dynamodb_requests for push in ours),
        _median_count(push.s3_requests for push in peers),
    )


def _median_count(counts: Iterable[int | None]) -> float | None:
    known = [count for count in counts if count is not None]
    return median(known) if known else None
