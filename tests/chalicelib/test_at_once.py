"""Calls made beside a block: again and again, and none when it has ended."""

from __future__ import annotations

import threading

import pytest

from chalicelib.at_once import in_a_thread

PATIENCE = 10.0
"""Seconds after which a call that should have come fails the test."""


def test_a_call_is_repeated_beside_a_block_until_that_ends() -> None:
    """Whatever the block does; afterwards no call is in progress or begins."""
    calls, thrice = [], threading.Event()

    def call() -> bool:
        calls.append(threading.get_ident())
        if len(calls) == 3:
            thrice.set()
        return True

    def block() -> None:
        with in_a_thread(0.001, call):
            assert thrice.wait(PATIENCE)
            raise ValueError("the block's own")

    with pytest.raises(ValueError, match="the block's own"):
        block()
    assert threading.get_ident() not in calls
    assert not [thread for thread in threading.enumerate() if thread.ident in calls]


def test_a_call_can_end_the_repeats() -> None:
    """Its thread ends, though the block continues."""
    calls, called = [], threading.Event()

    def call() -> bool:
        calls.append(threading.current_thread())
        called.set()
        return False

    with in_a_thread(0.001, call):
        assert called.wait(PATIENCE)
        calls[0].join(PATIENCE)
        assert not calls[0].is_alive()
    assert len(calls) == 1


def test_a_block_that_is_short_makes_no_call() -> None:
    """It does not wait for the time of the first call."""
    with in_a_thread(3600.0, lambda: pytest.fail("it was called")):
        pass
