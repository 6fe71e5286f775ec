"""The mutants that break a rule of the program: each function stands in place of another one.

Its first argument is the function that it replaces. This module must never hold a change that
nobody could make by mistake.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from chalicelib.errors import (
    RegistryError,
    TooManyRequestsError,
    UnavailableError,
    UploadBusyError,
    UploadUnknownError,
)
from chalicelib.registry.manifests import Manifests
from chalicelib.registry.outcomes import SessionMovedError, WrittenObject
from chalicelib.registry.upload import chunks, leftovers
from chalicelib.registry.upload.closing import Closing
from chalicelib.registry.upload.effects import Effects
from chalicelib.registry.upload.leases import Leases
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.runner import CommitDriver
from chalicelib.registry.upload.states import Event
from chalicelib.stores.dynamodb import blobs, manifests, sessions
from chalicelib.stores.dynamodb.blobs import BlobItems
from chalicelib.stores.dynamodb.client import ConditionFailedError, TransactionRefusedError
from chalicelib.stores.dynamodb.expressions import Clause, Delete, Update
from chalicelib.stores.dynamodb.keys import record_key, tag_key, tagged_key
from chalicelib.stores.dynamodb.manifests import ManifestItems, tag_names
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from tests.drills.corruptions import a_record_renamed
from tests.drills.mutants.run import ALWAYS, PATCHES, Change, Mutant

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from chalicelib.digest import Digest
    from chalicelib.registry.model import Manifest
    from chalicelib.registry.session import Session

    Original = Callable[..., Any]

RULES: list[Mutant] = []
FAILURES = (UnavailableError, TooManyRequestsError)
NEVER = Clause("#state = :never", {"never": {"S": "no state of ours"}})


def rule(
    name: str,
    attribute: str,
    *owners: type | ModuleType,
    **drills: Any,  # noqa: ANN401 - fields of a Mutant
) -> Callable[[Original], Original]:
    """Make the function below a mutant: it replaces `attribute` of each owner."""

    def note(changed: Original) -> Original:
        original = getattr(owners[0], attribute)

        def replacement(*args: object, **kwargs: object) -> object:
            return changed(original, *args, **kwargs)

        changes = [Change(owner, attribute, replacement) for owner in owners]
        RULES.append(Mutant(name, changes, **drills))
        return changed

    return note


@rule("published before the copy", "_copy", Effects, crashed=["commit parts"])
def _(_: Original, _self: Effects, session: Session) -> tuple[Event, Session]:
    return Event.COPY, session


@rule(
    "published unverified",
    "_from_assembled",
    Effects,
    crashed=["commit as sha512, wrong digest first"],
)
def _(_: Original, self: Effects, session: Session) -> tuple[Event, Session]:
    return self._copy(session)


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


@rule("own lease not recognised on a repeat", "_leasable", sessions, failed=["append a tail"])
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
def _(_: Original, _after: Session, refused: Exception) -> Session:
    raise SessionMovedError(None) from refused


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
    "no writer is late",
    "_may_be_written_late",
    Leftovers,
    raced=["late first part", "late part, and the rest"],
)
def _(_: Original, _self: Leftovers, _session: Session) -> bool:
    return False


@rule("a failed call in a commit is a loss", "step", CommitDriver, failed=["commit parts"])
def _(step: Original, self: CommitDriver, session: Session) -> object:
    try:
        return step(self, session)
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


@rule(
    "manifest accepted unchecked",
    "_check",
    Manifests,
    crashed=["put a manifest that lacks a blob"],
)
def _(_: Original, _self: Manifests, _repository: str, _parsed: object) -> None:
    return


@rule("tags survive their manifest", "finish_delete", Manifests, crashed=["delete a manifest"])
def _(_: Original, self: Manifests, manifest: Manifest) -> None:
    self._ports.metadata.finish_delete(manifest)


@rule(
    "own deletion of a manifest not recognised on a repeat",
    "begin_delete",
    ManifestItems,
    failed=["delete a manifest"],
)
def _(begin_delete: Original, *arguments: object) -> object:
    with mock.patch.object(manifests, "IS_DELETING", NEVER):
        return begin_delete(*arguments)


@rule(
    "a manifest is deleted in whatever version",
    "begin_delete",
    ManifestItems,
    failed=["delete a manifest, put it anew"],
)
def _(begin_delete: Original, *arguments: object) -> object:
    with mock.patch.object(manifests, "of_version", return_value=ALWAYS):
        return begin_delete(*arguments)


@rule(
    "own deletion of a blob not recognised on a repeat",
    "delete_link",
    BlobItems,
    failed=["delete a blob"],
)
def _(_: Original, self: BlobItems, repository: str, digest: Digest) -> bool:
    link = self.get_link(repository, digest)
    if link is None:
        return False
    try:
        self._dynamo.transact(self._deletion(link))
    except TransactionRefusedError:
        return False
    return True


@rule(
    "own deletion of a tag not recognised on a repeat",
    "delete_tag",
    ManifestItems,
    failed=["delete a tag"],
)
def _(_: Original, self: ManifestItems, repository: str, tag: str) -> bool:
    named = self.get_tags(repository, [tag]).get(tag)
    if named is None:
        return False
    row = Delete(self._registry, tag_key(repository, tag), tag_names(named))
    try:
        self._dynamo.transact([row, Delete(self._registry, tagged_key(repository, named, tag))])
    except TransactionRefusedError:
        return False
    return True


@rule(
    "a link is counted by whatever record is there",
    "_counted",
    BlobItems,
    checked=[a_record_renamed],
)
def _(_: Original, self: BlobItems, digest: Digest, _key: str) -> Update:
    return Update(self._registry, record_key(digest), ALWAYS, add={"links": 1})


@rule(
    "an object that was sent twice arrives once",
    "_publish_whole",
    Closing,
    failed=["POST whole, live elsewhere"],
)
def _(publish: Original, self: Closing, leased: Session, data: bytes) -> object:
    put = self._ports.objects.put

    def once(key: str, body: bytes) -> WrittenObject:
        return WrittenObject(put(key, body).etag)

    with mock.patch.object(self._ports.objects, "put", once):
        return publish(self, leased, data)
