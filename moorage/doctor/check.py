"""What a check of `moorage doctor` is, with what it found. This module must never do any I/O.

A check is a row: what it is called, why it matters, what to do where it fails, and a function.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from moorage.doctor.findings import Finding, Status
from moorage.doctor.visit import Visit


@dataclass(frozen=True, slots=True)
class Check:
    """One check. It is skipped where one that it `needs` has failed or was blocked itself.

    `run` raises FailedError, and OSError or HTTPException where the connection fails.
    """

    name: str
    run: Callable[[Visit], Finding]
    why: str
    todo: str
    needs: Sequence[str] = ()
    breaks: bool = False
    """Whether `todo` is also for a connection that fails: most checks look at something else."""


@dataclass(frozen=True, slots=True)
class Result:
    """A check and what it found."""

    check: Check
    finding: Finding

    @property
    def todo(self) -> str:
        """What to do about it; empty where there is nothing."""
        if self.finding.status in {Status.OK, Status.SKIP}:
            return self.finding.todo or ""
        return self.finding.todo or self.check.todo
