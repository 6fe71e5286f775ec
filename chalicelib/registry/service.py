"""What every service of the registry stands on: the ports, and the limits that settings give.

This module must never hold a rule.
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from chalicelib.registry.ports import Clock, MetadataStore, ObjectStore, SessionStore, Workers

_MIB = 1024 * 1024
_HOUR = 3600.0


class Limits(NamedTuple):
    """Sizes in bytes, times in seconds."""

    part_minimum: int = 5 * _MIB
    """S3's smallest part, the last one excepted."""
    part_count: int = 10_000
    """S3's most parts in one multipart upload."""
    lease_grace: float = 5.0
    """How long a lease outlasts its invocation's deadline."""
    session_life: float = 7 * 24 * _HOUR
    """Below the bucket's lifecycle period for uploads/."""
    sweep_sealed: float = 0.25 * _HOUR
    """How long after its sealing the sweeper drives a session on; a worker ends before that."""
    sweep_again: float = _HOUR
    """How long the sweeper leaves what it could not end, and what a late writer may yet reach.

    Longer than any invocation lasts.
    """
    manifest_grace: float = _HOUR
    """How long a manifest may be on its way in or out before the sweeper ends it."""
    remember: float = 48 * _HOUR
    """How long an ended session still answers a repeated PUT."""
    link_grace: float = 24 * _HOUR
    """How long a link that no manifest names is safe from the collector."""
    copy_whole: int = 5 * 1024 * _MIB
    """Above this size S3 copies in parts, by a multipart upload of the copy's own."""
    commit_wait: float = 20.0
    """How long a closing PUT waits for its commit before it says 503."""
    commit_inline: int = 1024 * _MIB
    """Above this size a commit is handed to the commit function at once."""
    verify_inline: int = 64 * _MIB
    """The same for bytes that have to be read back, which a request has no time for."""
    body_inline: int = 100 * 1024
    """The largest manifest whose bytes stand in its item (an item holds 400 KB)."""
    references_inline: int = 1000
    """Most references of a manifest that stand in its item (71 to 135 bytes each)."""
    referrer_row: int = 128 * 1024
    """Most bytes, as JSON text, that a referrers list shows of one manifest's own words."""
    sparse_index: bool = False
    """Whether an index may name manifests that its repository lacks."""
    sparse_image: bool = False
    """Whether an image may name blobs that its repository lacks."""
    anonymous_mount: bool = False
    """Whether a mount without a source may find the blob in any repository."""


class Ports(NamedTuple):
    """The world, as the rules see it."""

    objects: "ObjectStore"
    sessions: "SessionStore"
    metadata: "MetadataStore"
    workers: "Workers"
    clock: "Clock"
