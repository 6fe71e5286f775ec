"""The lease of an open session: this module alone takes it, writes under it, and frees it.

Only the request that holds the lease may change an open session; a cancellation takes it from any
holder. The writes of a request that failed may still arrive late: this module must never free its
lease before the session is safe from them.
"""

from contextlib import suppress
from dataclasses import replace

from chalicelib.digest import Digest, Hasher
from chalicelib.errors import (
    DeniedError,
    DigestInvalidError,
    DirectUploadInvalidError,
    RegistryError,
    UploadBusyError,
    UploadInvalidError,
    UploadOffsetError,
    UploadUnknownError,
)
from chalicelib.registry.outcomes import BYTES_LOST, SessionMovedError
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import (
    MAX_CLAIMS,
    Owner,
    Session,
    UploadState,
    taken_over,
    with_late_writer,
)
from chalicelib.registry.upload.chunks import Chunks
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.states import Event, after


def freed(session: Session) -> Session:
    """Return a session with a free lease."""
    return replace(session, holder=None, lease_until=0.0)


class Leases:
    """The leases of all sessions."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._chunks = Chunks(ports, limits)
        self._leftovers = Leftovers(ports, limits)

    def find(
        self,
        owner: Owner,
        session_id: str,
        *,
        direct: bool = False,
        refused: bool = False,
        unbegun: Session | None = None,
    ) -> Session:
        """Read a session without its lease; `unbegun` if it has no item. Raises UploadUnknownError.

        A direct one is known to its own endpoints alone, which know no other one. One that is
        committed or being driven answers past the end of its life too: its client waits for the
        outcome. `refused`: of one that was refused the reason is raised; see `over`.
        """
        session = self._ports.sessions.get(session_id) or unbegun
        now = self._ports.clock.now()
        if session is None or session.owner != owner or session.is_direct is not direct:
            raise UploadUnknownError
        if session.state is UploadState.CANCELLED:
            raise over(session) if refused else UploadUnknownError
        answers = session.state is UploadState.COMMITTED or session.driven(now)
        if session.over_by(now) and not answers:
            raise UploadUnknownError
        return session

    def begin(self, unbegun: Session, at: int, deadline: float) -> Session | None:
        """Create the item of a session with its first lease, in one write; None if it is there.

        Raises UploadOffsetError for a chunk that is not the first.
        """
        if at:
            if self._ports.sessions.get(unbegun.id) is None:
                raise UploadOffsetError(offset=0)
            return None
        life_until = unbegun.created_at + self._limits.session_life
        leased = replace(
            unbegun,
            state=after(unbegun.state, Event.BEGIN),
            ticket=None,
            life_until=life_until,
            sweep_at=life_until,
            fence=1,
            holder=unbegun.nonce,
            lease_until=deadline + self._limits.lease_grace,
        )
        try:
            self._ports.sessions.create(leased)
        except SessionMovedError:
            return None
        return leased

    def take(
        self,
        owner: Owner,
        session_id: str,
        at: int | None,
        claim: Digest | None,
        deadline: float,
    ) -> Session:
        """Take the lease until shortly after `deadline`; see SessionStore.take_lease."""
        return self._ports.sessions.take_lease(
            session_id,
            owner=owner,
            at=at,
            claim=claim,
            holder=self._ports.clock.new_id(),
            now=self._ports.clock.now(),
            until=deadline + self._limits.lease_grace,
        )

    def store(self, leased: Session, data: bytes, hasher: Hasher | None) -> Session:
        """Store a chunk in S3; returns the session as it is to be written, its lease freed.

        `hasher` has hashed the chunk too. Where S3 fails, the lease is released.
        """
        try:
            return freed(self._chunks.store(leased, data, hasher))
        except BYTES_LOST:
            raise self.lost(leased) from None
        except UploadInvalidError:  # nothing was sent to S3
            self.release(leased, leased)
            raise
        except RegistryError:
            part = self._chunks.makes_part(leased, data)
            self.release(leased, taken_over(leased) if part else with_late_writer(leased))
            raise

    def write(self, leased: Session, stored: Session) -> Session:
        """Write what `store` returned, sealed or not.

        Where the session has moved since, this write may have been sent twice: then it succeeded
        before, and the session that is there now is returned. Raises UploadBusyError or
        UploadUnknownError where the lease was taken over.
        """
        try:
            return self._ports.sessions.write(leased, stored)
        except SessionMovedError as moved:
            current = moved.current
            if (
                current is None
                or current.state is UploadState.CANCELLED
                or current.last_fence != leased.fence
            ):
                raise _after_takeover(current) from None
            return stored if current.state is UploadState.OPEN else current

    def release(self, leased: Session, after_failure: Session) -> None:
        """Free the lease of a request that failed, best effort: else it ends by time.

        `after_failure` is the session as it is safe from late writes of this request. With more
        than MAX_CLAIMS it is not written: when the lease ends, the session is unknown.
        """
        if len(after_failure.earlier_claims) > MAX_CLAIMS:
            return
        with suppress(SessionMovedError, RegistryError):
            self._ports.sessions.write(leased, freed(after_failure))

    def lost(self, leased: Session) -> RegistryError:
        """End a session whose bytes are not in S3; returns what to tell the client."""
        try:
            self.end(leased, Event.LOST)
        except SessionMovedError as moved:
            return _after_takeover(moved.current)
        return UploadUnknownError("the bytes of this upload are gone: start a new one")

    def denied(self, session: Session, error: DeniedError) -> DeniedError:
        """End a session for whose blob there is no room; returns what to tell the client."""
        with suppress(SessionMovedError):
            self.end(session, Event.REFUSE, error.message, denied=True)
        return error

    def end(
        self, session: Session, event: Event, refusal: str | None = None, *, denied: bool = False
    ) -> Session:
        """Cancel a session by `event` and clean up after it; raises SessionMovedError.

        Its lease is freed and its fence rises; the sweeper looks at it once again. `refusal` is
        what its client hears from then on, with 403 if it is `denied`.
        """
        ended = replace(
            freed(session),
            state=after(session.state, event),
            fence=session.fence + 1,
            # A refusal is the holder's own, who has nothing under way.
            disturbed=session.disturbed or (session.holder is not None and refusal is None),
            sweep_at=self._leftovers.comes_again(session),
            refusal=refusal,
            denied=denied or None,
        )
        return self._leftovers.clean(self._ports.sessions.write(session, ended))


def over(session: Session) -> RegistryError:
    """Return the error for a request to a cancelled session: why it was refused, if it was."""
    if session.refusal is None:
        return UploadUnknownError("this upload was cancelled, or its bytes are gone: start anew")
    if session.denied:
        # As the first answer said: it is no right that is missing, but room.
        return DeniedError(session.refusal, detail={"of": "bytes"})
    if session.staged is None:
        return DirectUploadInvalidError(session.refusal)
    return DigestInvalidError(session.refusal)


def _after_takeover(current: Session | None) -> RegistryError:
    """Return the error for a request whose lease was taken over, or whose session was cancelled."""
    if current is None or current.state is UploadState.CANCELLED:
        return UploadUnknownError()
    return UploadBusyError(
        "another request took this upload over: ask for its status and resume",
        offset=current.offset,
        retry_after=1,
    )
