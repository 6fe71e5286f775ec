"""Mutants of direct uploads: what S3 has compared, parts, and the workers that verify them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from chalicelib.errors import (
    DirectUploadInvalidError,
    UploadUnknownError,
)
from chalicelib.registry.keys import parts_key, report_key
from chalicelib.registry.outcomes import (
    CheckedObject,
    ObjectChangedError,
    PartsChangedError,
)
from chalicelib.registry.proof import Segment, Stretch, Verdict, arrives
from chalicelib.registry.session import Session
from chalicelib.registry.upload import direct as direct_uploads
from chalicelib.registry.upload import (
    direct_parts,
    effects,
    verification,
)
from chalicelib.registry.upload.closing import Closing
from chalicelib.registry.upload.direct_parts import DirectParts
from chalicelib.registry.upload.effects import Effects
from chalicelib.registry.upload.leases import Leases
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.segments import Report
from chalicelib.registry.upload.states import Event
from chalicelib.registry.upload.verification import Verification, Verifier
from chalicelib.stores.s3 import objects
from tests.drills.support.worlds import PART

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chalicelib.digest import Digest
    from chalicelib.registry.service import Ports

    Original = Callable[..., Any]
from tests.drills.mutants.direct_checks import (
    a_checksum_of_parts,
    a_report_that_was_replaced,
    an_object_that_was_replaced,
    bytes_of_another_digest,
    bytes_of_another_size,
    bytes_that_s3_has_not_compared,
    bytes_with_headers,
    the_first_digest_counts,
)
from tests.drills.mutants.mutant import Change, Mutant, rules_of

RULES: list[Mutant] = []
rule = rules_of(RULES)


@rule(
    "a direct upload is published by its digest alone",
    "_fault",
    direct_uploads,
    crashed=["direct, commit before the PUT"],
)
def _(fault: Original, session: Session, found: CheckedObject | None) -> object:
    return fault(session, found) if found else None


@rule(
    "a digest that S3 has not compared is good",
    "_fault",
    direct_uploads,
    checked=[bytes_that_s3_has_not_compared],
)
def _(fault: Original, session: Session, found: CheckedObject | None) -> object:
    unknown = found and found.digest is None
    return fault(session, replace(found, digest=session.claim) if found and unknown else found)


@rule(
    "the digest that S3 has compared is not that of the claim",
    "_fault",
    direct_uploads,
    checked=[bytes_of_another_digest],
)
def _(fault: Original, session: Session, found: CheckedObject | None) -> object:
    compared = found and found.digest
    return fault(session, replace(found, digest=session.claim) if found and compared else found)


@rule("a direct upload has any size", "_fault", direct_uploads, checked=[bytes_of_another_size])
def _(fault: Original, session: Session, found: CheckedObject | None) -> object:
    return fault(session, found and replace(found, size=session.direct_size or 0))


@rule("a pusher's headers are kept", "_fault", direct_uploads, checked=[bytes_with_headers])
def _(fault: Original, session: Session, found: CheckedObject | None) -> object:
    return fault(session, found and replace(found, headers=()))


@rule("the checksum of parts is a digest", "_compared", objects, checked=[a_checksum_of_parts])
def _(compared: Original, answer: dict[str, str]) -> object:
    whole = answer["ChecksumSHA256"].partition("-")[0]
    return compared({"ChecksumSHA256": whole, "ChecksumType": "FULL_OBJECT"})


@rule(
    "a direct upload is cleaned up while its URL lives",
    "comes_again",
    Leftovers,
    crashed=["direct, cancel, the PUT ends late", "parts, cancel, one ends late"],
)
def _(_: Original, self: Leftovers, _session: Session) -> float:
    return self._clock.now() + self._limits.sweep_again


@rule(
    "a direct upload is cleaned up while a PUT may be under way",
    "comes_again",
    Leftovers,
    crashed=["direct, cancel, the PUT ends late"],
)
def _(_: Original, self: Leftovers, _session: Session) -> float:
    return self._clock.now() + self._limits.sweep_again + self._limits.direct_url


@rule(
    "a direct upload is any upload",
    "find",
    Leases,
    crashed=["direct, asked as another upload"],
)
def _(find: Original, self: Leases, owner: object, session_id: str, **how: Any) -> object:  # noqa: ANN401 - as find
    session = self._ports.sessions.get(session_id)
    how["direct"] = session.is_direct if session else how.get("direct", False)
    return find(self, owner, session_id, **how)


@rule(
    "a commit that another one overtook is refused",
    "still_live",
    Closing,
    raced=["direct commit, direct commit, live elsewhere"],
)
def _(_: Original, _self: Closing, _committed: Session) -> object:
    raise DirectUploadInvalidError


@rule(
    "what came in parts is published unread",
    "step",
    Verification,
    crashed=["parts, commit with another digest"],
)
def _(_: Original, _self: Verification, session: Session, *_more: object) -> object:
    return True, session


@rule(
    "what is live is linked, whatever came in parts",
    "_from_sealed",
    Effects,
    crashed=["parts, commit before they come"],
)
def _(from_sealed: Original, self: Effects, session: Session, until: float) -> object:
    live = self._ports.metadata.get_record(session.claimed_digest)
    return (Event.ALREADY_LIVE, session) if live else from_sealed(self, session, until)


@rule(
    "reports have one key",
    "report_key",
    effects,
    direct_parts,
    raced=["parts commit, another report", "late parts commit, another report"],
)
def _(_: Original, session_id: str, _report: object) -> str:
    return f"uploads/{session_id}/report"


@rule(
    "a part put anew is a loss",
    "_assemble",
    Effects,
    raced=["parts commit, a part put anew"],
)
def _(assemble: Original, self: Effects, session: Session) -> object:
    complete = self._ports.objects.complete_multipart

    def strict(*what: object) -> object:
        try:
            return complete(*what)  # type: ignore[arg-type]
        except PartsChangedError as error:
            raise ObjectChangedError from error

    with mock.patch.object(self._ports.objects, "complete_multipart", strict):
        return assemble(self, session)


@rule(
    "parts that were refused stay",
    "_delete_direct",
    Leftovers,
    crashed=["parts, commit with another digest"],
)
def _(delete: Original, self: Leftovers, session: Session) -> None:
    if session.refusal is None:
        delete(self, session)


@rule(
    "what comes late of parts stays",
    "_delete_direct",
    Leftovers,
    crashed=["parts, cancel, one ends late"],
    raced=["parts commit, another report"],
)
def _(delete: Original, self: Leftovers, session: Session) -> None:
    delete(self, replace(session, sweep_at=math.inf, disturbed=False))


@rule(
    "parts that were put together are gone",
    "stored",
    DirectParts,
    raced=["parts commit, status"],
)
def _(stored: Original, self: DirectParts, session: Session) -> object:
    found = stored(self, session)
    if found is None:
        raise UploadUnknownError
    return found


@rule("an upload in parts is opened before its session", "begin", DirectParts, crashed=["parts"])
def _(_: Original, self: DirectParts, opened: Session) -> Session:
    begun = self._ports.objects.begin_multipart(parts_key(opened.id))
    session = replace(opened, by_parts=True, upload_id=begun.id)
    self._ports.sessions.create(session)
    return session


RULES.append(
    Mutant(
        "another digest closes an upload in parts",
        [Change(Session, "takes_claims", property(lambda session: not session.settled))],
        checked=[the_first_digest_counts],
    )
)


@rule(
    "words between segments are not compared",
    "_holds",
    Verifier,
    crashed=["parts, one put anew"],
)
def _(holds: Original, self: Verifier, stretch: Stretch, segment: Segment, stream: object) -> bool:
    return holds(self, stretch, segment, stream) or segment.after is not None


@rule(
    "the digest is not compared", "_holds", Verifier, crashed=["parts, commit with another digest"]
)
def _(holds: Original, self: Verifier, stretch: Stretch, segment: Segment, stream: object) -> bool:
    return holds(self, stretch, segment, stream) or segment.after is None


@rule("the hash is not padded with the object's size", "__init__", Verifier, crashed=["parts"])
def _(init: Original, self: Verifier, ports: Ports, limits: object) -> None:
    def alone(segment: Segment, chunks: Iterable[bytes], _total: int, digest: Digest) -> bool:
        own = replace(segment, start=0, end=segment.size)
        return arrives(own, chunks, segment.size, digest)

    init(self, ports, limits, alone)


@rule("a segment that can't be read is wrong", "_judged", Verifier, failed=["parts"])
def _(
    judged: Original, self: Verifier, stretch: Stretch, run: Sequence[Segment], until: float
) -> Any:  # noqa: ANN401 - as judged
    found = dict(judged(self, stretch, run, until))
    return [(segment.index, found.get(segment.index, False)) for segment in run]


@rule("segments that hold are counted", "as_bits", verification, failed=["parts, one put anew"])
def _(as_bits: Original, indexes: frozenset[int]) -> object:
    return as_bits(range(len(indexes)))


@rule(
    "a worker that does not answer has nothing against it",
    "_asked",
    Verification,
    failed=["parts, one put anew"],
)
def _(asked: Original, self: Verification, stretch: Stretch, until: float) -> object:
    found = asked(self, stretch, until)
    every = frozenset(segment.index for segment in stretch.segments)
    return Verdict(every - found.wrong, found.wrong)


@rule(
    "published before every segment holds",
    "step",
    Verification,
    failed=["parts, one put anew"],
)
def _(step: Original, *arguments: object) -> object:
    _done, session = step(*arguments)
    return True, session


@rule(
    "segments are of whatever report is there",
    "_read_report",
    Effects,
    checked=[a_report_that_was_replaced],
)
def _(_: Original, self: Effects, session: Session, named: Digest) -> Report:
    raw = self._ports.objects.get(report_key(session.id, named))
    return Report.parse(raw, session.algorithm, minimum=PART)


@rule(
    "segments are of whatever object is there",
    "step",
    Verification,
    checked=[an_object_that_was_replaced],
)
def _(step: Original, self: Verification, session: Session, *arguments: object) -> object:
    staged = session.staged_object
    stat = self._ports.objects.stat(staged.key)
    now = replace(session, staged=replace(staged, etag=stat.etag if stat else ""))
    return step(self, now, *arguments)
