"""One home as a walk has seen it: its old links, the manifests that name them, and its facts.

These are as old as the scan: they say which links to look at again, and prove nothing. This module
must never do I/O.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import field
from typing import NamedTuple

from chalicelib.dataclass import dataclass
from chalicelib.digest import Digest
from chalicelib.registry.collector.report import RepositoryFacts
from chalicelib.registry.model import (
    Damaged,
    Link,
    Manifest,
    ManifestState,
    ScannedRow,
    TagRow,
)

MONTH = 30
"""Days in which each record is looked at once, and its object: a thirtieth of all digests a day."""

_DAY = 24 * 3600.0


def is_its_turn(digest: Digest, now: float) -> bool:
    """Whether the record of a digest is looked at on the day of this time."""
    return int(digest.hex[:8], 16) % MONTH == int(now // _DAY) % MONTH


class Day(NamedTuple):
    """When a walk looks, and up to when a link was touched that is old; seconds since the epoch."""

    now: float
    before: float
    asks_all: bool = False
    """Whether the records of all links are read, as before a listing."""

    def has_turn(self, digest: Digest) -> bool:
        """Whether the record of a digest is looked at on this day."""
        return is_its_turn(digest, self.now)


@dataclass
class SeenHome:
    """A repository, or the namespace of its bodies, whose rows a walk has read to the last one."""

    home: str
    place: str
    """Of its last row."""
    day: Day
    old: dict[Digest, Link] = field(default_factory=dict)
    """The links that nobody has relied on of late, but for those that a manifest names."""
    unread: list[Manifest] = field(default_factory=list)
    """The manifests whose rows don't say what they name."""
    damaged: str | None = None
    """Why one of its rows can't be read."""
    due: list[Link] = field(default_factory=list)
    """Those of its other links whose records are looked at on this day."""
    tags: int = 0
    states: Counter[ManifestState] = field(default_factory=Counter)
    linked_bytes: int = 0
    times: dict[str, float] = field(default_factory=dict)

    def add(self, row: ScannedRow) -> None:
        """Add a row."""
        self.place = row.place
        match row.value:
            case Link() as link:
                self.linked_bytes += link.size
                if link.touched_at <= self.day.before:
                    self.old[link.digest] = link
                else:
                    self._note(link)
            case Manifest() as manifest:
                self._add_manifest(manifest)
            case TagRow():
                self.tags += 1
            case Damaged() as damaged:
                self.damaged = damaged.why

    def _add_manifest(self, manifest: Manifest) -> None:
        self.states[manifest.state] += 1
        for name, at in (("pushed", manifest.pushed_at), ("pulled", manifest.pulled_at)):
            if at is not None:
                self.times[name] = max(at, self.times.get(name, at))
        if manifest.references is None:
            self.unread.append(manifest)
        for digest in manifest.references or ():
            self.name(digest)

    def name(self, digest: Digest) -> None:
        """Note that a manifest names a digest."""
        link = self.old.pop(digest, None)
        if link is not None:
            self._note(link)

    def _note(self, link: Link) -> None:
        if self.day.asks_all or self.day.has_turn(link.digest):
            self.due.append(link)

    @property
    def to_check(self) -> list[Link]:
        """Return the links whose records are read: before a listing, all of them."""
        return [*self.due, *self.old.values()] if self.day.asks_all else self.due

    def facts(self, waste: int | None) -> RepositoryFacts:
        """Return what is known of a repository."""
        return RepositoryFacts(
            name=self.home,
            tags=self.tags,
            manifests=dict(self.states),
            linked_bytes=self.linked_bytes,
            waste=waste,
            pushed_at=self.times.get("pushed"),
            pulled_at=self.times.get("pulled"),
        )


def homes_and_rows(rows: Iterator[ScannedRow], day: Day) -> Iterator[SeenHome | ScannedRow]:
    """Join the rows of each home of a scan; the rows that belong to none come one by one."""
    home: SeenHome | None = None
    for row in rows:
        if home is not None and home.home != row.home:
            yield home
            home = None
        if row.home is None:
            yield row
            continue
        home = home or SeenHome(row.home, row.place, day)
        home.add(row)
    if home is not None:
        yield home
