"""The closing PUT: the last chunk, the digest, and the commit as far as the client waits for it.

A session without parts is published under its lease; any other one is sealed and driven.
This module must never publish bytes whose digest was not compared with the claim.
"""

from dataclasses import replace
from itertools import chain, repeat

from chalicelib.digest import Digest, Hasher
from chalicelib.errors import (
    BlobUnknownError,
    CommitRunningError,
    DeniedError,
    RegistryError,
    UploadBusyError,
    UploadDigestInvalidError,
    UploadInvalidError,
    UploadOffsetError,
    UploadUnknownError,
)
from chalicelib.registry.blobs import Blobs
from chalicelib.registry.keys import canonical_key
from chalicelib.registry.outcomes import BYTES_LOST, ObjectChangedError, SessionMovedError
from chalicelib.registry.quotas import Quotas
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import (
    TERMINAL,
    WORKER,
    Owner,
    Session,
    UploadState,
    with_late_writer,
)
from chalicelib.registry.upload.chunks import Chunks, hasher_of
from chalicelib.registry.upload.leases import Leases, freed, over
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.runner import CommitDriver, known
from chalicelib.registry.upload.segments import Report
from chalicelib.registry.upload.states import Event, after
from chalicelib.registry.upload.unbegun import UnbegunSessions

_POLLS = (*repeat(0.1, 10), *repeat(0.2, 10), 0.5)
"""How long a request waits between its looks at a commit that another one drives; then the last.

A look costs as much as ten milliseconds of Lambda, so a request looks often at first.
"""

_MARGIN = 2.0
"""How long before its deadline a request stops waiting, so that it can still answer."""

_CLAIM_TRIES = 4


class Closing:
    """Closes sessions. A `deadline` is epoch seconds: when the caller's invocation ends."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._chunks = Chunks(ports, limits)
        self._leases = Leases(ports, limits)
        self._unbegun = UnbegunSessions(ports, limits)
        self._leftovers = Leftovers(ports, limits)
        self._driver = CommitDriver(ports, limits)
        self._blobs = Blobs(ports, limits)
        self._quotas = Quotas(ports)

    def commit(  # noqa: PLR0913 - a closing PUT is all of these
        self,
        owner: Owner,
        name: str,
        digest: Digest,
        data: bytes,
        at: int | None,
        deadline: float,
    ) -> Session:
        """Close a session: append the last chunk if there is one, seal, and commit.

        `name` is its ticket or its id. A blob that comes whole is published at once.

        Returns the committed session, also to a repeat. Raises UploadDigestInvalidError (the
        session lives on), DeniedError (there is no room for the blob, and it is over),
        UploadUnknownError (also where the blob was deleted since), UploadOffsetError,
        UploadBusyError.
        """
        at = at if data else None
        session_id, unbegun = self._unbegun.named(owner, name)
        whole = self._put_unbegun(unbegun, digest, data, at) if unbegun else None
        return whole or self._close(owner, session_id, digest, data, at, deadline)

    def _close(  # noqa: PLR0913 - likewise
        self,
        owner: Owner,
        session_id: str,
        digest: Digest,
        data: bytes,
        at: int | None,
        deadline: float,
    ) -> Session:
        """Do `commit` with a session that is begun."""
        patience = self._patience(deadline)
        try:
            leased = self._leases.take(owner, session_id, at, digest, deadline)
        except UploadUnknownError:
            session = self._leases.find(owner, session_id, refused=True)
            if session.state is UploadState.OPEN:
                raise
            if data and session.claim != digest and session.takes_claims:
                raise _takes_no_bytes(session, at) from None
            if session.state is UploadState.COMMITTED:
                return self.still_live(self._bound(session, digest))
            return self._finish(session, digest, patience, deadline)
        hasher = hasher_of(leased) if leased.offset else Hasher(digest.algorithm)
        hashed = hasher is not None and hasher.algorithm is digest.algorithm
        if hasher is not None:
            hasher.update(data)
        if hasher is not None and hashed and hasher.digest() != digest:
            self._leases.release(leased, leased)
            raise _differs(hasher.digest(), digest, offset=leased.offset)
        try:
            self.require_room(leased, digest, leased.offset + len(data))
        except DeniedError:
            raise
        except RegistryError:
            self._leases.release(leased, leased)
            raise
        if hashed and leased.upload_id is None:
            return self._publish_leased(leased, data)
        stored = self._leases.store(leased, data, hasher) if data else freed(leased)
        closed = sealed(stored, digest, hasher if hashed else None)
        session = self._leases.write(leased, self._driven(closed, leased))
        session = self._begun(session, leased.holder, patience, deadline)
        return self._finish(session, digest, patience, deadline)

    def require_room(self, session: Session, digest: Digest, size: int) -> None:
        """End a session whose blob of this size has no room, before its bytes are moved.

        Raises DeniedError then.
        """
        try:
            self._quotas.require_room(session.repository, digest, size)
        except DeniedError as denied:
            raise self._leases.denied(session, denied) from None

    def close(self, session: Session, closed: Session, report: Report, deadline: float) -> Session:
        """Seal a session that knows no lease of requests, and see it to its end.

        `closed` is the session as it is to be sealed, and `report` what it names. Raises
        SessionMovedError where it has moved; else it is as `finish`.
        """
        patience, holder = self._patience(deadline), self._ports.clock.new_id()
        until = deadline + self._limits.lease_grace
        driven = self._driven(closed, replace(session, holder=holder, lease_until=until))
        written = self._ports.sessions.write(session, driven)
        self._driver.remember(written, report)
        begun = self._begun(written, holder, patience, deadline)
        return self._finish(begun, closed.claimed_digest, patience, deadline)

    def finish(self, session: Session, digest: Digest, deadline: float) -> Session:
        """See a closed session to its end, as far as the client waits; returns it committed.

        Raises CommitRunningError, UploadDigestInvalidError if it was closed with another digest,
        and what `over` returns.
        """
        return self._finish(session, digest, self._patience(deadline), deadline)

    def _patience(self, deadline: float) -> float:
        """When a request that is answered by `deadline` stops waiting for a commit."""
        return min(self._ports.clock.now() + self._limits.commit_wait, deadline - _MARGIN)

    def _begun(
        self, session: Session, holder: str | None, patience: float, deadline: float
    ) -> Session:
        """Drive a session that this holder's request has just sealed, or ask for a worker."""
        if session.holder == WORKER:
            return self._driver.call(session)
        if session.holder == holder:
            return self._drive(session, patience, deadline)
        return session

    def _driven(self, closed: Session, leased: Session) -> Session:
        """Return a session that is about to be sealed with its driver: this request, or a worker.

        So the seal and the driver's lease are one write. `leased` has the request's own lease.
        """
        now = self._ports.clock.now()
        holder, until = WORKER, now + self._limits.worker_start
        if self._inline(closed):
            holder, until = leased.holder or "", leased.lease_until
        sweep_at = now + self._limits.sweep_sealed
        return replace(closed, holder=holder, lease_until=until, sweep_at=sweep_at)

    def still_live(self, committed: Session) -> Session:
        """Return a session whose commit a client asks for again; its blob may be gone by now.

        Raises UploadUnknownError then, as for a session that is gone: clients push the blob again.
        """
        try:
            self._blobs.stat(committed.repository, committed.claimed_digest, look=True)
        except BlobUnknownError:
            raise UploadUnknownError(
                "the blob of this upload was deleted since: start a new upload"
            ) from None
        return committed

    def _put_unbegun(
        self, unbegun: Session, digest: Digest, data: bytes, at: int | None
    ) -> Session | None:
        """Publish a blob that came whole; None if the session is begun, or over."""
        found = Digest.of(data, digest.algorithm)
        if found == digest and not at:
            try:
                return self._unbegun.publish(unbegun, digest, data)
            except SessionMovedError:
                return None
        if self._ports.sessions.get(unbegun.id) is not None:
            return None
        if at:
            raise UploadOffsetError(offset=0)
        raise _differs(found, digest, offset=0)

    def _publish_leased(self, leased: Session, data: bytes) -> Session:
        """Do `_publish_whole`; on failure release the lease."""
        try:
            return self._publish_whole(leased, data)
        except BYTES_LOST:
            raise self._leases.lost(leased) from None
        except DeniedError:
            raise
        except RegistryError:
            self._leases.release(leased, with_late_writer(leased))  # no part was written
            raise

    def _publish_whole(self, leased: Session, data: bytes) -> Session:
        """Publish a blob that is the tail, this request's bytes, or both; hashed under the lease.

        `leased.claim` must be its digest: it names the canonical key before that is written.
        Raises ObjectMissingError, ObjectChangedError when the tail is not that of the session.
        """
        key, repeated = canonical_key(leased.claimed_digest, leased.id), False
        content: bytes | None = None
        if leased.tail is not None and not data:
            tail, until = leased.tail, leased.lease_until
            self._ports.objects.copy(tail.key, tail.etag, tail.size, key, until=until)
            size = tail.size
        else:
            body = self._chunks.tail_bytes(leased) + data
            repeated = self._ports.objects.put(key, body).repeated
            size, content = len(body), self._limits.inlined(body)
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
            sweep_at=now + self._limits.sweep_again,
            expires_at=now + self._limits.remember if clean else None,
        )
        try:
            published = self._quotas.publish(leased, committed, key, content)
        except DeniedError as denied:
            raise self._leases.denied(replace(leased, disturbed=disturbed), denied) from None
        except SessionMovedError as moved:
            published = _published_by_another(leased, moved.current)
        return published if published.expires_at else self._leftovers.clean(published)

    def _finish(
        self, session: Session, digest: Digest, patience: float, deadline: float
    ) -> Session:
        """See a closed session to its end, by whomever it is driven, and return it committed.

        `patience` (epoch seconds) is when the client is answered in any case: then
        CommitRunningError is raised, the work goes on, and a repeat of the PUT is answered.
        """
        session = self._bound(session, digest)
        clock, waits = self._ports.clock, chain(_POLLS, repeat(_POLLS[-1]))
        while not session.settled and clock.now() < patience:
            if session.leased(clock.now()):
                clock.sleep(min(next(waits), patience - clock.now()))
                session = self._ports.sessions.get(session.id) or session
            else:
                session = self._begin(session, patience, deadline)
        if session.claim != digest and session.state is not UploadState.CANCELLED:
            raise self._still_running(session)  # a mismatch is that of another request's claim
        if session.mismatched:
            raise _mismatch(session)
        if session.state not in TERMINAL:
            raise self._still_running(session)
        return _require_committed(session)

    def _begin(self, session: Session, patience: float, deadline: float) -> Session:
        """Take the lease of a session that nobody drives, and drive it or ask for a worker."""
        if not self._inline(session):
            return self._driver.hand_over(session)
        try:
            taken = self._driver.take(session, deadline)
        except SessionMovedError as moved:
            return known(moved.current)
        return self._drive(taken, patience, deadline)

    def _drive(self, taken: Session, patience: float, deadline: float) -> Session:
        """Drive a session as long as a client waits; what is not done then is left to a worker."""
        driven = self._driver.drive(taken, patience, deadline)
        if driven.settled or driven.holder != taken.holder:
            return driven
        return self._driver.hand_over(driven)

    def _inline(self, session: Session) -> bool:
        """Whether a request drives this commit itself."""
        return session.offset <= self._limits.commit_inline

    def _still_running(self, session: Session) -> UploadBusyError:
        return CommitRunningError(
            "the commit is still running: repeat this request without a body",
            offset=session.offset,
            retry_after=1,
            driven=session.driven(self._ports.clock.now()),
        )

    def _bound(self, session: Session, digest: Digest) -> Session:
        """Bind a closed session to this claim; only an unhashed one that waits takes another."""
        for _ in range(_CLAIM_TRIES):
            if session.claim == digest:
                return session
            if session.state is UploadState.CANCELLED:
                raise over(session)
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


def sealed(session: Session, digest: Digest, hasher: Hasher | None) -> Session:
    """Return a session closed to chunks with this claim; its tail takes a part number.

    `hasher` has hashed all its bytes and agrees with the claim; None if that is not known.
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
    )


def _published_by_another(leased: Session, current: Session | None) -> Session:
    """Return a session that was committed with this claim while this request thought to do it.

    Raises UploadUnknownError if it is gone, UploadBusyError if it is open or has another claim.
    """
    current = known(current)
    if current.claim != leased.claim or current.state is UploadState.OPEN:
        raise UploadBusyError(offset=current.offset, retry_after=1)
    if current.state not in TERMINAL:
        raise CommitRunningError(offset=current.offset, retry_after=1)
    return _require_committed(current)


def _require_committed(session: Session) -> Session:
    if session.state is UploadState.CANCELLED:
        raise over(session)
    return session


def _differs(found: Digest, claim: Digest, *, offset: int) -> UploadDigestInvalidError:
    """Return the error for a session whose bytes, with this request's, have another digest."""
    return UploadDigestInvalidError(
        f"the content has digest {found}, not {claim}: nothing of this request was kept",
        offset=offset,
    )


def _mismatch(session: Session) -> UploadDigestInvalidError:
    """Return the error for a session whose bytes were read and do not have the digest claimed."""
    return UploadDigestInvalidError(
        f"the upload has digest {session.computed_digest}, not {session.claim}",
        offset=session.offset,
    )


def _takes_no_bytes(session: Session, at: int | None) -> RegistryError:
    """Return the error for a PUT that brings bytes to a closed session, which takes claims only."""
    if at != session.offset:
        return UploadOffsetError(offset=session.offset)
    return UploadInvalidError(
        "another request closed the upload, which takes no more bytes: repeat this one without a"
        " body, or start a new upload",
        offset=session.offset,
    )
