"""What a check of `moorage doctor` can find. This module must never do any I/O."""

import enum
from dataclasses import dataclass


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


def ok(seen: str) -> Finding:
    """Find nothing wrong."""
    return Finding(Status.OK, seen)


def warn(seen: str, todo: str | None = None) -> Finding:
    """Find what could be better."""
    return Finding(Status.WARN, seen, todo)


def skip(seen: str) -> Finding:
    """Look at nothing; `seen` says why."""
    return Finding(Status.SKIP, seen)
