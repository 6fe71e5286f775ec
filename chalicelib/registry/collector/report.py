"""The collector's report: what it found, what it did, and what it saw of each repository.

This module must never do I/O.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from chalicelib.dataclass import dataclass
from chalicelib.digest import Digest
from chalicelib.registry.model import ManifestState


class FindingKind(StrEnum):
    """What a finding is about."""

    LINK = "link"
    """A repository's link that no manifest of it names: deleting it frees no bytes by itself."""
    BLOB = "blob"
    """A blob that no repository links to: its record and its object go."""
    GARBAGE = "garbage"
    """An object whose record is gone already."""
    STRAY = "stray"
    """An object that no record names, and that nobody can publish any more."""
    SKIPPED = "skipped"
    """A repository of which nothing is deleted, for the reason that is given.

    Without a repository: all objects that no record names.
    """


@dataclass(frozen=True)
class GarbageFinding:
    """One thing that would be deleted, or is not, and why. `size` is in bytes.

    `repository` is a link's, or the namespace of its bodies; the others belong to none.
    """

    kind: FindingKind
    repository: str | None
    digest: Digest | None
    key: str | None
    size: int
    reason: str

    @property
    def frees(self) -> int:
        """Bytes of the bucket that are free once this is deleted."""
        return self.size if self.key is not None else 0


@dataclass(frozen=True)
class RepositoryFacts:
    """A repository as one walk has seen it; times are in seconds since the epoch, None if never.

    `waste` is what of its `linked_bytes` no manifest names, None where that is not known.
    """

    name: str
    tags: int
    manifests: Mapping[ManifestState, int]
    linked_bytes: int
    waste: int | None
    pushed_at: float | None
    pulled_at: float | None


@dataclass(frozen=True)
class CollectReport:
    """What one run did. `finished`: nothing was left to do when its time was over."""

    repositories: int
    """Repositories that were judged."""
    links: int
    """Links that were deleted."""
    records: int
    """Blobs whose records were deleted."""
    objects: int
    """Objects that were deleted."""
    freed: int
    """Their bytes."""
    left: Sequence[GarbageFinding]
    """What was to be deleted, and was used meanwhile."""
    skipped: Mapping[str, str]
    """Repositories of which nothing was deleted, and why."""
    healed: int
    """Links that no record counted, and that were deleted alone, or are counted now."""
    lost: Sequence[str]
    """Blobs that are named, and whose record or object is gone."""
    errors: int
    """Repositories, records or objects that failed, and are tried again by the next pass."""
    finished: bool
    began_at: float | None = None
    """When the pass began that the next run continues (seconds since the epoch); else None."""
