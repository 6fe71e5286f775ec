"""What the drills count, and the losses that they found, each with a name to replay it by.

This module must never decide what a loss is.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest import mock

from chalicelib.registry.upload import states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chalicelib.registry.session import UploadState

Row = tuple["UploadState", states.Event]
"""A row of the session's state table."""


@dataclass(frozen=True)
class Loss:
    """A violation, and the case in which it came: `python -m tests.drills --replay CASE`."""

    case: str
    what: str


@dataclass
class Figures:
    """Counts of one or more drills."""

    points: int = 0
    """Calls that the undisturbed operations make."""
    drilled: int = 0
    """Those of them before and after which a process was stopped."""
    schedules: int = 0
    faults: int = 0
    kills: int = 0
    mutants: int = 0
    caught: int = 0
    seconds: float = 0.0
    """Of CPU that it took, with the programs that it started."""
    rows: set[Row] = field(default_factory=set)
    """The rows of the state table that a session has gone along."""
    losses: list[Loss] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Count another drill's figures too."""
        for name, more in vars(other).items():
            mine = getattr(self, name)
            setattr(self, name, mine | more if isinstance(more, set) else mine + more)

    def lose(self, case: str, error: BaseException) -> None:
        """Note a violation."""
        self.losses.append(Loss(case, f"{type(error).__name__}: {error}"))

    @contextmanager
    def losing(self, *case: object) -> Iterator[None]:
        """Note whatever goes wrong in the block as a loss of this case, and go on after it.

        The parts of a case's name are joined by slashes.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a drill asks for whatever goes wrong
            self.lose("/".join(map(str, case)), error)

    @property
    def unreached(self) -> list[str]:
        """The rows of the state table that no drill has reached."""
        return [
            f"{state} {event}" for state, event in states.TABLE if (state, event) not in self.rows
        ]

    @property
    def complete(self) -> bool:
        """Whether every point was drilled, every mutant caught, and nothing lost."""
        return self.drilled == self.points and self.caught == self.mutants and not self.losses

    @property
    def good(self) -> bool:
        """Whether it is complete, and every row was reached.

        Of a whole run: one without a figure of some kind has shown nothing of it, and isn't good.
        """
        done = (self.points, self.schedules, self.faults, self.kills, self.mutants)
        return all(done) and self.complete and not self.unreached

    def line(self) -> str:
        """Return all of it in one line."""
        rows = len(states.TABLE)
        return (
            f"points {self.drilled}/{self.points}, state table rows"
            f" {rows - len(self.unreached)}/{rows}, schedules {self.schedules},"
            f" faults {self.faults}, kills {self.kills},"
            f" mutants caught {self.caught}/{self.mutants}, losses {len(self.losses)}"
        )


@contextmanager
def reached_rows() -> Iterator[set[Row]]:
    """Collect the rows of the state table that the program looks up in the block."""
    reached: set[Row] = set()

    class Recording(dict[Row, "UploadState"]):
        def __getitem__(self, row: Row) -> UploadState:
            then = super().__getitem__(row)
            reached.add(row)
            return then

    with mock.patch.object(states, "TABLE", Recording(states.TABLE)):
        yield reached
