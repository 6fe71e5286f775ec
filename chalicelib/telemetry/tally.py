"""What one invocation did: its calls to AWS, and what the stores saw.

A tally is open while an invocation runs: clients count calls into it, stores note events in it, and
the invocation's log line (line.py) is made from it. This module must never hold a header, a query,
a body or a token, nor change a call.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field
from enum import StrEnum
from typing import Any

from chalicelib.dataclass import dataclass


class StoreEvent(StrEnum):
    """What a store saw that the answer to a request does not show: a field of the log line each."""

    RESUMED = "resumed"
    """A request went on from a hash state that another one had saved."""
    TAKEN_OVER = "taken_over"
    """A request took the lease of one that had died."""
    UNHASHED = "unhashed"
    """A session lost its hash state: its bytes are read again before they are published."""
    COMMITTED = "committed"
    """A blob was published."""


@dataclass
class Tally:
    """What an invocation has done so far; safe to count into from several threads."""

    cold_start: bool = False
    """Whether it is the first of its process."""
    began: float = field(default_factory=time.perf_counter)
    calls: Counter[str] = field(default_factory=Counter)
    """API calls by service, as botocore names it; one that is sent again is still one call."""
    sent: Counter[str] = field(default_factory=Counter)
    """HTTP requests by service; those beyond the calls are botocore's retries."""
    events: Counter[str] = field(default_factory=Counter)
    linked_bytes: int = 0
    """The size of the blob whose link was read last."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, counter: Counter[str], name: str) -> None:
        """Add one to a counter of this tally."""
        with self._lock:
            counter[name] += 1

    @property
    def milliseconds(self) -> float:
        """How long it has been open."""
        return (time.perf_counter() - self.began) * 1000

    @property
    def retries(self) -> int:
        """How many requests were repeats."""
        return max(self.sent.total() - self.calls.total(), 0)


_CURRENT: ContextVar[Tally | None] = ContextVar("tally", default=None)
_starts = itertools.count()
_watchers: list[Callable[[Any], None]] = []


@contextmanager
def tallied() -> Iterator[Tally]:
    """Open a tally for an invocation; calls made in this context meanwhile count into it.

    A thread that the invocation starts has to run in a copy of its context.
    """
    tally = Tally(cold_start=next(_starts) == 0)
    token = _CURRENT.set(tally)
    try:
        yield tally
    finally:
        _CURRENT.reset(token)


def current() -> Tally | None:
    """Return the tally that this invocation's calls count into; None if none is open."""
    return _CURRENT.get()


def note(event: StoreEvent) -> None:
    """Count an event into the tally that is open."""
    tally = current()
    if tally is not None:
        tally.count(tally.events, event)


def watch(watcher: Callable[[Any], None]) -> None:
    """Show each client that is made from now on to a watcher, which may listen to its events."""
    _watchers.append(watcher)


def counted(client: Any) -> Any:  # noqa: ANN401 - boto3's clients are made at run time
    """Make a boto3 client count its calls into the tally that is open; returns the client."""
    service = str(client.meta.service_model.service_name)

    def called(**_: object) -> None:
        tally = current()
        if tally is not None:
            tally.count(tally.calls, service)

    def sending(**_: object) -> None:
        tally = current()
        if tally is not None:
            tally.count(tally.sent, service)

    # A handler that returns something would take the call's place: these return None. A URL that is
    # only signed is no call, and neither event is emitted for it.
    client.meta.events.register("before-call", called, unique_id="moorage-call")
    client.meta.events.register("before-send", sending, unique_id="moorage-send")
    for watcher in _watchers:
        watcher(client)
    return client
