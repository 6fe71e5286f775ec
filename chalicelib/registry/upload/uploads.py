"""The upload session: start, append, status, cancel; and a blob that comes whole in one request.

This module must never move a session past `open`, except to cancel it: commits do the rest.
"""

from contextlib import suppress
from dataclasses import replace

from chalicelib.digest import Algorithm, Digest, Hasher
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
from chalicelib.registry.outcomes import (
    MultipartMissingError,
    ObjectChangedError,
    ObjectMissingError,
    SessionMovedError,
)
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import (
    MAX_CLAIMS,
    Owner,
    Session,
    UploadState,
    left_behind,
    overtaken,
)
from chalicelib.registry.upload import states as transitions
from chalicelib.registry.upload.chunks import ByteStore, hasher_of
from chalicelib.registry.upload.runner import Commits
from chalicelib.registry.upload.states import Event

_LOST = (MultipartMissingError, ObjectMissingError, ObjectChangedError)
_CANCEL_TRIES = 4


class Uploads:
    """Upload sessions of all repositories. A `deadline` is epoch seconds: when the caller ends."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._bytes = ByteStore(ports, limits)
        self._commits = Commits(ports, limits)

    def start(
        self, repository: str, principal: str, algorithm: Algorithm = Algorithm.SHA256
    ) -> Session:
        """Open a session. One write; nothing is stored in S3 before the first chunk."""
        session = self._new(repository, principal, algorithm)
        self._ports.sessions.create(session)
        return session

    def put_whole(
        self, repository: str, principal: str, digest: Digest, data: bytes, deadline: float
    ) -> Session:
        """Store a blob that came in one request: one write, one put, one transaction.

        Returns the committed session. Raises DigestInvalidError, and then nothing was stored.
        """
        found = Digest.of(data, digest.algorithm)
        if found != digest:
            raise DigestInvalidError(f"the content has digest {found}, not {digest}")
        opened = self._new(repository, principal, digest.algorithm)
        leased = replace(
            opened,
            claim=digest,
            fence=1,
            holder=opened.nonce,
            lease_until=deadline + self._limits.lease_grace,
        )
        self._ports.sessions.create(leased)
        try:
            return self._commits.publish_whole(leased, data)
        except UploadUnknownError as error:
            # The request outlived its session: who sent it knows of none, and has but to repeat it.
            raise UnavailableError("the upload took too long: send it again") from error

    def append(
        self, owner: Owner, session_id: str, data: bytes, at: int, deadline: float
    ) -> Session:
        """Append a chunk that begins at offset `at`; two writes and no read of the session.

        Raises UploadUnknownError, UploadOffsetError, UploadBusyError, UploadInvalidError; then
        offset and bytes are as they were.
        """
        if not data:
            return self._append_nothing(owner, session_id, at)
        leased = self._lease(owner, session_id, at, None, deadline)
        hasher = hasher_of(leased)
        if hasher:
            hasher.update(data)
        stored = self._store(leased, data, hasher)
        try:
            written = self._ports.sessions.write(leased, stored)
        except SessionMovedError as moved:
            written = _accepted(moved.current, leased, stored)
        self._bytes.drop_superseded_tails(leased, written)
        return written

    def status(self, owner: Owner, session_id: str) -> Session:
        """Read a session; a committed one still answers, so that its PUT can be repeated."""
        session = self._ports.sessions.get(session_id)
        if session is None or session.owner != owner:
            raise UploadUnknownError
        if session.state is UploadState.CANCELLED or session.over_by(self._ports.clock.now()):
            raise UploadUnknownError
        return session

    def cancel(self, owner: Owner, session_id: str) -> None:
        """Give a session up and delete what it stored. Only an open one can be cancelled."""
        for _ in range(_CANCEL_TRIES):
            session = self.status(owner, session_id)
            if session.state is not UploadState.OPEN:
                raise UploadUnknownError("the upload is over or being committed")
            try:
                self._end(session, Event.CANCEL)
            except SessionMovedError:
                continue
            return
        raise UploadBusyError("the upload keeps changing", offset=session.offset, retry_after=1)

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
            leased = self._lease(owner, session_id, at if data else None, digest, deadline)
        except UploadUnknownError:
            session = self.status(owner, session_id)
            if session.state is UploadState.OPEN:
                raise
            if data and session.claim != digest and session.takes_claims:
                raise _closed(session, at) from None
            return self._commits.finish(session, digest, deadline)
        return self._close(leased, digest, data, deadline)

    def _close(self, leased: Session, digest: Digest, data: bytes, deadline: float) -> Session:
        hasher = hasher_of(leased) if leased.offset else Hasher(digest.algorithm)
        known = hasher is not None and hasher.algorithm is digest.algorithm
        if hasher is not None:
            hasher.update(data)
        if hasher is not None and known and hasher.digest() != digest:
            self._release(leased, leased)
            raise UploadDigestInvalidError(
                f"the content has digest {hasher.digest()}, not {digest}: nothing of this"
                " request was kept",
                offset=leased.offset,
            )
        if known and leased.upload_id is None:
            return self._publish_whole(leased, data)
        freed = replace(leased, holder=None, lease_until=0.0)
        stored = self._store(leased, data, hasher) if data else freed
        closed = self._commits.sealed(stored, digest, hasher if known else None)
        try:
            sealed = self._ports.sessions.write(leased, closed)
        except SessionMovedError as moved:
            sealed = _accepted(moved.current, leased, stored)
        return self._commits.finish(sealed, digest, deadline)

    def _publish_whole(self, leased: Session, data: bytes) -> Session:
        """Publish a blob that is this request's body and the tail; on failure free the lease."""
        try:
            return self._commits.publish_whole(leased, data)
        except _LOST:
            raise self._lost(leased) from None
        except RegistryError:
            self._release(leased, left_behind(leased))  # no part was written
            raise

    def _new(self, repository: str, principal: str, algorithm: Algorithm) -> Session:
        clock = self._ports.clock
        now = clock.now()
        return Session(
            id=clock.new_id(),
            repository=repository,
            principal=principal,
            nonce=clock.new_id(),
            created_at=now,
            life_until=now + self._limits.session_life,
            algorithm=algorithm,
            hash_state=Hasher(algorithm).state(),
            sweep_at=now + self._limits.session_life,
        )

    def _lease(
        self,
        owner: Owner,
        session_id: str,
        at: int | None,
        claim: Digest | None,
        deadline: float,
    ) -> Session:
        return self._ports.sessions.take_lease(
            session_id,
            owner=owner,
            at=at,
            claim=claim,
            holder=self._ports.clock.new_id(),
            now=self._ports.clock.now(),
            until=deadline + self._limits.lease_grace,
        )

    def _append_nothing(self, owner: Owner, session_id: str, at: int) -> Session:
        session = self.status(owner, session_id)
        if session.state is not UploadState.OPEN:
            raise UploadUnknownError("the upload is over or being committed")
        if session.offset != at:
            raise UploadOffsetError(offset=session.offset)
        return session

    def _store(self, leased: Session, data: bytes, hasher: Hasher | None) -> Session:
        """Store a chunk; on failure free the lease, giving up what a late write may reach."""
        try:
            return self._bytes.store(leased, data, hasher)
        except _LOST:
            raise self._lost(leased) from None
        except UploadInvalidError:
            self._release(leased, leased)
            raise
        except RegistryError:
            part = self._bytes.makes_part(leased, data)
            self._release(leased, overtaken(leased) if part else left_behind(leased))
            raise

    def _release(self, leased: Session, left: Session) -> None:
        """Free a lease early, best effort: else it ends by itself.

        `left` is the session with what a write of this request, arriving late, could reach given
        up. One that would name too many claims is left to its lease's end, and then told to be
        over.
        """
        if len(left.earlier_claims) > MAX_CLAIMS:
            return
        freed = replace(left, holder=None, lease_until=0.0)
        with suppress(SessionMovedError, RegistryError):
            self._ports.sessions.write(leased, freed)

    def _lost(self, leased: Session) -> RegistryError:
        """End a session whose bytes are gone, and say so; or that another request has them now."""
        try:
            self._end(leased, Event.LOST)
        except SessionMovedError as moved:
            return _overtaken_by(moved.current)
        return UploadUnknownError("the bytes of this upload are gone: start a new one")

    def _end(self, session: Session, event: Event) -> None:
        """Cancel a session for good and clean up after it; raises SessionMovedError."""
        again = self._ports.clock.now() + self._limits.sweep_again
        ended = transitions.ended(session, event, again)
        self._bytes.clean(self._ports.sessions.write(session, ended))


def _accepted(current: Session | None, leased: Session, stored: Session) -> Session:
    """Tell whether a write that met another session had taken effect before all the same."""
    if (
        current is None
        or current.state is UploadState.CANCELLED
        or current.last_fence != leased.fence
    ):
        raise _overtaken_by(current)
    return stored if current.state is UploadState.OPEN else current


def _closed(session: Session, at: int | None) -> RegistryError:
    """Say where a closed session stands to whoever has bytes for it: it takes claims alone."""
    if at != session.offset:
        return UploadOffsetError(offset=session.offset)
    return UploadInvalidError(
        "another request closed the upload, which takes no more bytes: repeat this one without a"
        " body, or start a new upload",
        offset=session.offset,
    )


def _overtaken_by(current: Session | None) -> RegistryError:
    if current is None or current.state is UploadState.CANCELLED:
        return UploadUnknownError()
    return UploadBusyError(
        "another request took this upload over: ask for its status and resume",
        offset=current.offset,
        retry_after=1,
    )
