"""Direct uploads in parts: for blobs above one PUT, and for streams whose digest comes last.

A session opens one multipart upload at the key where the blob stays, and its client puts the parts
by presigned URLs. The closing PUT brings the client's report of the parts, which is stored. From
then on the session has a driver like every other one. This module must never trust a part, a size
or a hash state of the report: the driver checks all of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from chalicelib.digest import Digest
from chalicelib.errors import DigestInvalidError, RequestInvalidError, UploadUnknownError
from chalicelib.limits import PART_COUNT
from chalicelib.registry.keys import parts_key, report_key
from chalicelib.registry.outcomes import (
    MultipartMissingError,
    Part,
    PresignedPut,
    SessionMovedError,
)
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Session, UploadState
from chalicelib.registry.upload.closing import Closing
from chalicelib.registry.upload.runner import known
from chalicelib.registry.upload.segments import PART_MAXIMUM, Report
from chalicelib.registry.upload.states import Event, after

URL_BATCH = 100
"""The most URLs in one request."""


class WantedPart(NamedTuple):
    """A part for which a client asks for a URL: its number, and its size in bytes."""

    number: int
    size: int


class DirectParts:
    """Direct uploads in parts. A `deadline` is epoch seconds: when the caller's invocation ends."""

    def __init__(self, ports: Ports, limits: Limits, closing: Closing) -> None:
        self._ports = ports
        self._limits = limits
        self._closing = closing

    def begin(self, opened: Session) -> Session:
        """Store a new session, and open its multipart upload: two writes.

        The session is stored first, so that clean-up finds what a request that dies has opened.
        """
        session = replace(opened, by_parts=True)
        self._ports.sessions.create(session)
        begun = self._ports.objects.begin_multipart(parts_key(session.id))
        return self._ports.sessions.write(session, replace(session, upload_id=begun.id))

    def urls(self, session: Session, wanted: Sequence[WantedPart]) -> list[PresignedPut]:
        """Return a URL for each part; no request to S3. Raises RequestInvalidError."""
        upload_id = _upload_of(session)
        if not 1 <= len(wanted) <= URL_BATCH:
            raise RequestInvalidError(f"ask for 1 to {URL_BATCH} parts at once, not {len(wanted)}")
        for number, size in wanted:
            if not 1 <= number <= PART_COUNT:
                raise RequestInvalidError(f"a part's number is 1 to {PART_COUNT}, not {number}")
            if not 1 <= size <= PART_MAXIMUM:
                raise RequestInvalidError(
                    f"part {number} has 1 to {PART_MAXIMUM} bytes, not {size}"
                )
        key, seconds = parts_key(session.id), int(self._limits.direct_url)
        presign = self._ports.objects.presign_part
        return [presign(key, upload_id, number, size, seconds=seconds) for number, size in wanted]

    def stored(self, session: Session) -> Sequence[Part] | None:
        """Return the parts that S3 has of an open session; None if it has no such upload."""
        try:
            return self._ports.objects.list_parts(parts_key(session.id), _upload_of(session))
        except MultipartMissingError:
            return None

    def commit(self, session: Session, digest: Digest, raw: bytes, deadline: float) -> Session:
        """Seal a session with its client's report, and commit; returns the committed session.

        A session that is sealed already needs no report, and reads none. Raises
        RequestInvalidError for a report that can't be read (nothing has changed then),
        DirectUploadInvalidError where S3 has other parts, DigestInvalidError where the bytes are
        others, DeniedError where there is no room for them (all three end the upload),
        CommitRunningError, UploadUnknownError.
        """
        if session.state is not UploadState.DIRECT:
            return self._closing.finish(session, digest, deadline)
        _upload_of(session)
        report = self._read(session, digest, raw)
        self._closing.require_room(session, digest, report.size)
        closed = sealed_with(session, digest, report)
        self._ports.objects.put(report_key(session.id, named(report)), report.dump())
        try:
            return self._closing.close(session, closed, report, deadline)
        except SessionMovedError as moved:
            # Another request has closed it, or has cancelled it.
            return self._closing.finish(known(moved.current), digest, deadline)

    def _read(self, session: Session, digest: Digest, raw: bytes) -> Report:
        algorithm = session.algorithm
        if digest.algorithm is not algorithm:
            raise DigestInvalidError(
                f"this upload was opened for {algorithm}, and {digest.algorithm} has other states:"
                " cancel it and start a new one"
            )
        if not raw:
            raise RequestInvalidError(
                "the registry has no report of this upload yet: commit it with one"
            )
        return Report.parse(raw, algorithm, minimum=self._limits.part_minimum)


def named(report: Report) -> Digest:
    """Return the name of a report: the SHA-256 of what is stored of it."""
    return Digest.of(report.dump())


def sealed_with(session: Session, digest: Digest, report: Report) -> Session:
    """Return a session closed to parts, with what its client says of them."""
    return replace(
        session,
        state=after(session.state, Event.SEAL),
        claim=digest,
        report=named(report),
        offset=report.size,
        fence=session.fence + 1,
    )


def _upload_of(session: Session) -> str:
    """Return the id of an open session's multipart upload; raises UploadUnknownError if none."""
    if session.state is not UploadState.DIRECT or session.upload_id is None:
        raise UploadUnknownError("the upload is over or being committed")
    return session.upload_id
