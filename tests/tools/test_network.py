"""Commands that use the network are run again when they fail, and not for ever."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.support import network

if TYPE_CHECKING:
    from pathlib import Path

# Notes each run in a file, and ends well from the run that it is told on.
PROGRAM = """
import pathlib, sys
runs = pathlib.Path(sys.argv[1])
with runs.open("a") as file:
    file.write("x")
if len(runs.read_text()) < int(sys.argv[2]):
    sys.exit("no route to host")
print("done")
"""


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, in seconds, none of which takes any time."""
    waited: list[float] = []
    monkeypatch.setattr(network, "time", SimpleNamespace(sleep=waited.append))
    return waited


def command(runs: Path, good_from: int) -> list[str]:
    """Return a command that fails before its so-manieth run."""
    return [sys.executable, "-c", PROGRAM, str(runs), str(good_from)]


@pytest.mark.parametrize("good_from", [1, 2, 3, 4])
def test_a_command_that_fails_is_run_three_times_at_most(
    tmp_path: Path, waits: list[float], capsys: pytest.CaptureFixture[str], good_from: int
) -> None:
    """It is waited between the runs, each failure is told, and the last run is what counts."""
    runs, status = min(good_from, 3), int(good_from > 3)
    done = network.run(command(tmp_path / "runs", good_from), capture_output=True, text=True)
    assert done.returncode == status
    assert (tmp_path / "runs").read_text() == "x" * runs
    assert waits == [10.0] * (runs - 1)
    told = capsys.readouterr().err
    assert told.count("failed with exit status 1: no route to host") == runs - 1


def test_a_failure_that_no_repeat_would_help_is_not_repeated(
    tmp_path: Path, waits: list[float]
) -> None:
    """A failure that no other try would mend is not waited on."""
    done = network.run(command(tmp_path / "runs", 9), failed=lambda _: False, capture_output=True)
    assert done.returncode == 1
    assert (tmp_path / "runs").read_text() == "x"
    assert waits == []


def test_a_command_that_hangs_is_run_once(waits: list[float]) -> None:
    """Its timeout is the end of it: three of those would outlast the whole run."""
    with pytest.raises(subprocess.TimeoutExpired):
        network.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2)
    assert waits == []
