"""What the drills count, and the losses they found, each with a name by which it is replayed.

This module must never decide what a loss is.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Loss:
    """A violation, and the case in which it came: `python -m tests.drills --replay CASE`."""

    case: str
    what: str


@dataclass
class Tally:
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
    losses: list[Loss] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another drill's figures too."""
        self.points += other.points
        self.drilled += other.drilled
        self.schedules += other.schedules
        self.faults += other.faults
        self.kills += other.kills
        self.mutants += other.mutants
        self.caught += other.caught
        self.losses += other.losses

    def lose(self, case: str, error: BaseException) -> None:
        """Note a violation."""
        self.losses.append(Loss(case, f"{type(error).__name__}: {error}"))

    @property
    def good(self) -> bool:
        """Whether every point was drilled, every mutant caught, and nothing lost.

        Of a whole run: one that did nothing of a kind has shown nothing, and isn't good.
        """
        done = (self.points, self.schedules, self.faults, self.kills, self.mutants)
        whole = self.drilled == self.points and self.caught == self.mutants
        return all(done) and whole and not self.losses

    def line(self) -> str:
        """Say it in one line."""
        return (
            f"points {self.drilled}/{self.points}, schedules {self.schedules},"
            f" faults {self.faults}, kills {self.kills},"
            f" mutants caught {self.caught}/{self.mutants}, losses {len(self.losses)}"
        )
