"""`python -m tests.e2e`: a whole deployment on an emulation of AWS, from `deploy` to `destroy`.

It installs what it needs, and starts itself once more in namespaces of its own (namespace.py). Each
run leaves its log in build/e2e.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from moorage.common.errors import CommandError
from moorage.common.project import PROJECT
from moorage.local.children import exit_with_parent
from tests.e2e import namespace
from tests.e2e.cloud import HOSTS, running
from tests.e2e.install import install
from tests.e2e.steps import STEPS, Deployment, StepError

if TYPE_CHECKING:
    from collections.abc import Sequence

LOGS: Final = PROJECT / "build" / "e2e"
_GRACE_SECONDS: Final = 30.0


def main(words: Sequence[str]) -> int:
    """Return 0 when every step succeeded; `words` are for the run in the namespaces."""
    if words:
        # The first process in its namespace: Linux gives it no signal that it has no handler for.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        exit_with_parent(_GRACE_SECONDS)
        return _within(Path(words[0]))
    try:
        wheels = install()
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"e2e: {error}", file=sys.stderr)
        return 1
    command = namespace.command("-m", "tests.e2e", str(wheels))
    # It ends when this end of its standard input is closed, however this process ends.
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=PROJECT) as run:
        return run.wait()


def _within(wheels: Path) -> int:
    """Go through the steps; return 1 at the first that fails."""
    with tempfile.TemporaryDirectory(prefix="moorage-e2e-") as name:
        folder = Path(name)
        log, kept = folder / "log", LOGS / f"{folder.name}.log"
        log.touch()
        try:
            certificates = namespace.enter(folder, HOSTS)
            with running(folder, certificates, log) as cloud:
                return _go_through(Deployment(cloud, folder, wheels, log))
        finally:
            LOGS.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(log, kept)
            print(f"e2e: all that was said is in {kept}")


def _go_through(deployment: Deployment) -> int:
    begun = time.monotonic()
    for step in STEPS:
        started = time.monotonic()
        print(f"e2e: {step.__name__}: {step.__doc__} ", end="", flush=True)
        try:
            step(deployment)
        except (StepError, CommandError, subprocess.SubprocessError) as error:
            print(f"\ne2e: {step.__name__} FAILED\n{error}")
            return 1
        print(f"({time.monotonic() - started:.0f} s)", flush=True)
    print(f"e2e: every step succeeded, in {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("e2e: stopped")
