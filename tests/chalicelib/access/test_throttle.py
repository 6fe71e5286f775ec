"""Failed logins: too many of one source under one name are answered with 429, and no others."""

from __future__ import annotations

import uuid

import pytest

from chalicelib.access.throttle import LIMIT, WINDOW, Throttle, counter_key, network_of, window_of
from chalicelib.errors import TooManyRequestsError
from tests.chalicelib.access.values import NOW
from tests.support.memory_access import MemoryAccessStore

HERE, THERE = "192.0.2.1", "198.51.100.7"


def throttled(throttle: Throttle, source: str, name: str, now: float) -> bool:
    """Whether a login would not be looked at."""
    try:
        throttle.check(source, name, now)
    except TooManyRequestsError:
        return True
    return False


def fail(throttle: Throttle, times: int, now: float = NOW) -> None:
    """Fail to log in as `ci` from HERE."""
    for _ in range(times):
        throttle.failed(HERE, "ci", now, uuid.uuid4().hex)


@pytest.fixture
def throttle() -> Throttle:
    """A throttle that has seen nothing."""
    return Throttle(MemoryAccessStore())


def test_some_failures_are_nothing(throttle: Throttle) -> None:
    """Fewer failures than the limit change nothing."""
    fail(throttle, LIMIT - 1)
    assert not throttled(throttle, HERE, "ci", NOW)


def test_too_many_failures(throttle: Throttle) -> None:
    """After as many failures as the limit nothing more is looked at until the window ends."""
    fail(throttle, LIMIT)
    with pytest.raises(TooManyRequestsError) as caught:
        throttle.check(HERE, "ci", NOW)
    assert 1 <= caught.value.retry_after <= WINDOW
    assert not throttled(throttle, HERE, "ci", NOW + caught.value.retry_after)


def test_nobody_is_locked_out(throttle: Throttle) -> None:
    """The same name from elsewhere, and another name from the same source, are looked at."""
    fail(throttle, LIMIT * 5)
    assert throttled(throttle, HERE, "ci", NOW)
    assert not throttled(throttle, THERE, "ci", NOW)
    assert not throttled(throttle, HERE, "ops", NOW)
    assert not throttled(throttle, HERE, "", NOW)


def test_an_attempt_counts_once(throttle: Throttle) -> None:
    """An attempt that is told twice is one."""
    for _ in range(LIMIT):
        throttle.failed(HERE, "ci", NOW, "the same")
    assert not throttled(throttle, HERE, "ci", NOW)


def test_a_new_window_begins_with_nothing(throttle: Throttle) -> None:
    """Failures of a window that is over do not count."""
    end = (window_of(NOW) + 1) * WINDOW
    fail(throttle, LIMIT, end - 0.001)
    assert throttled(throttle, HERE, "ci", end - 0.001)
    assert not throttled(throttle, HERE, "ci", end)


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::"),
        ("2001:db8:0:0:ffff:ffff:ffff:ffff", "2001:db8::"),
        ("2001:db8:0:1::1", "2001:db8:0:1::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", "unknown"),
        ("192.0.2.1, 10.0.0.1", "unknown"),
        ("192.0.2.1\n", "unknown"),
    ],
)
def test_sources(source: str, network: str) -> None:
    """A source is an address, or the network that one host has to itself."""
    assert network_of(source) == network


def test_a_counter_says_nothing_of_the_name() -> None:
    """A counter's key is a hash, of one source and one name: none can be made to look like two."""
    assert counter_key(HERE, "moor_secret") == counter_key(HERE, "moor_secret")
    keys = {counter_key(HERE, name) for name in ("", "a", "a\n", "\0", "\ud800", "x" * 10_000)}
    assert len(keys) == 6
    assert all(len(key) == 64 for key in keys)
