"""Commands that speak to package registries, which fail now and then: three tries, with waits.

Only for commands that do no harm when run again. A command that hangs is not one of those that
fail: its timeout ends it, and the waiting.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TRIES: Final = 3
WAIT: Final = 10.0
"""Seconds between two tries."""


def exited_badly(done: subprocess.CompletedProcess[Any]) -> bool:
    """Whether a command says by its exit status that it failed."""
    return done.returncode != 0


def run(
    command: Sequence[str],
    *,
    failed: Callable[[subprocess.CompletedProcess[Any]], bool] = exited_badly,
    **options: Any,  # noqa: ANN401 - subprocess.run's own
) -> subprocess.CompletedProcess[Any]:
    """Run a command until it hasn't `failed`, three times at most; return its last run.

    The caller judges that one. Raises TimeoutExpired with the first run that lasts too long.
    """
    for left in reversed(range(TRIES)):
        done = subprocess.run(command, check=False, **options)
        if not failed(done) or not left:
            break
        _say(done, left)
        time.sleep(WAIT)
    return done


def _say(done: subprocess.CompletedProcess[Any], left: int) -> None:
    said = [line for line in str(done.stderr or done.stdout or "").splitlines() if line.strip()]
    words = f": {said[-1].strip()}" if said else ""
    print(
        f"{shlex.join(done.args)} failed with exit status {done.returncode}{words}\n"
        f"  again in {WAIT:.0f} s; tries left: {left}",
        file=sys.stderr,
        flush=True,
    )
