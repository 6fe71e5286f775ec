"""Drill 3, third part: AWS throttles for minutes, and the client waits as Retry-After says.

However long that lasts and wherever in a request it begins, the upload then goes on from the bytes
that it had. This module must never accept that a session ends which no client cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.drills.crashes import judge, undisturbed
from tests.drills.faults import acts
from tests.drills.figures import Figures
from tests.drills.operations import ALL
from tests.drills.support.client import Stage
from tests.drills.support.ledger import Violation
from tests.drills.support.points import Call, Gate, Late

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.drills.support.worlds import World

OPERATIONS = (
    "append to a tail",
    "append a part after a tail",
    "commit a tail",
    "commit a tail and a body",
    "commit parts and a body",
    "commit as sha512",
    "POST, one PATCH, PUT",
    "parts, commit",
)
"""In each of them every session has to be committed."""

S3, DYNAMODB = ("s3", "objects"), ("dynamodb", "sessions", "metadata")
SERVICES = {"S3": S3, "DynamoDB": DYNAMODB, "both": (*S3, *DYNAMODB)}
"""What is throttled, and the names that its calls begin with in one world or another."""

WAYS = ("throttled", "throttled after")
"""The second only at ports: there the SDK's last attempt is throttled, and an earlier one took
effect."""

SHORT, LONG = 200.0, 1800.0
"""In seconds: at a try every two seconds, 100 and 900 failures."""


class Case(NamedTuple):
    """What is throttled, from which call of an operation on, how, and for how many seconds."""

    operation: str
    service: str
    way: str
    begin: int
    seconds: float
    every: int
    """1: each of its calls fails; 2: every second one, so that requests get half through."""


class ThrottledGate(Gate):
    """A gate at which calls of some services are throttled, from one call on, for some time."""

    def __init__(self, world: World, case: Case) -> None:
        super().__init__()
        self.failed = self._met = 0
        self._world = world
        self._case = case
        self._until = 0.0

    def __call__(self, name: str, call: Call) -> Any:  # noqa: ANN401 - each call has an answer of its own
        """Make a call, or fail it while the throttling lasts."""
        now = self._world.clock.now()
        if len(self.trace) == self._case.begin:
            self._until = now + self._case.seconds
        if now >= self._until or not name.startswith(SERVICES[self._case.service]):
            return super().__call__(name, call)
        self._met += 1
        if self._met % self._case.every:
            return super().__call__(name, call)
        self.failed += 1
        act = acts(self._world, name)[self._case.way]
        assert not isinstance(act, Late)
        return super().__call__(name, lambda: act(call))


def drill(world: World, cases: Iterable[Case]) -> Figures:
    """Run every case."""
    figures = Figures()
    for case in cases:
        figures.schedules += 1
        with figures.losing("throttling", world.name, *case):
            figures.faults += through(world, case)
    return figures


def cases(world: World, seconds: float, every: Iterable[int] = (1, 2)) -> Iterable[Case]:
    """All cases of so many seconds: for each service, from each call of each operation on."""
    rows = {operation.name: operation for operation in ALL}
    for name in OPERATIONS:
        for begin, call in enumerate(undisturbed(world, rows[name])):
            for service, calls in SERVICES.items():
                if not call.startswith(calls):
                    continue  # it begins at a call that fails
                for way in WAYS:
                    if way in acts(world, call):
                        yield from (
                            Case(name, service, way, begin, seconds, one_in) for one_in in every
                        )


def through(world: World, case: Case) -> int:
    """Do one operation while AWS throttles; returns how many calls failed."""
    operation = next(row for row in ALL if row.name == case.operation)
    stage, prepared = Stage.prepared(world, operation)
    before = set(stage.world.snapshot().sessions)
    gate = ThrottledGate(stage.world, case)
    operation.act(stage.client(gate, tries=int(case.seconds) + 100), prepared)
    _require_one_session(stage, before)
    judge(stage)
    return gate.failed


def _require_one_session(stage: Stage, before: set[str]) -> None:
    """Require that the upload went on where it was: no other session was begun."""
    begun = set(stage.world.snapshot().sessions) - before
    if before and begun:
        raise Violation(f"{before} was left, and {begun} begun")
