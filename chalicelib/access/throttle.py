"""The throttle of failed logins: a wrong login that is repeated again and again is answered 429.

Failures are counted by source address and by the presented secret (a password, a refresh token, a
proof of identity), in windows of five minutes. The throttle stops programs that repeat a login
which is no longer valid. It locks out nobody else behind the same address or with the same user
name: other secrets are counted separately, and a valid login is never counted.

Somebody who guesses presents another secret each time, and is not stopped here: guessing 256 random
bits is hopeless at any speed (see credentials.py), and a limit for each source address would stop
everybody behind it. API Gateway's throttle of the token endpoint bounds the cost of guesses. This
module must never keep a presented secret, only a hash of it together with the source.
"""

import hashlib
import ipaddress
import math

from chalicelib.access.ports import AccessStore
from chalicelib.dataclass import dataclass
from chalicelib.errors import TooManyRequestsError

LIMIT = 10
"""Failures of one login from one source in one window, after which it is not looked at."""

WINDOW = 300
"""Seconds of a window. Windows begin at multiples of it."""

KEPT = 3600
"""Seconds after its window for which a counter is kept at least."""

_IPV6_NETWORK = 64


@dataclass(frozen=True)
class Throttle:
    """Counts failed logins."""

    store: AccessStore

    def check(self, source: str, presented: str, now: float) -> None:
        """Return if a login may be looked at; raises TooManyRequestsError with when to retry."""
        if self.store.failures(counter_key(source, presented), window_of(now)) >= LIMIT:
            raise TooManyRequestsError(
                "this login has failed too often: it is not valid, so log in with another one",
                retry_after=max(1, math.ceil((window_of(now) + 1) * WINDOW - now)),
            )

    def failed(self, source: str, presented: str, now: float, attempt: str) -> None:
        """Count a failed login; `attempt` is fresh for each, so that none is counted twice."""
        window = window_of(now)
        drop_at = (window + 1) * WINDOW + KEPT
        self.store.add_failure(counter_key(source, presented), window, attempt, drop_at)


def window_of(now: float) -> int:
    """Return the number of the window in which a time falls."""
    return int(now // WINDOW)


def counter_key(source: str, presented: str) -> str:
    """Return the key of the counter of one login from one source: 64 hexadecimal digits."""
    text = f"{network_of(source)}\n{presented}"
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
