"""``python -m bench``: moves images to and from Moorage and a peer, side by side, on one backend.

It writes results.json, and docs/performance.md with its plots. Its exit status says whether it
could measure, not whether the targets were met: that is in the results. With ``--quick`` it counts
requests alone, and fails where they exceed a budget.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bench import coldstart, commits, counting, crowd, growth, handler, hashing, memory, report
from bench.backends import BACKENDS
from bench.measure import SCENARIOS, Run, measure, shown
from bench.registries import PEER
from bench.report import Results
from bench.targets import CLOUD, budgets
from bench.workload import MANY_SMALL, ONE_LARGE, Layouts
from tests.clients.daemons import containerd
from tests.clients.install import install_debian_packages, install_go_programs
from tests.clients.tools import GO_PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

REPEATS, GROWTH_REPEATS, COLD_STARTS = 5, 2, 10
T = TypeVar("T")


def main() -> int:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="JSON")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="rounds of each kind")
    parser.add_argument("--quick", action="store_true", help="budgets of requests only")
    options = parser.parse_args()
    programs = {"skopeo": "skopeo", PEER: PEER}
    if not options.quick:
        programs |= {"ctr": "containerd", "valgrind": "valgrind"}
        install_go_programs(each for each in GO_PROGRAMS if each.name == "oras")
    install_debian_packages(programs)
    with Layouts.in_folder() as layouts, ExitStack() as stack:
        if options.quick:
            return quick(layouts)
        os.environ["CONTAINERD_ADDRESS"] = stack.enter_context(containerd())
        results = Results(
            asked=counting.count(layouts, peers=True),
            runs=[_shown(run) for run in timed(layouts, options.repeats)],
            points=[_shown(each) for each in growth.measure(layouts, CLOUD, GROWTH_REPEATS)],
            spent=handler.measure(),
            commits=commits.computed(commits.STARTS["cold"]),
            cold=coldstart.measure(COLD_STARTS),
            peaks=memory.measure(layouts),
        )
    document = report.document(results, repeats=options.repeats, hashing=hashing.measure())
    options.out.write_text(report.written(document))
    print(report.targets_table(results.targets()))
    return report.main() if options.out == report.RESULTS else 0


def timed(layouts: Layouts, repeats: int) -> Iterator[Run]:
    """Run every scenario as on AWS, and some on emulators as they are."""
    for scenario in SCENARIOS:
        yield from measure(layouts, CLOUD, scenario, repeats, slowed=True)
    for backend in BACKENDS:
        for scenario in SCENARIOS:
            if scenario.image in (ONE_LARGE, MANY_SMALL):
                yield from measure(layouts, backend, scenario, repeats, slowed=False)
    yield from crowd.measure(layouts, CLOUD, repeats)


def _shown(measured: T) -> T:
    """Tell whoever waits how far it is."""
    print(shown(measured) if isinstance(measured, Run) else measured, flush=True)
    return measured


def quick(layouts: Layouts) -> int:
    """Count, print, and return 1 where a budget is exceeded."""
    found = list(budgets(counting.count(layouts, peers=False)))
    print(report.targets_table(found))
    return 0 if all(target.holds for target in found) else 1


if __name__ == "__main__":
    sys.exit(main())
