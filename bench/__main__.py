"""``python -m bench``: moves images to and from Moorage and a peer, side by side, on one backend.

It measures part by part, and keeps what each has measured in build/bench.json: a run that was
interrupted goes on there, as long as the code is the same. A part that fails is tried once more at
the end; if it fails again, its targets are not measured, and the next run begins with it. When all
parts were tried it writes results.json, and docs/performance.md with its plots. The exit status is
0 where every part measured, whether or not the targets were met: that is in the results. With
``--quick`` it counts requests alone, and fails where they exceed a budget.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from bench import (
    coldstart,
    commits,
    counting,
    crowd,
    growth,
    handler,
    hashing,
    measure,
    memory,
    report,
)
from bench.backends import BACKENDS
from bench.measure import CTR, MOORAGE, ORAS, SCENARIOS, SKOPEO, Run, Scenario, shown
from bench.registries import PEER
from bench.report import Done, Results
from bench.targets import CLOUD, budgets
from bench.workload import MANY_SMALL, ONE_LARGE, Layouts
from moorage.common.project import PROJECT
from tests.clients.daemons import containerd
from tests.clients.install import install_debian_packages, install_go_programs
from tests.clients.tools import GO_PROGRAMS, ClientError
from tests.clients.tools import run as run_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bench.growth import Point

KEPT = PROJECT / "build" / "bench.json"
REPEATS, GROWTH_REPEATS, COLD_STARTS = 5, 2, 15


@dataclass(frozen=True)
class Part:
    """What is measured at once, and kept; `seconds`: about how long, on two idle cores."""

    name: str
    seconds: float
    measure: Callable[[], Results]


def main() -> int:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="JSON")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="rounds of each kind")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no part after")
    parser.add_argument("--only", default="", help="parts with this in their names; writes none")
    parser.add_argument("--anew", action="store_true", help="forget the parts of earlier runs")
    parser.add_argument("--quick", action="store_true", help="budgets of requests only")
    options = parser.parse_args()
    programs = {"skopeo": "skopeo", PEER: PEER}
    if not options.quick:
        programs |= {"ctr": "containerd", "valgrind": "valgrind"}
        install_go_programs(each for each in GO_PROGRAMS if each.name == "oras")
    install_debian_packages(programs)
    with Layouts.in_folder() as layouts:
        if options.quick:
            return quick(layouts)
        everything = parts(layouts, options.repeats)
        kept = Kept.opened(KEPT, options.repeats, anew=options.anew)
        chosen = [each for each in everything if options.only in each.name]
        results = measured(chosen, kept, 60 * options.minutes)
    print(report.targets_table(results.targets()))
    failed = [each for each in results.parts if each.failed is not None]
    for each in failed:
        print(f"NOT MEASURED: {each.name}: {each.failed}", flush=True)
    if len(results.parts) == len(everything):
        options.out.write_text(report.written(kept.document(results)))
        if options.out == report.RESULTS:
            report.main()
        if not failed:
            KEPT.unlink()
    return 1 if failed else 0


def measured(chosen: Sequence[Part], kept: Kept, seconds: float) -> Results:
    """Measure each part that is not kept, and keep it; begin none that `seconds` don't suffice for.

    What fails is said, and tried once more when all others are done.
    """
    began, results = time.monotonic(), kept.results
    over = {each.name for each in results.parts if each.failed is None}
    waiting = [each for each in chosen if each.name not in over]
    again, expected, spent = len(waiting), 0.0, 0.0
    for number, part in enumerate(waiting, 1):
        pace = spent / expected if expected else 1.0
        rest = sum(each.seconds for each in waiting[number - 1 :]) * pace
        print(
            f"=== {number} of {len(waiting)}: {part.name}; about {part.seconds * pace:.0f} s,"
            f" with all that follow {rest / 60:.0f} minutes",
            flush=True,
        )
        start, load = time.monotonic(), os.getloadavg()[0]
        found, failed = Results(), None
        if start - began + part.seconds * pace > seconds:
            failed = "There was no time left."
        else:
            try:
                found = part.measure()
            except Exception as error:  # noqa: BLE001 - no part may take the others with it
                traceback.print_exc()
                failed = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
                print(f"!!! {part.name} FAILED", flush=True)
                if number <= again:
                    waiting.append(part)
        took = time.monotonic() - start
        if failed is None:
            expected, spent = expected + part.seconds, spent + took
        results = results.with_part(Done(part.name, took, load, failed), found)
        kept.keep(results)
    return results


@dataclass(frozen=True)
class Kept:
    """The file of a run that is not over, and what was in it."""

    path: Path
    repeats: int
    code: str
    results: Results

    @classmethod
    def opened(cls, path: Path, repeats: int, *, anew: bool = False) -> Kept:
        """Read the file; parts count that were measured of the same code, by as many rounds."""
        fresh = cls(path, repeats, code(), Results())
        if anew or not path.exists():
            return fresh
        found, results = report.read(path)
        if (found["code"], found["repeats"]) != (fresh.code, repeats):
            print(f"{path} is of other code or rounds: everything is measured anew")
            return fresh
        print(f"{len(results.parts)} parts are in {path} already; --anew forgets them")
        return cls(path, repeats, fresh.code, results)

    def keep(self, results: Results) -> None:
        """Write the file anew."""
        self.path.parent.mkdir(exist_ok=True)
        written = self.path.with_suffix(".new")
        written.write_text(report.written(self.document(results)))
        written.rename(self.path)

    def document(self, results: Results) -> dict[str, object]:
        """Return the document of results."""
        return report.document(results, repeats=self.repeats, code=self.code)


def code() -> str:
    """Return which code is measured: its commit, and a digest of what is changed since."""
    try:
        commit = run_program("git", "rev-parse", "HEAD", folder=PROJECT).strip()
        but = (":!bench/results.json", ":!docs")
        changed = run_program("git", "diff", "HEAD", "--", ".", *but, folder=PROJECT)
    except ClientError:
        return f"unknown, at {time.time():.0f}"
    return f"{commit}+{sha256(changed.encode()).hexdigest()[:12]}" if changed else commit


def parts(layouts: Layouts, repeats: int) -> list[Part]:
    """Return all parts: first what takes no time, last what is slow and no target."""

    def timed(seconds: float, backend: str, scenario: Scenario, *, slowed: bool = True) -> Part:
        def run() -> Results:
            of = (layouts, backend, scenario, repeats)
            return Results(runs=_shown(measure.measure(*of, slowed=slowed)))

        speed = "as on AWS" if slowed else "as it is"
        act = partial(_with_containerd, run) if scenario.client == CTR else run
        return Part(f"{scenario.name}, {backend} {speed}", 5 + seconds * repeats, act)

    def grown(seconds: float, series: str) -> Part:
        of = (layouts, CLOUD, series, growth.VALUES[series], GROWTH_REPEATS)
        return Part(series, seconds, lambda: Results(points=_points(growth.measure(*of))))

    def large(size: int) -> Part:
        def run() -> Results:
            return Results(points=_points(growth.measure_alone(layouts, CLOUD, size)))

        return Part(f"push of one layer of {size:,} MB", 10 + 0.035 * size, run)

    def counted(client: str) -> Part:
        act = partial(counting.count, layouts, client)
        return Part(f"requests of {client}", 10, lambda: Results(asked=act()))

    def crowded() -> Results:
        return Results(runs=_shown(crowd.measure(layouts, CLOUD, repeats)))

    return [
        counted(SKOPEO),
        counted(MOORAGE),
        Part("requests of others", 15, lambda: Results(asked=counting.count_more(layouts))),
        counted(ORAS),
        Part("requests of the peer", 30, lambda: Results(asked=counting.count_peer(layouts))),
        Part("commits", 1, lambda: Results(commits=commits.computed(commits.STARTS["cold"]))),
        Part("hashing", 3, lambda: Results(hashing=hashing.measure())),
        Part("cold starts", 60, lambda: Results(cold=coldstart.measure(COLD_STARTS))),
        Part("the handler's processor", 70, lambda: Results(spent=handler.measure())),
        *(timed(_ROUND[scenario], CLOUD, scenario) for scenario in SCENARIOS),
        *(
            timed(4, backend, scenario, slowed=False)
            for backend in BACKENDS
            for scenario in SCENARIOS
            if scenario.client == SKOPEO and scenario.image in (ONE_LARGE, MANY_SMALL)
        ),
        Part("memory", 20, lambda: Results(peaks=memory.measure(layouts))),
        Part("many clients at once", 5 + 15 * repeats, crowded),
        grown(40, growth.SIZE),
        grown(235, growth.LAYERS),
        grown(35, growth.SESSIONS),
        *map(large, growth.LARGE),
    ]


_ROUND = dict(zip(SCENARIOS, (16, 36, 20, 49, 31, 20, 48, 44, 12, 45), strict=True))
"""Seconds of one round with both registries, about."""


def _with_containerd(run: Callable[[], Results]) -> Results:
    with containerd() as address:
        os.environ["CONTAINERD_ADDRESS"] = address
        return run()


def _shown(runs: Iterable[Run]) -> list[Run]:
    """Run all, and tell whoever waits how far it is."""

    def told() -> Iterator[Run]:
        for run in runs:
            print(shown(run), flush=True)
            yield run

    return list(told())


def _points(points: Iterable[Point]) -> list[Point]:
    def told() -> Iterator[Point]:
        for point in points:
            print(point, flush=True)
            yield point

    return list(told())


def quick(layouts: Layouts) -> int:
    """Count, print, and return 1 where a budget is exceeded."""
    asked = [
        *counting.count(layouts, SKOPEO),
        *counting.count(layouts, MOORAGE),
        *counting.count_more(layouts, listed=()),
    ]
    found = list(budgets(asked))
    print(report.targets_table(found))
    return 0 if all(target.holds for target in found) else 1


if __name__ == "__main__":
    sys.exit(main())
