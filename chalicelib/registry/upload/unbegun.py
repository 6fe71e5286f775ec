"""Sessions that have no item yet: opened by a ticket, begun by the first byte that comes.

A POST writes nothing. The first chunk creates the item with its lease, a whole blob creates it
committed, and a DELETE creates it cancelled. Each is one conditional write, so that one of them
wins, and an item that has ended outlives its ticket: no session is begun twice. This module must
never look for an item where a write can find it.
"""

from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from chalicelib.digest import Algorithm, Digest, Hasher
from chalicelib.errors import RegistryError, UploadUnknownError
from chalicelib.registry.keys import direct_key, timed_id
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Owner, Session, UploadState
from chalicelib.registry.tickets import SEPARATOR, Tickets, UploadTicket
from chalicelib.registry.upload.states import Event, after


class Named(NamedTuple):
    """What the path of a request names: a session's id, and the session if it may be begun."""

    id: str
    unbegun: Session | None


class UnbegunSessions:
    """Opens and ends sessions that nobody has begun. An item that is there is a SessionMovedError.

    Everything that reads or writes a ticket may raise UnavailableError.
    """

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._tickets = Tickets(ports.ticket_keys)

    def open(self, owner: Owner, algorithm: Algorithm) -> Session:
        """Return a new session; its `ticket` names it until its first byte has come."""
        session = self.new(owner, algorithm)
        ticket = UploadTicket(session.id, int(session.life_until), algorithm)
        return replace(session, ticket=self._tickets.write_upload(owner, ticket))

    def new(self, owner: Owner, algorithm: Algorithm) -> Session:
        """Return a new session without a ticket, for a blob that has come already."""
        now = self._ports.clock.now()
        session_id = timed_id(now, self._ports.clock.new_id())
        ends = int(now + self._limits.ticket_life)
        return self._session(owner, UploadTicket(session_id, ends, algorithm), None)

    def named(self, owner: Owner, name: str) -> Named:
        """Read what a path names; raises UploadUnknownError for a ticket that is not its owner's.

        An expired one is only an id: nothing can be begun by it.
        """
        if SEPARATOR not in name:
            return Named(name, None)
        ticket = self._tickets.read_upload(owner, name)
        if ticket is None:
            raise UploadUnknownError
        expired = ticket.expires_at <= self._ports.clock.now()
        return Named(ticket.session, None if expired else self._session(owner, ticket, name))

    def publish(self, unbegun: Session, digest: Digest, data: bytes) -> Session:
        """Publish a whole blob, whose digest was compared: one put and one transaction.

        Its key is named by no item before, so the sweeper looks for such objects: see `strays`.
        """
        key = direct_key(digest, unbegun.id)
        self._ports.objects.put(key, data)
        now = self._ports.clock.now()
        committed = replace(
            self._ended(unbegun, Event.WHOLE), claim=digest, offset=len(data), hash_state=None
        )
        published = self._ports.metadata.publish(
            unbegun, committed, key, now, is_there=self._ports.is_there
        )
        if published.published_key != key:  # and never will be: this session is over
            with suppress(RegistryError):
                self._ports.objects.delete([key])
        return published

    def cancel(self, unbegun: Session) -> None:
        """Cancel a session: afterwards its ticket begins nothing."""
        self._ports.sessions.create(self._ended(unbegun, Event.CANCEL))

    def _ended(self, unbegun: Session, event: Event) -> Session:
        """Return the session over, with an item that outlives the ticket and all its requests."""
        return replace(
            unbegun,
            state=after(unbegun.state, event),
            ticket=None,
            sweep_at=None,
            expires_at=self._ports.clock.now() + self._limits.remember,
        )

    def _session(self, owner: Owner, ticket: UploadTicket, text: str | None) -> Session:
        return Session(
            id=ticket.session,
            repository=owner.repository,
            principal=owner.principal,
            nonce=self._ports.clock.new_id(),
            created_at=ticket.expires_at - self._limits.ticket_life,
            life_until=float(ticket.expires_at),
            state=UploadState.UNBEGUN,
            algorithm=ticket.algorithm,
            hash_state=Hasher(ticket.algorithm).state(),
            ticket=text,
        )
