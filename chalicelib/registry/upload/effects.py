"""What each arrow of the state table does to the object store, before the session is written.

Every effect can be repeated, by another driver at the same time too. This module must never write
a session, and never guess: bytes that are not those the session names are lost, not replaced.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from chalicelib.digest import Algorithm, Digest, Hasher
from chalicelib.registry.keys import canonical_key, data_key
from chalicelib.registry.outcomes import (
    MultipartBusyError,
    MultipartMissingError,
    ObjectChangedError,
)
from chalicelib.registry.service import Ports
from chalicelib.registry.session import Session, StoredObject, UploadState
from chalicelib.registry.upload import states as transitions
from chalicelib.registry.upload.states import Event

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_CHUNK = 4 * 1024 * 1024
_LOOK_AGAIN = (0.5, 1.0, 2.0)

Step = tuple[Event, Session]
"""What happened, and the session with what became known by it (its state not yet moved)."""


class Effects:
    """The effects of a commit's steps."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._by_state: dict[UploadState, Callable[[Session], Step]] = {
            UploadState.SEALED: self._from_sealed,
            UploadState.ASSEMBLED: self._from_assembled,
            UploadState.VERIFIED: self._copy,
        }

    def of(self, session: Session) -> Step:
        """Do what comes next for a session, and say what happened.

        Raises MultipartMissingError, ObjectMissingError, ObjectChangedError when its bytes are
        gone or are not those that it names.
        """
        return self._by_state[session.state](session)

    def _from_sealed(self, session: Session) -> Step:
        claim = claim_of(session)
        if session.hashed and self._ports.metadata.get_record(claim) is not None:
            return Event.ALREADY_LIVE, session
        if session.upload_id is not None:
            return Event.ASSEMBLE, replace(session, staged=self._assemble(session))
        if session.tail is not None and session.tail.size == session.offset:
            return Event.ASSEMBLE, replace(session, staged=session.tail)
        return Event.LOST, session

    def _assemble(self, session: Session) -> StoredObject:
        """Complete the multipart upload from accepted parts only; look again if it is over."""
        objects, key, upload_id = self._ports.objects, data_key(session.id), session.upload_id or ""
        try:
            if session.tail is not None:
                objects.copy_part(
                    key, upload_id, session.tail_part or 0, session.tail.key, session.tail.etag
                )
            last, burned = session.tail_part or 0, frozenset(session.burned)
            parts = [
                part
                for part in objects.list_parts(key, upload_id)
                if part.number not in burned
                and (part.number < last or (part.number == last and session.tail is not None))
            ]
            if sum(part.size for part in parts) != session.offset:
                raise ObjectChangedError(f"the parts of {session.id} are not its bytes")
            etag = objects.complete_multipart(key, upload_id, parts)
        except (MultipartMissingError, MultipartBusyError):
            found = self._assembled_by_another(session)
            if found is None:
                raise
            etag = found
        return StoredObject(key, session.offset, etag)

    def _assembled_by_another(self, session: Session) -> str | None:
        """Return the ETag of what another driver assembled, looking for it a few times.

        Its Complete may still be under way: bytes that are looked for too early are not lost.
        """
        for wait in (*_LOOK_AGAIN, None):
            stat = self._ports.objects.stat(data_key(session.id))
            if stat is not None and stat.size == session.offset:
                return stat.etag
            if wait is not None:
                self._ports.clock.sleep(wait)
        return None

    def _from_assembled(self, session: Session) -> Step:
        return self._copy(session) if session.hashed else self._verify(session)

    def _verify(self, session: Session) -> Step:
        """Read an unhashed session's staged object once; its digest is kept for later claims."""
        claim, staged = claim_of(session), staged_of(session)
        found = computed_of(session)
        if found is None:
            hasher = Hasher(Algorithm(claim.algorithm))
            for chunk in self._ports.objects.read(
                staged.key, etag=staged.etag, chunk_size=_READ_CHUNK
            ):
                hasher.update(chunk)
            if hasher.offset != session.offset:
                raise ObjectChangedError(f"{staged.key} has {hasher.offset} bytes")
            found = hasher.digest()
        event = Event.VERIFY if found == claim else Event.MISMATCH
        rest = tuple(d for d in session.computed if d != found)
        return event, replace(session, computed=(*rest, found))

    def _copy(self, session: Session) -> Step:
        """Copy the staged bytes to this session's own canonical key."""
        staged, key = staged_of(session), canonical_key(claim_of(session), session.id)
        self._ports.objects.copy(staged.key, staged.etag, staged.size, key)
        if staged.key == data_key(session.id):  # a tail's size is known from its own put
            stat = self._ports.objects.stat(key)
            if stat is None or stat.size != session.offset:
                raise ObjectChangedError(f"the copy {key} is not the staged object")
        return Event.COPY, session


def claim_of(session: Session) -> Digest:
    """Return the claim of a session that is past `open`; a fault in the program if it has none."""
    if session.claim is None:
        raise transitions.IllegalMoveError(f"session {session.id} has no claim")
    return session.claim


def computed_of(session: Session) -> Digest | None:
    """The digest that the staged bytes were found to have, in the claim's algorithm."""
    claim = session.claim
    known = (found for found in session.computed if claim and found.algorithm is claim.algorithm)
    return next(known, None)


def staged_of(session: Session) -> StoredObject:
    """Return the staged object of a session that was assembled; a fault if it has none."""
    if session.staged is None:
        raise transitions.IllegalMoveError(f"session {session.id} has no staged object")
    return session.staged
