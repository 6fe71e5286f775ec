"""The throttle of failed logins: after too many of them a login is answered with 429.

They are counted by source address and user name together, in windows of five minutes. That slows
down guessing and locks nobody out: the right password still works from another address. Guessing is
hopeless anyway (see credentials.py), so changing the name each time gains nothing; what the
throttle saves is the work for programs that repeat a wrong password. This module must never keep a
user name as it came: it is any text, and people type passwords into the wrong field.
"""

import hashlib
import ipaddress
import math
from dataclasses import dataclass

from chalicelib.access.ports import AccessStore
from chalicelib.errors import TooManyRequestsError

LIMIT = 10
"""Failed logins of one source and name in one window, after which no login is looked at."""

WINDOW = 300
"""Seconds of a window. Windows begin at multiples of it."""

KEPT = 3600
"""Seconds after its window for which a counter is kept at least."""

_IPV6_NETWORK = 64


@dataclass(frozen=True, slots=True)
class Throttle:
    """Counts failed logins."""

    store: AccessStore

    def check(self, source: str, name: str, now: float) -> None:
        """Return if a login may be looked at; raises TooManyRequestsError with when to retry."""
        if self.store.failures(counter_key(source, name), window_of(now)) >= LIMIT:
            raise TooManyRequestsError(
                "too many failed logins from this address: wait, and check user name and password",
                retry_after=max(1, math.ceil((window_of(now) + 1) * WINDOW - now)),
            )

    def failed(self, source: str, name: str, now: float, attempt: str) -> None:
        """Count a failed login; `attempt` is fresh for each, so that none is counted twice."""
        window = window_of(now)
        drop_at = (window + 1) * WINDOW + KEPT
        self.store.add_failure(counter_key(source, name), window, attempt, drop_at)


def window_of(now: float) -> int:
    """Return the number of the window in which a time falls."""
    return int(now // WINDOW)


def counter_key(source: str, name: str) -> str:
    """Return the key of a source's and name's counter: 64 hexadecimal digits."""
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
