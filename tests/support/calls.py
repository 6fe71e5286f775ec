"""Counting what a registry asks of AWS: every API call that boto3 clients make.

A call is counted once, however often botocore sends it; `attempts` counts what is sent. Nothing
here may change a call.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

from botocore.client import BaseClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Call:
    """One API call. `params` lacks Body, whose length is `body_bytes` where it was bytes."""

    service: str
    operation: str
    params: Mapping[str, Any]
    body_bytes: int | None = None


@dataclass
class CallRecorder:
    """The calls, in the order they began; safe to use from many threads."""

    _calls: list[Call] = field(default_factory=list)
    _attempts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def calls(self) -> list[Call]:
        """All calls so far."""
        with self._lock:
            return list(self._calls)

    @property
    def attempts(self) -> Counter[str]:
        """How many requests each service was sent, repeats by botocore included."""
        with self._lock:
            return Counter(self._attempts)

    def of(self, service: str | None = None, operation: str | None = None) -> list[Call]:
        """Return the calls of one service, and of one operation."""
        return [
            call
            for call in self.calls
            if service in {None, call.service} and operation in {None, call.operation}
        ]

    def count(self, service: str | None = None, operation: str | None = None) -> int:
        """Return how many calls `of` returns."""
        return len(self.of(service, operation))

    def operations(self, service: str | None = None) -> Counter[str]:
        """Return how often each operation was called."""
        return Counter(call.operation for call in self.of(service))

    def clear(self) -> None:
        """Forget everything so far."""
        with self._lock:
            self._calls.clear()
            self._attempts.clear()

    def add(self, service: str, operation: str, params: Mapping[str, Any]) -> None:
        """Record one call."""
        body = params.get("Body")
        length = len(body) if isinstance(body, bytes | bytearray) else None
        others = {name: value for name, value in params.items() if name != "Body"}
        with self._lock:
            self._calls.append(Call(service, operation, others, length))

    def watch(self, client: Any) -> ExitStack:  # noqa: ANN401 - any boto3 client, or a wrapper of one
        """Record a client's calls until the stack returned is closed."""
        events = client.meta.events

        def called(params: Mapping[str, Any], model: Any, **_: object) -> None:  # noqa: ANN401 - botocore's model
            self.add(model.service_model.service_name, model.name, params)

        service = client.meta.service_model.service_name

        def sent(**_: object) -> None:
            with self._lock:
                self._attempts[service] += 1

        stack = ExitStack()
        for event, handler in (("provide-client-params", called), ("before-send", sent)):
            events.register_first(event, handler)
            stack.callback(events.unregister, event, handler)
        return stack


@contextmanager
def record_calls(*clients: Any) -> Iterator[CallRecorder]:  # noqa: ANN401 - any boto3 clients
    """Record the calls of `clients`, or with none given of every client in this process."""
    recorder = CallRecorder()
    with ExitStack() as stack:
        if not clients:
            stack.enter_context(_every_client(recorder))
        for client in clients:
            stack.enter_context(recorder.watch(client))
        yield recorder


@contextmanager
def _every_client(recorder: CallRecorder) -> Iterator[None]:
    # Event hooks reach only clients made after them; the method that all calls go through
    # reaches those made before as well. It has no public name. Clients are watched as they call.
    call = BaseClient._make_api_call  # type: ignore[attr-defined]  # noqa: SLF001 - as said above
    watched: set[BaseClient] = set()
    lock = threading.Lock()

    with ExitStack() as stack:

        def recorded(self: BaseClient, operation: str, params: dict[str, Any]) -> object:
            with lock:
                if self not in watched:
                    watched.add(self)
                    stack.enter_context(recorder.watch(self))
            return call(self, operation, params)

        with mock.patch.object(BaseClient, "_make_api_call", recorded):
            yield
