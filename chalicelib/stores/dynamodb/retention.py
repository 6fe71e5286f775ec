"""Retention's writes to manifests on DynamoDB, and the progress of its runs.

This module must never delete a manifest that was used after it was judged.
"""

# ruff: noqa: D102 - registry.ports says what each method of the store does

from collections.abc import Sequence
from dataclasses import replace

from chalicelib.registry.model import Manifest, ManifestState, RetentionState, Stamp
from chalicelib.registry.outcomes import ManifestMovedError
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.client import ConditionFailedError, TransactionRefusedError
from chalicelib.stores.dynamodb.expressions import Clause, ConditionCheck, Put, Update
from chalicelib.stores.dynamodb.items import MANIFEST, RETENTION_STATE, sweep_attributes
from chalicelib.stores.dynamodb.keys import manifest_key, retention_key, rules_key
from chalicelib.stores.dynamodb.manifests import IS_LIVE, ManifestItems, of_version

ABSENT = Clause("attribute_not_exists(#pk)")
"""There was no run before."""

_USES = ("pushed_at", "pulled_at", "restored_at")


def marked(manifest: Manifest) -> Clause:
    """The manifest is live in this version, and nobody has used it since it was marked."""
    mark = Clause("#mark = :mark", {"mark": codec.TEXT.encode(manifest.mark or "")})
    return IS_LIVE & of_version(manifest.version) & mark


def unused_since(manifest: Manifest) -> Clause:
    """The manifest is live, and nobody has used it since it was read."""
    clause = IS_LIVE & of_version(manifest.version)
    item = MANIFEST.encode(manifest)
    for name in _USES:
        if name in item:
            clause &= Clause(f"#{name} = :{name}", {name: item[name]})
        else:
            clause &= Clause(f"attribute_not_exists(#{name})")
    return clause


class RetentionItems(ManifestItems):
    """The part of `MetadataStore` that retention needs, on top of the one for manifests."""

    def get_rules(self) -> str:
        item = self._dynamo.get(self._registry, rules_key())
        return "" if item is None else codec.TEXT.decode(item["text"])

    def note_restore(self, manifest: Manifest, now: float) -> None:
        update = Update(
            self._registry,
            manifest_key(manifest.repository, manifest.digest),
            IS_LIVE,
            set={"restored_at": codec.TIME.encode(now)},
            remove=("mark",),
        )
        try:
            self._dynamo.write(update)
        except ConditionFailedError as failed:
            raise ManifestMovedError(str(failed)) from failed

    def mark_manifest(self, manifest: Manifest, mark: str) -> bool:
        update = Update(
            self._registry,
            manifest_key(manifest.repository, manifest.digest),
            unused_since(manifest),
            set={"mark": codec.TEXT.encode(mark)},
            silent=True,
        )
        try:
            self._dynamo.write(update)
        except ConditionFailedError:
            return False
        return True

    def unmark_manifest(self, manifest: Manifest) -> None:
        key = manifest_key(manifest.repository, manifest.digest)
        try:
            self._dynamo.write(Update(self._registry, key, marked(manifest), remove=("mark",)))
        except ConditionFailedError as failed:
            found = MANIFEST.decode_found(failed.item)
            if found is None or (found.state, found.mark) != (ManifestState.LIVE, None):
                raise ManifestMovedError(str(failed)) from failed

    def retire(
        self, manifest: Manifest, others: Sequence[Manifest], sweep_at: float, stamp: Stamp
    ) -> Manifest:
        retired = replace(
            manifest,
            state=ManifestState.DELETING,
            sweep_at=sweep_at,
            deleted_at=stamp.at,
            deleted_by=stamp.by,
        )
        item = MANIFEST.encode(retired)
        update = Update(
            self._registry,
            manifest_key(manifest.repository, manifest.digest),
            marked(manifest),
            set={
                **{name: item[name] for name in ("state", "deleted_at", "deleted_by")},
                **sweep_attributes(str(manifest.digest), sweep_at),
            },
        )
        checks = [
            ConditionCheck(self._registry, manifest_key(each.repository, each.digest), marked(each))
            for each in others
        ]
        try:
            self._dynamo.transact([update, *checks])
        except TransactionRefusedError as refused:
            found = MANIFEST.decode_found(refused.items.get(0))
            # This very deletion may have taken effect, and its answer have been lost.
            if found is None or (found.state, found.deletion) != (retired.state, stamp):
                raise ManifestMovedError(str(refused)) from refused
        return retired

    def retention_state(self) -> RetentionState | None:
        return RETENTION_STATE.decode_found(self._dynamo.get(self._registry, retention_key()))

    def put_retention_state(self, before: RetentionState | None, after: RetentionState) -> bool:
        unmoved = ABSENT
        if before is not None:
            unmoved = Clause("#version = :before", {"before": codec.TEXT.encode(before.version)})
        put = Put(self._registry, retention_key(), RETENTION_STATE.encode(after), unmoved)
        try:
            self._dynamo.write(put)
        except ConditionFailedError as failed:
            # Written already, where the answer was lost.
            return RETENTION_STATE.decode_found(failed.item) == after
        return True
