"""How a chunk's bytes reach S3, and how a session's leftovers leave it.

A chunk joins the tail until both are long enough to be a part. This module must never write the
session: what it returns takes effect only when the caller writes it.
"""

from contextlib import suppress
from dataclasses import replace

from chalicelib.digest import Hasher, UnusableStateError
from chalicelib.errors import RegistryError, UploadInvalidError
from chalicelib.registry.keys import canonical_key, data_key, session_prefix, tail_key
from chalicelib.registry.outcomes import SessionMovedError
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Session, StoredObject

TAIL_WINDOW = 16
"""Superseded tails are deleted once in so many leases: one request for all of them."""


def hasher_of(session: Session) -> Hasher | None:
    """The running hash of the session's bytes; None if it is unhashed or its state is unusable."""
    if session.hash_state is None:
        return None
    try:
        return Hasher.restore(session.algorithm, session.hash_state, session.offset)
    except UnusableStateError:
        return None


class ByteStore:
    """Stores the chunks of sessions and deletes what they leave."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._objects = ports.objects
        self._sessions = ports.sessions
        self._clock = ports.clock
        self._limits = limits

    def tail_bytes(self, session: Session) -> bytes:
        """Read the tail back; raises ObjectMissingError, ObjectChangedError."""
        if session.tail is None:
            return b""
        return self._objects.get(session.tail.key, etag=session.tail.etag)

    def makes_part(self, leased: Session, data: bytes) -> bool:
        """Whether the tail and a chunk are long enough together to be a part."""
        kept = leased.tail.size if leased.tail else 0
        return kept + len(data) >= self._limits.part_minimum

    def store(self, leased: Session, data: bytes, hasher: Hasher | None) -> Session:
        """Put a chunk's bytes (`hasher` has hashed them too) where the lease's fence allows.

        Returns the session as it is to be written, its lease freed. Raises UploadInvalidError
        when S3 takes no more parts, MultipartMissingError, ObjectMissingError.
        """
        body = self.tail_bytes(leased) + data
        grown = replace(
            leased,
            offset=leased.offset + len(data),
            hash_state=hasher.state() if hasher else None,
            holder=None,
            lease_until=0.0,
            last_fence=leased.fence,
        )
        if not self.makes_part(leased, data):
            key = tail_key(leased.id, leased.fence)
            put = self._objects.put(key, body)
            # An earlier sending may arrive when the session is over and this key deleted.
            disturbed = leased.disturbed or put.repeated
            tail = StoredObject(key, len(body), put.etag)
            return replace(grown, tail=tail, disturbed=disturbed)
        if leased.next_part >= self._limits.part_count:  # the last number is kept for the tail
            raise UploadInvalidError(
                f"the upload has used all of its {self._limits.part_count} parts:"
                " start again with larger chunks",
                offset=leased.offset,
            )
        key = data_key(leased.id)
        if leased.upload_id is None:
            begun = self._objects.begin_multipart(key)
            # An upload whose id was lost is found by prefix only.
            disturbed = leased.disturbed or begun.repeated
            grown = replace(grown, upload_id=begun.id, disturbed=disturbed)
        self._objects.put_part(key, grown.upload_id or "", leased.next_part, body)
        return replace(grown, tail=None, next_part=leased.next_part + 1)

    def drop_superseded_tails(self, leased: Session, session: Session) -> None:
        """Delete superseded tails where a chunk begins a window of leases, best effort.

        `leased` is the session before the chunk. What stays is deleted at the session's end.
        """
        window = leased.last_fence // TAIL_WINDOW
        if session.last_fence // TAIL_WINDOW == window:
            return
        kept = session.tail.key if session.tail else None
        fences = range(max(1, window * TAIL_WINDOW), session.last_fence + 1)
        keys = [tail_key(session.id, fence) for fence in fences]
        with suppress(RegistryError):
            self._objects.delete([key for key in keys if key != kept])

    def clean(self, session: Session) -> Session:
        """Do `clean_up`, best effort: what fails here is left to the sweeper."""
        with suppress(RegistryError, SessionMovedError):
            return self.clean_up(session)
        return session

    def clean_up(self, session: Session) -> Session:
        """Delete what an ended session left, and let its item expire.

        An undisturbed session's keys are all known from its item; where a late writer may exist,
        everything below its prefix goes, and goes again when the sweeper looks at the time that
        the session's end has set: only then is the item let go.
        """
        now = self._clock.now()
        self._delete_leftovers(session)
        if self._may_be_written_late(session) and now < (session.sweep_at or 0.0):
            return session
        gone = now + self._limits.remember
        return self._sessions.write(session, replace(session, sweep_at=None, expires_at=gone))

    def _delete_leftovers(self, session: Session) -> None:
        claims = {*session.earlier_claims, *([session.claim] if session.claim else [])}
        keys = sorted({canonical_key(claim, session.id) for claim in claims})
        if session.offset > self._limits.copy_whole:
            for key in keys:
                self._objects.abort_all(key)
        keys = [key for key in keys if key != session.published_key]
        if session.disturbed:
            self._objects.purge(session_prefix(session.id))
        elif session.upload_id or session.tail:
            if session.staged is None and session.upload_id:
                self._objects.abort_multipart(data_key(session.id), session.upload_id)
            keys.append(data_key(session.id))
            keys += [tail_key(session.id, fence) for fence in range(1, session.fence + 1)]
        if keys:
            self._objects.delete(keys)

    def _may_be_written_late(self, session: Session) -> bool:
        """Whether a request that was overtaken may still bring bytes after a clean-up.

        That is so after a lease's take-over, and where S3 was asked twice; where somebody else's
        bytes are live, since a copy that another driver, or an earlier sending, has begun may come
        to a key that was deleted; and where copies go in parts, of which a driver may have begun
        its own.
        """
        ours = session.claim and canonical_key(session.claim, session.id)
        sealed = session.tail_part is not None
        copied = session.tail is not None and session.published_key is not None
        overtaken = (sealed or copied) and session.published_key != ours
        return session.disturbed or overtaken or session.offset > self._limits.copy_whole
