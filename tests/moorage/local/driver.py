"""Runs `moorage local` with fakes for its children but moto, here or in a process of its own.

`start` runs this module as a program. No real child but moto is ever started.
"""

from __future__ import annotations

import faulthandler
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moorage.common.project import PROJECT
from moorage.local import run as local
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATIENCE = 60.0
_FAKE = (sys.executable, "-m", "tests.moorage.local.fake_child")


def fakes(log: Path, gateway: str = "serves", proxy: str = "serves") -> local.ChildCommands:
    """Return the commands of fakes that behave as named, and note it in `log`."""
    behaviours = {"gateway": gateway, "proxy": proxy, "edge": "serves"}
    return local.ChildCommands(
        **{name: (*_FAKE, name, each, str(log)) for name, each in behaviours.items()}
    )


def noted(log: Path) -> list[str]:
    """Return what the fakes noted, in order."""
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def ready(process: subprocess.Popen[str], file: Path) -> dict[str, Any]:
    """Wait for the ready file of a `moorage local`, and return its content."""

    def there() -> bool:
        assert process.poll() is None, process.communicate()
        return file.exists()

    until(there, "the ready file is there", _PATIENCE)
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


@dataclass
class Driven:
    """A `moorage local` with fakes: its process, its ready file, the notes of its fakes."""

    process: subprocess.Popen[str]
    ready_file: Path
    log: Path

    def ready(self) -> dict[str, Any]:
        """Wait for the ready file and return its content."""
        return ready(self.process, self.ready_file)

    def wait_for_note(self, line: str) -> None:
        """Wait until a fake noted `line`."""
        until(lambda: line in noted(self.log), f"a fake notes {line!r}", _PATIENCE)

    def end(self) -> tuple[int, str, str]:
        """Wait for its end; return exit status, standard output and standard error."""
        output, errors = self.process.communicate(timeout=_PATIENCE)
        return self.process.returncode, output, errors


def start(
    folder: Path, options: Mapping[str, object], gateway: str = "serves", proxy: str = "serves"
) -> Driven:
    """Start it with fakes; `options` are LocalOptions' fields, as JSON."""
    ready_file, log = folder / "ready.json", folder / "log"
    plan = {
        "options": {"gateway_port": 0, "proxy_port": 0, "edge_port": 0, **options},
        "fakes": [str(log), gateway, proxy],
        "ready_file": str(ready_file),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.moorage.local.driver", json.dumps(plan)],
        cwd=PROJECT,
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
    until(lambda: not any(map(alive, pids)), f"the processes {pids} have ended")


def _main() -> int:
    # A program that hangs then shows where.
    faulthandler.dump_traceback_later(_PATIENCE - 5, exit=True)
    plan = json.loads(sys.argv[1])
    log, gateway, proxy = plan["fakes"]
    options = plan["options"]
    if "admin_token_file" in options:
        options["admin_token_file"] = Path(options["admin_token_file"])
    return local.run(
        local.LocalOptions(**options, ready_file=Path(plan["ready_file"])),
        programs=fakes(Path(log), gateway, proxy),
    )


if __name__ == "__main__":
    sys.exit(_main())
