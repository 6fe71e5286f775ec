"""The closing PUT: the last chunk, the digest, and the commit as far as the client waits for it.

A session without parts is published under its lease; any other one is sealed and driven.
This module must never publish bytes whose digest was not compared with the claim.
"""

from dataclasses import replace

from chalicelib.digest import Digest, Hasher
from chalicelib.errors import (
    DigestInvalidError,
    RegistryError,
    UnavailableError,
    UploadBusyError,
    UploadDigestInvalidError,
    UploadInvalidError,
    UploadOffsetError,
    UploadUnknownError,
)
from chalicelib.registry.keys import canonical_key
from chalicelib.registry.outcomes import BYTES_LOST, ObjectChangedError, SessionMovedError
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import TERMINAL, Owner, Session, UploadState, with_late_writer
from chalicelib.registry.upload.chunks import Chunks, hasher_of
from chalicelib.registry.upload.leases import Leases, freed
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.runner import CommitDriver, moved_on, refuse_mismatch
from chalicelib.registry.upload.states import Event, after

_POLL = 0.5
_CLAIM_TRIES = 4


class Closing:
    """Closes sessions. A `deadline` is epoch seconds: when the caller's invocation ends."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._chunks = Chunks(ports, limits)
        self._leases = Leases(ports, limits)
        self._leftovers = Leftovers(ports, limits)
        self._driver = CommitDriver(ports, limits)

    def commit(  # noqa: PLR0913 - a closing PUT is all of these
        self,
        owner: Owner,
        session_id: str,
        digest: Digest,
        data: bytes,
        at: int | None,
        deadline: float,
    ) -> Session:
        """Close a session: append the last chunk if there is one, seal, and commit.

        Returns the committed session, also to a repeat. Raises UploadDigestInvalidError (the
        session lives on), UploadUnknownError, UploadOffsetError, UploadBusyError.
        """
        try:
            leased = self._leases.take(owner, session_id, at if data else None, digest, deadline)
        except UploadUnknownError:
            session = self._leases.find(owner, session_id)
            if session.state is UploadState.OPEN:
                raise
            if data and session.claim != digest and session.takes_claims:
                raise _takes_no_bytes(session, at) from None
            return self._finish(session, digest, deadline)
        hasher = hasher_of(leased) if leased.offset else Hasher(digest.algorithm)
        known = hasher is not None and hasher.algorithm is digest.algorithm
        if hasher is not None:
            hasher.update(data)
        if hasher is not None and known and hasher.digest() != digest:
            self._leases.release(leased, leased)
            raise UploadDigestInvalidError(
                f"the content has digest {hasher.digest()}, not {digest}: nothing of this"
                " request was kept",
                offset=leased.offset,
            )
        if known and leased.upload_id is None:
            return self._publish_leased(leased, data)
        stored = self._leases.store(leased, data, hasher) if data else freed(leased)
        sweep_at = self._ports.clock.now() + self._limits.sweep_sealed
        closed = sealed(stored, digest, hasher if known else None, sweep_at)
        return self._finish(self._leases.write(leased, closed), digest, deadline)

    def put_whole(self, opened: Session, digest: Digest, data: bytes, deadline: float) -> Session:
        """Store a blob that came in one request: one write, one put, one transaction.

        `opened` is a new session, not stored yet. Returns it committed. Raises
        DigestInvalidError, and then nothing was stored.
        """
        found = Digest.of(data, digest.algorithm)
        if found != digest:
            raise DigestInvalidError(f"the content has digest {found}, not {digest}")
        leased = replace(
            opened,
            claim=digest,
            fence=1,
            holder=opened.nonce,
            lease_until=deadline + self._limits.lease_grace,
        )
        self._ports.sessions.create(leased)
        try:
            return self._publish_whole(leased, data)
        except UploadUnknownError as error:
            # The request outlived its session, of which the client knows nothing: it sends again.
            raise UnavailableError("the upload took too long: send it again") from error

    def _publish_leased(self, leased: Session, data: bytes) -> Session:
        """Do `_publish_whole`; on failure release the lease."""
        try:
            return self._publish_whole(leased, data)
        except BYTES_LOST:
            raise self._leases.lost(leased) from None
        except RegistryError:
            self._leases.release(leased, with_late_writer(leased))  # no part was written
            raise

    def _publish_whole(self, leased: Session, data: bytes) -> Session:
        """Publish a blob that is the tail, this request's bytes, or both; hashed under the lease.

        `leased.claim` must be its digest: it names the canonical key before that is written.
        Raises ObjectMissingError, ObjectChangedError when the tail is not that of the session.
        """
        key, repeated = canonical_key(leased.claimed_digest, leased.id), False
        if leased.tail is not None and not data:
            tail, until = leased.tail, leased.lease_until
            self._ports.objects.copy(tail.key, tail.etag, tail.size, key, until=until)
            size = tail.size
        else:
            body = self._chunks.tail_bytes(leased) + data
            repeated = self._ports.objects.put(key, body).repeated
            size = len(body)
        if size != leased.offset + len(data):
            raise ObjectChangedError(f"{leased.id} stored {size} bytes")
        now = self._ports.clock.now()
        disturbed = leased.disturbed or repeated
        clean = leased.tail is None and not disturbed
        committed = replace(
            freed(leased),
            disturbed=disturbed,
            state=after(leased.state, Event.WHOLE),
            offset=size,
            last_fence=leased.fence,
            sweep_at=None if clean else now + self._limits.sweep_again,
            expires_at=now + self._limits.remember if clean else None,
        )
        try:
            published = self._ports.metadata.publish(
                leased, committed, key, now, is_there=self._ports.is_there
            )
        except SessionMovedError as moved:
            published = _require_committed(moved_on(leased, moved.current))
        return published if published.expires_at else self._leftovers.clean(published)

    def _finish(self, session: Session, digest: Digest, deadline: float) -> Session:
        """Drive a sealed session to its end and return it committed.

        Large ones are driven by the commit function while this waits. Raises UploadBusyError
        when time runs out: the work goes on, and a repeat of the PUT is answered.
        """
        session = self._bound(session, digest)
        patience = min(self._ports.clock.now() + self._limits.commit_wait, deadline - 2.0)
        inline = self._limits.commit_inline if session.hashed else self._limits.verify_inline
        if session.state not in TERMINAL and session.offset > inline:
            self._ports.workers.commit(session.id)
            session = self._await(session, patience)
        else:
            session = self._driver.drive(session, patience)
        if session.claim == digest:  # else the mismatch is that of another request's claim
            refuse_mismatch(session)
        reclaimed = session.state is UploadState.COMMITTED and session.claim != digest
        if session.state not in TERMINAL or reclaimed:
            self._ports.workers.commit(session.id)
            raise _still_running(session)
        return _require_committed(session)

    def _bound(self, session: Session, digest: Digest) -> Session:
        """Bind a closed session to this claim; only an unhashed one that waits takes another."""
        for _ in range(_CLAIM_TRIES):
            if session.claim == digest:
                return session
            if session.state is UploadState.CANCELLED:
                raise UploadUnknownError
            if not session.takes_claims:
                raise UploadDigestInvalidError(
                    f"the upload was closed with digest {session.claim}, not {digest}",
                    offset=session.offset,
                )
            reclaimed = replace(session, claim=digest, fence=session.fence + 1)
            try:
                return self._ports.sessions.write(session, reclaimed)
            except SessionMovedError as moved:
                if moved.current is None:
                    raise UploadUnknownError from None
                session = moved.current
        raise UploadBusyError(
            "the upload is being closed with another digest", offset=session.offset, retry_after=1
        )

    def _await(self, session: Session, until: float) -> Session:
        """Wait while a worker drives the session: until it is over, mismatched, or `until`."""
        while session.state not in TERMINAL and self._ports.clock.now() < until:
            if session.mismatched:
                break
            self._ports.clock.sleep(_POLL)
            session = self._ports.sessions.get(session.id) or session
        return session


def sealed(session: Session, digest: Digest, hasher: Hasher | None, sweep_at: float) -> Session:
    """Return a session closed to chunks with this claim; its tail takes a part number.

    `hasher` has hashed all its bytes and agrees with the claim; None if that is not known. The
    sweeper drives the commit on at `sweep_at` (epoch seconds).
    """
    return replace(
        session,
        state=after(session.state, Event.SEAL),
        claim=digest,
        fence=session.fence + 1,
        hash_state=hasher.state() if hasher else None,
        algorithm=hasher.algorithm if hasher else session.algorithm,
        tail_part=session.next_part,
        next_part=session.next_part + 1,
        sweep_at=sweep_at,
    )


def _require_committed(session: Session) -> Session:
    if session.state is UploadState.CANCELLED:
        raise UploadUnknownError("this upload was cancelled, or its bytes are gone: start anew")
    if session.state is not UploadState.COMMITTED:
        raise _still_running(session)
    return session


def _takes_no_bytes(session: Session, at: int | None) -> RegistryError:
    """Return the error for a PUT that brings bytes to a closed session, which takes claims only."""
    if at != session.offset:
        return UploadOffsetError(offset=session.offset)
    return UploadInvalidError(
        "another request closed the upload, which takes no more bytes: repeat this one without a"
        " body, or start a new upload",
        offset=session.offset,
    )


def _still_running(session: Session) -> UploadBusyError:
    return UploadBusyError(
        "the commit is still running: repeat this request without a body",
        offset=session.offset,
        retry_after=1,
    )
