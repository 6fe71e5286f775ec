"""Peaks of memory: they are the kernel's, and a process without one is no figure of 0."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.memory import Peak, peak_of, table


def test_a_peak_outlasts_what_was_held() -> None:
    """A process that held 64 MB for a moment has had them."""
    before = peak_of(os.getpid())
    held = bytearray(os.urandom(1)) * 64_000_000
    assert peak_of(os.getpid()) >= before
    del held
    assert peak_of(os.getpid()) >= 64_000_000


def test_a_process_that_has_ended_has_no_peak() -> None:
    """Its status is a zombie's, or gone."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ValueError, match="there is no peak of memory"):
            peak_of(process.pid)


def test_the_table_has_megabytes() -> None:
    """A row for each process."""
    assert table([Peak("a", 1_600_000)]).splitlines()[2:] == ["| a | 2 MB |"]
