"""Drives the commit of a sealed session along the state table, to its end.

Each move is one write conditional on state and fence, each effect can be repeated: so any number
of drivers (requests, the commit function, the sweeper) may drive one session at once. This module
must never publish a session that was neither hashed as it came nor verified.
"""

from dataclasses import replace

from chalicelib.errors import UploadBusyError, UploadDigestInvalidError, UploadUnknownError
from chalicelib.registry.keys import canonical_key
from chalicelib.registry.outcomes import BYTES_LOST, RecordMissingError, SessionMovedError
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import TERMINAL, Session, UploadState
from chalicelib.registry.upload.effects import Effects
from chalicelib.registry.upload.leases import Leases
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.states import Event, after


class CommitDriver:
    """Drives sealed sessions to their end."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._effects = Effects(ports)
        self._leases = Leases(ports, limits)
        self._leftovers = Leftovers(ports, limits)

    def resume(self, session_id: str, deadline: float) -> Session | None:
        """Drive a session by its id, in the commit function; None if it is gone."""
        session = self._ports.sessions.get(session_id)
        if session is None or session.state is UploadState.OPEN:
            return session
        return self.drive(session, deadline)

    def drive(self, session: Session, until: float) -> Session:
        """Move a session on until it is over, or `until` (epoch seconds).

        Raises UploadDigestInvalidError if its bytes do not have the digest claimed.
        """
        while session.state not in TERMINAL and self._ports.clock.now() < until:
            session = self.step(session)
        return session

    def step(self, session: Session) -> Session:
        """Make a session's next move; raises UploadDigestInvalidError."""
        if session.state is UploadState.COPIED:
            return self._publish(session, Event.PUBLISH)
        try:
            event, known = self._effects.of(session)
        except BYTES_LOST:
            return self.end(session, Event.LOST)
        if event is Event.ALREADY_LIVE:
            return self._publish(session, event)
        moved_to = replace(known, state=after(session.state, event))
        try:
            written = self._ports.sessions.write(session, moved_to)
        except SessionMovedError as moved:
            written = moved_on(session, moved.current)
        refuse_mismatch(written)
        return written

    def end(self, session: Session, event: Event) -> Session:
        """Cancel a session by `event`, or join another driver that has moved it, and clean up."""
        try:
            return self._leases.end(session, event)
        except SessionMovedError as moved:
            current = moved_on(session, moved.current)
        return self._leftovers.clean(current) if current.state in TERMINAL else current

    def _publish(self, session: Session, event: Event) -> Session:
        own_key = canonical_key(session.claimed_digest, session.id)
        key = None if event is Event.ALREADY_LIVE else own_key
        now = self._ports.clock.now()
        committed = replace(
            session,
            state=after(session.state, event),
            sweep_at=now + self._limits.sweep_again,
        )
        try:
            written = self._ports.metadata.publish(
                session, committed, key, now, is_there=self._ports.is_there
            )
        except RecordMissingError:
            return session  # the blob was deleted since: the next step finds it absent
        except SessionMovedError as moved:
            return moved_on(session, moved.current)
        return self._leftovers.clean(written)


def moved_on(session: Session, current: Session | None) -> Session:
    """Return a session as another driver of the same claim has moved it.

    Raises UploadUnknownError if it is gone, UploadBusyError if it has another claim by now.
    """
    if current is None:
        raise UploadUnknownError
    if current.claim != session.claim or current.state is UploadState.OPEN:
        raise UploadBusyError(offset=current.offset, retry_after=1)
    return current


def refuse_mismatch(session: Session) -> None:
    """Raise UploadDigestInvalidError if the bytes were read and do not have the digest claimed."""
    if session.state is UploadState.ASSEMBLED and session.mismatched:
        raise UploadDigestInvalidError(
            f"the upload has digest {session.computed_digest}, not {session.claim}",
            offset=session.offset,
        )
