"""Runs one suite against one door of a registry and keeps what it leaves.

Results go to build/conformance/<suite>-<door>/, which is emptied first: no old report may pass for
a new one. A program is told nothing of this process's environment but where programs are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.clients.tools import REPOSITORY
from tests.conformance.gate import Report, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.conformance.registries import Door
    from tests.conformance.suites import Suite

RESULTS = REPOSITORY / "build" / "conformance"
# A run takes under a minute; one that hangs leaves no report, so its gate fails.
_TIMEOUT = 900


@dataclass(frozen=True)
class Outcome:
    """A run: of what, against what, and how it came out."""

    suite: str
    door: str
    verdict: Verdict
    results: Path


def run(suite: Suite, door: Door, command: Sequence[str]) -> Outcome:
    """Run a suite's program to its end and judge its report."""
    folder = RESULTS / f"{suite.name}-{door.name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # Also no configuration file: the program would take one that lies in its working directory.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        **suite.environment(door.host, f"conformance/{suite.name}/{door.name}", folder),
    }
    began = time.time()
    with (folder / "output.txt").open("wb") as output:
        try:
            subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            output.write(f"\nended: it was not done after {_TIMEOUT} s\n".encode())
    verdict = judge(_report(folder / "junit.xml"), suite.expected, began)
    return Outcome(suite.name, door.name, verdict, folder)


def _report(path: Path) -> Report | None:
    try:
        return Report(path.read_bytes(), path.stat().st_mtime)
    except FileNotFoundError:
        return None
