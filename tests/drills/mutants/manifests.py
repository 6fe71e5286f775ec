"""Mutants of manifests, tags and the trash, and of the blobs that they name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from chalicelib.digest import Digest
from chalicelib.errors import (
    ManifestUnknownError,
)
from chalicelib.registry.blobs import Blobs
from chalicelib.registry.manifests import publishing, reading
from chalicelib.registry.manifests.publishing import Publisher
from chalicelib.registry.manifests.removal import Removals
from chalicelib.registry.model import (
    ManifestState,
    Stamp,
    bodies_of,
)
from chalicelib.registry.outcomes import (
    WrittenObject,
)
from chalicelib.registry.service import Ports
from chalicelib.registry.undo import Restoration, Undo
from chalicelib.registry.upload.closing import Closing
from chalicelib.rules.document import Rules
from chalicelib.stores.dynamodb import (
    blobs,
    manifests,
)
from chalicelib.stores.dynamodb.blobs import BlobItems
from chalicelib.stores.dynamodb.client import TransactionRefusedError
from chalicelib.stores.dynamodb.expressions import Clause, Delete, Update
from chalicelib.stores.dynamodb.keys import (
    manifest_key,
    record_key,
    tag_key,
    tagged_key,
)
from chalicelib.stores.dynamodb.manifests import ManifestItems, tag_names
from tests.drills.support.client import HOME

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.model import Link, Manifest
    from chalicelib.registry.session import Session

    Original = Callable[..., Any]
from tests.drills.mutants.checks import a_record_renamed, a_touch_that_is_late
from tests.drills.mutants.mutant import ALWAYS, DELETED, NEVER, Mutant, rules_of

RULES: list[Mutant] = []
rule = rules_of(RULES)


@rule(
    "manifest accepted unchecked", "check", Publisher, crashed=["put a manifest that lacks a blob"]
)
def _(_: Original, _self: Publisher, *_found: object, may_pull: bool) -> None:
    del may_pull


@rule("tags survive their manifest", "finish_delete", Removals, crashed=["delete a manifest"])
def _(_: Original, self: Removals, manifest: Manifest) -> None:
    self._ports.metadata.finish_delete(manifest)


@rule(
    "a large manifest's body outlives it",
    "_body_link",
    Removals,
    crashed=["delete a large manifest"],
)
def _(_: Original, _self: Removals, _manifest: Manifest) -> None:
    return


@rule(
    "a body goes before its manifest, in another transaction",
    "_remove",
    ManifestItems,
    raced=["delete, delete and put, large, no trash", "put, delete, large, no trash"],
)
def _(
    remove: Original,
    self: ManifestItems,
    manifest: Manifest,
    state: Clause,
    body: Link | None,
    *rows: Delete,
) -> None:
    if body is not None:
        self.delete_link(body.repository, body.digest)
    remove(self, manifest, state, None, *rows)


@rule(
    "the body that 0.1 stored goes with the blob",
    "_manifest_of_0_1",
    Blobs,
    crashed=["delete the blob of a large manifest of 0.1"],
)
def _(_: Original, _self: Blobs, _repository: str, _digest: Digest) -> None:
    return


@rule(
    "a body is kept for a manifest that goes",
    "keep_body",
    ManifestItems,
    raced=["delete the manifest, delete its blob, of 0.1, no trash"],
)
def _(_: Original, self: ManifestItems, manifest: Manifest, link: Link) -> None:
    self.add_link(bodies_of(manifest.repository), link.digest, link.touched_at)
    self.delete_link(link.repository, link.digest)


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
        self._dynamo.transact(self._deletion(link, blobs.likely_record(link)))
    except TransactionRefusedError:
        return False
    return True


@rule(
    "a record is healed whatever it names by now",
    "_healed",
    BlobItems,
    raced=["push, push, object gone"],
)
def _(healed: Original, *arguments: object, **links: object) -> object:
    with mock.patch.object(blobs, "naming", return_value=ALWAYS):
        return healed(*arguments, **links)


@rule(
    "a record is live whose object is gone",
    "is_there",
    Ports,
    crashed=["POST whole, object gone", "commit parts, object gone"],
)
def _(_: Original, _self: Ports, _key: str) -> bool:
    return True


@rule(
    "a record whose object is there is healed",
    "is_there",
    Ports,
    crashed=["POST whole, already live"],
)
def _(_: Original, _self: Ports, _key: str) -> bool:
    return False


@rule(
    "a healed record counts no link more",
    "_healed",
    BlobItems,
    crashed=["POST whole, object gone elsewhere"],
)
def _(healed: Original, *arguments: object, **_links: object) -> object:
    return healed(*arguments, links=0)


@rule("a link is read by its own key", "_look", BlobItems, crashed=["POST whole, object gone"])
def _(look: Original, self: BlobItems, repository: str, digest: Digest) -> object:
    found = look(self, repository, digest)
    if found.link is None or found.record is None:
        return found
    return found._replace(record=replace(found.record, key=found.link.key))


@rule("a late touch takes the time back", "_touch", BlobItems, checked=[a_touch_that_is_late])
def _(touch: Original, self: BlobItems, link: Any, now: float) -> object:  # noqa: ANN401 - a Link
    return touch(self, replace(link, touched_at=now), now)


@rule(
    "own deletion of a tag not recognised on a repeat",
    "delete_tag",
    ManifestItems,
    failed=["delete a tag"],
)
def _(_: Original, self: ManifestItems, repository: str, tag: str, stamp: Stamp) -> bool:
    found = self.get_tags(repository, [tag]).get(tag)
    if found is None:
        return False
    row = Delete(self._registry, tag_key(repository, tag), tag_names(found.digest))
    gone = self._change(repository, tag, found, None, stamp)
    way_back = Delete(self._registry, tagged_key(repository, found.digest, tag))
    try:
        self._dynamo.transact([row, way_back, gone])
    except TransactionRefusedError:
        return False
    return True


@rule(
    "what comes back from the trash has its old version",
    "make_live",
    ManifestItems,
    failed=["delete a manifest, put it anew", "restore a manifest, delete it again"],
    raced=["restore, delete of what is half deleted"],
)
def _(
    make_live: Original, self: ManifestItems, manifest: Manifest, *what: object, **more: object
) -> object:
    with mock.patch.object(self, "_new_id", return_value=manifest.version):
        return make_live(self, manifest, *what, **more)


@rule("what is in the trash is there", "_require_live", reading, crashed=DELETED)
def _(_: Original, manifest: Manifest | None) -> Manifest:
    if manifest is None or manifest.state is ManifestState.PENDING:
        raise ManifestUnknownError
    return manifest


@rule(
    "the trash keeps no body",
    "put_in_trash",
    ManifestItems,
    crashed=["restore a large manifest"],
)
def _(put_in_trash: Original, self: ManifestItems, manifest: Manifest, sweep_at: float) -> None:
    put_in_trash(self, manifest, sweep_at)
    self.delete_link(bodies_of(manifest.repository), manifest.digest)


@rule(
    "the tags of a deletion are forgotten",
    "put_in_trash",
    ManifestItems,
    crashed=["restore a manifest"],
)
def _(put_in_trash: Original, self: ManifestItems, manifest: Manifest, sweep_at: float) -> None:
    put_in_trash(self, manifest, sweep_at)
    key = manifest_key(manifest.repository, manifest.digest)
    self._dynamo.write(Update(self._registry, key, ALWAYS, remove=("deleted_tags",)))


@rule(
    "rules hold no tag",
    "holding",
    Rules,
    crashed=["move an immutable tag"],
    raced=["tag, tag, immutable"],
)
def _(_: Original, _self: Rules, _repository: str, _tag: str) -> None:
    return


@rule(
    "a tag that a rule holds may not be set again",
    "require_movable",
    Publisher,
    crashed=["put an image that an immutable tag names"],
)
def _(require: Original, self: Publisher, repository: str, found: object, _digest: Digest) -> None:
    require(self, repository, found, Digest.of(b"another"))


@rule(
    "a restoration by force asks no rule",
    "_restore_once",
    Undo,
    raced=["tag, restore by force, immutable"],
)
def _(restore: Original, self: Undo, asked: Restoration) -> object:
    with mock.patch.object(Rules, "holding", return_value=None):
        return restore(self, asked)


@rule(
    "what a rule refused stays pending",
    "remove_pending",
    Removals,
    crashed=["move an immutable tag"],
)
def _(_: Original, _self: Removals, _manifest: Manifest) -> None:
    return


@rule(
    "a restoration takes a tag that has moved on",
    "_restore_once",
    Undo,
    crashed=["restore a tag that has moved on"],
)
def _(restore: Original, self: Undo, asked: Restoration) -> object:
    return restore(self, replace(asked, force=True))


@rule(
    "what is brought back is not listed by its subject",
    "_referrer",
    publishing,
    crashed=["restore a manifest"],
)
def _(_: Original, _manifest: Manifest, _parsed: object) -> None:
    return


@rule(
    "what lacks a layer is brought back",
    "check",
    Publisher,
    crashed=["restore what lacks a layer"],
)
def _(_: Original, _self: Publisher, *_found: object, may_pull: bool) -> None:
    del may_pull


@rule("an index comes back alone", "_bring_back_all", Undo, crashed=["restore an index"])
def _(_: Original, _self: Undo, _repository: str, _digests: object, _stamp: Stamp) -> None:
    return


@rule(
    "a half deleted manifest is brought back as it is",
    "_kept",
    Undo,
    crashed=["restore a manifest half deleted"],
    raced=["restore, delete of what is half deleted"],
)
def _(_: Original, self: Undo, repository: str, digest: Digest) -> object:
    return self._ports.metadata.get_manifest(repository, digest)


@rule(
    "a tag that moves leaves no history",
    "_tagging",
    ManifestItems,
    crashed=["put an image anew, move a tag"],
)
def _(tagging: Original, self: ManifestItems, *what: object, **more: object) -> object:
    history = f"REPO#{HOME}", "HISTORY#"
    return [
        change
        for change in tagging(self, *what, **more)
        if (change.key["pk"], change.key["sk"][:8]) != history
    ]


@rule(
    "a tag's last digest is forgotten",
    "_change",
    ManifestItems,
    crashed=["delete a tag", "delete a manifest"],
)
def _(change: Original, self: ManifestItems, *what: Any) -> object:  # noqa: ANN401 - as _change
    return change(self, *what[:1], "another", *what[2:])


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
    failed=["commit a body into an old session, live elsewhere"],
)
def _(publish: Original, self: Closing, leased: Session, data: bytes) -> object:
    put = self._ports.objects.put

    def once(key: str, body: bytes) -> WrittenObject:
        return WrittenObject(put(key, body).etag)

    with mock.patch.object(self._ports.objects, "put", once):
        return publish(self, leased, data)
