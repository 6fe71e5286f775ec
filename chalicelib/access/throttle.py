"""Failed logins are counted, and too many of them answered with 429.

They are counted by source and user name together, in windows of five minutes: whoever guesses is
slowed down, and nobody is locked out by it, for the right password still works from elsewhere. The
guesses themselves are hopeless (see credentials.py), so changing the name with each gains nothing;
what is saved is the work of programs that repeat a wrong password. This module must never keep a
user name as it came: it is any text, and people mistake the fields.
"""

import hashlib
import ipaddress
import math
from typing import Protocol

from chalicelib.errors import TooManyRequestsError

LIMIT = 10
"""Failed logins of one source under one name in one window, after which none is looked at."""

WINDOW = 300
"""Seconds of a window. Windows begin at multiples of it, the same for everybody."""

KEPT = 3600
"""Seconds after its window for which a counter is kept at least."""

_IPV6_NETWORK = 64


class Counters(Protocol):
    """The part of `AccessStore` that counts."""

    def failures(self, key: str, window: int) -> int:
        """See AccessStore."""

    def add_failure(self, key: str, window: int, attempt: str, drop_at: float) -> int:
        """See AccessStore."""


class Throttle:
    """Counts failed logins."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def check(self, source: str, name: str, now: float) -> None:
        """Return if a login may be looked at; raises TooManyRequestsError with when to retry."""
        if self._counters.failures(counter_key(source, name), window_of(now)) >= LIMIT:
            raise TooManyRequestsError(
                "too many failed logins from this address: wait, and check user name and password",
                retry_after=max(1, math.ceil((window_of(now) + 1) * WINDOW - now)),
            )

    def failed(self, source: str, name: str, now: float, attempt: str) -> None:
        """Count a failed login; `attempt` is fresh for each, so that none is counted twice."""
        window = window_of(now)
        drop_at = (window + 1) * WINDOW + KEPT
        self._counters.add_failure(counter_key(source, name), window, attempt, drop_at)


def window_of(now: float) -> int:
    """Return the number of the window in which a time falls."""
    return int(now // WINDOW)


def counter_key(source: str, name: str) -> str:
    """Return what failures of a source under a name are counted by: 64 hexadecimal digits."""
    text = f"{network_of(source)}\n{name}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def network_of(source: str) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 that one IPv6 host has."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        bits = 128 - _IPV6_NETWORK
        return str(ipaddress.IPv6Address(int(address) >> bits << bits))
    return str(address)
