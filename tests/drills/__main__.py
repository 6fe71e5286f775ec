"""All drills: `python -m tests.drills`, a part by `--part K/N`, or one case by `--replay CASE`.

Ends with one line of figures, and with exit status 1 unless every point was drilled, every row of
the state table reached, every mutant caught, the gateway killed and nothing lost. This module must
never call a drill good that did not run.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from moorage.common.project import PROJECT
from tests.drills import (
    crashes,
    crowds,
    faults,
    kills,
    operations,
    pairs,
    races,
    throttling,
)
from tests.drills.figures import Figures, Loss, reached_rows
from tests.drills.mutants.every import ALL as ALL_MUTANTS
from tests.drills.mutants.mutant import drill as drill_mutants
from tests.drills.support import parts
from tests.drills.support.parts import Run
from tests.drills.support.schedule import following, read
from tests.drills.support.worlds import TablesWorld, ministack_world, moto_world

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.drills.support.worlds import World

WORKERS = 2
SLICES = 8
"""The operations and pairs of the slow worlds are divided among so many jobs."""

TESTS = (
    "tests/drills/test_disconnects.py",
    "tests/fuzz/test_fuzz.py",
    "tests/moorage/common/test_http_server.py",
    "tests/moorage/gateway/test_body.py",
    "tests/moorage/proxy/test_server.py",
    "tests/chalicelib/registry/test_sweeper.py::test_a_backlog_costs_what_is_due_in_it",
)
"""Drills that `make test` runs whole: hostile clients, and the sweeper among 10,000 sessions."""

MORE = {"MOORAGE_FUZZ_REQUESTS": "20000", "MOORAGE_ATTACK_SECONDS": "5", "MOORAGE_BACKLOG": "10000"}
"""What makes some of these tests longer than they are in `make test`."""

Work = Callable[[int, Run], Figures]
"""Does one of the jobs of a kind, by its number."""


class Kind(NamedTuple):
    """Jobs of one kind: how many, the seconds of CPU that each takes, and what it does."""

    jobs: int
    seconds: float
    work: Work
    apart: bool = False
    """Whether a job runs while nothing else does: one that measures time, or starts servers."""


KINDS: Mapping[str, Kind] = {
    "moto faults": Kind(
        SLICES, 340, lambda number, _: faults.drill(moto_world(), _rows(number), every=True)
    ),
    "ministack": Kind(SLICES, 170, lambda number, run: _on_ministack(number, run.seed)),
    "moto crashes": Kind(SLICES, 140, lambda number, _: crashes.drill(moto_world(), _rows(number))),
    "races": Kind(
        len(pairs.ALL),
        11,
        lambda number, run: races.drill_one(
            TablesWorld(), pairs.ALL[number], races.Bounds(seed=run.seed)
        ),
    ),
    "long throttling": Kind(1, 76, lambda *_: _throttling(TablesWorld(), throttling.LONG, [1])),
    "faults": Kind(1, 40, lambda *_: faults.drill(TablesWorld(), operations.ALL, every=True)),
    "moto throttling": Kind(1, 46, lambda *_: _throttling(moto_world(), throttling.SHORT, [1])),
    "crashes": Kind(1, 35, lambda *_: crashes.drill(TablesWorld(), operations.ALL)),
    "moto crowds": Kind(
        1, 22, lambda _, run: crowds.drill(moto_world(), range(run.seed, run.seed + 2))
    ),
    "throttling": Kind(1, 20, lambda *_: _throttling(TablesWorld(), throttling.SHORT, [1, 2])),
    "mutants": Kind(1, 16, lambda *_: drill_mutants(ALL_MUTANTS)),
    "crowds": Kind(
        1, 10, lambda _, run: crowds.drill(TablesWorld(), range(run.seed, run.seed + 12))
    ),
    "test": Kind(len(TESTS), 10, lambda number, _: tested(TESTS[number]), apart=True),
    "kills": Kind(
        len(kills.WAYS), 41, lambda number, run: _kills(list(kills.WAYS)[number], run), apart=True
    ),
}
"""All that is run, kind by kind; the long ones first."""


def _rows(number: int) -> Sequence[operations.Operation]:
    return operations.ALL[number::SLICES]


def _on_ministack(number: int, seed: int) -> Figures:
    bounds = races.Bounds(changes=1, chances=5, seed=seed)
    return races.drill(ministack_world(), pairs.ALL[number::SLICES], bounds)


def _throttling(world: World, seconds: float, every: Sequence[int]) -> Figures:
    return throttling.drill(world, throttling.cases(world, seconds, every))


def _kills(way: str, run: Run) -> Figures:
    return Figures(kills=kills.run(run.kills, run.seed, way) if run.kills else 0)


def tested(test: str) -> Figures:
    """Run a drill that is a test; one that fails is a loss."""
    figures = Figures()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", test]
    done = subprocess.run(
        command, cwd=PROJECT, env=os.environ | MORE, capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines() or [done.stderr.strip()]
    print(f"{test}: {lines[-1]}", flush=True)
    # No test found is a failure too, and so is one that was skipped.
    if done.returncode or "skipped" in lines[-1]:
        figures.lose(f"pytest {test}", AssertionError("\n".join(lines[-20:])))
    return figures


def _show(losses: Sequence[Loss]) -> None:
    for loss in losses:
        print(f"  LOST {loss.case}\n       {loss.what[:1000]}", flush=True)


def costs() -> dict[str, float]:
    """Return all jobs of a whole run, and what each costs: one that runs alone, both workers."""
    return {
        f"{name}/{number}": kind.seconds * (WORKERS if kind.apart else 1)
        for name, kind in KINDS.items()
        for number in range(kind.jobs)
    }


def do(job: str, run: Run) -> Figures:
    """Do one job; one that breaks is a loss."""
    name, _, number = job.partition("/")
    gc.freeze()  # the modules and what they hold
    figures, began = Figures(), _seconds()
    # A mutant that does not run tells so by an error in the log.
    level = logging.WARNING if name == "mutants" else logging.CRITICAL
    with figures.losing("job", job), _quiet(level), reached_rows() as reached:
        figures.add(KINDS[name].work(int(number), run))
        if name != "mutants":  # a mutant may go along any row
            figures.rows = reached
    figures.seconds = round(_seconds() - began, 1)
    return figures


@contextmanager
def _quiet(level: int) -> Iterator[None]:
    """Log nothing of a level, nor below it."""
    before = logging.root.manager.disable
    logging.disable(level)
    try:
        yield
    finally:
        logging.disable(before)


def _seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def run(jobs: Sequence[str], options: Run) -> dict[str, Figures]:
    """Run jobs; returns the figures of each."""
    began = time.monotonic()
    done: dict[str, Figures] = {}

    def ended(job: str, figures: Figures) -> None:
        done[job] = figures
        print(f"{time.monotonic() - began:4.0f} s  {job}: {figures.line()}", flush=True)
        _show(figures.losses[:10])

    apart = [job for job in jobs if KINDS[job.partition("/")[0]].apart]
    with ProcessPoolExecutor(WORKERS) as pool:
        futures = {pool.submit(do, job, options): job for job in jobs if job not in apart}
        for future in as_completed(futures):
            ended(futures[future], future.result())
    for job in apart:
        ended(job, do(job, options))
    return done


WORLDS: dict[str, Callable[[], World]] = {
    "tables": TablesWorld,
    "moto": moto_world,
    "ministack": ministack_world,
}


def replay(case: str) -> Exception | None:
    """Run one case; returns what was violated, and prints the calls that were made."""
    drill, world_name, *rest = case.split("/")
    world = WORLDS[world_name]()
    try:
        if drill == "race":
            race = next(row for row in pairs.ALL if row.name == rest[0])
            return races.once(world, race, following(read(rest[1])))[1]
        if drill == "crowd":
            crowds.crowd(world, float(rest[0]), int(rest[1]))
            return None
        if drill == "throttling":
            name, service, way, begin, seconds, every = rest
            slow = throttling.Case(name, service, way, int(begin), float(seconds), int(every))
            throttling.through(world, slow)
            return None
        operation = next(row for row in operations.ALL if row.name == rest[0])
        if drill == "crash":
            crash = crashes.Case(rest[0], int(rest[1]), rest[2], rest[3])
            crashes.stop(world, operation, crash)
        else:
            faults.disturb(world, operation, int(rest[1]), rest[2], rest[3])
    except Exception as error:  # noqa: BLE001 - whatever the case raises is its result
        return error
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the drills, or one case."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("--replay", metavar="CASE", help="the name of a case, as a loss gives it")
    parser.add_argument("--seed", type=int, default=0, help="of the random choices")
    parser.add_argument("--kills", type=int, default=20, help="of each way; with 0 the run fails")
    parser.add_argument("--part", metavar="K/N", help="the K-th of N parts of the whole run")
    parser.add_argument("--figures", metavar="FILE", type=Path, help="the part's, to be added up")
    parser.add_argument("--sum", metavar="FILE", type=Path, nargs="+", help="add up all N parts")
    options = parser.parse_args(argv)
    if options.replay:
        error = replay(options.replay)
        print(f"{type(error).__name__}: {error}" if error else "nothing was lost")
        return 1 if error else 0
    if options.sum:
        try:
            whole = parts.total(options.sum, parts.commit(), costs())
        except (OSError, parts.PartsError) as error:
            parser.exit(1, f"no sum: {error}\n")
        _show(whole.losses)
        return judged(whole)
    try:
        part = parts.Part.parse(options.part or "1/1")
    except ValueError as error:
        parser.error(f"--part: {error}")
    state = Run(parts.commit(), options.seed, options.kills)
    done = run(part.of_jobs(costs()), state)
    whole = Figures()
    for figures in done.values():
        whole.add(figures)
    if parts.commit() != state.commit:
        whole.lose("the work tree", AssertionError("its files were changed during the run"))
    elif options.figures:
        parts.save(options.figures, state, part, done)
    return judged(whole) if part.of == 1 else judged_part(part, whole)


def judged(whole: Figures) -> int:
    """Print the line of a whole run; returns the exit status."""
    for row in whole.unreached:
        print(f"no drill reaches the row {row!r} of the state table")
    print(whole.line())
    return 0 if whole.good else 1


def judged_part(part: parts.Part, figures: Figures) -> int:
    """Print the line of a part, of which only the sum can say that it is enough."""
    print(f"part {part}: {figures.line()}")
    return 0 if figures.complete else 1


if __name__ == "__main__":
    sys.exit(main())
