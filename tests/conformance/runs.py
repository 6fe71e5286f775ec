"""Starts the registries under test, runs one suite against one door of one, keeps what it leaves.

Each registry is empty, on loopback and in memory, and stops when the block ends.

Results go to build/conformance/<suite>-<door>/, which is emptied first: no old report may pass for
a new one. A program is told nothing of this process's environment but where programs are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.backends import moto
from bench.registries import PEER
from bench.registries import peer as start_peer
from tests.clients import tools
from tests.clients.daemons import start_moorage
from tests.conformance.gate import Report, Verdict, judge
from tests.conformance.suites import MOORAGE_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.conformance.suites import Suite

RESULTS = tools.REPOSITORY / "build" / "conformance"
# A run takes under a minute; one that hangs leaves no report, so its gate fails.
_TIMEOUT = 900


@dataclass(frozen=True)
class Door:
    """One way in to a registry: what it is called, and its ``host:port``."""

    name: str
    host: str


@contextmanager
def moorage() -> Iterator[tuple[Door, ...]]:
    """Run Moorage over moto with the settings that the suites test."""
    with start_moorage(env=MOORAGE_SETTINGS) as started:
        yield (
            Door("gateway", started.gateway_host),
            Door("proxy", started.proxy_host),
            Door("edge", started.edge_host),
        )


@contextmanager
def peer() -> Iterator[tuple[Door, ...]]:
    """Run Debian's docker-registry over moto, with two settings that raise its score.

    Deletes are on. It hands out blobs itself: an S3 URL could not give the digest header that the
    suite of `dev` asks for.
    """
    settings = {"delete": {"enabled": True}, "redirect": {"disable": True}}
    with moto() as aws, start_peer(aws, settings) as started:
        yield (Door(PEER, started.host),)


def peer_version() -> str:
    """Return the peer's name and version, as it tells them itself."""
    # It prints: program, import path, version.
    return f"{PEER} {tools.run(PEER, '--version').split()[-1].lstrip('v')}"


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
