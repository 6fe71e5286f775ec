"""The state table of an upload session: every move there is. A move not here is an error.

This module must never do I/O; docs/ draws its diagram from TABLE.
"""

import enum
from collections.abc import Mapping

from chalicelib.registry.session import State


class Event(enum.StrEnum):
    """What can happen to a session."""

    SEAL = "seal"
    """The claim equals the saved hash (or the session is unhashed), every byte is in S3."""
    WHOLE = "whole"
    """Hashed under the lease, all bytes (tail and body) stand at the canonical key."""
    MISMATCH = "mismatch"
    """The claim is not the bytes' digest: the client is told, and may claim another."""
    ASSEMBLE = "assemble"
    """One staged object holds exactly `offset` bytes."""
    VERIFY = "verify"
    """An unhashed session's staged object was read and has the digest claimed."""
    EMPTY = "empty"
    """A blob of no bytes was put at the canonical key."""
    COPY = "copy"
    """The staged bytes stand at this session's canonical key."""
    ALREADY_LIVE = "already live"
    """Hashed by us, and the blob is live: only a link is needed."""
    PUBLISH = "publish"
    """Record, link and session were written in one transaction."""
    LOST = "lost"
    """The bytes that the session names are not there."""
    CANCEL = "cancel"
    """The client gave the session up."""


class IllegalMoveError(Exception):
    """A move that the table does not have: a fault in the program."""


TABLE: Mapping[tuple[State, Event], State] = {
    (State.OPEN, Event.SEAL): State.SEALED,
    (State.OPEN, Event.WHOLE): State.COMMITTED,
    (State.OPEN, Event.MISMATCH): State.OPEN,
    (State.OPEN, Event.LOST): State.CANCELLED,
    (State.OPEN, Event.CANCEL): State.CANCELLED,
    (State.SEALED, Event.ASSEMBLE): State.ASSEMBLED,
    (State.SEALED, Event.EMPTY): State.COPIED,
    (State.SEALED, Event.ALREADY_LIVE): State.COMMITTED,
    (State.SEALED, Event.LOST): State.CANCELLED,
    (State.ASSEMBLED, Event.COPY): State.COPIED,
    (State.ASSEMBLED, Event.VERIFY): State.VERIFIED,
    (State.ASSEMBLED, Event.MISMATCH): State.ASSEMBLED,
    (State.ASSEMBLED, Event.LOST): State.CANCELLED,
    (State.VERIFIED, Event.COPY): State.COPIED,
    (State.VERIFIED, Event.LOST): State.CANCELLED,
    (State.COPIED, Event.PUBLISH): State.COMMITTED,
    (State.COPIED, Event.LOST): State.CANCELLED,
}


def after(state: State, event: Event) -> State:
    """Return where an event leads; raises IllegalMoveError if the table does not have it."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise IllegalMoveError(f"a session that is {state} can't {event}") from None
