"""All drills: `python -m tests.drills`, or one case again by `--replay CASE`.

Ends with one line of figures, and with exit status 1 unless every point was drilled, every mutant
caught, the gateway killed and nothing lost. This module must never call a drill good that did not
run.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TYPE_CHECKING

from moorage.common.checkout import CHECKOUT
from tests.drills import contests, crashes, crowds, faults, operations, races, spells
from tests.drills.mutants import every as mutations
from tests.drills.mutants import run as mutants
from tests.drills.replay import replay
from tests.drills.support.worlds import AwsWorld, MemoryWorld, TablesWorld, moto_world
from tests.drills.tally import Tally
from tests.emulators.backends import ministack_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.drills.support.worlds import World

ROOT = CHECKOUT
WORKERS = 2
SLICES = 8
"""Into how many jobs the slow worlds' rows are dealt."""

TESTS = (
    "tests/drills/test_disconnects.py",
    "tests/moorage/common/test_http_server.py",
    "tests/moorage/gateway/test_body.py",
    "tests/moorage/proxy/test_server_limits.py",
    "tests/chalicelib/registry/test_sweeper.py::test_a_backlog_costs_what_is_due_in_it",
)
"""Drills that are whole as tests: hostile clients, and the sweeper among 10,000 sessions."""

Job = tuple[str, int]
"""What a worker is to do, and which slice of the rows."""


def jobs() -> list[Job]:
    """All jobs, the long ones first."""
    sliced = ("ministack", "moto crashes", "moto faults")
    races_of = [("races", number) for number in range(len(contests.ALL))]
    short = ("moto spells", "long spells", "moto crowds", "memory", "crashes", "faults", "crowds")
    rest = [(name, 0) for name in (*short, "spells", "mutants")]
    return [(name, number) for name in sliced for number in range(SLICES)] + races_of + rest


def do(job: Job, seed: int) -> Tally:
    """Do one job; one that breaks is a loss."""
    logging.disable(logging.CRITICAL)
    name, number = job
    rows = operations.ALL[number::SLICES]
    work: dict[str, Callable[[], Tally]] = {
        "races": lambda: races.drill_one(
            TablesWorld(), contests.ALL[number], races.Bounds(seed=seed)
        ),
        "mutants": lambda: mutants.drill(mutations.ALL),
        "crashes": lambda: crashes.drill(TablesWorld(), operations.ALL),
        "faults": lambda: faults.drill(TablesWorld(), operations.ALL, every=True),
        "crowds": lambda: crowds.drill(TablesWorld(), range(seed, seed + 12)),
        "spells": lambda: _spells(TablesWorld(), spells.SHORT, [1, 2]),
        "long spells": lambda: _spells(TablesWorld(), spells.LONG, [1]),
        "moto crowds": lambda: crowds.drill(moto_world(), range(seed, seed + 2)),
        "moto spells": lambda: _spells(moto_world(), spells.SHORT, [1]),
        "memory": lambda: _in_memory(seed),
        "moto crashes": lambda: crashes.drill(moto_world(), rows),
        "moto faults": lambda: faults.drill(moto_world(), rows, every=True),
        "ministack": lambda: _on_ministack(number, seed),
    }
    try:
        return work[name]()
    except Exception as error:  # noqa: BLE001 - the other jobs go on
        tally = Tally()
        tally.lose(f"job/{name}/{number}", error)
        return tally


def _on_ministack(number: int, seed: int) -> Tally:
    with ministack_backend() as backend:
        world = AwsWorld(backend.s3(), backend.dynamodb())
        bounds = races.Bounds(changes=1, chances=5, seed=seed)
        return races.drill(world, contests.ALL[number::SLICES], bounds)


def _spells(world: World, seconds: float, every: Sequence[int]) -> Tally:
    return spells.drill(world, spells.cases(world, seconds, every))


def _in_memory(seed: int) -> Tally:
    """Drill the stores in memory, which other tests trust."""
    tally = crashes.drill(MemoryWorld(), operations.ALL)
    tally.add(faults.drill(MemoryWorld(), operations.ALL, every=True))
    tally.add(crowds.drill(MemoryWorld(), range(seed, seed + 4)))
    tally.add(_spells(MemoryWorld(), spells.SHORT, [1, 2]))
    tally.add(races.drill(MemoryWorld(), contests.ALL, races.Bounds(changes=1, seed=seed)))
    return tally


def run(seed: int, kills: int) -> Tally:
    """Run everything."""
    whole = Tally()
    began = time.monotonic()
    with ProcessPoolExecutor(WORKERS) as pool:
        futures = {pool.submit(do, job, seed): job for job in jobs()}
        for future in as_completed(futures):
            tally = future.result()
            whole.add(tally)
            name, number = futures[future]
            print(f"{time.monotonic() - began:4.0f} s  {name} {number}: {tally.line()}", flush=True)
            for loss in tally.losses[:10]:
                print(f"  LOST {loss.case}\n       {loss.what[:1000]}", flush=True)
    tested(whole, TESTS)
    if kills:
        from tests.drills import kills as gateway  # noqa: PLC0415 - starts servers

        try:
            whole.kills = gateway.run(kills, seed)
        except AssertionError as error:
            whole.lose(f"kills/{kills}/{seed}", error)
    return whole


def tested(whole: Tally, tests: Sequence[str]) -> None:
    """Run the drills that are tests, alone on the machine; one that fails is a loss."""
    for test in tests:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", test]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        told = done.stdout.strip().splitlines() or [done.stderr.strip()]
        print(f"{test}: {told[-1]}", flush=True)
        # No test found is a failure too, and so is one that was skipped.
        if done.returncode or "skipped" in told[-1]:
            whole.lose(f"pytest {test}", AssertionError("\n".join(told[-20:])))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the drills, or one case."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("--replay", metavar="CASE", help="a case's name, as a loss gave it")
    parser.add_argument("--seed", type=int, default=0, help="for what is drawn by chance")
    parser.add_argument("--kills", type=int, default=20, help="of the gateway; 0: not a whole run")
    options = parser.parse_args(argv)
    if options.replay:
        error = replay(options.replay)
        print(f"{type(error).__name__}: {error}" if error else "nothing was lost")
        return 1 if error else 0
    whole = run(options.seed, options.kills)
    print(whole.line())
    return 0 if whole.good else 1


if __name__ == "__main__":
    sys.exit(main())
