"""Manifests on DynamoDB, from pending to live to deleting, and the tags that name them.

This module must never make a manifest live, or end it, but in one transaction with the rows that
go with it, nor leave a tag without its TAGGED row, the way back from the manifest to the tag.
"""

# ruff: noqa: D102 - registry.ports says what each method of the store does

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from chalicelib.digest import Digest
from chalicelib.limits import TRANSACTION_TAGS
from chalicelib.registry.model import (
    Covered,
    FoundByPush,
    Link,
    Manifest,
    ManifestState,
    Referrer,
    Stamp,
    TagChange,
    TagRow,
    bodies_of,
)
from chalicelib.registry.outcomes import ManifestMovedError, OverQuotaError
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.blobs import BlobItems, at_version, likely_record
from chalicelib.stores.dynamodb.client import ConditionFailedError, TransactionRefusedError
from chalicelib.stores.dynamodb.expressions import (
    Change,
    Clause,
    ConditionCheck,
    Delete,
    Put,
    Update,
)
from chalicelib.stores.dynamodb.items import (
    LINK,
    MANIFEST,
    RECORD,
    REFERRER,
    STORED_RULES,
    TAG,
    change_item,
    manifest_item,
    since_of,
    sweep_attributes,
    tagged_item,
)
from chalicelib.stores.dynamodb.keys import (
    catalog_key,
    history_key,
    history_place,
    link_key,
    manifest_key,
    manifest_named_by,
    referrer_key,
    rules_key,
    tag_key,
    tagged_key,
    tagged_of,
)

_PENDING = {"pending": codec.TEXT.encode(ManifestState.PENDING.value)}
_LIVE = {"live": codec.TEXT.encode(ManifestState.LIVE.value)}
_DELETING = {"deleting": codec.TEXT.encode(ManifestState.DELETING.value)}
_TRASHED = {"trashed": codec.TEXT.encode(ManifestState.TRASHED.value)}

ABSENT = Clause("attribute_not_exists(#pk)")
"""There is no such manifest."""

IS_PENDING = Clause("#state = :pending", _PENDING)
"""A push of this manifest has begun, and its client has no answer yet."""

IS_LIVE = Clause("#state = :live", _LIVE)
"""The manifest was accepted, by this push or by another of the same bytes."""

IS_DELETING = Clause("#state = :deleting", _DELETING)
"""Somebody has begun to delete the manifest, and it is answered to nobody."""

IS_TRASHED = Clause("#state = :trashed", _TRASHED)
"""The manifest was deleted, and can be brought back."""

NO_TAG = Clause("attribute_not_exists(#digest)")
"""There is no such tag."""


def of_version(version: str) -> Clause:
    """No other push has put its own pending manifest over this one."""
    return Clause("#version = :version", {"version": codec.TEXT.encode(version)})


def tag_names(digest: Digest) -> Clause:
    """The tag is there and names this manifest."""
    return Clause("#digest = :named", {"named": codec.DIGEST.encode(digest)})


def tagged_by(row: TagRow, stamp: Stamp) -> Clause:
    """The tag is as this very push puts it, whose request has come before."""
    values = {"new": codec.DIGEST.encode(row.digest), "at": codec.TIME.encode(stamp.at)}
    return Clause("#digest = :new AND #tagged_at = :at", values)


def not_pulled_since(at: float) -> Clause:
    """Nobody has noted a pull as late as that."""
    noted = Clause("#pulled_at < :since", {"since": codec.TIME.encode(at)})
    return Clause("attribute_not_exists(#pulled_at)") | noted


_QUEUED = ("sweep_at", "sweep_shard")
"""The attributes by which a manifest that is not live waits for the sweeper."""

_TO_COME = "deleted_tags"
"""What a restoration leaves of them while more of its transactions are to come."""
_DELETED = ("deleted_at", "deleted_by", _TO_COME)
"""The attributes that a deletion adds."""

_FACTS = ("pushed_at", "pushed_by", "total_bytes", "platforms", "artifact_type", "restored_at")
"""What a push or a restoration writes of a manifest; what is unknown stays."""

WITHOUT_BODY = tuple(field.stored_as for field in MANIFEST.fields if field.name != "body")
"""The attributes that are requested when many manifests are read."""


class ManifestItems(BlobItems):
    """The part of `MetadataStore` that knows manifests and tags, on top of the one for blobs."""

    def get_manifest(self, repository: str, digest: Digest) -> Manifest | None:
        return MANIFEST.decode_found(
            self._dynamo.get(self._registry, manifest_key(repository, digest))
        )

    def get_manifests(
        self, repository: str, digests: Sequence[Digest]
    ) -> Mapping[Digest, Manifest]:
        keys = [manifest_key(repository, digest) for digest in digests]
        items = self._dynamo.get_many(self._registry, keys, WITHOUT_BODY)
        return {manifest.digest: manifest for manifest in map(MANIFEST.decode, items)}

    def put_pending(self, manifest: Manifest) -> Manifest:
        key = manifest_key(manifest.repository, manifest.digest)
        put = Put(self._registry, key, manifest_item(manifest), ABSENT | IS_PENDING)
        try:
            self._dynamo.write(put)
        except ConditionFailedError as failed:
            return MANIFEST.decode(failed.item or {})
        return manifest

    def remove_pending(self, manifest: Manifest, body: Link | None = None) -> None:
        self._remove(manifest, IS_PENDING, body)

    def make_live(  # noqa: PLR0913 - as the port has it
        self,
        manifest: Manifest,
        tags: Mapping[str, TagRow | None],
        referrer: Referrer | None,
        stamp: Stamp,
        *,
        covered: Covered | None = None,
        new_tags: int | None = None,
    ) -> None:
        if len(tags) > TRANSACTION_TAGS:
            raise ValueError(
                f"{len(tags)} tags are more than one transaction takes: {TRANSACTION_TAGS}"
            )
        item = MANIFEST.encode(manifest)
        facts = {name: item[name] for name in (*_FACTS, _TO_COME) if name in item}
        before = IS_PENDING
        if manifest.state is ManifestState.TRASHED:
            # Its old deletion may still be on its way, and must not find this one.
            facts["version"] = codec.TEXT.encode(self._new_id())
            before = IS_TRASHED
        changes: list[Change] = [
            Update(
                self._registry,
                manifest_key(manifest.repository, manifest.digest),
                IS_LIVE | (before & of_version(manifest.version)),
                set={"state": codec.TEXT.encode(ManifestState.LIVE.value), **facts},
                remove=tuple({*_QUEUED, *_DELETED, "mark"} - facts.keys()),
            )
        ]
        for tag, old in tags.items():
            changes += self._tagging(manifest, tag, old, stamp, counted=covered is not None)
        if referrer is not None:
            key = referrer_key(referrer.repository, referrer.subject, referrer.digest)
            changes.append(Put(self._registry, key, REFERRER.encode(referrer)))
        new = sum(old is None for old in tags.values()) if new_tags is None else new_tags
        if covered is not None and new:
            changes.append(self._added(manifest.repository, covered, 0, new))
        try:
            self._dynamo.transact(changes, crowded=covered is not None)
        except TransactionRefusedError as refused:
            if covered is not None and new and refused.items.keys() == {len(changes) - 1}:
                raise OverQuotaError(tags=new) from refused
            raise ManifestMovedError(str(refused)) from refused

    def note_pull(self, manifest: Manifest, now: float, since: float) -> None:
        update = Update(
            self._registry,
            manifest_key(manifest.repository, manifest.digest),
            IS_LIVE & not_pulled_since(since),
            set={"pulled_at": codec.TIME.encode(now)},
            remove=("mark",),
            silent=True,
        )
        with suppress(ConditionFailedError):
            self._dynamo.write(update)

    def begin_delete(self, manifest: Manifest, sweep_at: float, stamp: Stamp) -> Manifest:
        # Without the version a delayed request would delete what was pushed since.
        update = Update(
            self._registry,
            manifest_key(manifest.repository, manifest.digest),
            (IS_LIVE | IS_DELETING) & of_version(manifest.version),
            set={
                "state": codec.TEXT.encode(ManifestState.DELETING.value),
                "deleted_at": codec.TIME.encode(stamp.at),
                **({"deleted_by": codec.TEXT.encode(stamp.by)} if stamp.by is not None else {}),
                **sweep_attributes(str(manifest.digest), sweep_at),
            },
        )
        try:
            return MANIFEST.decode(self._dynamo.write(update))
        except ConditionFailedError as failed:
            raise ManifestMovedError(str(failed)) from failed

    def keep_body(self, manifest: Manifest, link: Link) -> None:
        repository, digest = manifest.repository, manifest.digest
        live = ConditionCheck(
            self._registry,
            manifest_key(repository, digest),
            (IS_LIVE | IS_TRASHED) & of_version(manifest.version),
        )
        kept = replace(link, repository=bodies_of(repository), version=self._new_id())
        taken = Delete(self._registry, link_key(repository, digest), at_version(link.version))
        try:
            self._dynamo.transact([live, self._link_put(kept), taken])
        except TransactionRefusedError as refused:
            # Gone since it was read: this very call took effect, or a deletion of the link did.
            if refused.items.get(2, link) is not None:
                raise ManifestMovedError(str(refused)) from refused

    def due_manifests(self, now: float) -> Iterator[tuple[str, Digest]]:
        for item in self._dynamo.query_due(self._registry, now):
            yield manifest_named_by({name: item[name]["S"] for name in ("pk", "sk")})

    def finish_delete(self, manifest: Manifest, body: Link | None = None) -> None:
        self._remove(manifest, IS_DELETING, body, *self._ending(manifest))

    def put_in_trash(self, manifest: Manifest, sweep_at: float) -> None:
        update = Update(
            self._registry,
            manifest_key(manifest.repository, manifest.digest),
            IS_DELETING & of_version(manifest.version),
            set={
                "state": codec.TEXT.encode(ManifestState.TRASHED.value),
                **sweep_attributes(str(manifest.digest), sweep_at),
            },
        )
        with suppress(TransactionRefusedError):
            self._dynamo.transact([update, *self._ending(manifest)])

    def empty_trash(self, manifest: Manifest, body: Link | None = None) -> None:
        self._remove(manifest, IS_TRASHED, body)

    def get_tags(self, repository: str, tags: Sequence[str]) -> Mapping[str, TagRow]:
        names = {tag_key(repository, tag)["sk"]: tag for tag in tags}
        keys = [tag_key(repository, tag) for tag in tags]
        items = self._dynamo.get_many(self._registry, keys)
        return {names[item["sk"]["S"]]: TAG.decode(item) for item in items}

    def get_for_push(
        self, repository: str, blobs: Sequence[Digest], tags: Sequence[str], now: float
    ) -> FoundByPush:
        names = {tag_key(repository, tag)["sk"]: tag for tag in tags}
        listed, in_force = catalog_key(repository), rules_key()
        keys = [listed, *(link_key(repository, digest) for digest in blobs)]
        if tags:
            keys += [in_force, *(tag_key(repository, tag) for tag in tags)]
        links: list[Link] = []
        rows: dict[str, TagRow] = {}
        rules, is_listed = None, False
        for item in self._dynamo.get_many(self._registry, keys):
            partition, row = item["pk"]["S"], item["sk"]["S"]
            if partition == listed["pk"]:
                is_listed = True
            elif partition == in_force["pk"]:
                rules = STORED_RULES.decode(item)
            elif row in names:
                rows[names[row]] = TAG.decode(item)
            else:
                links.append(LINK.decode(item))
        if tags:
            self._rules = now, rules
        return FoundByPush({link.digest: link for link in links}, rows, rules, is_listed)

    def tags_of(self, repository: str, digest: Digest) -> Mapping[str, float | None]:
        span = tagged_of(repository, digest)
        return {
            row["sk"]["S"].removeprefix(span.prefix): since_of(row)
            for row in self._dynamo.query(self._registry, span)
        }

    def delete_tag(self, repository: str, tag: str, stamp: Stamp) -> bool:
        key = tag_key(repository, tag)
        found = TAG.decode_found(self._dynamo.get(self._registry, key))
        if found is None:
            return False
        way_back = Delete(self._registry, tagged_key(repository, found.digest, tag))
        try:
            row = Delete(self._registry, key, tag_names(found.digest))
            gone = self._change(repository, tag, found, None, stamp)
            self._dynamo.transact([row, way_back, gone])
        except TransactionRefusedError as refused:
            # Gone since it was read: this very deletion took effect, or another one did.
            if refused.items[0] is not None:
                raise ManifestMovedError(f"tag {tag} has moved") from refused
        return True

    def drop_tag(self, manifest: Manifest, tag: str, since: float | None) -> bool:
        repository, digest = manifest.repository, manifest.digest
        key = tag_key(repository, tag)
        gone = self._change(repository, tag, TagRow(digest, since), None, manifest.deletion)
        # The manifest lists all tags before the first is removed: after a crash they are known.
        going = Update(
            self._registry,
            manifest_key(repository, digest),
            IS_DELETING & of_version(manifest.version),
            set={"deleted_tags": codec.list_of(codec.TEXT).encode(manifest.deleted_tags or ())},
        )
        way_back = Delete(self._registry, tagged_key(repository, digest, tag))
        try:
            named = Delete(self._registry, key, tag_names(digest))
            self._dynamo.transact([going, named, way_back, gone])
        except TransactionRefusedError as refused:
            return 0 not in refused.items and self._drop_way_back(going, way_back)
        return True

    def _ending(self, manifest: Manifest) -> list[Change]:
        """Return what the end of a deletion writes beside the manifest, in its transaction.

        A late deletion must not remove the referrer row of a newer push.
        """
        named = TagRow(manifest.digest, manifest.pushed_at)
        changes: list[Change] = [
            self._change(manifest.repository, None, named, None, manifest.deletion)
        ]
        if manifest.subject is not None:
            key = referrer_key(manifest.repository, manifest.subject, manifest.digest)
            changes.append(Delete(self._registry, key))
        return changes

    def _remove(self, manifest: Manifest, state: Clause, body: Link | None, *rows: Change) -> None:
        """Delete a manifest's item if it is in this state and version, with what goes with it.

        Else nothing happens: this was done before, by this process or by another.
        """
        key = manifest_key(manifest.repository, manifest.digest)
        item = Delete(self._registry, key, state & of_version(manifest.version))
        if body is None and not rows:
            with suppress(ConditionFailedError):
                self._dynamo.write(item)
            return
        # A link that no record counts goes too.
        record = None if body is None else likely_record(body)
        for last in (False, True):
            unlinking = () if body is None else self._deletion(body, record)
            try:
                self._dynamo.transact([item, *rows, *unlinking])
            except TransactionRefusedError as refused:
                if 0 in refused.items:
                    return
                if last or 1 + len(rows) in refused.items:
                    raise ManifestMovedError(str(refused)) from refused
                record = RECORD.decode_found(refused.items[2 + len(rows)])
            else:
                return

    def _tagging(
        self, manifest: Manifest, tag: str, old: TagRow | None, stamp: Stamp, *, counted: bool
    ) -> list[Change]:
        """Return the writes that move a tag from the manifest it names to this one.

        One that is new and `counted` must not be there in any case, or a repeat would count it.
        """
        repository, digest = manifest.repository, manifest.digest
        unmoved = NO_TAG if old is None else tag_names(old.digest)
        row = TagRow(digest, stamp.at, stamp.by, old.digest if old else None)
        if old is not None or not counted:
            unmoved |= tagged_by(row, stamp)
        if old is not None and old.digest == digest:
            row = old
        changes: list[Change] = [
            Put(self._registry, tag_key(repository, tag), TAG.encode(row), unmoved),
            Put(self._registry, tagged_key(repository, digest, tag), tagged_item(row)),
        ]
        if old is not None and old.digest != digest:
            changes.append(Delete(self._registry, tagged_key(repository, old.digest, tag)))
            changes.append(self._change(repository, tag, old, digest, stamp))
        return changes

    def _change(
        self, repository: str, tag: str | None, old: TagRow, now: Digest | None, stamp: Stamp
    ) -> Put:
        """Return the row of history that says what a tag named until now."""
        place = history_place(tag or f"@{old.digest}", stamp.at, self._new_id())
        change = TagChange(repository, tag, old.digest, now, old.tagged_at, *stamp, place)
        return Put(self._registry, history_key(repository, place), change_item(change))

    def _drop_way_back(self, going: Update, way_back: Delete) -> bool:
        """Delete a TAGGED row whose tag names another manifest.

        No tag can begin to name a manifest that is being deleted: the tag names the other one on.
        """
        try:
            self._dynamo.transact([going, way_back])
        except TransactionRefusedError:
            return False
        return True
