"""``python -m bench``: pushes to Moorage and to a peer side by side; writes JSON and a plot.

Its exit status says whether it could measure, not whether the targets were met: that is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench import hashing, plot, report
from bench.backends import BACKENDS
from bench.registries import REGISTRIES
from bench.workload import WORKLOADS, Push, Workload, make_layout, timed_push

if TYPE_CHECKING:
    from collections.abc import Mapping

RESULTS = Path(__file__).parent / "results" / "latest.json"
# Pushed to each registry before anything is timed: both start with code and connections loaded.
WARM_UP = Workload("warm-up", 2, 10_000, 0)


def main() -> int:
    """Measure, print a table, write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON; the plot goes beside it")
    parser.add_argument("--repeats", type=int, default=3, help="pushes of each kind (default 3)")
    parser.add_argument(
        "--backend", choices=BACKENDS, action="append", help="one backend only; may be repeated"
    )
    options = parser.parse_args()

    pushes: list[Push] = []
    for name in options.backend or BACKENDS:
        pushes += measure(name, options.repeats)
    comparisons = report.compare(pushes)
    hash_speed = hashing.measure()
    print(report.table(comparisons))
    print(hashing.sentence(hash_speed))

    document = report.document(pushes, comparisons, options.repeats)
    document["hashing"] = hash_speed
    out: Path = options.out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=2) + "\n")
    plot.draw(pushes, comparisons, out.with_suffix(".png"))
    print(f"written: {out} and {out.with_suffix('.png')}")
    return 0


def measure(backend_name: str, repeats: int) -> list[Push]:
    """Run both registries on one fresh backend and alternate between them."""
    pushes: list[Push] = []
    with ExitStack() as running:
        backend = running.enter_context(BACKENDS[backend_name]())
        registries = [running.enter_context(start(backend)) for start in REGISTRIES.values()]
        layouts = _layouts(running)
        for registry in registries:
            timed_push(backend, registry, WARM_UP, 0, layouts[WARM_UP])
        for workload in WORKLOADS:
            for repeat in range(repeats):
                order = registries if repeat % 2 == 0 else registries[::-1]
                for registry in order:
                    push = timed_push(backend, registry, workload, repeat, layouts[workload])
                    pushes.append(push)
                    print(f"{push.backend} {push.workload} {push.registry}: {push.seconds:.2f} s")
    return pushes


def _layouts(running: ExitStack) -> Mapping[Workload, Path]:
    folder = tempfile.TemporaryDirectory(prefix="moorage-bench-")
    base = Path(running.enter_context(folder))
    return {workload: make_layout(workload, base) for workload in (WARM_UP, *WORKLOADS)}


if __name__ == "__main__":
    sys.exit(main())
