"""The state table of an upload session: every move there is. A move not here is an error.

This module must never do I/O; docs/ draws its diagram from TABLE.
"""

import enum
from collections.abc import Mapping
from dataclasses import replace

from chalicelib.registry.session import Session, UploadState


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
    EXPIRE = "expire"
    """The session's life has ended, and the sweeper found it."""


class IllegalMoveError(Exception):
    """A move that the table does not have: a fault in the program."""


TABLE: Mapping[tuple[UploadState, Event], UploadState] = {
    (UploadState.OPEN, Event.SEAL): UploadState.SEALED,
    (UploadState.OPEN, Event.WHOLE): UploadState.COMMITTED,
    (UploadState.OPEN, Event.MISMATCH): UploadState.OPEN,
    (UploadState.OPEN, Event.LOST): UploadState.CANCELLED,
    (UploadState.OPEN, Event.CANCEL): UploadState.CANCELLED,
    (UploadState.OPEN, Event.EXPIRE): UploadState.CANCELLED,
    (UploadState.SEALED, Event.ASSEMBLE): UploadState.ASSEMBLED,
    (UploadState.SEALED, Event.ALREADY_LIVE): UploadState.COMMITTED,
    (UploadState.SEALED, Event.LOST): UploadState.CANCELLED,
    (UploadState.SEALED, Event.EXPIRE): UploadState.CANCELLED,
    (UploadState.ASSEMBLED, Event.COPY): UploadState.COPIED,
    (UploadState.ASSEMBLED, Event.VERIFY): UploadState.VERIFIED,
    (UploadState.ASSEMBLED, Event.MISMATCH): UploadState.ASSEMBLED,
    (UploadState.ASSEMBLED, Event.LOST): UploadState.CANCELLED,
    (UploadState.ASSEMBLED, Event.EXPIRE): UploadState.CANCELLED,
    (UploadState.VERIFIED, Event.COPY): UploadState.COPIED,
    (UploadState.VERIFIED, Event.LOST): UploadState.CANCELLED,
    (UploadState.VERIFIED, Event.EXPIRE): UploadState.CANCELLED,
    (UploadState.COPIED, Event.PUBLISH): UploadState.COMMITTED,
    (UploadState.COPIED, Event.LOST): UploadState.CANCELLED,
    (UploadState.COPIED, Event.EXPIRE): UploadState.CANCELLED,
}


def after(state: UploadState, event: Event) -> UploadState:
    """Return where an event leads; raises IllegalMoveError if the table does not have it."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise IllegalMoveError(f"a session that is {state} can't {event}") from None


def ended(session: Session, event: Event, sweep_at: float) -> Session:
    """Return a session as it ends without a commit: nobody's lease or fence holds any more.

    The sweeper looks at it again at `sweep_at` (seconds since the epoch).
    """
    return replace(
        session,
        state=after(session.state, event),
        fence=session.fence + 1,
        disturbed=session.disturbed or session.holder is not None,
        holder=None,
        lease_until=0.0,
        sweep_at=sweep_at,
    )
