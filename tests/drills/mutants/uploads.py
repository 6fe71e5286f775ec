"""Mutants of uploads: sessions, leases, the driver of a commit, and what is cleaned up."""

from __future__ import annotations

import math
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from chalicelib.errors import (
    RegistryError,
    UploadBusyError,
    UploadUnknownError,
)
from chalicelib.registry.outcomes import (
    SessionMovedError,
)
from chalicelib.registry.service import Limits
from chalicelib.registry.session import Session, UploadState
from chalicelib.registry.upload import (
    chunks,
    closing,
    leases,
    leftovers,
    runner,
)
from chalicelib.registry.upload.closing import Closing
from chalicelib.registry.upload.effects import Effects
from chalicelib.registry.upload.leases import Leases
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.runner import CommitDriver
from chalicelib.registry.upload.states import Event
from chalicelib.stores.dynamodb import (
    blobs,
    sessions,
)
from chalicelib.stores.dynamodb.blobs import BlobItems
from chalicelib.stores.dynamodb.client import ConditionFailedError
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from chalicelib.stores.s3 import copies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chalicelib.registry.outcomes import Part

    Original = Callable[..., Any]
from tests.drills.mutants.driver_checks import (
    a_call_that_hangs,
    a_call_that_outlasts_the_lease,
    a_claim_that_is_replaced_meanwhile,
    a_deleted_blob_is_gone,
    a_deleted_whole_blob_is_gone,
    a_driver_that_wakes_late,
    one_worker_copies,
    one_worker_is_asked_for,
)
from tests.drills.mutants.mutant import FAILURES, PATCHES, Mutant, rules_of

RULES: list[Mutant] = []
rule = rules_of(RULES)


@rule("published before the copy", "_copy", Effects, crashed=["commit parts"])
def _(_: Original, _self: Effects, session: Session, _until: float) -> tuple[Event, Session]:
    return Event.COPY, session


@rule(
    "published unverified",
    "_from_assembled",
    Effects,
    crashed=["commit as sha512, wrong digest first"],
)
def _(_: Original, self: Effects, session: Session, until: float) -> object:
    return self._copy(session, until)


@rule(
    "a record has the last request's bytes, without the tail before them",
    "_publish_whole",
    Closing,
    crashed=["POST, small PATCH, last chunk in the PUT"],
)
def _(publish: Original, self: Closing, leased: Session, data: bytes) -> object:
    with mock.patch.object(Limits, "inlined", return_value=data or None):
        return publish(self, leased, data)


@rule(
    "a refusal is forgotten",
    "over",
    leases,
    closing,
    crashed=["parts, commit with another digest"],
)
def _(_: Original, _session: Session) -> object:
    return UploadUnknownError()


@rule("driven without the lease", "take", CommitDriver, raced=["PUT, worker", "worker, worker"])
def _(_: Original, self: CommitDriver, session: Session, *_times: float, **_more: object) -> object:
    return replace(session, holder=self._ports.clock.new_id())  # which no item names


@rule("every repeat asks for a worker", "_finish", Closing, checked=[one_worker_is_asked_for])
def _(finish: Original, self: Closing, session: Session, *rest: object) -> object:
    self._ports.workers.commit(session.id)
    return finish(self, session, *rest)


@rule("a worker drives beside another one", "driven", Session, checked=[one_worker_copies])
def _(_: Original, _session: Session, _now: float) -> bool:
    return False


@rule(
    "the driver's lease is not renewed", "_lease_until", CommitDriver, checked=[one_worker_copies]
)
def _(lease_until: Original, self: CommitDriver, deadline: float) -> object:
    return vars(self).setdefault("taken until", lease_until(self, deadline))


@rule(
    "the lease is not renewed beside a call",
    "_renewing",
    CommitDriver,
    checked=[a_call_that_outlasts_the_lease],
)
def _(_: Original, _self: CommitDriver, _session: Session, _deadline: float) -> object:
    return nullcontext()


@rule(
    "a driver that hangs renews its lease",
    "_renewing",
    CommitDriver,
    checked=[a_call_that_hangs],
)
def _(renewing: Original, self: CommitDriver, session: Session, deadline: float) -> object:
    with mock.patch.object(self, "_limits", self._limits._replace(drive_longest=math.inf)):
        return renewing(self, session, deadline)


@rule(
    "a claim that is replaced ends the renewals",
    "_renewing",
    CommitDriver,
    checked=[a_claim_that_is_replaced_meanwhile],
)
def _(_: Original, self: CommitDriver, session: Session, deadline: float) -> object:
    def renew() -> bool:
        with suppress(SessionMovedError):
            renewed = replace(session, lease_until=self._lease_until(deadline))
            self._ports.sessions.write(session, renewed)
        return True

    return self._ports.meanwhile(self._limits.drive_beat, renew)


@rule(
    "whoever has the lease, it is renewed",
    "_renewing",
    CommitDriver,
    checked=[a_driver_that_wakes_late],
)
def _(_: Original, self: CommitDriver, session: Session, deadline: float) -> object:
    sessions = self._ports.sessions

    def renew() -> bool:
        found = sessions.get(session.id) or session
        sessions.write(found, replace(found, lease_until=self._lease_until(deadline) + 1))
        return True

    return self._ports.meanwhile(self._limits.drive_beat, renew)


@rule("what an onlooker misses is lost", "_look_again", Effects, raced=["PUT, PUT", "PUT, worker"])
def _(_: Original, _self: Effects, _session: Session, error: Exception) -> object:
    raise error


@rule(
    "a Complete under way is forgotten by the next driver",
    "passed_on",
    runner,
    raced=["PUT, PUT", "PUT, worker"],
)
def _(passed_on: Original, session: Session, *lease: object) -> object:
    return replace(passed_on(session, *lease), disturbed=session.disturbed)


@rule("read on from the wrong place", "_read_on", Effects, crashed=["commit unhashed"])
def _(read_on: Original, self: Effects, session: Session, until: float) -> object:
    read = self._ports.objects.read

    def again(key: str, *, etag: str, chunk_size: int, first: int) -> Iterator[bytes]:
        return read(key, etag=etag, chunk_size=chunk_size, first=max(first - chunk_size, 0))

    with mock.patch.object(self._ports.objects, "read", again):
        return read_on(self, session, until)


@rule("a piece is taken for the whole", "_read_on", Effects, crashed=["commit unhashed"])
def _(read_on: Original, self: Effects, session: Session, until: float) -> object:
    hasher = read_on(self, session, until)
    hasher.offset = session.offset
    return hasher


@rule("201 for a blob that was deleted", "still_live", Closing, checked=[a_deleted_blob_is_gone])
def _(_: Original, _self: Closing, committed: Session) -> Session:
    return committed


@rule("lease freed early", "take", Leases, raced=PATCHES)
def _(take: Original, self: Leases, *arguments: object) -> object:
    leased = take(self, *arguments)
    with suppress(SessionMovedError):
        self._ports.sessions.write(leased, replace(leased, holder=None))
    return leased


@rule("burned number used again", "taken_over", sessions, raced=["late part"])
def _(taken_over: Original, session: Session) -> object:
    return replace(taken_over(session), next_part=session.next_part, burned=session.burned)


@rule(
    "number passed over, not burned", "taken_over", sessions, raced=["late part", "late first part"]
)
def _(taken_over: Original, session: Session) -> object:
    return replace(taken_over(session), burned=session.burned)


@rule("own lease not recognised on a repeat", "_leasable", sessions, failed=["append to a tail"])
def _(leasable: Original, lease: Any, failed: object) -> object:  # noqa: ANN401 - a private type
    return leasable(lease._replace(holder="somebody else"), failed)


@rule(
    "own write not recognised on a repeat",
    "write",
    DynamoSessionStore,
    failed=["cancel", "commit parts"],
)
def _(_: Original, self: DynamoSessionStore, before: Session, after: Session) -> Session:
    try:
        self._dynamo.write(sessions.update_of(self._table, before, after))
    except ConditionFailedError as failed:
        raise SessionMovedError(sessions._session(failed)) from failed  # noqa: SLF001 - as the original
    return after


@rule(
    "own publication not recognised on a repeat",
    "_already_published",
    blobs,
    failed=["commit parts"],
)
def _(_: Original, _before: Session, _after: Session, refused: Exception) -> Session:
    raise SessionMovedError(None) from refused


@rule(
    "201 for a blob that came whole and was deleted",
    "_already_published",
    blobs,
    checked=[a_deleted_whole_blob_is_gone],
)
def _(published: Original, before: Session, after: Session, refused: Exception) -> object:
    return published(replace(before, state=UploadState.OPEN), after, refused)


@rule("any digest closes a sealed session", "_bound", Closing, raced=["PUT, wrong PUT"])
def _(_: Original, _self: Closing, session: Session, _digest: object) -> Session:
    return session


@rule("tails under one key", "tail_key", chunks, leftovers, raced=["late tail"])
def _(_: Original, session_id: str, _fence: int) -> str:
    return f"uploads/{session_id}/tail"


@rule("a failed read is absence", "get_link", BlobItems, failed=["pull a blob"])
def _(get_link: Original, self: BlobItems, *arguments: object) -> object:
    try:
        return get_link(self, *arguments)
    except RegistryError:
        return None


@rule("a failed clean-up is done", "_delete", Leftovers, failed=["commit parts"])
def _(delete: Original, self: Leftovers, session: Session) -> None:
    with suppress(RegistryError):
        delete(self, session)


@rule("disturbed sessions cleaned by name", "_delete", Leftovers, crashed=["append a part"])
def _(delete: Original, self: Leftovers, session: Session) -> None:
    delete(self, replace(session, disturbed=False))


@rule(
    "a copy goes on from the wrong byte",
    "parts",
    copies.PartsCopy,
    crashed=["commit, copy was begun"],
)
def _(parts: Original, self: copies.PartsCopy, known: Sequence[Part]) -> object:
    objects, before = self.objects, sum(part.size for part in known)
    copy_part: Original = objects.copy_part

    def wrong(*place: Any) -> object:  # noqa: ANN401 - as the port's
        span = tuple(max(at - before, 0) for at in place[-1])
        return copy_part(*place[:-1], span)

    with mock.patch.object(objects, "copy_part", wrong):
        return parts(self, known)


@rule(
    "a copy that was begun stays open",
    "_delete",
    Leftovers,
    crashed=["sweep a copy that was begun, at its end"],
)
def _(delete: Original, self: Leftovers, session: Session) -> None:
    delete(self, replace(session, offset=0))


@rule(
    "no writer is late",
    "_may_be_written_late",
    Leftovers,
    raced=["late first part", "late part, and the rest"],
)
def _(_: Original, _self: Leftovers, _session: Session) -> bool:
    return False


@rule("a failed call in a commit is a loss", "step", CommitDriver, failed=["commit parts"])
def _(step: Original, self: CommitDriver, session: Session, *times: float) -> object:
    try:
        return step(self, session, *times)
    except FAILURES:
        return self.end(session, Event.LOST)


@rule(
    "a failed call of a small PUT is a loss", "_publish_leased", Closing, failed=["commit a tail"]
)
def _(publish: Original, self: Closing, leased: Session, data: bytes) -> object:
    try:
        return publish(self, leased, data)
    except FAILURES:
        raise self._leases.lost(leased) from None


@rule("a cancelled upload is published", "_publish_whole", Closing, raced=["DELETE, PUT small"])
def _(publish: Original, self: Closing, leased: Session, data: bytes) -> object:
    try:
        return publish(self, leased, data)
    except (UploadUnknownError, UploadBusyError):
        return leased
