"""Schedules: tasks that run one call at a time in an order that is chosen, and can be replayed.

Each task is a thread that runs only when it has the turn, so only one ever runs. Nothing here may
depend on time or on which thread the machine wakes first.
"""

from __future__ import annotations

import _thread
import functools
import itertools
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.errors import TooManyRequestsError, UnavailableError
from tests.drills.support.points import (
    Act,
    Gate,
    Stopped,
    cut_short,
    failing,
    repeat,
    stop_after,
    stop_before,
)

ACTS: Mapping[str, Act | None] = {
    "": None,
    "r": repeat,
    "b": stop_before,
    "a": stop_after,
    "f": failing(UnavailableError),
    "F": failing(UnavailableError, after=True),
    "t": failing(TooManyRequestsError),
    "T": failing(TooManyRequestsError, after=True),
    "c": cut_short(UnavailableError),
}
"""What can be done to a call of a schedule, by its letter; failures as the ports raise them."""


_LETTERS = "".join(ACTS)
_DIGITS = "0123456789"


@dataclass(frozen=True)
class Choice:
    """The task whose call is made next, and what is done to the call: a letter of ACTS."""

    task: int
    act: str = ""

    def __str__(self) -> str:
        return f"{self.task}{self.act}"


@dataclass(frozen=True)
class Step:
    """One choice that was made, and what there was to choose from."""

    choice: Choice
    alive: tuple[int, ...]
    current: int | None

    def preempted_by(self, choice: Choice) -> bool:
        """Whether a choice holds up a task that could have gone on."""
        return self.current in self.alive and choice.task != self.current


Body = Callable[[Gate], None]
Chooser = Callable[[int, tuple[int, ...], int | None], Choice]
"""Given the number of the step, the tasks that can go on, and the last one that did."""


def written(choices: Sequence[Choice]) -> str:
    """Write a schedule down, for replaying it."""
    return ".".join(map(str, choices)) or "-"


def read(text: str) -> list[Choice]:
    """Read a schedule that was written down."""
    parts = [] if text == "-" else text.split(".")
    return [Choice(int(part.rstrip(_LETTERS)), part.lstrip(_DIGITS)) for part in parts]


class _Relay:
    """Tasks in threads of their own, of which the one that has the turn runs.

    At each of its calls a task chooses who goes on. It hands the turn over only if that is
    another one: most calls cost no switch of threads.
    """

    def __init__(self, choose: Chooser, acts: Mapping[str, Act | None]) -> None:
        self.steps: list[Step] = []
        self.errors: dict[int, BaseException] = {}
        self._choose = choose
        self._acts = acts
        self._waiting: dict[int, threading.Lock] = {}
        """The tasks that are not over, and the lock at which each waits for its turn."""
        self._current: int | None = None
        self._main = _taken()

    def run(self, bodies: Sequence[Body]) -> None:
        """Take each task up to its first call, when nothing has happened yet; then let them go."""
        for number, body in enumerate(bodies):
            self._waiting[number] = _taken()
            _thread.start_new_thread(self._run, (number, body))
            self._main.acquire()
        self._pass_on(None)
        self._main.acquire()

    def _run(self, number: int, body: Body) -> None:
        first = True

        def turn() -> Act | None:
            nonlocal first
            if first:
                first = False
                self._main.release()
                self._waiting[number].acquire()
            else:
                self._pass_on(number)
            return self._acts[self.steps[-1].choice.act]

        try:
            body(Gate(turn=turn))
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - whoever runs the schedule judges it
            self.errors[number] = error
        del self._waiting[number]
        if first:  # it made no call at all
            self._main.release()
        else:
            self._pass_on(None)

    def _pass_on(self, giver: int | None) -> None:
        """Choose who goes on; if that is another one, `giver` waits until it has the turn again."""
        if not self._waiting:
            self._main.release()
            return
        alive = tuple(self._waiting)
        choice = self._choose(len(self.steps), alive, self._current)
        self.steps.append(Step(choice, alive, self._current))
        self._current = choice.task
        if choice.task != giver:
            self._waiting[choice.task].release()
            if giver is not None:
                self._waiting[giver].acquire()


def _taken() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def run(
    bodies: Sequence[Body], choose: Chooser, acts: Mapping[str, Act | None] = ACTS
) -> tuple[list[Step], list[BaseException]]:
    """Run tasks to their ends; returns the steps, and what tasks raised."""
    relay = _Relay(choose, acts)
    relay.run(bodies)
    return relay.steps, [error for _, error in sorted(relay.errors.items())]


def following(schedule: Sequence[Choice]) -> Chooser:
    """Follow a schedule; where it ends, or can't be followed, go on without preempting."""

    def choose(number: int, alive: tuple[int, ...], current: int | None) -> Choice:
        if number < len(schedule) and schedule[number].task in alive:
            return schedule[number]
        return Choice(current if current is not None and current in alive else alive[0])

    return choose


def at_random(
    seed: int, *, switch: float = 0.4, disturb: float = 0.0, acts: str = "rba"
) -> Chooser:
    """Choose at random, the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - schedules, not secrets

    def choose(_number: int, alive: tuple[int, ...], current: int | None) -> Choice:
        stay = current is not None and current in alive and chance.random() > switch
        task = current if stay and current is not None else chance.choice(alive)
        act = chance.choice(acts) if chance.random() < disturb else ""
        return Choice(task, act)

    return choose


def explore(
    attempt: Callable[[Chooser], list[Step]],
    within: Callable[[int, int], bool],
    acts: str = "rba",
    every: int = 1,
) -> Iterator[list[Choice]]:
    """Run every schedule within bounds, one after the other; yields each as it was run.

    `within` says how many preemptions and disturbances one schedule may have; `acts`: the letters
    of what may disturb a call; `every`: every how many preemptions and disturbances one is made. A
    schedule is a beginning that was chosen, and after it whatever needs no preemption; the
    alternatives to that are beginnings of their own.
    """
    waiting: list[list[Choice]] = [[]]
    costly = itertools.count()
    while waiting:
        beginning = waiting.pop()
        steps = attempt(following(beginning))
        chosen = [step.choice for step in steps]
        yield chosen
        preempted = disturbed = 0
        for at, step in enumerate(steps):
            if at >= len(beginning):
                for other in _choices(step.alive, acts):
                    costs = step.preempted_by(other), bool(other.act)
                    within_bounds = within(preempted + costs[0], disturbed + costs[1])
                    if not within_bounds or other == step.choice:
                        continue
                    if not any(costs) or next(costly) % every == 0:
                        waiting.append([*chosen[:at], other])
            preempted += step.preempted_by(step.choice)
            disturbed += bool(step.choice.act)


@functools.cache
def _choices(alive: tuple[int, ...], acts: str) -> Sequence[Choice]:
    """Return all that can be chosen."""
    return [Choice(task, act) for task in alive for act in ("", *acts)]
