"""Points: where each call of a task to a store or to AWS can be stopped, failed or repeated.

A gate stands before everything that one task calls, numbers the calls, and does to each what its
plan orders. It must never make a call after a stop: a process that died makes none.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from chalicelib.registry.outcomes import MultipartUpload, WrittenObject

T = TypeVar("T")

UNDER_WAY = "under way"
"""The end of the name of a point in the middle of a call."""

Call = Callable[[], Any]
"""A call that is about to be made."""

Act = Callable[[Call], Any]
"""What happens at a point instead of plainly making the call."""

_FREE = frozenset({"meta", "exceptions", "presign", "generate_presigned_url"})
"""Attributes that make no call."""


class Stopped(BaseException):
    """The process ended here for good. No `except Exception` may swallow it."""


def go(call: Call) -> Any:  # noqa: ANN401 - each call has an answer of its own
    """Make the call."""
    return call()


def stop_before(_call: Call) -> Any:  # noqa: ANN401 - likewise
    """Die before the call was sent."""
    raise Stopped


def stop_after(call: Call) -> Any:  # noqa: ANN401 - likewise
    """Die after the call took effect, its answer unseen."""
    with suppress(Exception):
        call()
    raise Stopped


def repeat(call: Call) -> Any:  # noqa: ANN401 - likewise
    """Lose the first answer; the SDK sends the same call again, and reports that."""
    with suppress(Exception):
        call()
    return _repeated_answer(call())


def _repeated_answer(answer: Any) -> Any:  # noqa: ANN401 - likewise
    """Return an answer as the SDK does after a call that it sent twice."""
    if isinstance(answer, (MultipartUpload, WrittenObject)):
        return replace(answer, repeated=True)
    if isinstance(answer, dict) and "ResponseMetadata" in answer:
        answer["ResponseMetadata"]["RetryAttempts"] = 1
    return answer


def as_repeated(call: Call) -> Any:  # noqa: ANN401 - likewise
    """Make the call as the second of two, of which the first one is still on its way."""
    return _repeated_answer(call())


def failing(error: Callable[[], Exception], *, after: bool = False) -> Act:
    """Fail with an error, when nothing was done or `after` the call took effect."""

    def act(call: Call) -> Any:  # noqa: ANN401 - likewise
        if after:
            with suppress(Exception):
                call()
        raise error()

    return act


def cut_short(error: Callable[[], Exception]) -> Act:
    """Break off what is read: a stream after its first chunk, anything else unseen."""

    def broken(chunks: Iterator[object]) -> Iterator[object]:
        yield from itertools.islice(chunks, 1)
        raise error()

    def act(call: Call) -> Any:  # noqa: ANN401 - likewise
        answer = call()
        if isinstance(answer, Iterator):
            return broken(answer)
        raise error()

    return act


@dataclass(frozen=True)
class Late:
    """Do `first` at the call, and make the call after so many others: one long on its way.

    What is on its way when the task has ended arrives then.
    """

    calls: int
    first: Act = go


class Gate:
    """Numbers a task's calls from 0 and does to each what the plan orders.

    `turn` is called before each, and may wait there: a scheduler's hold on the task.
    """

    def __init__(
        self,
        plan: Mapping[int, Act | Late] | None = None,
        turn: Callable[[], Act | None] | None = None,
    ) -> None:
        self.trace: list[str] = []
        """The names of the calls so far."""
        self.disturbed: list[int] = []
        """The numbers at which the plan did something."""
        self._plan = dict(plan or {})
        self._turn = turn
        self._late: dict[int, Call] = {}
        self._ended = False
        self._lock = threading.RLock()  # a copy in parts calls from several threads

    def __call__(self, name: str, call: Call) -> Any:  # noqa: ANN401 - likewise
        """Make a call, or do to it what is planned."""
        with self._lock:
            # What _calling does, without what a generator costs: every call comes by here.
            before, _gates.current = getattr(_gates, "current", None), self
            try:
                return self._called(name, call)
            finally:
                _gates.current = before

    def _called(self, name: str, call: Call) -> Any:  # noqa: ANN401 - likewise
        if self._ended:
            raise Stopped
        ordered = self._turn() if self._turn else None
        if ordered is repeat:
            ordered = self._between
        number = len(self.trace)
        self.trace.append(name)
        act = ordered or self._plan.get(number)
        try:
            return self._done(number, call, act)
        except Stopped:
            self._ended = True
            raise
        finally:
            self._land(number)

    def _done(self, number: int, call: Call, act: Act | Late | None) -> Any:  # noqa: ANN401 - likewise
        if act is None:
            return call()
        self.disturbed.append(number)
        if isinstance(act, Late):
            self._late[number + act.calls] = call
            return act.first(call)
        return act(call)

    def _between(self, call: Call) -> Any:  # noqa: ANN401 - likewise
        """Lose the first answer; the repeat is a step of its own, before which others may act."""
        with suppress(Exception):
            call()
        again = self._turn() if self._turn else None
        return _repeated_answer((again or go)(call))

    def _land(self, number: int) -> None:
        """Let a late call arrive after this one."""
        late = self._late.pop(number, None)
        if late is not None:
            with suppress(Exception), _calling(None):
                late()

    def arrive(self) -> None:
        """Let arrive whatever is still on its way."""
        for number in sorted(self._late):
            self._land(number)

    def revive(self) -> None:
        """Let another invocation of the same client begin."""
        self._ended = False


_gates = threading.local()


@contextmanager
def _calling(gate: Gate | None) -> Iterator[None]:
    """Let the calls of this thread go through a gate; through none, they are not disturbed."""
    before = getattr(_gates, "current", None)
    _gates.current = gate
    try:
        yield
    finally:
        _gates.current = before


def under_way(operation: str, effect: Callable[[], None]) -> None:
    """Be a point before a call's effect: others may act, and its caller may die or be failed.

    The effect comes all the same: S3 goes on with what it was asked for.
    """
    gate = getattr(_gates, "current", None)
    try:
        if gate is not None:
            gate(f"{operation} {UNDER_WAY}", lambda: None)
    finally:
        effect()


def gated(target: T, prefix: str, gate: Gate) -> T:
    """Return `target` with every method that it has behind a gate."""
    return cast("T", _Gated(target, prefix, gate))


class _Gated:
    """Anything with methods, behind a gate."""

    def __init__(self, target: object, prefix: str, gate: Gate) -> None:
        self._target = target
        self._prefix = prefix
        self._gate = gate

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the target has
        attribute = getattr(self._target, name)
        if name in _FREE or not callable(attribute):
            return attribute

        def call(*args: object, **kwargs: object) -> object:
            return self._gate(f"{self._prefix}.{name}", lambda: _whole(attribute(*args, **kwargs)))

        return call


def _whole(answer: object) -> object:
    """Read a generator to its end at its point, where its calls are made."""
    return iter(list(answer)) if isinstance(answer, Iterator) else answer
