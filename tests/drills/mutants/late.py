"""The mutants that forget what may still come: a repeat of a deletion, a late one, late bytes.

This module must never hold a change that the program could not have as a fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

from chalicelib.registry.outcomes import Written
from chalicelib.registry.upload.closing import Closing
from chalicelib.stores.dynamodb import manifests
from chalicelib.stores.dynamodb.client import TransactionRefusedError
from chalicelib.stores.dynamodb.expressions import Clause, Delete, Update
from chalicelib.stores.dynamodb.keys import record_key, tag_key, tagged_key
from chalicelib.stores.dynamodb.links import LinkItems
from chalicelib.stores.dynamodb.manifests import ManifestItems, tag_names
from chalicelib.stores.dynamodb.tags import TagItems
from tests.drills.looks import a_record_renamed
from tests.drills.mutants.run import rule

if TYPE_CHECKING:
    from chalicelib.digest import Digest
    from chalicelib.registry.model import Manifest
    from chalicelib.registry.session import Session


_NEVER = Clause("#state = :never", {"never": {"S": "no state of ours"}})
_ALWAYS = Clause("attribute_not_exists(#no_item_has_this)")

_begin_delete = ManifestItems.begin_delete


def _live_only(self: ManifestItems, manifest: Manifest, sweep_at: float) -> Manifest:
    with mock.patch.object(manifests, "IS_DELETING", _NEVER):
        return _begin_delete(self, manifest, sweep_at)


def _any_version(self: ManifestItems, manifest: Manifest, sweep_at: float) -> Manifest:
    with mock.patch.object(manifests, "of_version", return_value=_ALWAYS):
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
    return Update(self._registry, record_key(digest), _ALWAYS, add={"links": 1})


_publish_whole = Closing._publish_whole  # noqa: SLF001 - what is changed


def _never_repeated(self: Closing, leased: Session, data: bytes) -> Session:
    put = self._ports.objects.put

    def once(key: str, body: bytes) -> Written:
        return Written(put(key, body).etag)

    with mock.patch.object(self._ports.objects, "put", once):
        return _publish_whole(self, leased, data)


LATE = [
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
        looked=[a_record_renamed],
    ),
    rule(
        "an object that was sent twice arrives but once",
        Closing,
        "_publish_whole",
        _never_repeated,
        failed=["POST whole, live elsewhere"],
    ),
]
