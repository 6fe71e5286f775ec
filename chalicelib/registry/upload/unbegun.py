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
from chalicelib.errors import DeniedError, RegistryError, UploadUnknownError
from chalicelib.registry.keys import direct_key, timed_id
from chalicelib.registry.outcomes import SessionMovedError
from chalicelib.registry.quotas import Quotas
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Owner, Session, StoredObject, UploadState
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
        self._quotas = Quotas(ports)

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

    def named(self, owner: Owner, name: str, *, late: float = 0.0) -> Named:
        """Read what a path names; raises UploadUnknownError for a ticket that is not its owner's.

        One that expired more than `late` seconds ago is only an id: nothing can be begun by it.
        """
        if SEPARATOR not in name:
            return Named(name, None)
        ticket = self._tickets.read_upload(owner, name)
        if ticket is None:
            raise UploadUnknownError
        expired = ticket.expires_at + late <= self._ports.clock.now()
        return Named(ticket.session, None if expired else self._session(owner, ticket, name))

    def publish(self, unbegun: Session, digest: Digest, data: bytes) -> Session:
        """Publish a whole blob, whose digest was compared: one put and one transaction.

        Its key is named by no item before, so the sweeper looks for such objects: see `strays`.
        Raises DeniedError where the repository has no room, and then nothing is left.
        """
        self._quotas.require_room(unbegun.repository, digest, len(data))
        self._ports.objects.put(direct_key(digest, unbegun.id), data)
        return self._publish(unbegun, digest, len(data), Event.WHOLE, self._limits.inlined(data))

    def publish_put(self, unbegun: Session, digest: Digest, size: int) -> Session:
        """Publish what the edge has put, and S3 has compared: one transaction.

        Raises DeniedError likewise: the session is over then, and its object deleted.
        """
        return self._publish(unbegun, digest, size, Event.PUBLISH)

    def stage(self, unbegun: Session, digest: Digest, staged: StoredObject) -> Session:
        """Create the item of a session whose bytes were put and not compared: they are to be read.

        Their key may be written to once more, so only a copy of what was read is published.
        """
        now = self._ports.clock.now()
        session = replace(
            unbegun,
            state=after(unbegun.state, Event.ASSEMBLE),
            ticket=None,
            life_until=unbegun.created_at + self._limits.session_life,
            sweep_at=now + self._limits.sweep_sealed,
            claim=digest,
            offset=staged.size,
            staged=staged,
            hash_state=None,
            disturbed=True,
        )
        self._ports.sessions.create(session)
        return session

    def _publish(
        self,
        unbegun: Session,
        digest: Digest,
        size: int,
        event: Event,
        content: bytes | None = None,
    ) -> Session:
        key = direct_key(digest, unbegun.id)
        committed = replace(self._ended(unbegun, event), claim=digest, offset=size, hash_state=None)
        try:
            published = self._quotas.publish(unbegun, committed, key, content)
        except DeniedError as denied:
            self._deny(unbegun, key, denied)
            raise
        if published.published_key != key:  # and never will be: this session is over
            with suppress(RegistryError):
                self._ports.objects.delete([key])
        return published

    def _deny(self, unbegun: Session, key: str, denied: DeniedError) -> None:
        """End a session, so that no other request can publish its object, and delete that."""
        ended = replace(self._ended(unbegun, Event.REFUSE), refusal=denied.message, denied=True)
        with suppress(RegistryError, SessionMovedError):
            self._ports.sessions.create(ended)
            self._ports.objects.delete([key])

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
