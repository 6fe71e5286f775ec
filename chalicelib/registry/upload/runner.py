"""Drives the commit of a sealed session along the state table, to its end.

A session has at most one driver, the holder of its lease: a request, the commit function, or the
sweeper. Each move is one write, conditional on state and fence, which also renews the lease. While
an effect works, the lease is renewed in parallel. This module must never do an effect without the
lease, nor publish a session that was neither hashed as it came nor verified.
"""

import math
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from chalicelib.errors import (
    DeniedError,
    DigestInvalidError,
    DirectUploadInvalidError,
    RegistryError,
    UploadUnknownError,
)
from chalicelib.registry.keys import own_key
from chalicelib.registry.outcomes import BYTES_LOST, RecordMissingError, SessionMovedError
from chalicelib.registry.quotas import Quotas
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import WORKER, Session, passed_on
from chalicelib.registry.upload.effects import Effects
from chalicelib.registry.upload.leases import Leases, freed
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.segments import Report
from chalicelib.registry.upload.states import Event, after

REFUSALS = (DigestInvalidError, DirectUploadInvalidError)
"""What an effect raises where a client's report, or its digest, is not true of its bytes."""


class CommitDriver:
    """Drives sealed sessions. A `deadline` is epoch seconds: when the driver's invocation ends."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._effects = Effects(ports, limits)
        self._leases = Leases(ports, limits)
        self._leftovers = Leftovers(ports, limits)
        self._quotas = Quotas(ports)

    def resume(self, session_id: str, until: float) -> Session | None:
        """Drive a session by its id, in the commit function; None if it is gone.

        One that has a driver already is left to it.
        """
        session = self._ports.sessions.get(session_id)
        if session is None or session.takes_bytes or session.settled:
            return session
        if session.driven(self._ports.clock.now()):
            return session
        try:
            taken = self.take(session)
        except SessionMovedError as moved:
            return moved.current
        return self.release(self.drive(taken, until), taken)

    def remember(self, session: Session, report: Report) -> None:
        """Take the report that a session names, as its client has sent it."""
        self._effects.remember(session, report)

    def take(
        self, session: Session, deadline: float = math.inf, sweep_at: float | None = None
    ) -> Session:
        """Take the lease of a closed session that nobody drives; raises SessionMovedError.

        The sweeper comes to it at `sweep_at` (epoch seconds), if that is given.
        """
        holder = self._ports.clock.new_id()
        taken = passed_on(session, holder, self._lease_until(deadline))
        taken = replace(taken, sweep_at=sweep_at or session.sweep_at)
        return self._ports.sessions.write(session, taken)

    def release(self, session: Session, taken: Session) -> Session:
        """Free the lease that was `taken` if its holder still has it, best effort."""
        if session.holder != taken.holder:
            return session
        with suppress(RegistryError, SessionMovedError):
            return self._ports.sessions.write(session, passed_on(session, None))
        return session

    def hand_over(self, session: Session) -> Session:
        """Give the lease to a worker and ask for one, unless somebody else has moved the session.

        Raises UnavailableError where none can be asked for: then the lease is free.
        """
        until = self._ports.clock.now() + self._limits.worker_start
        try:
            handed = self._ports.sessions.write(session, passed_on(session, WORKER, until))
        except SessionMovedError as moved:
            return known(moved.current)
        return self.call(handed)

    def call(self, session: Session) -> Session:
        """Ask for the worker that has the lease of a session; see `hand_over`."""
        try:
            self._ports.workers.commit(session.id)
        except RegistryError:
            self.release(session, session)
            raise
        return session

    def drive(self, session: Session, until: float, deadline: float = math.inf) -> Session:
        """Move a session on, whose lease the caller has, until it is settled, or `until`.

        `until` (epoch seconds) is before the deadline. The holder of the session that is returned
        still has the lease if time ran out; where a call failed, the lease is freed. Whoever has
        lost the lease gets the session as it is then.
        """
        holder = session.holder
        while session.holder == holder and self._ports.clock.now() < until:
            try:
                session = self.step(session, until, deadline)
            except RegistryError:
                self.release(session, session)
                raise
        return session

    def step(self, session: Session, until: float, deadline: float = math.inf) -> Session:
        """Make a session's next move, or a part of it, and renew the lease."""
        if session.stands:
            return self._publish(session, Event.PUBLISH)
        try:
            end = min(until, self._ports.clock.now() + self._limits.drive_step)
            with self._renewing(session, deadline):
                event, found = self._effects.of(session, end)
        except BYTES_LOST:
            return self.end(session, Event.LOST)
        except REFUSALS as error:
            return self.end(session, Event.REFUSE, error.message)
        if event is Event.ALREADY_LIVE:
            return self._publish(session, event)
        moved_to = replace(found, lease_until=self._lease_until(deadline))
        if event is not None:
            moved_to = replace(moved_to, state=after(session.state, event))
        if moved_to.settled:
            moved_to = freed(moved_to)
        try:
            return self._ports.sessions.write(session, moved_to)
        except SessionMovedError as moved:
            return self._moved(known(moved.current), found)

    def end(
        self, session: Session, event: Event, refusal: str | None = None, *, denied: bool = False
    ) -> Session:
        """Cancel a session by `event` and clean up, unless another driver has moved it."""
        try:
            return self._leases.end(session, event, refusal, denied=denied)
        except SessionMovedError as moved:
            return known(moved.current)

    def _moved(self, current: Session, found: Session) -> Session:
        """Return a session that has moved, with what its driver found out if it is still that."""
        if current.holder != found.holder:
            return current
        # Another PUT has replaced the claim. What was read does not depend on the claim.
        kept = replace(current, computed=found.computed, reading=found.reading)
        try:
            return self._ports.sessions.write(current, kept)
        except SessionMovedError as moved:
            return known(moved.current)

    def _publish(self, session: Session, event: Event) -> Session:
        key = None if event is Event.ALREADY_LIVE else own_key(session)
        committed = replace(
            freed(session),
            state=after(session.state, event),
            sweep_at=self._leftovers.comes_again(session),
        )
        try:
            written = self._quotas.publish(session, committed, key)
        except DeniedError as denied:
            return self.end(session, Event.REFUSE, denied.message, denied=True)
        except RecordMissingError:
            return session  # the blob was deleted since: the next step finds it absent
        except SessionMovedError as moved:
            return known(moved.current)
        return self._leftovers.clean(written)

    def _renewing(self, session: Session, deadline: float) -> AbstractContextManager[None]:
        """Renew the lease while a step's effect works, but not for longer than any may work.

        It is done by the fence, which stays: so a renewal that is too late changes nothing.
        """
        hangs, held = self._ports.clock.now() + self._limits.drive_longest, session

        def renew() -> bool:
            nonlocal held
            if self._ports.clock.now() > hangs:
                return False
            renewed = replace(held, lease_until=self._lease_until(deadline))
            # Where a write fails, the next one may succeed, before the lease ends.
            with suppress(RegistryError):
                try:
                    held = self._ports.sessions.write(held, renewed)
                except SessionMovedError as moved:
                    if moved.current is None or moved.current.holder != session.holder:
                        return False
                    held = moved.current  # another PUT has replaced the claim
            return True

        return self._ports.meanwhile(self._limits.drive_beat, renew)

    def _lease_until(self, deadline: float) -> float:
        now = self._ports.clock.now()
        return min(now + self._limits.drive_lease, deadline + self._limits.lease_grace)


def known(current: Session | None) -> Session:
    """Return the session that was found in place of another; raises UploadUnknownError if none."""
    if current is None:
        raise UploadUnknownError
    return current
