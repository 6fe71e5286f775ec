"""All drills: `python -m tests.drills`, or one case again by `--replay CASE`.

Ends with one line of figures, and with exit status 1 unless every point was drilled, every row of
the state table reached, every mutant caught, the gateway killed and nothing lost. This module must
never call a drill good that did not run.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TYPE_CHECKING

from moorage.common.project import PROJECT
from tests.drills import crashes, crowds, faults, mutants, operations, pairs, races, throttling
from tests.drills.figures import Figures, reached_rows
from tests.drills.support.schedule import following, read
from tests.drills.support.worlds import AwsWorld, TablesWorld, moto_world
from tests.emulators.backends import ministack_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.drills.support.worlds import World

ROOT = PROJECT
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

Job = tuple[str, int]
"""What a worker does, and on which slice of the rows."""


def jobs() -> list[Job]:
    """All jobs, the long ones first."""
    sliced = ("ministack", "moto crashes", "moto faults")
    races_of = [("races", number) for number in range(len(pairs.ALL))]
    short = ("moto throttling", "long throttling", "moto crowds", "crashes", "faults", "crowds")
    rest = [(name, 0) for name in (*short, "throttling", "mutants")]
    return [(name, number) for name in sliced for number in range(SLICES)] + races_of + rest


def do(job: Job, seed: int) -> Figures:
    """Do one job; one that breaks is a loss."""
    logging.disable(logging.CRITICAL)
    name, number = job
    rows = operations.ALL[number::SLICES]
    work: dict[str, Callable[[], Figures]] = {
        "races": lambda: races.drill_one(TablesWorld(), pairs.ALL[number], races.Bounds(seed=seed)),
        "mutants": lambda: mutants.drill([*mutants.CLAUSES, *mutants.RULES]),
        "crashes": lambda: crashes.drill(TablesWorld(), operations.ALL),
        "faults": lambda: faults.drill(TablesWorld(), operations.ALL, every=True),
        "crowds": lambda: crowds.drill(TablesWorld(), range(seed, seed + 12)),
        "throttling": lambda: _throttling(TablesWorld(), throttling.SHORT, [1, 2]),
        "long throttling": lambda: _throttling(TablesWorld(), throttling.LONG, [1]),
        "moto crowds": lambda: crowds.drill(moto_world(), range(seed, seed + 2)),
        "moto throttling": lambda: _throttling(moto_world(), throttling.SHORT, [1]),
        "moto crashes": lambda: crashes.drill(moto_world(), rows),
        "moto faults": lambda: faults.drill(moto_world(), rows, every=True),
        "ministack": lambda: _on_ministack(number, seed),
    }
    figures = Figures()
    with figures.losing(f"job/{name}/{number}"), reached_rows() as reached:
        figures.add(work[name]())
        if name != "mutants":  # a mutant may go along any row
            figures.rows = reached
    return figures


def _on_ministack(number: int, seed: int) -> Figures:
    with ministack_backend() as backend:
        world = AwsWorld(backend.s3(), backend.dynamodb())
        bounds = races.Bounds(changes=1, chances=5, seed=seed)
        return races.drill(world, pairs.ALL[number::SLICES], bounds)


def _throttling(world: World, seconds: float, every: Sequence[int]) -> Figures:
    return throttling.drill(world, throttling.cases(world, seconds, every))


def run(seed: int, kills: int) -> Figures:
    """Run everything."""
    whole = Figures()
    began = time.monotonic()
    with ProcessPoolExecutor(WORKERS) as pool:
        futures = {pool.submit(do, job, seed): job for job in jobs()}
        for future in as_completed(futures):
            figures = future.result()
            whole.add(figures)
            seconds, job = time.monotonic() - began, " ".join(map(str, futures[future]))
            print(f"{seconds:4.0f} s  {job}: {figures.line()}", flush=True)
            for loss in figures.losses[:10]:
                print(f"  LOST {loss.case}\n       {loss.what[:1000]}", flush=True)
    tested(whole, TESTS)
    if kills:
        from tests.drills import kills as gateway  # noqa: PLC0415 - starts servers

        for way in gateway.WAYS:
            try:
                whole.kills += gateway.run(kills, seed, way)
            except AssertionError as error:
                whole.lose(f"kills/{way}/{kills}/{seed}", error)
    return whole


def tested(whole: Figures, tests: Sequence[str]) -> None:
    """Run the drills that are tests, while nothing else runs; one that fails is a loss."""
    for test in tests:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", test]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | MORE, capture_output=True, text=True, check=False
        )
        lines = done.stdout.strip().splitlines() or [done.stderr.strip()]
        print(f"{test}: {lines[-1]}", flush=True)
        # No test found is a failure too, and so is one that was skipped.
        if done.returncode or "skipped" in lines[-1]:
            whole.lose(f"pytest {test}", AssertionError("\n".join(lines[-20:])))


WORLDS: dict[str, Callable[[], World]] = {
    "tables": TablesWorld,
    "moto": moto_world,
    "ministack": moto_world,  # one call at a time, moto judges as well
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
    options = parser.parse_args(argv)
    if options.replay:
        error = replay(options.replay)
        print(f"{type(error).__name__}: {error}" if error else "nothing was lost")
        return 1 if error else 0
    whole = run(options.seed, options.kills)
    for row in whole.unreached:
        print(f"no drill reaches the row {row!r} of the state table")
    print(whole.line())
    return 0 if whole.good else 1


if __name__ == "__main__":
    sys.exit(main())
