"""What each move of a commit does to the object store, before the session is written.

Every effect can be repeated, also by another driver at the same time. This module must never write
a session, and never guess: bytes that are not those that the session names are lost.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from chalicelib.digest import Algorithm, Hasher
from chalicelib.registry.keys import canonical_key, data_key
from chalicelib.registry.outcomes import (
    MultipartBusyError,
    MultipartMissingError,
    ObjectChangedError,
)
from chalicelib.registry.service import Ports
from chalicelib.registry.session import Session, StoredObject, UploadState
from chalicelib.registry.upload.states import Event

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_CHUNK = 4 * 1024 * 1024
_COPY_SECONDS = 600.0
_LOOK_AGAIN = (0.5, 1.0, 2.0)

Step = tuple[Event, Session]
"""The event, and the session with what the effect found out; its state has not moved yet."""


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
        """Do the next effect of a session's commit.

        Raises one of BYTES_LOST when its bytes are gone or are not those that it names.
        """
        return self._by_state[session.state](session)

    def _from_sealed(self, session: Session) -> Step:
        live = self._ports.metadata.get_record(session.claimed_digest) if session.hashed else None
        if live is not None and self._ports.is_there(live.key):
            return Event.ALREADY_LIVE, session
        if session.upload_id is not None:
            return Event.ASSEMBLE, replace(session, staged=self._assemble(session))
        if session.tail is not None and session.tail.size == session.offset:
            return Event.ASSEMBLE, replace(session, staged=session.tail)
        return Event.LOST, session

    def _assemble(self, session: Session) -> StoredObject:
        """Complete the multipart upload from accepted parts only, unless another driver has."""
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
        """Return the ETag of what another driver assembled; None if it is not there in 3.5 seconds.

        Its CompleteMultipartUpload may still be under way: an object that is missing now is not
        lost yet.
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
        """Read an unhashed session's staged object once; its digest serves later claims too."""
        claim, staged = session.claimed_digest, session.staged_object
        found = session.computed_digest
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
        staged, key = session.staged_object, canonical_key(session.claimed_digest, session.id)
        until = self._ports.clock.now() + _COPY_SECONDS
        self._ports.objects.copy(staged.key, staged.etag, staged.size, key, until=until)
        if staged.key == data_key(session.id):  # the size of a tail is known from its put
            stat = self._ports.objects.stat(key)
            if stat is None or stat.size != session.offset:
                raise ObjectChangedError(f"the copy {key} is not the staged object")
        return Event.COPY, session
