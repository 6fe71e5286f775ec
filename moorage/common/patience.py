"""Retries: which answers of a registry are retried, after what time, and for how long.

This module must never repeat a request by itself whose second run could do what the first didn't.
"""

import asyncio
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, Protocol

import aiohttp
from multidict import CIMultiDict

from moorage.common.http import whole_number

FAILURES: Final = (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError)
"""The errors of a request that may have been sent, and whose answer was lost."""
AGAIN: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
LONGEST_WAIT: Final = 5.0
"""The longest wait that no Retry-After asks for, in seconds."""
COMMIT_RUNNING: Final = ("Moorage-Commit", "running")
"""The header of a 503 by which the registry says that somebody drives the commit."""
LONGEST_COMMIT: Final = 6 * 3600.0
"""How long a commit that has a driver is waited for, in seconds."""
_FIRST_WAIT = 0.1
# The longest Retry-After that is obeyed: a request that died upstream holds its lease for 34 s.
_LONGEST_RETRY_AFTER = 40.0


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """A whole answer of the upstream's, with a small body."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


class UploadUpstream(Protocol):
    """The registry that takes an upload."""

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: memoryview | None = None
    ) -> UpstreamResponse:
        """Send a request whose body is in memory and read the whole answer.

        `path` is a Location as the registry gave it, and a query.
        """


class ExhaustedError(Exception):
    """The upstream made no progress for longer than the patience; the session stays."""


class Patience:
    """How long to go on without progress, and how long to wait before each try; in seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = time.monotonic()
        self.renew()

    def renew(self, at_most: float = math.inf) -> None:
        """Start the time again, after progress; `at_most` so many seconds from the beginning on."""
        self._given_up = min(time.monotonic() + self._seconds, self._began + at_most)
        self._wait = _FIRST_WAIT

    def put_off(self, seconds: float) -> None:
        """Let the patience last so much longer."""
        self._given_up += seconds

    def delay(self, answer: UpstreamResponse | None) -> float:
        """Return the seconds until the next try: Retry-After, else twice the last; plus jitter.

        A commit that is driven is progress. Raises ExhaustedError when the patience is over.
        """
        name, running = COMMIT_RUNNING
        if answer is not None and answer.headers.get(name) == running:
            self.renew(LONGEST_COMMIT)
        if time.monotonic() > self._given_up:
            raise ExhaustedError
        named = _retry_after(answer, self._wait)
        seconds = min(max(named, _FIRST_WAIT), _LONGEST_RETRY_AFTER)
        self._wait = min(self._wait * 2, LONGEST_WAIT)
        return seconds * random.uniform(1.0, 1.2)  # noqa: S311 - jitter, not a secret


async def ask_patiently(  # noqa: PLR0913 - a request is five of these
    upstream: UploadUpstream,
    path: str,
    headers: Mapping[str, str],
    body: memoryview | None,
    seconds: float,
    method: str = "POST",
) -> UpstreamResponse:
    """Send what may be repeated, for so many seconds while the registry fails; return its answer.

    So may a POST to where uploads start: a second session that it opens is swept, and a blob is
    stored under its digest. An answer that asks for a longer wait than the proxy's is the client's
    to obey. Raises what the last request raised when no answer came.
    """
    patience = Patience(seconds)
    while True:
        answer: UpstreamResponse | None = None
        lost: BaseException | None = None
        try:
            answer = await upstream.ask(method, path, headers, body)
        except FAILURES as failed:
            lost = failed
        if answer is not None:
            long = _retry_after(answer, 0.0) > _LONGEST_RETRY_AFTER
            if answer.status not in AGAIN or long:
                return answer
        try:
            await asyncio.sleep(patience.delay(answer))
        except ExhaustedError:
            if answer is not None:
                return answer
            raise lost or ExhaustedError from None


def _retry_after(answer: UpstreamResponse | None, default: float) -> float:
    """Return an answer's Retry-After in seconds; it says so many, or a date (RFC 9110, 10.2.3)."""
    named = answer.headers.get("Retry-After", "") if answer is not None else ""
    seconds = whole_number(named)
    if seconds is not None:
        return float(seconds)
    try:
        return max(parsedate_to_datetime(named).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return default
