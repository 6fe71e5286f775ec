"""What a check of `moorage doctor` is, and what it can find. This module must never do any I/O.

A check is a row: what it is called, why it matters, what to do where it fails, and a function.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moorage.doctor.visit import Visit


class Status(enum.StrEnum):
    """What became of a check."""

    OK = "ok"
    WARN = "warn"
    """Works, but not as well as it could."""
    FAIL = "fail"
    SKIP = "skip"
    """Not looked at; what was seen says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `todo` is what to do about it, None: what the check's row says."""

    status: Status
    seen: str
    todo: str | None = None


class FailedError(Exception):
    """A check failed. The text says what was seen; `todo` as in `Finding`."""

    def __init__(self, seen: str, todo: str | None = None) -> None:
        super().__init__(seen)
        self.finding = Finding(Status.FAIL, seen, todo)


@dataclass(frozen=True, slots=True)
class Check:
    """One check. It is skipped where one that it `needs` has failed or was blocked itself.

    `run` raises FailedError, and OSError or HTTPException where the connection fails.
    """

    name: str
    run: "Callable[[Visit], Finding]"
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


def ok(seen: str) -> Finding:
    """Find nothing wrong."""
    return Finding(Status.OK, seen)


def warn(seen: str, todo: str | None = None) -> Finding:
    """Find what could be better."""
    return Finding(Status.WARN, seen, todo)


def skip(seen: str) -> Finding:
    """Look at nothing; `seen` says why."""
    return Finding(Status.SKIP, seen)
