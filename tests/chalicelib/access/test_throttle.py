"""Failed logins: one that a source repeats too often is answered with 429, and no other one."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import pytest

from chalicelib.access.throttle import LIMIT, WINDOW, Throttle, counter_key, network_of, window_of
from chalicelib.errors import TooManyRequestsError
from tests.chalicelib.access.values import NOW
from tests.support.memory_access import MemoryAccessStore

HERE = "192.0.2.1"


@dataclass
class Login:
    """Logins with one wrong password from HERE, before which there were none."""

    throttle: Throttle = field(default_factory=lambda: Throttle(MemoryAccessStore()))

    def fail(self, times: int, now: float = NOW) -> None:
        """Fail so many times."""
        for _ in range(times):
            self.throttle.failed(HERE, "moor_stale", now, uuid.uuid4().hex)

    def wait(self, now: float = NOW) -> int:
        """Return how many seconds another login would have to wait."""
        try:
            self.throttle.check(HERE, "moor_stale", now)
        except TooManyRequestsError as error:
            return error.retry_after
        return 0


def test_after_limit_failures_logins_wait_for_the_end_of_the_window() -> None:
    """Fewer failures change nothing, and those of the window before do not count."""
    login, end = Login(), (window_of(NOW) + 1) * WINDOW
    login.fail(LIMIT - 1)
    assert login.wait() == 0
    login.fail(1)
    assert 1 <= login.wait() <= WINDOW
    assert login.wait(end - 0.001) == 1
    assert login.wait(NOW + login.wait()) == login.wait(end) == 0


def test_an_attempt_counts_once() -> None:
    """Even if the write is repeated."""
    login = Login()
    for _ in range(LIMIT):
        login.throttle.failed(HERE, "moor_stale", NOW, "the same")
    assert login.wait() == 0


NETWORKS = {
    "192.0.2.1": "192.0.2.1",
    "2001:db8::1": "2001:db8::",
    "2001:db8:0:0:ffff:ffff:ffff:ffff": "2001:db8::",
    "2001:db8:0:1::1": "2001:db8:0:1::",
    "::ffff:192.0.2.1": "192.0.2.1",
    **dict.fromkeys(("", "192.0.2.1, 10.0.0.1", "192.0.2.1\n"), "unknown"),
}


@pytest.mark.parametrize("source", NETWORKS)
def test_a_source_is_an_address_or_the_network_of_one_host(source: str) -> None:
    """Which for IPv6 is a /64; anything else is unknown."""
    assert network_of(source) == NETWORKS[source]


def test_a_counters_key_hides_what_was_presented() -> None:
    """It is a hash of source and secret together, which no two pairs share."""
    assert counter_key(HERE, "moor_secret") == counter_key(HERE, "moor_secret")
    keys = {counter_key(HERE, each) for each in ("", "a", "a\n", "\0", "\ud800", "x" * 10_000)}
    assert len(keys) == 6
    assert all(len(key) == 64 for key in keys)
