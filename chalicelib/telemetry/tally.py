"""What one invocation did: the calls to AWS that it made, and what a log line tells of it.

A tally is open while an invocation runs; clients count into it, stores note into it, whoever opened
it reads it. This module must never hold a header, a query, a body or a token, nor change a call.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class Happening(StrEnum):
    """What a store saw that the answer to a request does not show."""

    RESUMED = "resumed"
    """A request went on from a hash state that another one had saved."""
    TAKEN_OVER = "taken_over"
    """A request took the lease of one that had died."""
    UNHASHED = "unhashed"
    """A session lost its hash state: its bytes are read again before they are published."""
    COMMITTED = "committed"
    """A blob was published."""


@dataclass(slots=True)
class Tally:
    """What an invocation has done so far; safe to count into from several threads."""

    cold_start: bool = False
    """Whether it is the first of its process."""
    began: float = field(default_factory=time.perf_counter)
    calls: Counter[str] = field(default_factory=Counter)
    """API calls by service, as botocore names it: however often each was sent, it is one."""
    sent: Counter[str] = field(default_factory=Counter)
    """HTTP requests by service: what is above the calls are botocore's retries."""
    happened: Counter[Happening] = field(default_factory=Counter)
    linked_bytes: int = 0
    """The size of the blob whose link was read last."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def called(self, service: str) -> None:
        """Count an API call."""
        with self._lock:
            self.calls[service] += 1

    def sending(self, service: str) -> None:
        """Count a request on its way, be it the first or a repeat."""
        with self._lock:
            self.sent[service] += 1

    def saw(self, happening: Happening) -> None:
        """Count something that a store saw."""
        with self._lock:
            self.happened[happening] += 1

    @property
    def milliseconds(self) -> float:
        """How long it has been open."""
        return (time.perf_counter() - self.began) * 1000

    @property
    def retries(self) -> int:
        """How many requests were repeats."""
        return max(self.sent.total() - self.calls.total(), 0)


class Line(NamedTuple):
    """The log line of one invocation; what does not apply is None. `docs/observability.md`."""

    action: str | None
    """What a principal has to be allowed to do; or the function's name: commit, sweep, authorize.
    """
    status: int
    """The HTTP status; a function beside the API has the one that its outcome would have."""
    milliseconds: float
    cold_start: bool
    s3_calls: int
    dynamodb_calls: int
    other_calls: int
    retries: int
    resumed: bool
    taken_over: bool
    unhashed: bool
    committed: bool
    operation: str | None = None
    """The handler: `uploads.append`."""
    error: str | None = None
    """The code of the answer's error."""
    request_id: str | None = None
    method: str | None = None
    path: str | None = None
    repository: str | None = None
    digest: str | None = None
    session: str | None = None
    principal: str | None = None
    deadline_left: int | None = None
    """Milliseconds that the invocation still had."""
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_redirected: int = 0
    """The size of the blob that S3 was left to send."""
    swept: dict[str, int] | None = None
    """What became of what the sweeper looked at."""
    finished: bool | None = None
    """Whether the sweeper came to the end of what was due."""


_CURRENT: ContextVar[Tally | None] = ContextVar("tally", default=None)
_open: dict[int, Tally] = {}
_starts = itertools.count()
_watchers: list[Callable[[Any], None]] = []


@contextmanager
def tallied() -> Iterator[Tally]:
    """Open a tally for an invocation; calls made in this thread meanwhile count into it."""
    tally = Tally(cold_start=next(_starts) == 0)
    _open[id(tally)] = tally
    token = _CURRENT.set(tally)
    try:
        yield tally
    finally:
        _CURRENT.reset(token)
        del _open[id(tally)]


def current() -> Tally | None:
    """Return the tally that this thread counts into; None if there is none, or no telling which.

    A thread that an invocation starts (copies in parts have some) has no tally of its own: it
    counts into the one that is open, if there is just one. In Lambda there never are more. On the
    local gateway such calls are left out while requests overlap, rather than counted for another.
    """
    own = _CURRENT.get()
    if own is not None:
        return own
    tallies = list(_open.values())
    return tallies[0] if len(tallies) == 1 else None


def note(happening: Happening) -> None:
    """Note what happened in the tally that is open."""
    tally = current()
    if tally is not None:
        tally.saw(happening)


def watch(watcher: Callable[[Any], None]) -> None:
    """Show each client that is made from now on to a watcher, which may listen to its events."""
    _watchers.append(watcher)


def counted(client: Any) -> Any:  # noqa: ANN401 - boto3's clients are made at run time
    """Make a boto3 client count its calls into the tally that is open; returns the client."""
    service = str(client.meta.service_model.service_name)

    def called(**_: object) -> None:
        tally = current()
        if tally is not None:
            tally.called(service)

    def sending(**_: object) -> None:
        tally = current()
        if tally is not None:
            tally.sending(service)

    # A handler that returns something would take the call's place: these return None. A URL that is
    # only signed is no call, and neither event is emitted for it.
    client.meta.events.register("before-call", called, unique_id="moorage-call")
    client.meta.events.register("before-send", sending, unique_id="moorage-send")
    for watcher in _watchers:
        watcher(client)
    return client


def line(tally: Tally, *, action: str | None, status: int, **told: Any) -> Line:  # noqa: ANN401 - any field of Line
    """Put together what a tally holds and what else is told of its invocation."""
    calls = tally.calls
    own = calls["s3"] + calls["dynamodb"]
    happened: dict[str, Any] = {each.value: tally.happened[each] > 0 for each in Happening}
    return Line(
        action=action,
        status=status,
        milliseconds=round(tally.milliseconds, 1),
        cold_start=tally.cold_start,
        s3_calls=calls["s3"],
        dynamodb_calls=calls["dynamodb"],
        other_calls=calls.total() - own,
        retries=tally.retries,
        **happened,
        **told,
    )
