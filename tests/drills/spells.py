"""Drill 3, third part: AWS throttles for a spell, and the client waits as it is told to, no less.

However long the spell and wherever in a request it begins, the upload then goes on from what was
kept. This module must never let a session go that nobody gave up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.drills.crashes import judge, undisturbed
from tests.drills.faults import acts
from tests.drills.operations import ALL
from tests.drills.support.client import Stage
from tests.drills.support.ledger import Violation
from tests.drills.support.points import Call, Gate, Late
from tests.drills.tally import Tally

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
)
"""Each is a client whose every session has to be taken to its end."""

S3, DYNAMODB = ("s3", "objects"), ("dynamodb", "sessions", "metadata")
SERVICES = {"S3": S3, "DynamoDB": DYNAMODB, "both": (*S3, *DYNAMODB)}
"""What is throttled, and the names that its calls begin with in one world or another."""

WAYS = ("throttled", "throttled after")
"""The second only at ports: that a call was throttled after its effect is what the SDK's last
attempt may say of an earlier one."""

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

    def __str__(self) -> str:
        return "/".join(map(str, self))


class Spell(Gate):
    """A gate at which every call of some services fails, from one call on and for some time."""

    def __init__(self, world: World, case: Case) -> None:
        super().__init__()
        self.failed = self._met = 0
        self._world = world
        self._case = case
        self._until = 0.0

    def __call__(self, name: str, call: Call) -> Any:  # noqa: ANN401 - each call has an answer of its own
        """Make a call, or fail it while the spell lasts."""
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


def drill(world: World, cases: Iterable[Case]) -> Tally:
    """Let each spell come and go."""
    tally = Tally()
    for case in cases:
        tally.schedules += 1
        try:
            tally.faults += through(world, case)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is a loss
            tally.lose(f"spell/{world.name}/{case}", error)
    return tally


def cases(world: World, seconds: float, every: Iterable[int] = (1, 2)) -> Iterable[Case]:
    """All spells of so many seconds: on each service, from each call of each operation on."""
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
    """Do one operation through a spell; returns how many calls failed."""
    operation = next(row for row in ALL if row.name == case.operation)
    stage = Stage.over(world, operation.limits)
    prepared = operation.prepare(stage)
    before = set(stage.world.snapshot().sessions)
    gate = Spell(stage.world, case)
    operation.act(stage.client(gate, tries=int(case.seconds) + 100), prepared)
    _require_one_session(stage, before)
    judge(stage)
    return gate.failed


def _require_one_session(stage: Stage, before: set[str]) -> None:
    """Require that the upload went on where it was: nothing was begun anew beside it."""
    begun = set(stage.world.snapshot().sessions) - before
    if before and begun:
        raise Violation(f"{before} was given up, and {begun} begun")
