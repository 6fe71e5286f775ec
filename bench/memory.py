"""``python -m bench.memory``: the most memory that servers and clients have had, after 300 MB.

One layer of 300 MB is pushed and pulled by each client, one after the other, at both registries. A
server's figure is the peak of its process after all of that, by Linux (`VmHWM`); a client's is that
of the one command.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import workload
from bench.backends import ministack, relay
from bench.measure import CLIENTS, MOORAGE, ORAS, SKOPEO
from bench.registries import moorage, peer
from bench.workload import LARGEST, Layouts
from tests.clients import images

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.registries import RunningRegistry

MB = 1_000_000
PUSHING, PULLING = "`moorage push`", "`moorage pull`"
_COMMAND = """
import sys
from moorage.cli.main import main
status = main(sys.argv[1:])
print(open("/proc/self/status").read())
sys.exit(status)
"""
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Peak:
    """The most memory of one process, in bytes."""

    process: str
    memory: int


def measure(layouts: Layouts) -> list[Peak]:
    """Move the layer by every client, and look at what each process had."""
    with (
        ministack() as behind,
        relay(behind, slowed=False) as aws,
        moorage(aws.url) as ours,
        peer(aws.url) as theirs,
    ):
        for client in (SKOPEO, MOORAGE, ORAS):
            push, pull = CLIENTS[client]
            copy = layouts.copy(LARGEST)
            push(ours, copy)
            pull(ours, copy)
        copy = layouts.copy(LARGEST)
        workload.by_skopeo(theirs, copy)
        workload.pull_by_skopeo(theirs, copy)
        return [
            *(Peak(f"Moorage's {name}", peak_of(pid)) for name, pid in ours.pids.items()),
            *(Peak(name, peak_of(pid)) for name, pid in theirs.pids.items()),
            *_clients(layouts, ours),
        ]


def _clients(layouts: Layouts, ours: RunningRegistry) -> Iterator[Peak]:
    copy = layouts.copy(LARGEST)
    target = copy.reference(ours.gateway_host or "")
    yield Peak(PUSHING, _spent("push", copy.source, target, state=copy.path))
    into = f"oci:{copy.path}-pulled:{images.TAG}"
    yield Peak(PULLING, _spent("pull", target, into, state=copy.path))


def _spent(command: str, *words: str, state: Path) -> int:
    """Run a command to its end, and return the most memory that it has had."""
    # What the kernel says of a child that has ended may be its parent's, from before the exec.
    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, command, "--quiet", *words],
        env={**os.environ, "XDG_STATE_HOME": str(state)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return _peak_in(done.stdout)


def peak_of(pid: int) -> int:
    """Return the most memory, in bytes, that a running process has had."""
    return _peak_in(Path(f"/proc/{pid}/status").read_text(encoding="ascii"))


def _peak_in(status: str) -> int:
    found = _PEAK.search(status)
    if found is None:
        raise ValueError(f"there is no peak of memory here: {status}")
    return int(found[1]) * 1024


def table(peaks: Sequence[Peak]) -> str:
    """Return a table in Markdown."""
    rows = [f"| {each.process} | {each.memory / MB:.0f} MB |" for each in peaks]
    return "\n".join(["| process | most memory |", "| --- | ---: |", *rows])


if __name__ == "__main__":
    with Layouts.in_folder() as made:
        print(table(measure(made)))
