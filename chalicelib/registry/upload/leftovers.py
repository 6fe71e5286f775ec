"""What an upload leaves in S3, and how it is deleted: old tails, parts, staged and canonical bytes.

This module must never delete bytes that a record names, nor let a session's item expire while a
late writer may still bring bytes.
"""

from contextlib import suppress
from dataclasses import replace

from chalicelib.errors import RegistryError
from chalicelib.registry.keys import (
    canonical_key,
    data_key,
    own_key,
    read_direct_key,
    report_key,
    session_prefix,
    tail_key,
)
from chalicelib.registry.outcomes import SessionMovedError
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Session

TAIL_WINDOW = 16
"""Superseded tails are deleted once in so many leases: one request for all of them."""


class Leftovers:
    """Deletes what sessions leave."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._objects = ports.objects
        self._sessions = ports.sessions
        self._clock = ports.clock
        self._limits = limits

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

        The item of an undisturbed session names all its keys. Where a late writer may exist,
        everything below its prefix is deleted, and once more when the sweeper comes at the
        session's `sweep_at`: only then may the item expire.
        """
        now = self._clock.now()
        self._delete(session)
        if self._may_be_written_late(session) and now < (session.sweep_at or 0.0):
            return session
        gone = now + self._limits.remember
        return self._sessions.write(session, replace(session, sweep_at=None, expires_at=gone))

    def comes_again(self, session: Session) -> float:
        """When the sweeper comes to a session that ends now, to delete what arrives late.

        By then the URLs of a direct upload have expired, and a PUT that was begun has ended.
        """
        late = self._limits.direct_url + self._limits.direct_put if session.is_direct else 0.0
        return self._clock.now() + self._limits.sweep_again + late

    def _delete(self, session: Session) -> None:
        if session.is_direct:
            self._delete_direct(session)
            return
        claims = {*session.earlier_claims, *([session.claim] if session.claim else [])}
        keys = sorted({canonical_key(claim, session.id) for claim in claims})
        if session.offset >= self._limits.copy_whole:
            for key in keys:
                self._objects.abort_all(key)
        keys = [key for key in keys if key != session.published_key]
        if session.staged and read_direct_key(session.staged.key):  # the edge has put it there
            keys.append(session.staged.key)
        if session.disturbed:
            self._objects.purge(session_prefix(session.id))
        elif session.upload_id or session.tail:
            if session.staged is None and session.upload_id:
                self._objects.abort_multipart(data_key(session.id), session.upload_id)
            keys.append(data_key(session.id))
            keys += [tail_key(session.id, fence) for fence in range(1, session.fence + 1)]
        if keys:
            self._objects.delete(keys)

    def _delete_direct(self, session: Session) -> None:
        """Delete a direct upload's bytes, unless they are live, and in parts what it had staged.

        A part can outlive the abort of its upload, and a report come from a request that was late
        to close the session: when the sweeper comes, both are looked for.
        """
        key = own_key(session)
        keys = [] if key == session.published_key else [key]
        late = self._clock.now() >= (session.sweep_at or 0.0)
        if session.by_parts and (session.disturbed or late):
            self._objects.abort_all(key)
            self._objects.purge(session_prefix(session.id))
        elif session.by_parts:
            if session.staged is None and session.upload_id:
                self._objects.abort_multipart(key, session.upload_id)
            keys += [report_key(session.id, session.report)] if session.report else []
        self._objects.delete(keys)

    def _may_be_written_late(self, session: Session) -> bool:
        """Whether bytes may still arrive after a clean-up.

        That is so in four cases. It is a direct upload: a URL may be in use. The session is
        disturbed: a lease was taken over, or S3 was asked twice. Another push's bytes are live: a
        copy to this session's own key, which was deleted, may still be under way. Or the bytes
        were copied in parts: another driver may have begun a copy of its own.
        """
        if session.is_direct:
            return True
        own = session.claim and canonical_key(session.claim, session.id)
        sealed = session.tail_part is not None
        copied = session.tail is not None and session.published_key is not None
        another_live = (sealed or copied) and session.published_key != own
        return session.disturbed or another_live or session.offset >= self._limits.copy_whole
