"""Being asked to stop by a signal, wherever in the wait it comes."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from moorage.common.project import PROJECT
from moorage.local.stopping import StopRequest, asked_to_stop

# Waits again and again; in the Nth wait the signal comes at the Nth instruction of Python's that
# the wait runs, until a wait has fewer than that. Prints how many places that were.
_SIGNAL_AT_EVERY_STEP = textwrap.dedent(
    """
    import faulthandler, signal, sys
    {make}
    faulthandler.dump_traceback_later({patience}, exit=True)
    place, raised = 0, True
    while raised:
        place, seen, raised = place + 1, 0, False
        with made() as stopping:
            def trace(frame, event, argument):
                global seen, raised
                frame.f_trace_opcodes = True
                if event == "opcode" and not raised:
                    seen += 1
                    if seen == place:
                        raised = True
                        signal.raise_signal(signal.SIGTERM)
                return trace
            sys.settrace(trace)
            stopping.wait(0.01)
            sys.settrace(None)
            assert stopping.is_set() == raised
            if raised:
                assert stopping.wait(5)
    print(place - 1)
    """
)
_OURS = "from moorage.local.stopping import asked_to_stop as made"
_EVENT = """
import contextlib, threading
@contextlib.contextmanager
def made():
    event = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: event.set())
    yield event
"""


def _run(make: str, patience_seconds: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _SIGNAL_AT_EVERY_STEP.format(make=make, patience=patience_seconds)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_signal_at_any_step_of_the_wait_is_seen() -> None:
    """At no instruction of the wait does a signal hang it or get lost."""
    done = _run(_OURS, 30)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_a_threading_event_hangs() -> None:
    """The same program hangs with it, so the test above can fail."""
    done = _run(_EVENT, 1)
    assert done.returncode != 0
    assert "Timeout" in done.stderr


@pytest.mark.parametrize("asked", [True, False])
def test_a_wait_ends_at_a_request_or_at_its_time(*, asked: bool) -> None:
    """It returns whether the stop was requested."""
    stopping = StopRequest()
    if asked:
        threading.Timer(0.1, stopping.set).start()
    began = time.monotonic()
    assert stopping.wait(20 if asked else 0.05) is asked
    assert time.monotonic() - began < 15
    assert stopping.wait(0) is stopping.is_set() is asked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_signals_that_end_a_program_request_a_stop(number: signal.Signals) -> None:
    """Until the block ends; then their handlers are the former ones."""
    before = signal.getsignal(number)
    with asked_to_stop() as stopping:
        assert not stopping.is_set()
        signal.raise_signal(number)
        assert stopping.wait(5)
    assert signal.getsignal(number) is before
