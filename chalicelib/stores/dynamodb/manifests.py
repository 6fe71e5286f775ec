"""Manifests on DynamoDB, from pending to live to deleting.

This module must never make a manifest live, or end it, but in one transaction with the rows that
go with it.
"""

from collections.abc import Iterator, Mapping, Sequence

from chalicelib.digest import Digest
from chalicelib.registry.model import Manifest, ManifestState, Referrer
from chalicelib.registry.outcomes import ManifestMovedError
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.client import ConditionFailedError, TransactionRefusedError
from chalicelib.stores.dynamodb.expressions import Change, Clause, Delete, Put, Update
from chalicelib.stores.dynamodb.items import MANIFEST, REFERRER, manifest_item, sweep_attributes
from chalicelib.stores.dynamodb.keys import (
    manifest_key,
    manifest_named_by,
    referrer_key,
    tag_key,
    tagged_key,
)
from chalicelib.stores.dynamodb.parts import MetadataPart

MAX_TAGS = 30
"""Most tags of one transaction, which takes 100 actions: three for each tag, two besides."""

_PENDING = {"pending": codec.TEXT.encode(ManifestState.PENDING.value)}
_LIVE = {"live": codec.TEXT.encode(ManifestState.LIVE.value)}
_DELETING = {"deleting": codec.TEXT.encode(ManifestState.DELETING.value)}

ABSENT = Clause("attribute_not_exists(#pk)")
"""There is no such manifest."""

IS_PENDING = Clause("#state = :pending", _PENDING)
"""A push of this manifest has begun, and nobody was told that it is there."""

IS_LIVE = Clause("#state = :live", _LIVE)
"""The manifest was accepted, by this push or by another of the same bytes."""

IS_DELETING = Clause("#state = :deleting", _DELETING)
"""Somebody has begun to delete the manifest, and it is answered to nobody."""

NO_TAG = Clause("attribute_not_exists(#digest)")
"""There is no such tag."""


def of_version(version: str) -> Clause:
    """No other push has put its own pending manifest over this one."""
    return Clause("#version = :version", {"version": codec.TEXT.encode(version)})


def tag_names(digest: Digest, value: str = "named") -> Clause:
    """The tag is there and names this manifest."""
    return Clause(f"#digest = :{value}", {value: codec.DIGEST.encode(digest)})


_QUEUED = ("sweep_at", "sweep_shard")
"""The attributes by which a manifest that is not live waits for the sweeper."""

_WITHOUT_BODY = tuple(field.stored_as for field in MANIFEST.fields if field.name != "body")


class ManifestItems(MetadataPart):
    """The part of `MetadataStore` that knows manifests."""

    def get_manifest(self, repository: str, digest: Digest) -> Manifest | None:
        """Read a manifest's item in whatever state."""
        item = self._dynamo.get(self._registry, manifest_key(repository, digest))
        return None if item is None else MANIFEST.decode(item)

    def get_manifests(
        self, repository: str, digests: Sequence[Digest]
    ) -> Mapping[Digest, Manifest]:
        """Read many manifest items (without their bodies), 100 a request."""
        keys = [manifest_key(repository, digest) for digest in digests]
        items = self._dynamo.get_many(self._registry, keys, _WITHOUT_BODY)
        return {manifest.digest: manifest for manifest in map(MANIFEST.decode, items)}

    def put_pending(self, manifest: Manifest) -> Manifest:
        """Put a manifest as pending where there is none, or only a pending one.

        Returns the item that is there now: `manifest` itself, or the live or deleting one met.
        """
        key = manifest_key(manifest.repository, manifest.digest)
        put = Put(self._registry, key, manifest_item(manifest), ABSENT | IS_PENDING)
        try:
            self._dynamo.write(put)
        except ConditionFailedError as failed:
            return MANIFEST.decode(failed.item or {})
        return manifest

    def remove_pending(self, manifest: Manifest) -> None:
        """Remove a pending manifest if it still has this version."""
        key = manifest_key(manifest.repository, manifest.digest)
        clause = IS_PENDING & of_version(manifest.version)
        try:
            self._dynamo.write(Delete(self._registry, key, clause))
        except ConditionFailedError:
            return  # gone, accepted, or another push's

    def make_live(
        self,
        manifest: Manifest,
        tags: Mapping[str, Digest | None],
        referrer: Referrer | None,
    ) -> None:
        """In one transaction make a manifest live with its tags and its referrer row; see the port.

        A tag that names the manifest already is as good as one that names what `tags` says.
        Raises ManifestMovedError when a condition fails.
        """
        if len(tags) > MAX_TAGS:
            raise ValueError(f"{len(tags)} tags are more than one transaction takes ({MAX_TAGS})")
        changes: list[Change] = [
            Update(
                self._registry,
                manifest_key(manifest.repository, manifest.digest),
                IS_LIVE | (IS_PENDING & of_version(manifest.version)),
                set={"state": codec.TEXT.encode(ManifestState.LIVE.value)},
                remove=_QUEUED,
            )
        ]
        for tag, old in tags.items():
            changes += self._tagging(manifest, tag, old)
        if referrer is not None:
            key = referrer_key(referrer.repository, referrer.subject, referrer.digest)
            changes.append(Put(self._registry, key, REFERRER.encode(referrer)))
        try:
            self._dynamo.transact(changes)
        except TransactionRefusedError as refused:
            raise ManifestMovedError(str(refused)) from refused

    def begin_delete(self, manifest: Manifest, sweep_at: float) -> Manifest:
        """Mark a live (or already deleting) manifest as deleting, if it still has this version.

        Without the version a request that is long on its way would delete what was pushed since.
        """
        update = Update(
            self._registry,
            manifest_key(manifest.repository, manifest.digest),
            (IS_LIVE | IS_DELETING) & of_version(manifest.version),
            set={
                "state": codec.TEXT.encode(ManifestState.DELETING.value),
                **sweep_attributes(str(manifest.digest), sweep_at),
            },
        )
        try:
            return MANIFEST.decode(self._dynamo.write(update))
        except ConditionFailedError as failed:
            raise ManifestMovedError(str(failed)) from failed

    def due_manifests(self, now: float) -> Iterator[tuple[str, Digest]]:
        """Repository and digest of manifests whose `sweep_at` has come, read as asked for.

        The index lags behind: one may be named that is gone, or live by now.
        """
        for item in self._dynamo.query_due(self._registry, now):
            yield manifest_named_by({name: item[name]["S"] for name in ("pk", "sk")})

    def finish_delete(self, manifest: Manifest) -> None:
        """Delete the deleting manifest's item and its referrer row (if it has a subject).

        In one transaction: a deletion that comes late must not take the referrer row of a
        manifest that was pushed anew.
        """
        repository, digest = manifest.repository, manifest.digest
        clause = IS_DELETING & of_version(manifest.version)
        changes: list[Change] = [Delete(self._registry, manifest_key(repository, digest), clause)]
        if manifest.subject is not None:
            row = referrer_key(repository, manifest.subject, digest)
            changes.append(Delete(self._registry, row))
        try:
            self._dynamo.transact(changes)
        except TransactionRefusedError:
            return  # finished before, by us or by another

    def _tagging(self, manifest: Manifest, tag: str, old: Digest | None) -> list[Change]:
        """Return the writes that move a tag from the manifest it names to this one."""
        repository, digest = manifest.repository, manifest.digest
        unmoved = NO_TAG if old is None else tag_names(old, "old")
        row = {"digest": codec.DIGEST.encode(digest)}
        changes: list[Change] = [
            Put(self._registry, tag_key(repository, tag), row, unmoved | tag_names(digest, "new")),
            Put(self._registry, tagged_key(repository, digest, tag), {}),
        ]
        if old is not None and old != digest:
            changes.append(Delete(self._registry, tagged_key(repository, old, tag)))
        return changes
