"""Direct uploads: the client puts a blob's bytes to S3 itself, at the key where they stay.

Its session names digest and size before any byte can come, and a presigned URL lets through only
those bytes: S3 compares their SHA-256. The commit looks at the object and publishes it; nothing is
copied. This module must never publish what S3 has not compared, nor delete an object to let
another one take its key: a delete that is late would hit the later one.
"""

from dataclasses import replace
from typing import NamedTuple

from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import (
    DigestInvalidError,
    DirectUploadInvalidError,
    SizeTooLargeError,
    UnavailableError,
    UploadUnknownError,
)
from chalicelib.limits import PUT_MAXIMUM
from chalicelib.registry.keys import direct_key
from chalicelib.registry.outcomes import CheckedObject, PresignedPut, SessionMovedError
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Owner, Session, UploadState
from chalicelib.registry.upload.closing import Closing
from chalicelib.registry.upload.leases import Leases
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.states import Event, after

_CANCEL_TRIES = 4
_START_ANEW = "cancel this upload and start a new one"


class DirectStatus(NamedTuple):
    """A direct session, and a fresh URL for its bytes; None once it is committed."""

    session: Session
    put: PresignedPut | None


class DirectUploads:
    """Direct uploads of all repositories."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._leases = Leases(ports, limits)
        self._leftovers = Leftovers(ports, limits)
        self._closing = Closing(ports, limits)
        self.url_seconds = int(limits.direct_url)
        """How long a client may take to begin its PUT."""

    def start(self, repository: str, principal: str, digest: Digest, size: int) -> DirectStatus:
        """Open a session for the bytes of a digest, so many of them. One write.

        Raises DigestInvalidError, SizeTooLargeError for what S3 can't compare or take at once.
        """
        if digest.algorithm is not Algorithm.SHA256:
            raise DigestInvalidError(
                f"a direct upload has a sha256 digest, not {digest.algorithm}: push in chunks"
            )
        if size > PUT_MAXIMUM:
            raise SizeTooLargeError(
                f"a direct upload has {PUT_MAXIMUM} bytes at most, not {size}: push in chunks"
            )
        clock = self._ports.clock
        now = clock.now()
        life_until = now + self._limits.session_life
        session = Session(
            id=clock.new_id(),
            repository=repository,
            principal=principal,
            nonce=clock.new_id(),
            created_at=now,
            life_until=life_until,
            state=UploadState.DIRECT,
            claim=digest,
            direct_size=size,
            sweep_at=life_until,
        )
        self._ports.sessions.create(session)
        return DirectStatus(session, self._presigned(session))

    def status(self, owner: Owner, session_id: str) -> DirectStatus:
        """Read a session; raises UploadUnknownError."""
        session = self._leases.find(owner, session_id, direct=True)
        open_still = session.state is UploadState.DIRECT
        return DirectStatus(session, self._presigned(session) if open_still else None)

    def commit(self, owner: Owner, session_id: str) -> Session:
        """Publish the bytes that were put; returns the committed session, also to a repeat.

        Raises DirectUploadInvalidError if they are not there, or not as they have to be, and
        UploadUnknownError.
        """
        session = self._leases.find(owner, session_id, direct=True)
        if session.state is UploadState.DIRECT:
            key = direct_key(session.claimed_digest, session.id)
            fault = _fault(session, self._ports.objects.check(key))
            if fault is None:
                return self._publish(session, key)
            # A cancellation, or another commit that did not need them, may have deleted the bytes.
            session = self._leases.find(owner, session_id, direct=True)
            if session.state is UploadState.DIRECT:
                raise DirectUploadInvalidError(fault)
        return self._closing.still_live(session)

    def _publish(self, session: Session, key: str) -> Session:
        now = self._ports.clock.now()
        committed = replace(
            session,
            state=after(session.state, Event.PUBLISH),
            offset=session.direct_size or 0,
            sweep_at=self._leftovers.comes_again(session),
            expires_at=now + self._limits.remember,
        )
        try:
            published = self._ports.metadata.publish(
                session, committed, key, now, is_there=self._ports.is_there
            )
        except SessionMovedError:  # another commit would have been found to be this one
            raise UploadUnknownError from None
        return published if published.expires_at else self._leftovers.clean(published)

    def cancel(self, owner: Owner, session_id: str) -> None:
        """Cancel a session and delete what was put; a PUT that lands later is deleted, too.

        Raises UploadUnknownError, also for a committed one.
        """
        for _ in range(_CANCEL_TRIES):
            session = self._leases.find(owner, session_id, direct=True)
            if session.state is not UploadState.DIRECT:
                raise UploadUnknownError("the upload is over")
            try:
                self._leases.end(session, Event.CANCEL)
            except SessionMovedError:
                continue
            return
        raise UnavailableError("the upload keeps changing")

    def _presigned(self, session: Session) -> PresignedPut:
        digest = session.claimed_digest
        return self._ports.objects.presign_put(
            direct_key(digest, session.id),
            digest,
            session.direct_size or 0,
            seconds=self.url_seconds,
        )


def _fault(session: Session, found: CheckedObject | None) -> str | None:
    """Return what keeps an object from being published; None if it is what it has to be."""
    if found is None:
        return "no bytes have come yet: PUT them to the URL first, and then commit"
    if found.headers:
        return (
            f"the PUT carried headers of its own, {', '.join(found.headers)}, that every download"
            f" would have: {_START_ANEW}"
        )
    if (found.digest, found.size) != (session.claim, session.direct_size):
        return (
            f"S3 has compared {found.digest} of {found.size} bytes, not {session.claim} of"
            f" {session.direct_size}: {_START_ANEW}"
        )
    return None
