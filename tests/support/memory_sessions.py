"""A session store in memory, told by the port's words and not by DynamoDB's.

It must behave as `SessionStore` says under any number of threads: one lock, no cleverness.
"""

from __future__ import annotations

import math
import threading
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from chalicelib.errors import UploadBusyError, UploadOffsetError, UploadUnknownError
from chalicelib.registry.outcomes import SessionMovedError
from chalicelib.registry.session import (
    MAX_CLAIMS,
    Owner,
    Session,
    UploadState,
    taken_over,
    with_late_writer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chalicelib.digest import Digest


class MemorySessionStore:
    """`SessionStore` in a dict; `lock` also guards a metadata store over the same sessions."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.sessions: dict[str, Session] = {}

    def create(self, session: Session) -> None:
        """Put a new session; the same one again is the same creation."""
        with self.lock:
            there = self.sessions.setdefault(session.id, settled(session))
            if there.nonce != session.nonce:
                raise SessionMovedError(there)

    def get(self, session_id: str) -> Session | None:
        """Read a session."""
        with self.lock:
            return self.sessions.get(session_id)

    def take_lease(  # noqa: PLR0913 - the port's own list
        self,
        session_id: str,
        *,
        owner: Owner,
        at: int | None,
        claim: Digest | None,
        holder: str,
        now: float,
        until: float,
    ) -> Session:
        """Take the lease, or take over one that ended without an append."""
        with self.lock:
            session = self.sessions.get(session_id)
            if session is None or session.owner != owner:
                raise UploadUnknownError
            if session.state is not UploadState.OPEN or now >= session.life_until:
                raise UploadUnknownError
            if session.holder == holder:
                return session
            if at is not None and at != session.offset:
                raise UploadOffsetError(offset=session.offset)
            if session.holder is not None:
                session = _without_holder(session, now)
            leased = replace(
                session,
                holder=holder,
                lease_until=until,
                fence=session.fence + 1,
                claim=claim or session.claim,
            )
            self.sessions[session_id] = leased
            return leased

    def due(self, now: float) -> Iterator[str]:
        """List the sessions whose time for the sweeper has come."""
        with self.lock:
            waiting = [(s.sweep_at, s.id) for s in self.sessions.values() if s.sweep_at is not None]
        return iter([name for at, name in sorted(waiting) if at <= now])

    def write(self, before: Session, after: Session) -> Session:
        """Write the fields that differ, if state and fence are still `before`'s."""
        after = settled(after)
        with self.lock:
            current = self.sessions.get(before.id)
            if current is not None and same_place(current, before):
                self.sessions[before.id] = changed(current, before, after)
            elif current != after:
                raise SessionMovedError(current)
            return after


def settled(session: Session) -> Session:
    """The session as a store keeps it: the time at which DynamoDB drops it is in whole seconds."""
    if session.expires_at is None:
        return session
    return replace(session, expires_at=math.ceil(session.expires_at))


def same_place(one: Session, other: Session) -> bool:
    """Whether neither a lease nor a move lies between the two."""
    return (one.state, one.fence) == (other.state, other.fence)


def changed(current: Session, before: Session, after: Session) -> Session:
    """Return `current` with the fields in which `after` differs from `before`."""
    names = [field.name for field in fields(Session)]
    return replace(
        current,
        **{name: getattr(after, name) for name in names if _differs(before, after, name)},
    )


def _differs(before: Session, after: Session, name: str) -> bool:
    return bool(getattr(before, name) != getattr(after, name))


def _without_holder(session: Session, now: float) -> Session:
    """Return the session with its dead holder's part number burned; raises if it is not dead."""
    if now < session.lease_until:
        raise UploadBusyError(
            offset=session.offset, retry_after=max(1, math.ceil(session.lease_until - now))
        )
    if len(with_late_writer(session).earlier_claims) > MAX_CLAIMS:
        raise UploadUnknownError
    return taken_over(session)
