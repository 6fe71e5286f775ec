"""The collector's part of the metadata store: the walk through all rows, marks, and deletions.

Every deletion is conditional on what was read before: a link must still have its version, which no
two writes share, and a record must still count no link. This module must never delete what was used
since it was read.
"""

# ruff: noqa: D102 - registry.ports says what each method of the store does

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from chalicelib.errors import UnavailableError
from chalicelib.limits import BATCH_KEYS
from chalicelib.registry.model import (
    CollectorState,
    Damaged,
    Garbage,
    Link,
    Record,
    ScannedRow,
)
from chalicelib.registry.outcomes import CollectorMovedError, Sweep
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.blobs import ABSENT, TRIES, at_version, likely_record, naming
from chalicelib.stores.dynamodb.client import ConditionFailedError, TransactionRefusedError
from chalicelib.stores.dynamodb.codec import CorruptItemError, Item, Schema
from chalicelib.stores.dynamodb.expressions import Clause, Delete, Put, Update
from chalicelib.stores.dynamodb.items import (
    COLLECTOR_STATE,
    GARBAGE,
    LINK,
    MANIFEST,
    RECORD,
    TAG,
)
from chalicelib.stores.dynamodb.keys import (
    Key,
    all_garbage,
    collector_key,
    garbage_key,
    home_of,
    key_at,
    kind_of,
    link_key,
    record_key,
    scan_place,
)
from chalicelib.stores.dynamodb.manifests import ManifestItems

_SCANNED: Mapping[str, Schema[Any]] = {
    "BLOB": LINK,
    "MANIFEST": MANIFEST,
    "TAG": TAG,
    "RECORD": RECORD,
    "GARBAGE": GARBAGE,
}
"""The kinds of rows whose values a scan gives."""

_ATTRIBUTES = tuple(
    dict.fromkeys(
        ["pk", "sk"] + [field.stored_as for schema in _SCANNED.values() for field in schema.fields]
    )
)
_PROJECTED = tuple(name for name in _ATTRIBUTES if name != "body")
"""What a scan asks for: everything but the bodies of manifests."""

NO_LINKS = Clause("#links = :none", {"none": codec.WHOLE.encode(0)})
"""No repository links to the blob."""

NO_RELEASE = Clause("attribute_not_exists(#released_at)")
"""Nobody has noted when its last link went."""


def released_at(at: float) -> Clause:
    """No link has been made and gone again since the record was read."""
    return Clause("#released_at = :at", {"at": codec.TIME.encode(at)})


class CollectedItems(ManifestItems):
    """The part of `MetadataStore` that the collector alone uses."""

    def scan(self, after: str | None) -> Iterator[ScannedRow]:
        start = None if after is None else key_at(after)
        for item in self._dynamo.scan(self._registry, start, _PROJECTED):
            key = {name: item[name]["S"] for name in ("pk", "sk")}
            yield ScannedRow(home_of(key), scan_place(key), _value(key, item))

    def mark_link(self, link: Link, mark: str) -> Link | None:
        return self._rewritten(link, mark)

    def unmark_link(self, link: Link) -> None:
        self._rewritten(link, None)

    def sweep_link(self, link: Link) -> Sweep:
        record: Record | None = likely_record(link)
        for _ in range(TRIES):
            try:
                self._dynamo.transact(self._deletion(link, record))
            except TransactionRefusedError as refused:
                if 0 in refused.items:
                    # Gone: by this very call, or by another that has deleted it.
                    return Sweep.SWEPT if refused.items[0] is None else Sweep.USED
                record = RECORD.decode_found(refused.items[1])
            else:
                counted = record is not None and record.links > 0 and record.counts(link)
                return Sweep.SWEPT if counted else Sweep.UNCOUNTED
        raise UnavailableError(f"others keep changing the links to {link.digest}")

    def note_release(self, record: Record, now: float) -> None:
        update = Update(
            self._registry,
            record_key(record.digest),
            NO_LINKS & NO_RELEASE,
            set={"released_at": codec.TIME.encode(now)},
            silent=True,
        )
        with suppress(ConditionFailedError):
            self._dynamo.write(update)

    def drop_record(self, record: Record, now: float) -> bool:
        at = record.released_at
        clause = NO_LINKS & naming(record.key) & (NO_RELEASE if at is None else released_at(at))
        garbage = Garbage(record.key, record.digest, record.size, now)
        row = Put(self._registry, garbage_key(record.key), GARBAGE.encode(garbage))
        try:
            gone = Delete(self._registry, record_key(record.digest), clause)
            self._dynamo.transact([gone, row])
        except TransactionRefusedError as refused:
            # Gone: this very call took effect, or another collector's.
            return refused.items[0] is None
        return True

    def garbage(self, limit: int) -> Sequence[Garbage]:
        items, _ = self._dynamo.query_page(self._registry, all_garbage(), limit)
        return [GARBAGE.decode(item) for item in items]

    def get_garbage(self, keys: Sequence[str]) -> Sequence[Garbage]:
        rows = self._dynamo.get_many(self._registry, [garbage_key(key) for key in keys])
        return [GARBAGE.decode(row) for row in rows]

    def forget_garbage(self, garbage: Sequence[Garbage]) -> None:
        rows = [Delete(self._registry, garbage_key(each.key)) for each in garbage]
        for start in range(0, len(rows), BATCH_KEYS):
            self._dynamo.transact(rows[start : start + BATCH_KEYS])

    def collector_state(self) -> CollectorState | None:
        return COLLECTOR_STATE.decode_found(self._dynamo.get(self._registry, collector_key()))

    def save_collector_state(
        self, before: CollectorState | None, after: CollectorState
    ) -> CollectorState:
        written = replace(after, version=self._new_id())
        unmoved = ABSENT if before is None else at_version(before.version)
        put = Put(self._registry, collector_key(), COLLECTOR_STATE.encode(written), unmoved)
        try:
            self._dynamo.write(put)
        except ConditionFailedError as failed:
            if COLLECTOR_STATE.decode_found(failed.item) != written:
                raise CollectorMovedError(str(failed)) from failed
        return written

    def _rewritten(self, link: Link, mark: str | None) -> Link | None:
        """Mark or un-mark a link, under a fresh version; None if it is no longer as it was read."""
        version = self._new_id()
        fresh = {"version": codec.TEXT.encode(version)}
        marked = {} if mark is None else {"mark": codec.TEXT.encode(mark)}
        update = Update(
            self._registry,
            link_key(link.repository, link.digest),
            at_version(link.version),
            set={**fresh, **marked},
            remove=() if marked else ("mark",),
        )
        try:
            return LINK.decode(self._dynamo.write(update))
        except ConditionFailedError as failed:
            found = LINK.decode_found(failed.item)
            # This very call took effect, and its answer was lost.
            return found if found is not None and found.version == version else None


def _value(key: Key, item: Item) -> Any:  # noqa: ANN401 - one of ScannedRow's
    """Read a row of a scan."""
    schema = _SCANNED.get(kind_of(key))
    try:
        return None if schema is None else schema.decode(item)
    except CorruptItemError as error:
        return Damaged(str(error))
