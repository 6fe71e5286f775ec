"""The findings of `moorage doctor`'s checks. This module must never do any I/O."""

import enum
from dataclasses import dataclass


class Status(enum.StrEnum):
    """The outcome of a check."""

    OK = "ok"
    WARN = "warn"
    """It works, but not as well as it could."""
    FAIL = "fail"
    SKIP = "skip"
    """The check was not done; `seen` says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw, and what to do about it; `todo` None: the check's own advice."""

    status: Status
    seen: str
    todo: str | None = None


class FailedError(Exception):
    """A check failed; `seen` and `todo` as in Finding."""

    def __init__(self, seen: str, todo: str | None = None) -> None:
        super().__init__(seen)
        self.finding = Finding(Status.FAIL, seen, todo)


def ok(seen: str) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(Status.OK, seen)


def warn(seen: str, todo: str | None = None) -> Finding:
    """Return a finding of something that could be better."""
    return Finding(Status.WARN, seen, todo)


def skip(seen: str) -> Finding:
    """Return the finding of a check that was not done; `seen` says why."""
    return Finding(Status.SKIP, seen)
