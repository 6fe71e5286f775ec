"""Deletes the records of blobs that no repository links to, and then their objects.

One transaction deletes a record, if it counts no link, and adds its key to the garbage. Then the
object is deleted, and last the row of garbage. A key is never used again, so a deletion that comes
late can't hit bytes that came after it. This module must never delete an object that a record
names.
"""

import logging
from collections.abc import Sequence
from functools import partial

from chalicelib.digest import Digest
from chalicelib.limits import S3_KEYS
from chalicelib.registry.model import Garbage, Record
from chalicelib.registry.service import Limits, Ports

_log = logging.getLogger("moorage.collector")

_AT_ONCE = 8
"""Records that are deleted, or objects that are looked at, at once."""


class Records:
    """The records of all blobs, and the garbage."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._metadata = ports.metadata
        self._grace = limits.record_grace

    def is_over(self, record: Record, now: float) -> bool:
        """Whether a record counts no link, and its time of grace is over."""
        if record.links > 0 or record.released_at is None:
            return False
        return record.released_at + self._grace <= now

    def drop(self, records: Sequence[Record]) -> list[Record]:
        """Delete records that are over; returns those that are gone now.

        A record without links of which nobody knows when it was released has its time from now on.
        """
        now = self._ports.clock.now()
        for record in records:
            if record.links <= 0 and record.released_at is None:
                self._metadata.note_release(record, now)
        over = [record for record in records if self.is_over(record, now)]
        dropping = [partial(self._metadata.drop_record, record, now) for record in over]
        gone = self._ports.at_once(_AT_ONCE, dropping)
        return [record for record, is_gone in zip(over, gone, strict=True) if is_gone]

    def drop_released(self, digests: Sequence[Digest]) -> list[Record]:
        """Delete the records of digests whose links are just gone; returns those that are gone."""
        return self.drop(list(self._metadata.get_records(digests).values()))

    def empty(self, until: float) -> list[Garbage]:
        """Delete all garbage there is, or what of it there is time for; returns that.

        Stops at `until`, in seconds since the epoch.
        """
        deleted: list[Garbage] = []
        while self._ports.clock.now() < until:
            rows = self._metadata.garbage(S3_KEYS)
            deleted += self.delete(rows)
            if len(rows) < S3_KEYS:
                break
        return deleted

    def lost(self, records: Sequence[Record]) -> list[Record]:
        """Return those of some records whose objects are gone while links name them."""
        looking = [partial(self._ports.is_there, record.key) for record in records]
        there = self._ports.at_once(_AT_ONCE, looking)
        missing = [r for r, is_there in zip(records, there, strict=True) if not is_there]
        if not missing:
            return []
        # A scan reads what was; a push may have healed the record, or its time be over.
        now = self._metadata.get_records([record.digest for record in missing])
        return [
            record
            for record in missing
            if (current := now.get(record.digest)) and current.links and current.key == record.key
        ]

    def delete(self, rows: Sequence[Garbage]) -> list[Garbage]:
        """Delete the objects of this garbage, and then its rows; returns what is deleted."""
        if not rows:
            return []
        records = self._metadata.get_records([row.digest for row in rows])
        named = {record.key for record in records.values()}
        for row in rows:
            if row.key in named:
                _log.error("%s was garbage, and a record names it: it stays", row.key)
        gone = [row for row in rows if row.key not in named]
        self._ports.objects.delete([row.key for row in gone])
        self._metadata.forget_garbage(rows)
        return gone
