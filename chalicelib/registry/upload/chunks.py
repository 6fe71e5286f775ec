"""How a chunk's bytes become a part: a chunk joins the tail until both are as long as a part.

This module must never write the session: what it returns takes effect only when the caller
writes it.
"""

from dataclasses import replace

from chalicelib.digest import Hasher, UnusableStateError
from chalicelib.errors import UploadInvalidError
from chalicelib.registry.keys import data_key, tail_key
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Session, StoredObject


def hasher_of(session: Session) -> Hasher | None:
    """The running hash of the session's bytes; None if it is unhashed or its state is unusable."""
    if session.hash_state is None:
        return None
    try:
        return Hasher.restore(session.algorithm, session.hash_state, session.offset)
    except UnusableStateError:
        return None


class Chunks:
    """Stores the chunks of sessions."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._objects = ports.objects
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
        """Store a chunk as a part or as the new tail; returns the session with it, still leased.

        `hasher` has hashed the chunk too. Raises UploadInvalidError when S3 takes no more parts,
        MultipartMissingError, ObjectMissingError.
        """
        body = self.tail_bytes(leased) + data
        grown = replace(
            leased,
            offset=leased.offset + len(data),
            hash_state=hasher.state() if hasher else None,
            algorithm=hasher.algorithm if hasher else leased.algorithm,
            last_fence=leased.fence,
        )
        if not self.makes_part(leased, data):
            key = tail_key(leased.id, leased.fence)
            put = self._objects.put(key, body)
            # The first of two requests may arrive when the session is over and this key deleted.
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
            # The first of two requests may have begun an upload whose id nobody knows.
            disturbed = leased.disturbed or begun.repeated
            grown = replace(grown, upload_id=begun.id, disturbed=disturbed)
        self._objects.put_part(key, grown.upload_id or "", leased.next_part, body)
        return replace(grown, tail=None, next_part=leased.next_part + 1)
