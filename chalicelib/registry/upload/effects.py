"""What each move of a commit does to the object store, before the session is written.

Every effect can be repeated, also after a driver that died during the effect and may still have a
late write. This module must never write a session, and never guess whether bytes are lost: they are
lost if S3 has other bytes than the session names, but not while S3 may still be assembling them.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from chalicelib.digest import Algorithm, Digest, Hasher, UnusableStateError
from chalicelib.errors import DirectUploadInvalidError
from chalicelib.limits import PART_MINIMUM
from chalicelib.registry.keys import canonical_key, data_key, multipart_key, report_key
from chalicelib.registry.outcomes import (
    MultipartBusyError,
    MultipartMissingError,
    ObjectChangedError,
    PartsChangedError,
    PartTooSmallError,
    UnfinishedError,
)
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Reading, Session, StoredObject, UploadState
from chalicelib.registry.upload.segments import Report, segments
from chalicelib.registry.upload.states import Event
from chalicelib.registry.upload.verification import Verification

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chalicelib.registry.outcomes import Part

_READ_CHUNK = 4 * 1024 * 1024
_LOOK_AGAIN = 2.0

Step = tuple[Event | None, Session]
"""The event, and the session with what the effect found out; its state has not moved yet.

Without an event the effect is not done: a repeat goes on from what the session then says.
"""


class Effects:
    """The effects of a commit's steps. `until`, in epoch seconds, is when a step should end."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._verification = Verification(ports, limits)
        self._last_report: tuple[tuple[Digest | None, Algorithm], Report] | None = None
        self._by_state: dict[UploadState, Callable[[Session, float], Step]] = {
            UploadState.SEALED: self._from_sealed,
            UploadState.ASSEMBLED: self._from_assembled,
            UploadState.VERIFIED: self._copy,
        }

    def remember(self, session: Session, report: Report) -> None:
        """Take the report that a session names: its next steps need not read it."""
        self._last_report = (session.report, session.algorithm), report

    def of(self, session: Session, until: float) -> Step:
        """Do the next effect of a session's commit, or as much of it as the time allows.

        Raises one of BYTES_LOST when its bytes are gone or are not those that it names.
        """
        return self._by_state[session.state](session, until)

    def _from_sealed(self, session: Session, _until: float) -> Step:
        live = self._ports.metadata.get_record(session.claimed_digest) if session.hashed else None
        if live is not None and self._ports.is_there(live.key):
            return Event.ALREADY_LIVE, session
        if session.upload_id is not None:
            return self._assemble(session)
        if session.tail is not None and session.tail.size == session.offset:
            return Event.ASSEMBLE, replace(session, staged=session.tail)
        return Event.LOST, session

    def _assemble(self, session: Session) -> Step:
        """Complete the multipart upload from accepted parts only, unless that was done before."""
        objects, key, upload_id = self._ports.objects, multipart_key(session), session.upload_id
        # Another driver's Complete, or one that the SDK has sent twice, may be under way.
        begun = session.disturbed or session.missed_at is not None
        parts_of = self._reported_parts if session.by_parts else self._accepted_parts
        try:
            parts = parts_of(session)
            begun = True
            etag = objects.complete_multipart(key, upload_id or "", parts)
        except PartsChangedError:
            self._ports.clock.sleep(_LOOK_AGAIN)
            return None, session
        except PartTooSmallError as error:
            if not session.by_parts:
                raise
            raise DirectUploadInvalidError(
                f"S3 has put nothing together: each part but the last has {PART_MINIMUM} bytes at"
                " least. Start a new upload"
            ) from error
        except (MultipartMissingError, MultipartBusyError) as error:
            stat = objects.stat(key)
            if stat is None or stat.size != session.offset:
                if begun and not self._missed_for_long(session, error):
                    return self._look_again(session, error)
                raise
            etag = stat.etag
        staged = StoredObject(key, session.offset, etag)
        return Event.ASSEMBLE, replace(session, staged=staged, missed_at=None)

    def _accepted_parts(self, session: Session) -> "Sequence[Part]":
        """Make the tail the last part, and list the parts that the object is to consist of."""
        objects, key, upload_id = self._ports.objects, data_key(session.id), session.upload_id or ""
        last, burned = session.tail_part or 0, frozenset(session.burned)
        if session.tail is not None:
            objects.copy_part(key, upload_id, last, session.tail.key, session.tail.etag)
        parts = [
            part
            for part in objects.list_parts(key, upload_id)
            if part.number not in burned
            and (part.number < last or (part.number == last and session.tail is not None))
        ]
        if sum(part.size for part in parts) != session.offset:
            raise ObjectChangedError(f"the parts of {session.id} are not its bytes")
        return parts

    def _reported_parts(self, session: Session) -> "Sequence[Part]":
        """List the parts that the client has reported; S3 must have each, in the size reported.

        Raises DirectUploadInvalidError. A part that was left out, or that comes later, goes with
        the multipart upload.
        """
        listed = self._ports.objects.list_parts(multipart_key(session), session.upload_id or "")
        by_number, report = {part.number: part for part in listed}, self._report(session)
        segments(report, {part.number: part.size for part in listed}, session.algorithm)
        return [by_number[part.number] for part in report.parts]

    def _report(self, session: Session) -> Report:
        """Return the report that the session was sealed with, and no other one."""
        if session.report is None:
            raise ValueError(f"session {session.id} has no report")
        last = self._last_report  # another thread's commit may replace it
        if last is None or last[0] != (session.report, session.algorithm):
            report = self._read_report(session, session.report)
            self.remember(session, report)
            return report
        return last[1]

    def _read_report(self, session: Session, named: Digest) -> Report:
        raw = self._ports.objects.get(report_key(session.id, named))
        if Digest.of(raw) != named:
            raise ObjectChangedError(f"the report of {session.id} is another one")
        return Report.parse(raw, session.algorithm, minimum=self._limits.part_minimum)

    def _missed_for_long(self, session: Session, error: Exception) -> bool:
        """Whether no CompleteMultipartUpload can be under way any more: the bytes are gone."""
        if isinstance(error, MultipartBusyError) or session.missed_at is None:
            return False
        return self._ports.clock.now() - session.missed_at >= self._limits.assembling

    def _look_again(self, session: Session, error: Exception) -> Step:
        """Wait a little for a Complete that may be under way; note when its upload was missed."""
        now = self._ports.clock.now()
        self._ports.clock.sleep(_LOOK_AGAIN)
        if isinstance(error, MultipartBusyError) or session.missed_at is not None:
            return None, session
        return None, replace(session, missed_at=now)

    def _from_assembled(self, session: Session, until: float) -> Step:
        if session.by_parts:
            done, found = self._verification.step(session, self._report(session), until)
            return (Event.VERIFY if done else None), found
        return self._copy(session, until) if session.hashed else self._verify(session, until)

    def _verify(self, session: Session, until: float) -> Step:
        """Read an unhashed session's staged object once; its digest serves later claims too."""
        found = session.computed_digest
        if found is None:
            hasher = self._read_on(session, until)
            if hasher.offset < session.offset:
                reading = Reading(hasher.algorithm, hasher.offset, hasher.state())
                return None, replace(session, reading=reading)
            found = hasher.digest()
        event = Event.VERIFY if found == session.claim else Event.MISMATCH
        rest = tuple(d for d in session.computed if d != found)
        return event, replace(session, computed=(*rest, found), reading=None)

    def _read_on(self, session: Session, until: float) -> Hasher:
        """Read and hash the next piece of the staged object; returns the hash up to its end."""
        staged, piece = session.staged_object, self._limits.drive_piece
        hasher = _hasher_of_reading(session)
        first, chunk_size = hasher.offset, min(_READ_CHUNK, piece)
        chunks = self._ports.objects.read(
            staged.key, etag=staged.etag, chunk_size=chunk_size, first=first
        )
        for chunk in chunks:
            hasher.update(chunk)
            spent = hasher.offset - first >= piece or self._ports.clock.now() >= until
            if spent and hasher.offset < session.offset:
                return hasher
        if hasher.offset != session.offset:
            raise ObjectChangedError(f"{staged.key} has {hasher.offset} bytes")
        return hasher

    def _copy(self, session: Session, until: float) -> Step:
        """Copy the staged bytes to this session's own canonical key."""
        staged, key = session.staged_object, canonical_key(session.claimed_digest, session.id)
        try:
            self._ports.objects.copy(staged.key, staged.etag, staged.size, key, until=until)
        except UnfinishedError:
            if self._ports.clock.now() < until:  # a copy that was begun before is still under way
                self._ports.clock.sleep(_LOOK_AGAIN)
            return None, session
        if staged.key == data_key(session.id):  # the size of a tail is known from its put
            stat = self._ports.objects.stat(key)
            if stat is None or stat.size != session.offset:
                raise ObjectChangedError(f"the copy {key} is not the staged object")
        return Event.COPY, session


def _hasher_of_reading(session: Session) -> Hasher:
    """Return the hash of what was read for a claim of this algorithm; at 0 if that is nothing."""
    algorithm, reading = Algorithm(session.claimed_digest.algorithm), session.reading
    if reading is not None and reading.algorithm is algorithm:
        try:
            return Hasher.restore(algorithm, reading.state, reading.offset)
        except UnusableStateError:
            pass
    return Hasher(algorithm)
