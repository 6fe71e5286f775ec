"""Runs `moorage.local.run.run` in a process of its own with fakes for the gateway and the proxy.

`start` is for tests; the module itself is what `start` runs. It never starts real children but
moto.
"""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from moorage.common.checkout import CHECKOUT
from moorage.local import run as local

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATIENCE = 60.0
_FAKE = (sys.executable, "-m", "tests.moorage.local.fake_child")


@dataclass
class Driven:
    """A `moorage local` under test: its process, its ready file, what its fakes noted."""

    process: subprocess.Popen[str]
    ready_file: Path
    log: Path

    def ready(self) -> dict[str, Any]:
        """Wait for the ready file and return what it says."""
        deadline = time.monotonic() + _PATIENCE
        while not self.ready_file.exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "not ready in time"
            time.sleep(0.05)
        content: dict[str, Any] = json.loads(self.ready_file.read_text(encoding="utf-8"))
        return content

    def noted(self) -> list[str]:
        """Return what the fakes noted, in order."""
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []

    def wait_for_note(self, line: str) -> None:
        """Wait until a fake noted `line`."""
        deadline = time.monotonic() + _PATIENCE
        while line not in self.noted():
            assert time.monotonic() < deadline, f"{line!r} never came: {self.noted()}"
            time.sleep(0.05)

    def end(self) -> tuple[int, str, str]:
        """Wait for its end; return exit status, standard output and standard error."""
        output, errors = self.process.communicate(timeout=_PATIENCE)
        return self.process.returncode, output, errors


def start(
    folder: Path,
    *,
    gateway: str = "serves",
    proxy: str = "serves",
    options: Mapping[str, object] = MappingProxyType({}),
) -> Driven:
    """Start it with fakes that behave as named; `options` are LocalOptions' fields, as JSON."""
    ready_file, log = folder / "ready.json", folder / "log"
    plan = {
        "options": {"gateway_port": 0, "proxy_port": 0} | dict(options),
        "gateway": [*_FAKE, "gateway", gateway, str(log)],
        "proxy": [*_FAKE, "proxy", proxy, str(log)],
        "ready_file": str(ready_file),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.moorage.local.driver", json.dumps(plan)],
        cwd=CHECKOUT,
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Driven(process, ready_file, log)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected doesn't."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return bool(state) and not state.startswith("Z")


def wait_until_gone(*pids: int) -> None:
    """Fail unless all of them end soon."""
    deadline = time.monotonic() + 15
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.1)


def _main() -> int:
    # Should it hang, whoever waits for it is told where.
    faulthandler.dump_traceback_later(_PATIENCE - 5, exit=True)
    plan = json.loads(sys.argv[1])
    options = plan["options"]
    if "admin_token_file" in options:
        options["admin_token_file"] = Path(options["admin_token_file"])
    return local.run(
        local.LocalOptions(**options, ready_file=Path(plan["ready_file"])),
        programs=local.ChildCommands(gateway=plan["gateway"], proxy=plan["proxy"]),
    )


if __name__ == "__main__":
    sys.exit(_main())
