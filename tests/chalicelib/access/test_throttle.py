"""Failed logins: too many of one source under one name are answered with 429, and no others."""

from __future__ import annotations

import uuid

import pytest

from chalicelib.access.throttle import LIMIT, WINDOW, Throttle, counter_key, network_of, window_of
from chalicelib.errors import TooManyRequestsError
from tests.chalicelib.access.values import NOW
from tests.support.memory_access import MemoryAccessStore

HERE = "192.0.2.1"


def throttled(throttle: Throttle, now: float) -> bool:
    """Whether a login as `ci` from HERE would have to wait."""
    try:
        throttle.check(HERE, "ci", now)
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


def test_after_limit_failures_logins_wait_for_the_end_of_the_window(throttle: Throttle) -> None:
    """Fewer failures change nothing."""
    fail(throttle, LIMIT - 1)
    assert not throttled(throttle, NOW)
    fail(throttle, 1)
    with pytest.raises(TooManyRequestsError) as caught:
        throttle.check(HERE, "ci", NOW)
    assert 1 <= caught.value.retry_after <= WINDOW
    assert not throttled(throttle, NOW + caught.value.retry_after)


def test_an_attempt_counts_once(throttle: Throttle) -> None:
    """Even if the write is repeated."""
    for _ in range(LIMIT):
        throttle.failed(HERE, "ci", NOW, "the same")
    assert not throttled(throttle, NOW)


def test_a_new_window_begins_at_zero(throttle: Throttle) -> None:
    """Failures of the window before it do not count."""
    end = (window_of(NOW) + 1) * WINDOW
    fail(throttle, LIMIT, end - 0.001)
    assert throttled(throttle, end - 0.001)
    assert not throttled(throttle, end)


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
def test_a_source_is_an_address_or_the_network_of_one_host(source: str, network: str) -> None:
    """Which for IPv6 is a /64; anything else is unknown."""
    assert network_of(source) == network


def test_a_counters_key_hides_the_name() -> None:
    """It is a hash of source and name together, which no two pairs share."""
    assert counter_key(HERE, "moor_secret") == counter_key(HERE, "moor_secret")
    keys = {counter_key(HERE, name) for name in ("", "a", "a\n", "\0", "\ud800", "x" * 10_000)}
    assert len(keys) == 6
    assert all(len(key) == 64 for key in keys)
