"""The mutants that bend a rule of the program: one row for each, and what stands in its place.

This module must never hold a change that the program could not have as a fault.
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
from chalicelib.registry import session as session_rules
from chalicelib.registry.manifests import Manifests
from chalicelib.registry.outcomes import SessionMovedError, Written
from chalicelib.registry.upload import chunks, leftovers
from chalicelib.registry.upload.closing import Closing
from chalicelib.registry.upload.effects import Effects
from chalicelib.registry.upload.leases import Leases
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.runner import CommitDriver
from chalicelib.registry.upload.states import Event
from chalicelib.stores.dynamodb import manifests, publications, sessions
from chalicelib.stores.dynamodb.client import ConditionFailedError, TransactionRefusedError
from chalicelib.stores.dynamodb.expressions import Clause, Delete, Update
from chalicelib.stores.dynamodb.keys import record_key, tag_key, tagged_key
from chalicelib.stores.dynamodb.links import LinkItems
from chalicelib.stores.dynamodb.manifests import ManifestItems, tag_names
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from chalicelib.stores.dynamodb.tags import TagItems
from tests.drills.corruptions import a_record_renamed
from tests.drills.mutants.run import ALWAYS, PATCHES, Change, Mutant, rule

if TYPE_CHECKING:
    from chalicelib.digest import Digest
    from chalicelib.registry.model import Manifest
    from chalicelib.registry.session import Session


def _published_before_copy(_self: Effects, session: Session) -> tuple[Event, Session]:
    return Event.COPY, session


def _unverified(self: Effects, session: Session) -> tuple[Event, Session]:
    return self._copy(session)


_take = Leases.take


def _freed_early(self: Leases, *arguments: Any) -> Session:  # noqa: ANN401 - as the method has them
    leased = _take(self, *arguments)
    with suppress(SessionMovedError):
        self._ports.sessions.write(leased, replace(leased, holder=None))
    return leased


_taken_over = session_rules.taken_over


def _number_kept(session: Session) -> Session:
    return replace(_taken_over(session), next_part=session.next_part, burned=session.burned)


def _number_not_burned(session: Session) -> Session:
    return replace(_taken_over(session), burned=session.burned)


_met_by = sessions._met_by  # noqa: SLF001 - likewise


def _not_mine(lease: Any, failed: Any) -> Session:  # noqa: ANN401 - likewise
    return _met_by(lease._replace(holder="somebody else"), failed)


def _unrecognised(self: DynamoSessionStore, before: Session, after: Session) -> Session:
    update = sessions.update_of(self._table, before, after)
    try:
        self._dynamo.write(update)
    except ConditionFailedError as failed:
        raise SessionMovedError(sessions._session(failed)) from failed  # noqa: SLF001 - likewise
    return after


def _publication_unrecognised(_after: Session, refused: Any) -> Session:  # noqa: ANN401 - likewise
    raise SessionMovedError(None) from refused


def _any_claim(_self: Closing, session: Session, _digest: object) -> Session:
    return session


def _one_tail(session_id: str, _fence: int) -> str:
    return f"uploads/{session_id}/tail"


_get_link = LinkItems.get_link


def _failure_is_absence(self: LinkItems, *arguments: Any) -> Any:  # noqa: ANN401 - likewise
    try:
        return _get_link(self, *arguments)
    except RegistryError:
        return None


_delete = Leftovers._delete  # noqa: SLF001 - likewise


def _failure_is_done(self: Leftovers, session: Session) -> None:
    try:
        _delete(self, session)
    except RegistryError:
        return


def _by_names_only(self: Leftovers, session: Session) -> None:
    _delete(self, replace(session, disturbed=False))


def _unchecked(_self: Manifests, _repository: str, _parsed: object) -> None:
    return


def _tags_kept(self: Manifests, manifest: Any) -> None:  # noqa: ANN401 - likewise
    self._ports.metadata.finish_delete(manifest)


def _never_late(_self: Leftovers, _session: Session) -> bool:
    return False


_FAILURES = (UnavailableError, TooManyRequestsError)
_step = CommitDriver.step
_publish_leased = Closing._publish_leased  # noqa: SLF001 - likewise


def _failed_step_is_loss(self: CommitDriver, session: Session) -> Session:
    try:
        return _step(self, session)
    except _FAILURES:
        return self.end(session, Event.LOST)


def _failed_put_is_loss(self: Closing, leased: Session, data: bytes) -> Session:
    try:
        return _publish_leased(self, leased, data)
    except _FAILURES:
        raise self._leases.lost(leased) from None


_publish_whole = Closing._publish_whole  # noqa: SLF001 - likewise


def _cancelled_is_done(self: Closing, leased: Session, data: bytes) -> Session:
    try:
        return _publish_whole(self, leased, data)
    except (UploadUnknownError, UploadBusyError):
        return leased


_NEVER = Clause("#state = :never", {"never": {"S": "no state of ours"}})

_begin_delete = ManifestItems.begin_delete


def _live_only(self: ManifestItems, manifest: Manifest, sweep_at: float) -> Manifest:
    with mock.patch.object(manifests, "IS_DELETING", _NEVER):
        return _begin_delete(self, manifest, sweep_at)


def _any_version(self: ManifestItems, manifest: Manifest, sweep_at: float) -> Manifest:
    with mock.patch.object(manifests, "of_version", return_value=ALWAYS):
        return _begin_delete(self, manifest, sweep_at)


def _refused_link_is_absent(self: LinkItems, repository: str, digest: Digest) -> bool:
    link = self.get_link(repository, digest)
    if link is None:
        return False
    try:
        self._dynamo.transact(self._deletion(link))
    except TransactionRefusedError:
        return False
    return True


def _refused_tag_is_absent(self: TagItems, repository: str, tag: str) -> bool:
    named = self.get_tags(repository, [tag]).get(tag)
    if named is None:
        return False
    row = Delete(self._registry, tag_key(repository, tag), tag_names(named))
    try:
        self._dynamo.transact([row, Delete(self._registry, tagged_key(repository, named, tag))])
    except TransactionRefusedError:
        return False
    return True


def _counted_unseen(self: LinkItems, digest: Digest, _key: str) -> Update:
    return Update(self._registry, record_key(digest), ALWAYS, add={"links": 1})


def _never_repeated(self: Closing, leased: Session, data: bytes) -> Session:
    put = self._ports.objects.put

    def once(key: str, body: bytes) -> Written:
        return Written(put(key, body).etag)

    with mock.patch.object(self._ports.objects, "put", once):
        return _publish_whole(self, leased, data)


RULES = [
    rule(
        "published before the copy",
        Effects,
        "_copy",
        _published_before_copy,
        crashed=["commit parts"],
    ),
    rule(
        "published unverified",
        Effects,
        "_from_assembled",
        _unverified,
        crashed=["commit as sha512, wrong digest first"],
    ),
    rule("lease freed early", Leases, "take", _freed_early, raced=PATCHES),
    rule("burned number used again", sessions, "taken_over", _number_kept, raced=["late part"]),
    rule(
        "number given up, not burned",
        sessions,
        "taken_over",
        _number_not_burned,
        raced=["late part", "late first part"],
    ),
    rule(
        "own lease not known on a repeat", sessions, "_met_by", _not_mine, failed=["append a tail"]
    ),
    rule(
        "own write not known on a repeat",
        DynamoSessionStore,
        "write",
        _unrecognised,
        failed=["cancel", "commit parts"],
    ),
    rule(
        "own publication not known on a repeat",
        publications,
        "_already_published",
        _publication_unrecognised,
        failed=["commit parts"],
    ),
    rule(
        "any digest closes a sealed session",
        Closing,
        "_bound",
        _any_claim,
        raced=["PUT, wrong PUT"],
    ),
    Mutant(
        "tails under one key",
        [Change(module, "tail_key", _one_tail) for module in (chunks, leftovers)],
        raced=["late tail"],
    ),
    rule(
        "a failed read is absence",
        LinkItems,
        "get_link",
        _failure_is_absence,
        failed=["pull a blob"],
    ),
    rule(
        "a failed clean-up is done",
        Leftovers,
        "_delete",
        _failure_is_done,
        failed=["commit parts"],
    ),
    rule(
        "disturbed sessions cleaned by name",
        Leftovers,
        "_delete",
        _by_names_only,
        crashed=["append a part"],
    ),
    rule(
        "nobody is late",
        Leftovers,
        "_may_be_written_late",
        _never_late,
        raced=["late first part", "late part, and the rest"],
    ),
    rule(
        "a failed call in a commit is a loss",
        CommitDriver,
        "step",
        _failed_step_is_loss,
        failed=["commit parts"],
    ),
    rule(
        "a failed call of a small PUT is a loss",
        Closing,
        "_publish_leased",
        _failed_put_is_loss,
        failed=["commit a tail"],
    ),
    rule(
        "a cancelled upload is published",
        Closing,
        "_publish_whole",
        _cancelled_is_done,
        raced=["DELETE, PUT small"],
    ),
    rule(
        "manifest taken unread",
        Manifests,
        "_check",
        _unchecked,
        crashed=["put a manifest that lacks a blob"],
    ),
    rule(
        "tags survive their manifest",
        Manifests,
        "finish_delete",
        _tags_kept,
        crashed=["delete a manifest"],
    ),
    rule(
        "own deletion of a manifest not known on a repeat",
        ManifestItems,
        "begin_delete",
        _live_only,
        failed=["delete a manifest"],
    ),
    rule(
        "a manifest is deleted whatever was seen of it",
        ManifestItems,
        "begin_delete",
        _any_version,
        failed=["delete a manifest, put it anew"],
    ),
    rule(
        "own deletion of a blob not known on a repeat",
        LinkItems,
        "delete_link",
        _refused_link_is_absent,
        failed=["delete a blob"],
    ),
    rule(
        "own deletion of a tag not known on a repeat",
        TagItems,
        "delete_tag",
        _refused_tag_is_absent,
        failed=["delete a tag"],
    ),
    rule(
        "a link is counted by whatever record is there",
        LinkItems,
        "_counted",
        _counted_unseen,
        checked=[a_record_renamed],
    ),
    rule(
        "an object that was sent twice arrives but once",
        Closing,
        "_publish_whole",
        _never_repeated,
        failed=["POST whole, live elsewhere"],
    ),
]
