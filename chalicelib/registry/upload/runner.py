"""From a closing PUT to a live blob: the runner that walks the state table.

Each arrow is one write conditional on state and fence, each effect can be repeated. This module
must never publish a session that was neither hashed by us nor verified, whoever names its digest.
"""

from dataclasses import replace

from chalicelib.digest import Digest, Hasher
from chalicelib.errors import UploadBusyError, UploadDigestInvalidError, UploadUnknownError
from chalicelib.registry.keys import canonical_key
from chalicelib.registry.outcomes import (
    MultipartMissingError,
    ObjectChangedError,
    ObjectMissingError,
    RecordMissingError,
    SessionMovedError,
)
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import TERMINAL, Session, UploadState
from chalicelib.registry.upload import states as transitions
from chalicelib.registry.upload.chunks import ByteStore
from chalicelib.registry.upload.effects import Effects, claim_of, computed_of
from chalicelib.registry.upload.states import Event

_POLL = 0.5
_CLAIM_TRIES = 4


class Commits:
    """Seals sessions and drives them to their end."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._bytes = ByteStore(ports, limits)
        self._effects = Effects(ports)

    def sealed(self, session: Session, digest: Digest, hasher: Hasher | None) -> Session:
        """The session with this claim, closed to chunks; its tail takes a part number.

        `hasher` has hashed all its bytes and agrees with the claim; None if that is not known.
        """
        return replace(
            session,
            state=transitions.after(session.state, Event.SEAL),
            claim=digest,
            fence=session.fence + 1,
            hash_state=hasher.state() if hasher else None,
            algorithm=hasher.algorithm if hasher else session.algorithm,
            tail_part=session.next_part,
            next_part=session.next_part + 1,
            sweep_at=self._ports.clock.now() + self._limits.sweep_sealed,
        )

    def publish_whole(self, leased: Session, data: bytes) -> Session:
        """Publish a blob that is the tail, this request's bytes, or both; hashed under the lease.

        `leased.claim` must be its digest: it names the canonical key before that is written.
        Raises ObjectMissingError, ObjectChangedError when the tail is not what the session says.
        """
        key, repeated = canonical_key(claim_of(leased), leased.id), False
        if leased.tail is not None and not data:
            self._ports.objects.copy(leased.tail.key, leased.tail.etag, leased.tail.size, key)
            size = leased.tail.size
        else:
            body = self._bytes.tail_bytes(leased) + data
            repeated = self._ports.objects.put(key, body).repeated
            size = len(body)
        if size != leased.offset + len(data):
            raise ObjectChangedError(f"{leased.id} stored {size} bytes")
        now = self._ports.clock.now()
        disturbed = leased.disturbed or repeated
        clean = leased.tail is None and not disturbed
        committed = replace(
            leased,
            disturbed=disturbed,
            state=transitions.after(leased.state, Event.WHOLE),
            offset=size,
            holder=None,
            lease_until=0.0,
            last_fence=leased.fence,
            sweep_at=None if clean else now + self._limits.sweep_again,
            expires_at=now + self._limits.remember if clean else None,
        )
        try:
            published = self._ports.metadata.publish(leased, committed, key, now)
        except SessionMovedError as moved:
            published = self._published(self._met(leased, moved.current))
        return published if published.expires_at else self._bytes.clean(published)

    def finish(self, session: Session, digest: Digest, deadline: float) -> Session:
        """Drive a sealed session to its end and return it committed.

        Large ones are driven by the commit function while this waits. Raises UploadBusyError
        when time runs out: the work goes on, and a repeat of the PUT is answered.
        """
        session = self._claimed(session, digest)
        patience = min(self._ports.clock.now() + self._limits.commit_wait, deadline - 2.0)
        inline = self._limits.commit_inline if session.hashed else self._limits.verify_inline
        if session.state not in TERMINAL and session.offset > inline:
            self._ports.workers.commit(session.id)
            session = self._await(session, patience)
        else:
            session = self.drive(session, patience)
        if session.claim == digest:  # else what was found was found of another one's claim
            self._refuse_if_false(session)
        others = session.state is UploadState.COMMITTED and session.claim != digest
        if session.state not in TERMINAL or others:
            self._ports.workers.commit(session.id)
            raise _running(session)
        return self._published(session)

    def resume(self, session_id: str, deadline: float) -> Session | None:
        """Drive a session that a worker was asked for; None if it is gone."""
        session = self._ports.sessions.get(session_id)
        if session is None or session.state is UploadState.OPEN:
            return session
        return self.drive(session, deadline)

    def drive(self, session: Session, until: float) -> Session:
        """Walk the table until the session is over or the time is; raises on a wrong claim."""
        while session.state not in TERMINAL and self._ports.clock.now() < until:
            session = self._step(session)
        return session

    def _step(self, session: Session) -> Session:
        if session.state is UploadState.COPIED:
            return self._publish(session, Event.PUBLISH)
        try:
            event, known = self._effects.of(session)
        except (MultipartMissingError, ObjectMissingError, ObjectChangedError):
            return self.end(session, Event.LOST)
        if event is Event.ALREADY_LIVE:
            return self._publish(session, event)
        moved_to = replace(known, state=transitions.after(session.state, event))
        written = self._write(session, moved_to)
        self._refuse_if_false(written)
        return written

    def _publish(self, session: Session, event: Event) -> Session:
        ours = canonical_key(claim_of(session), session.id)
        key = None if event is Event.ALREADY_LIVE else ours
        now = self._ports.clock.now()
        committed = replace(
            session,
            state=transitions.after(session.state, event),
            sweep_at=now + self._limits.sweep_again,
        )
        try:
            written = self._ports.metadata.publish(session, committed, key, now)
        except RecordMissingError:
            return session  # the record went between the look and the link: look again
        except SessionMovedError as moved:
            return self._met(session, moved.current)
        return self._bytes.clean(written)

    def end(self, session: Session, event: Event) -> Session:
        """Cancel a session that is not committed, whoever drives it, and clean up after it."""
        again = self._ports.clock.now() + self._limits.sweep_again
        written = self._write(session, transitions.ended(session, event, again))
        return self._bytes.clean(written) if written.state in TERMINAL else written

    def _write(self, before: Session, after: Session) -> Session:
        try:
            return self._ports.sessions.write(before, after)
        except SessionMovedError as moved:
            return self._met(before, moved.current)

    def _published(self, session: Session) -> Session:
        """Return a session that is committed; of any other one, say why it isn't."""
        if session.state is UploadState.CANCELLED:
            raise UploadUnknownError("this upload was cancelled, or its bytes are gone: start anew")
        if session.state is not UploadState.COMMITTED:
            raise _running(session)
        return session

    def _met(self, mine: Session, current: Session | None) -> Session:
        """Go on from where another driver of the same claim has brought the session."""
        if current is None:
            raise UploadUnknownError
        if current.claim != mine.claim or current.state is UploadState.OPEN:
            raise UploadBusyError(offset=current.offset, retry_after=1)
        return current

    def _claimed(self, session: Session, digest: Digest) -> Session:
        """Bind the session to this claim; only an unhashed one that waits can take another."""
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
        """Look on while a worker drives the session, until it is over, found false, or time is."""
        while session.state not in TERMINAL and self._ports.clock.now() < until:
            if computed_of(session) not in {None, session.claim}:
                break
            self._ports.clock.sleep(_POLL)
            session = self._ports.sessions.get(session.id) or session
        return session

    def _refuse_if_false(self, session: Session) -> None:
        """Raise UploadDigestInvalidError if the bytes were read and have not the digest claimed."""
        found = computed_of(session)
        if session.state is UploadState.ASSEMBLED and found not in {None, session.claim}:
            raise UploadDigestInvalidError(
                f"the upload has digest {found}, not {session.claim}", offset=session.offset
            )


def _running(session: Session) -> UploadBusyError:
    return UploadBusyError(
        "the commit is still running: repeat this request without a body",
        offset=session.offset,
        retry_after=1,
    )
