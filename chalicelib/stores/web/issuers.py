"""The keys of other issuers, fetched from where they publish them and kept for an hour.

Nobody can make the registry fetch them often: after an unknown key, or a failure, it waits for some
time. Callers must name only issuers that a trust names. This module must never report a key as
unknown because an issuer did not answer.
Source: OpenID Connect Discovery 1.0 (4).
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import field, replace

from chalicelib.access.federation.key_sets import KeySet, KeySetError, parse_key_set
from chalicelib.access.trusts import AWS, LOOPBACK, parse_issuer
from chalicelib.dataclass import dataclass
from chalicelib.errors import UnavailableError
from chalicelib.stores.web.fetches import DEADLINE, Fetch, FetchError, fetch
from chalicelib.strict_json import JsonInvalidError, read_object

KEPT = 3600
"""Seconds from one reading of keys to the next: a withdrawn key is accepted that long."""

UNKNOWN_FOR = 60
"""Seconds from one reading to the next that an unknown key can cause."""

FAILED_FOR = 10
"""Seconds after a failure until an issuer whose keys are not known is tried again."""

MAX_BYTES = 256 * 1024
"""Most bytes of a document."""

_HEADERS = {"Accept": "application/json"}
_KEYS_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[::1\]|[A-Za-z0-9.-]{1,253})(?::[0-9]{1,5})?"
    r"(?:[/?][!-~]{0,1024})?"
)


class _UnusableError(Exception):
    """What an issuer publishes can't be used; the message says why."""


@dataclass(frozen=True)
class _Reading:
    """What was read of an issuer. Times by the clock of `Issuers`; None: never."""

    keys: KeySet = field(default_factory=dict)
    read_at: float | None = None
    tried_at: float | None = None
    failed: bool = False

    def is_fresh(self, now: float) -> bool:
        """Whether these keys are still used."""
        return self.read_at is not None and now < self.read_at + KEPT

    def is_resting(self, now: float) -> bool:
        """Whether it is too soon to read again."""
        rest = UNKNOWN_FOR if self.is_fresh(now) else FAILED_FOR
        return self.tried_at is not None and now < self.tried_at + rest


class Issuers:
    """`KeySets` by discovery. `clock` gives seconds that never go back, from any beginning."""

    def __init__(
        self, *, fetch: Fetch = fetch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._readings: dict[str, _Reading] = {}

    def keys(self, issuer: str, key_id: str | None) -> KeySet:
        """Return an issuer's keys; read again for a `key_id` that is not among them.

        One reading serves all who wait for it. Raises UnavailableError.
        """
        with self._lock(issuer):
            now = self._clock()
            reading = self._readings.get(issuer, _Reading())
            is_known = key_id is None or key_id in reading.keys
            if reading.is_fresh(now) and is_known:
                return reading.keys
            if not reading.is_resting(now):
                reading = self._read(issuer, reading, now)
            if reading.failed:
                raise _unavailable()
            return reading.keys

    def _lock(self, issuer: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(issuer, threading.Lock())

    def _read(self, issuer: str, before: _Reading, now: float) -> _Reading:
        """Read an issuer's keys, and keep them, or that it failed; raises UnavailableError."""
        try:
            keys = self._published(issuer)
        except (FetchError, JsonInvalidError, KeySetError, _UnusableError) as error:
            self._readings[issuer] = replace(before, tried_at=now, failed=True)
            raise _unavailable() from error
        self._readings[issuer] = _Reading(keys, now, now)
        return self._readings[issuer]

    def _published(self, issuer: str) -> KeySet:
        if issuer == AWS:
            raise _UnusableError("AWS confirms its identities by STS, and publishes no keys")
        end = time.monotonic() + DEADLINE  # for both: all who wait for these keys wait so long
        url = f"{parse_issuer(issuer).removesuffix('/')}/.well-known/openid-configuration"
        document = read_object(self._get(url, end))
        if document.get("issuer") != issuer:
            raise _UnusableError("the discovery document is another issuer's")
        return parse_key_set(self._get(_keys_url(issuer, document.get("jwks_uri")), end))

    def _get(self, url: str, end: float) -> bytes:
        answer = self._fetch(url, limit=MAX_BYTES, headers=_HEADERS, end=end)
        if answer.status != 200:  # noqa: PLR2004 - OK
            raise _UnusableError(f"{url} was answered with the status {answer.status}")
        return answer.body


def _keys_url(issuer: str, value: object) -> str:
    """Return the URL of an issuer's keys, with TLS if the issuer has it; raises _UnusableError."""
    form = _KEYS_URL.fullmatch(value) if isinstance(value, str) else None
    if form is None:
        raise _UnusableError("the discovery document has no usable `jwks_uri`")
    is_local = issuer.startswith("http:") and form["host"] in LOOPBACK
    if form["scheme"] != "https" and not is_local:
        raise _UnusableError("the discovery document has a `jwks_uri` without TLS")
    return form[0]


def _unavailable() -> UnavailableError:
    return UnavailableError(
        "the issuer of this identity could not be asked for its keys", retry_after=FAILED_FOR
    )
