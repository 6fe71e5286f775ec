"""Sources and their in-use leases on DynamoDB: a source has one item, and a lease in repositories.

Before a lease is written, the source's item names its repository. So after a refresh that stopped
half-way, each repository has either the old or the new lease, and the next refresh finds all of
them. All other writes require that no other refresh of the source has begun. This module must never
remove a lease that its source still names.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from chalicelib.registry.model import InUse, UseSource
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.client import ConditionFailedError, Dynamo, TransactionRefusedError
from chalicelib.stores.dynamodb.expressions import Change, Clause, ConditionCheck, Delete, Put
from chalicelib.stores.dynamodb.items import IN_USE, USE_SOURCE
from chalicelib.stores.dynamodb.keys import in_use_key, use_source_key, use_sources

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

LARGEST = 380_000
"""Most bytes of texts in an item: DynamoDB takes 400 KB, with all names and other attributes."""

ABSENT = Clause("attribute_not_exists(#pk)")
"""There is no such source."""


def as_read(version: str) -> Clause:
    """No other refresh of this source has begun, and it was not removed."""
    return Clause("#version = :version", {"version": codec.TEXT.encode(version)})


class UseSourceMovedError(Exception):
    """Another refresh of the source has begun, or it was removed, since it was read."""


class InUseTooLargeError(ValueError):
    """A source names more than its items hold; the message says of what."""


class DynamoInUseStore:
    """The sources of in-use leases, in the table `registry`."""

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._dynamo = Dynamo(client, sleep)
        self._table = table
        self._new_id = new_id

    def sources(self) -> Sequence[UseSource]:
        """Read all sources, by name."""
        return [USE_SOURCE.decode(item) for item in self._dynamo.query(self._table, use_sources())]

    def refresh(self, source: UseSource, leases: Sequence[InUse]) -> None:
        """Let these leases, one for each of `source.repositories`, be all that a source names.

        Raises InUseTooLargeError, and then nothing was written; UseSourceMovedError when another
        refresh has begun meanwhile, whose leases hold.
        """
        fitting = [_fitting(lease) for lease in leases]
        if _size(source.repositories) > LARGEST / 2:  # those of the last refresh are added
            raise InUseTooLargeError(
                f"source {source.name} names {len(source.repositories)} repositories, which are"
                " more than one item holds: divide it into several sources"
            )
        before = self._get(source.name)
        begun = before or replace(source, repositories=(), count=0, until=source.refreshed_at)
        every = dict.fromkeys((*begun.repositories, *source.repositories))
        begun = self._put(before, replace(begun, repositories=tuple(every)))
        for lease in fitting:
            key = in_use_key(lease.repository, source.name)
            self._write(begun, Put(self._table, key, IN_USE.encode(lease)))
        self._drop(begun, [name for name in every if name not in set(source.repositories)])
        self._put(begun, source)

    def remove(self, name: str) -> UseSource | None:
        """Remove a source with all its leases; None if no source has this name."""
        found = self._get(name)
        if found is None:
            return None
        begun = self._put(found, found)
        self._drop(begun, begun.repositories)
        try:
            self._dynamo.write(Delete(self._table, use_source_key(name), as_read(begun.version)))
        except ConditionFailedError as failed:
            if failed.item is not None:
                raise UseSourceMovedError from failed
        return found

    def _get(self, name: str) -> UseSource | None:
        return USE_SOURCE.decode_found(self._dynamo.get(self._table, use_source_key(name)))

    def _put(self, before: UseSource | None, after: UseSource) -> UseSource:
        after = replace(after, version=self._new_id())
        unmoved = ABSENT if before is None else as_read(before.version)
        item = USE_SOURCE.encode(after)
        try:
            self._dynamo.write(Put(self._table, use_source_key(after.name), item, unmoved))
        except ConditionFailedError as failed:
            # The SDK may have sent it twice.
            if USE_SOURCE.decode_found(failed.item) != after:
                raise UseSourceMovedError from failed
        return after

    def _drop(self, begun: UseSource, repositories: Iterable[str]) -> None:
        for repository in repositories:
            self._write(begun, Delete(self._table, in_use_key(repository, begun.name)))

    def _write(self, begun: UseSource, change: Change) -> None:
        current = ConditionCheck(self._table, use_source_key(begun.name), as_read(begun.version))
        try:
            self._dynamo.transact([current, change])
        except TransactionRefusedError as refused:
            raise UseSourceMovedError from refused


def _fitting(lease: InUse) -> InUse:
    """Return a lease that fits one item: if it is too long, without what runs each digest."""
    for fitting in (lease, replace(lease, digests=dict.fromkeys(lease.digests, ""))):
        if _size(f"{digest} {text}" for digest, text in fitting.digests.items()) <= LARGEST:
            return fitting
    raise InUseTooLargeError(
        f"source {lease.source} names {len(lease.digests)} digests of {lease.repository}, which are"
        " more than one item holds: divide it into several sources"
    )


def _size(texts: Iterable[str]) -> int:
    return sum(len(text.encode()) + 3 for text in texts)
