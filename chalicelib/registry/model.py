"""The values of the metadata store: links, records, manifests, referrers.

This module must never do I/O, and holds no rule.
"""

import enum
from collections.abc import Mapping
from dataclasses import field
from typing import NamedTuple

from chalicelib.dataclass import dataclass
from chalicelib.digest import Digest
from chalicelib.rules.document import StoredRules
from chalicelib.rules.quotas import Allowance


@dataclass(frozen=True)
class Link:
    """A repository's link to a blob: size in bytes, canonical key, when it was last relied on."""

    repository: str
    digest: Digest
    size: int
    key: str
    touched_at: float
    version: str
    """A fresh random value at each write."""
    mark: str | None = None
    """The nonce of a collector that is about to decide on this link; None when unmarked."""
    count_id: str | None = None
    """Which record counts it: see Record."""
    recorded: bool = True
    """Not stored: False if the record was read with the link, and is lost, or counts it not."""
    content: bytes | None = None
    """Not stored: the blob's bytes, if its record was read with the link and has them."""


@dataclass(frozen=True)
class Record:
    """A blob as the whole registry sees it; `links` counts the repositories that link to it.

    A record that is made where another one was lost does not know the links that the lost one
    counted. So each is made with a `count_id` of its own, and a link that it counts has the same.
    """

    digest: Digest
    key: str
    size: int
    links: int
    released_at: float | None = None
    """When the youngest of the links that are gone was relied on last; None if none is noted."""
    count_id: str | None = None
    """Of the links that it counts; None for those of 0.1, as of their records."""
    content: bytes | None = None
    """The bytes, of a small blob that came in one request; None: the object alone has them."""

    def counts(self, link: Link) -> bool:
        """Whether it counts a link."""
        return self.count_id == link.count_id


@dataclass(frozen=True)
class Garbage:
    """A canonical key whose record is gone: its object, of `size` bytes, is to be deleted."""

    key: str
    digest: Digest
    size: int
    at: float
    """When the record went, in seconds since the epoch."""


class ManifestState(enum.StrEnum):
    """The state of a manifest's item; clients see only live ones."""

    PENDING = "pending"
    LIVE = "live"
    DELETING = "deleting"
    TRASHED = "trashed"
    """Deleted for clients; it can be restored until the sweeper removes it."""


_BODIES = "#bodies"


def bodies_of(repository: str) -> str:
    """Return the namespace in which a repository's large manifests have the links to their bodies.

    No repository can have this name, so that no route about blobs finds, or deletes, such a link.
    """
    return f"{repository}{_BODIES}"


def owner_of_bodies(home: str) -> str | None:
    """Return the repository whose bodies a namespace has; None for that of a repository itself."""
    return home.removesuffix(_BODIES) if home.endswith(_BODIES) else None


class Stamp(NamedTuple):
    """When something is done, in seconds since the epoch, and by which principal."""

    at: float
    by: str | None


@dataclass(frozen=True)
class Manifest:
    """A manifest's item. `references`: the digests that its repository must hold.

    None where an item can't hold them all: then they are read from the body.
    """

    repository: str
    digest: Digest
    media_type: str
    size: int
    references: tuple[Digest, ...] | None
    subject: Digest | None
    body: bytes | None
    """The bytes, when small enough for the item; else None: see `bodies_of`."""
    pushed_at: float
    version: str
    state: ManifestState = ManifestState.PENDING
    sweep_at: float | None = None
    """When the sweeper ends the put, the deletion, or its time in the trash; None while live."""
    pushed_by: str | None = None
    """The principal of the last push; this and what follows is None where nobody noted it."""
    total_bytes: int | None = None
    """Bytes of the blobs that it names, and of those that the manifests of an index name."""
    platforms: tuple[str, ...] | None = None
    """What an index says its manifests are for, such as `linux/arm64/v8`."""
    artifact_type: str | None = None
    pulled_at: float | None = None
    """When it was pulled last, within a day; HEAD and scanners don't count."""
    restored_at: float | None = None
    """When it was brought back, or an index that names it was; None if that never was."""
    mark: str | None = None
    """What a run of retention wrote that is about to remove it: a push or a pull takes it away."""
    deleted_at: float | None = None
    deleted_by: str | None = None
    """Who began to delete it; None while it is live."""
    deleted_tags: tuple[str, ...] | None = None
    """The tags that went with it, up to MOST_DELETED_TAGS; None if none did.

    Of a live one: those that a restoration has not brought back yet.
    """

    @property
    def deletion(self) -> Stamp:
        """When its deletion began, and who began it."""
        return Stamp(self.deleted_at or self.pushed_at, self.deleted_by)


@dataclass(frozen=True)
class TagRow:
    """A tag: the digest that it names, since when, by whom, and the one that it named before.

    None is unknown, as in the rows that Moorage 0.1 wrote; `previous` also for a tag that never
    moved.
    """

    digest: Digest
    tagged_at: float | None = None
    tagged_by: str | None = None
    previous: Digest | None = None


@dataclass(frozen=True)
class RetentionState:
    """How far the runs of retention are with a pass through all repositories.

    `after` is the repository behind which they go on. `finished_at` is None until the end.
    """

    began_at: float
    rules: str
    """The SHA-256 of the rules by which the pass goes, in hex."""
    after: str
    finished_at: float | None
    version: str
    """A fresh random value at each write."""


MOST_DELETED_TAGS = 200
"""Most tags that a deleted manifest's item lists: one has up to 128 bytes, and an item 400 KB."""

HISTORY_LIFE = 365 * 24 * 3600.0
"""How long a repository's history says that a tag moved or was deleted, in seconds."""


@dataclass(frozen=True)
class TagChange:
    """A row of a repository's history: `tag` named `was` from `since` to `at`, and `now` after it.

    `now` is None for a tag that was deleted; `since` and `by` where nobody noted it. Without a tag
    it is the manifest `was` itself that was deleted, and `since` when it was pushed last.
    """

    repository: str
    tag: str | None
    was: Digest
    now: Digest | None
    since: float | None
    at: float
    by: str | None
    place: str
    """Its place in the history: the next page of a list begins after it."""


@dataclass(frozen=True)
class InUse:
    """An in-use lease: what a source says of a repository's images that run somewhere.

    `digests` are what runs, those of an index's manifests too, each with what runs it in a few
    words; without words, where an item does not hold them. The source was read at `refreshed_at`,
    and has to be read again by `until`, in seconds since the epoch. What is overdue holds on:
    nobody knows what runs now.
    """

    repository: str
    source: str
    origin: str
    """What the source is: `ecs`, `k8s` or `file`."""
    digests: Mapping[Digest, str]
    refreshed_at: float
    until: float


@dataclass(frozen=True)
class UseSource:
    """A source of in-use leases, and all repositories that may have one of it."""

    name: str
    origin: str
    repositories: tuple[str, ...]
    count: int
    """How many digests it named when it was refreshed last, in all repositories together."""
    refreshed_at: float
    until: float
    version: str
    """A fresh random value at each write."""


@dataclass(frozen=True)
class Damaged:
    """A row that can't be read, and why: what it held is unknown."""

    why: str


class ScannedRow(NamedTuple):
    """A row that a scan found.

    `home` is the repository, or the namespace of `bodies_of`, that has it; None for what belongs to
    no repository. A scan continues after `place`. `value` is None for a row of another kind.
    """

    home: str | None
    place: str
    value: Link | Manifest | Record | TagRow | Garbage | Damaged | None


class CollectorPhase(enum.StrEnum):
    """What the collector's pass is at."""

    IDLE = "idle"
    """The last one is over, or none has begun yet."""
    WALK = "walk"
    """It walks through all rows."""
    LIST = "list"
    """It lists the bucket, which only some passes do."""


@dataclass(frozen=True)
class CollectorState:
    """How far the collector is. Times are in seconds since the epoch, None where it never was."""

    version: str
    """A fresh random value at each write."""
    phase: CollectorPhase = CollectorPhase.IDLE
    place: str | None = None
    """The row, or key of the bucket, after which it continues; None: from the beginning."""
    began_at: float | None = None
    finished_at: float | None = None
    listed_at: float | None = None
    """When it began the last listing of the bucket that came to its end."""
    repositories: int = 0
    """How many repositories the pass has judged so far, and so on."""
    links: int = 0
    records: int = 0
    freed: int = 0
    """Bytes of the records that are gone."""
    lists: bool | None = None
    """Whether the pass ends with a listing; None: it is not time for one.

    False: a link that the pass has seen has no record, or may have none.
    """


class FoundByPush(NamedTuple):
    """What is there when a manifest is pushed: of its blobs and its tags, those that are there."""

    links: Mapping[Digest, Link]
    tags: Mapping[str, TagRow]
    rules: StoredRules | None
    """None too without tags, which alone have rules."""
    is_listed: bool
    """Whether the catalog names the repository."""


class Covered(NamedTuple):
    """What a repository may hold, by which version of the rules, and since when a count has all.

    A count that was made before `since` may lack what processes have added that did not know these
    rules yet.
    """

    allowance: Allowance
    rules: int
    since: float


@dataclass(frozen=True)
class Holding:
    """What a repository that a quota covers holds, counted by the transactions that add to it.

    Never less than what the repository holds: deletions count only when all is counted again.
    """

    bytes: int
    tags: int
    rules: int
    """The version of the rules under which all was counted last: others may have covered less."""
    counted_at: float
    version: str
    """A fresh random value at each write."""


@dataclass(frozen=True)
class CatalogFacts:
    """What the collector's walk has seen of a repository, as of `noted_at` (epoch seconds).

    Bytes are of the blobs that it links to; None is unknown.
    """

    noted_at: float
    tags: int
    images: int
    """Manifests that are live."""
    trashed: int
    """Manifests in the trash."""
    linked_bytes: int
    pushed_at: float | None = None
    pulled_at: float | None = None
    """When something was pulled last; None also if that was never noted."""
    unused_bytes: int | None = None
    """Of the bytes, what no manifest names, not even one in the trash."""
    own_bytes: int | None = None
    """Of the bytes, what no other repository links to."""
    billed_bytes: int | None = None
    """The same, and the repository's part of what others link to as well."""


class CatalogRow(NamedTuple):
    """A repository of the catalog; without facts until the collector has been there."""

    name: str
    facts: CatalogFacts | None = None


@dataclass(frozen=True)
class Referrer:
    """The entry of one manifest in a referrers list (image spec: a descriptor)."""

    repository: str
    subject: Digest
    digest: Digest
    media_type: str
    size: int
    artifact_type: str | None
    annotations: Mapping[str, str] = field(default_factory=dict)
