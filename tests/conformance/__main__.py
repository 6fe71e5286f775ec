"""``python -m tests.conformance``: holds Moorage to the OCI's own conformance suites.

Each suite meets an empty registry, straight at the gateway, through the push proxy and at the edge.
The exit status is 0 only if every gate holds; a peer's figures are shown and never judged.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import TYPE_CHECKING

from bench.registries import PEER
from tests.clients.daemons import NotStartedError
from tests.clients.install import install_debian_packages
from tests.conformance import programs, runs, summary
from tests.conformance.runs import Outcome, run
from tests.conformance.suites import SUITES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.conformance.runs import Door
    from tests.conformance.suites import Suite


def main() -> int:
    """Run what is asked for and print how it came out."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--peer", action="store_true", help="also run a peer, side by side")
    parser.add_argument(
        "--suite",
        choices=[suite.name for suite in SUITES],
        action="append",
        help="one suite only; may be repeated",
    )
    options = parser.parse_args()
    suites = [suite for suite in SUITES if not options.suite or suite.name in options.suite]
    try:
        return _compare(suites, with_peer=options.peer)
    except (NotStartedError, RuntimeError, subprocess.SubprocessError) as problem:
        print(f"conformance: {problem}", file=sys.stderr)
        return 1


def _compare(suites: Sequence[Suite], *, with_peer: bool) -> int:
    if with_peer:
        install_debian_packages({PEER: PEER})
    ours, theirs = [], []
    for suite in suites:
        command = programs.built(suite.expected.program)
        ours += list(_ours(suite, command))
        if with_peer:
            theirs += list(_theirs(suite, command))
    print()
    if theirs:
        print(f"{summary.side_by_side(ours, theirs, runs.peer_version())}\n")
    for outcome in ours:
        print(summary.line(outcome))
    broken = [f"{outcome.suite} {outcome.door}" for outcome in ours if not outcome.verdict.holds]
    if broken:
        print(f"conformance: gates that do not hold: {', '.join(broken)}")
    print(summary.closing(ours))
    return 1 if broken else 0


def _ours(suite: Suite, command: Sequence[str]) -> Iterator[Outcome]:
    """Run a suite at each door of a Moorage of its own: moto slows down as it fills."""
    with runs.moorage() as doors:
        for outcome in _at_each(doors, suite, command):
            if not outcome.verdict.holds:
                print(summary.details(outcome), flush=True)
            yield outcome


def _theirs(suite: Suite, command: Sequence[str]) -> Iterator[Outcome]:
    with runs.peer() as doors:
        yield from _at_each(doors, suite, command)


def _at_each(doors: Sequence[Door], suite: Suite, command: Sequence[str]) -> Iterator[Outcome]:
    for door in doors:
        outcome = run(suite, door, command)
        print(f"conformance: {summary.line(outcome)}", flush=True)
        yield outcome


if __name__ == "__main__":
    sys.exit(main())
