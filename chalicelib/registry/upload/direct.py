"""Direct uploads: the client puts a blob's bytes to S3 itself, at the key where they stay.

In one PUT: the session names digest and size before any byte can come. The presigned URL accepts
only those bytes, because S3 compares their SHA-256. The commit checks the object by a HEAD and
publishes it; nothing is copied. In parts: see `direct_parts.py`. This module must never publish
bytes that S3 has not compared, nor delete an object to make its key free for another one: a late
delete would hit the later object.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import (
    DeniedError,
    DigestInvalidError,
    DirectUploadInvalidError,
    SizeTooLargeError,
    UnavailableError,
    UploadInvalidError,
    UploadUnknownError,
)
from chalicelib.limits import PUT_MAXIMUM
from chalicelib.registry.keys import direct_key
from chalicelib.registry.outcomes import CheckedObject, Part, PresignedPut, SessionMovedError
from chalicelib.registry.quotas import Quotas
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Owner, Session, StoredObject, UploadState
from chalicelib.registry.upload.closing import Closing
from chalicelib.registry.upload.direct_parts import DirectParts, WantedPart
from chalicelib.registry.upload.leases import Leases
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.states import Event, after
from chalicelib.registry.upload.unbegun import UnbegunSessions

_CANCEL_TRIES = 4
_START_ANEW = "cancel this upload and start a new one"


class DirectStatus(NamedTuple):
    """A direct session, and what an open one still needs."""

    session: Session
    put: PresignedPut | None = None
    """A fresh URL for the bytes, if they come in one PUT."""
    stored: Sequence[Part] | None = None
    """The parts that S3 has, if they come in parts."""


class DirectUploads:
    """Direct uploads of all repositories."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._leases = Leases(ports, limits)
        self._leftovers = Leftovers(ports, limits)
        self._closing = Closing(ports, limits)
        self._unbegun = UnbegunSessions(ports, limits)
        self._quotas = Quotas(ports)
        self._parts = DirectParts(ports, limits, self._closing)
        self.url_seconds = int(limits.direct_url)
        """How long a client may take to begin its PUT."""
        self.part_minimum = limits.part_minimum
        """Bytes of the smallest part, the last one excepted."""

    def start(self, repository: str, principal: str, digest: Digest, size: int) -> DirectStatus:
        """Open a session for the bytes of a digest, so many of them. One write.

        Raises DigestInvalidError, SizeTooLargeError for what S3 can't compare or take at once,
        DeniedError where the repository has no room for it.
        """
        if digest.algorithm is not Algorithm.SHA256:
            raise DigestInvalidError(
                f"one PUT has a sha256 digest, not {digest.algorithm}: push in parts, or in chunks"
            )
        if size > PUT_MAXIMUM:
            raise SizeTooLargeError(
                f"one PUT has {PUT_MAXIMUM} bytes at most, not {size}: push in parts, or in chunks"
            )
        self._quotas.require_room(repository, digest, size)
        session = replace(self._new(repository, principal), claim=digest, direct_size=size)
        self._ports.sessions.create(session)
        return DirectStatus(session, self._presigned(session))

    def start_parts(self, repository: str, principal: str, algorithm: Algorithm) -> DirectStatus:
        """Open a session for bytes that come in parts, with their digest last."""
        opened = replace(self._new(repository, principal), algorithm=algorithm)
        return DirectStatus(self._parts.begin(opened), stored=())

    def part_urls(
        self, owner: Owner, session_id: str, wanted: Sequence[WantedPart]
    ) -> list[PresignedPut]:
        """Return a URL for each part; one read. Raises UploadUnknownError, RequestInvalidError."""
        session = self._leases.find(owner, session_id, direct=True)
        if not session.by_parts:
            raise UploadUnknownError("this upload takes one PUT, and no parts")
        return self._parts.urls(session, wanted)

    def _new(self, repository: str, principal: str) -> Session:
        clock = self._ports.clock
        now = clock.now()
        life_until = now + self._limits.session_life
        return Session(
            id=clock.new_id(),
            repository=repository,
            principal=principal,
            nonce=clock.new_id(),
            created_at=now,
            life_until=life_until,
            state=UploadState.DIRECT,
            sweep_at=life_until,
        )

    def status(self, owner: Owner, session_id: str) -> DirectStatus:
        """Read a session; raises UploadUnknownError, also for a blob that was deleted since."""
        session = self._leases.find(owner, session_id, direct=True)
        if session.state is UploadState.DIRECT and not session.by_parts:
            return DirectStatus(session, self._presigned(session))
        if session.state is UploadState.DIRECT:
            stored = self._parts.stored(session)
            if stored is not None:
                return DirectStatus(session, stored=stored)
            # A commit may have put the parts together since the session was read.
            session = self._leases.find(owner, session_id, direct=True)
            if session.state is UploadState.DIRECT:
                raise UploadUnknownError("the parts of this upload are gone: start a new one")
        if session.state is UploadState.COMMITTED:
            session = self._closing.still_live(session)
        return DirectStatus(session)

    def commit(
        self, owner: Owner, session_id: str, digest: Digest | None, report: bytes, deadline: float
    ) -> Session:
        """Publish the bytes that were put; returns the committed session, also to a repeat.

        `digest` is None where the client names none, as it may not if the bytes came in parts;
        `report` is what it says of them, and `deadline` (epoch seconds) when its request ends.
        Raises DirectUploadInvalidError if the bytes are not there, or not as they have to be,
        DeniedError where there is no room for them, and UploadUnknownError; and what
        DirectParts.commit raises.
        """
        session = self._leases.find(owner, session_id, direct=True, refused=True)
        if session.by_parts and digest is None:
            raise DigestInvalidError("the commit of an upload in parts needs ?digest=")
        if digest is not None and session.claim not in {None, digest}:
            raise DigestInvalidError(f"this upload is for {session.claim}, not {digest}")
        if session.by_parts and digest is not None and session.state is not UploadState.COMMITTED:
            return self._parts.commit(session, digest, report, deadline)
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

    def commit_put(self, owner: Owner, name: str, digest: Digest, deadline: float) -> Session:
        """Publish what the edge has put whole, into an upload that `name` says: its ticket.

        One look and one transaction where S3 has compared the bytes. Where it has not, a driver
        reads them, and CommitRunningError may be raised until that is done. Raises
        DirectUploadInvalidError if they are not there, and what Closing.commit raises.
        """
        named = self._unbegun.named(owner, name, late=self._limits.direct_put)
        if named.unbegun is None:
            return self._known(owner, named.id, digest, deadline)
        session, key = named.unbegun, direct_key(digest, named.id)
        found = self._ports.objects.check(key)
        stat = self._ports.objects.stat(key) if found and found.digest is None else None
        try:
            if stat is not None:
                staged = StoredObject(key, stat.size, stat.etag)
                session = self._unbegun.stage(session, digest, staged)
                return self._closing.finish(session, digest, deadline)
            wanted = replace(session, claim=digest, direct_size=found.size if found else 0)
            fault = _fault(wanted, found)
            if fault is None and found is not None:
                return self._unbegun.publish_put(session, digest, found.size)
        except SessionMovedError:
            fault = None
        # A cancellation, or another commit, may have come before.
        if fault is not None and self._ports.sessions.get(named.id) is None:
            raise DirectUploadInvalidError(fault)
        return self._known(owner, named.id, digest, deadline)

    def _known(self, owner: Owner, session_id: str, digest: Digest, deadline: float) -> Session:
        """Do `commit_put` with a session that has an item."""
        session = self._leases.find(owner, session_id, refused=True)
        if session.state is UploadState.OPEN:
            raise UploadInvalidError(
                "this upload has chunks: close it by a PUT, or start a new one",
                offset=session.offset,
            )
        if (session.state, session.claim) == (UploadState.COMMITTED, digest):
            return self._closing.still_live(session)
        return self._closing.finish(session, digest, deadline)

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
            published = self._quotas.publish(session, committed, key)
        except DeniedError as denied:
            raise self._leases.denied(session, denied) from None
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
    """Return why an object can't be published; None if it can."""
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
