"""What is left out of MiniStack, so that it keeps what tests have stored."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.emulators import ministack_server

# In a process of its own: a module starts its threads once, when it is first imported.
PROGRAM = """
import sys, threading
from tests.emulators import ministack_server as server
if sys.argv[1:]:
    server.import_without(server.TABLES, server.REAPER)
else:
    __import__(server.TABLES)
sys.exit(3 * (server.REAPER in {thread.name for thread in threading.enumerate()}))
"""


@pytest.mark.parametrize("without", [[], ["without"]], ids=["as it is", "ours"])
def test_nothing_that_has_outlived_its_time_is_deleted(without: list[str]) -> None:
    """Left to itself the emulator starts a thread that does so; ours has none."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, *without], check=False, timeout=120)
    assert done.returncode == (0 if without else 3)


def test_a_thread_that_is_not_found_is_an_error() -> None:
    """A version that deletes by other means is noticed when the emulator starts."""
    with pytest.raises(RuntimeError, match="started 0 threads 'dynamodb-ttl-reaper'"):
        ministack_server.import_without("tests.emulators.ministack_server", ministack_server.REAPER)
