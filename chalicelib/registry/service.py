"""What every service of the registry is built from: the ports, and the limits of the settings.

This module must never hold a rule.
"""

from typing import TYPE_CHECKING, NamedTuple

from chalicelib.at_once import AtOnce, Meanwhile, in_a_thread, in_threads
from chalicelib.limits import MIB, PART_COUNT, PART_MINIMUM

if TYPE_CHECKING:
    from chalicelib.registry.ports import (
        Clock,
        MetadataStore,
        ObjectStore,
        SessionStore,
        TicketKeys,
        Workers,
    )

_HOUR = 3600.0

COPY_WHOLE = 256 * MIB
"""Below this size one request copies a blob: S3 takes up to 5 GiB, but has to answer in time."""


class Limits(NamedTuple):
    """Sizes in bytes, times in seconds."""

    part_minimum: int = PART_MINIMUM
    part_count: int = PART_COUNT
    lease_grace: float = 5.0
    """How long a lease outlasts its invocation's deadline."""
    drive_lease: float = 30.0
    """How long a driver's lease lasts after it was renewed: one that died is waited for so long."""
    drive_beat: float = 10.0
    """How often a driver that works renews its lease; so two renewals may fail."""
    drive_longest: float = 300.0
    """How long the lease of one step is renewed: a driver that hangs loses it."""
    drive_step: float = 60.0
    """For how long one step of a commit begins anything new.

    The sweeper, too, drives a commit for so long at a time.
    """
    drive_piece: int = 1024 * MIB
    """Most bytes that one step reads back."""
    worker_start: float = 60.0
    """How long an invoked worker may take to start, before another one is invoked."""
    assembling: float = 300.0
    """How long S3 may take for a CompleteMultipartUpload whose answer was lost."""
    ticket_life: float = _HOUR
    """How long a session waits for its first byte.

    Far below `remember`: the item of a session that is over outlives its ticket. And below the
    time for which an old signing key is kept.
    """
    session_life: float = 7 * 24 * _HOUR
    """Below the bucket's lifecycle period for uploads/."""
    sweep_sealed: float = 0.25 * _HOUR
    """How long after its sealing the sweeper drives a session on; a worker ends before that."""
    sweep_again: float = _HOUR
    """How long until the sweeper comes again to what failed, or to what a late writer may reach.

    Longer than any invocation lasts.
    """
    direct_url: float = 0.25 * _HOUR
    """How long a client may take to begin the PUT of a direct upload with one URL."""
    direct_put: float = 24 * _HOUR
    """How long one PUT may take: S3 looks at a URL's expiry when the request begins.

    That is 5 GiB at 62 kB/s.
    """
    manifest_grace: float = _HOUR
    """How long a manifest may be pending or deleting before the sweeper ends that."""
    trash: float = 14 * 24 * _HOUR
    """How long a deleted manifest can be brought back; 0: it is gone at once."""
    pull_note: float = 24 * _HOUR
    """How long no other pull of a manifest is noted: each one is a write."""
    retention_day: float = 24 * _HOUR
    """How long a day of the rules of retention is: shorter where that is tried out."""
    retention_every: float = 24 * _HOUR
    """How long after its beginning the next pass of retention begins."""
    remember: float = 48 * _HOUR
    """How long an ended session still answers a repeated PUT."""
    link_grace: float = 24 * _HOUR
    """How long a link that no manifest names is safe from the collector."""
    record_grace: float = 26 * _HOUR
    """How long the record of a blob outlives its last link, counted from when that was relied on.

    No less than `link_grace` and `stray_age`.
    """
    collect_every: float = 24 * _HOUR
    """How long after a pass of the collector began the next one begins."""
    list_every: float = 30 * 24 * _HOUR
    """How long after the collector listed the bucket it does so again."""
    copy_whole: int = COPY_WHOLE
    """From this size on an object is copied in parts, by a multipart upload."""
    commit_wait: float = 20.0
    """How long a closing PUT waits for its commit before it answers 503."""
    commit_inline: int = COPY_WHOLE - 1
    """Above this size a commit is handed to the commit function at once.

    So a request of a client never copies in parts, nor reads more back than it has time for.
    """
    verify_alone: int = COPY_WHOLE - 1
    """Up to this size a driver hashes all segments of a blob itself, and asks no worker."""
    alone_streams: int = 8
    """What `verify_streams` is for such a driver: nobody else reads that blob."""
    alone_run: int = 16 * MIB
    """What `verify_run` is for it."""
    verify_workers: int = 64
    """How many workers read segments of one blob at once."""
    verify_streams: int = 4
    """How many requests of one worker read at once."""
    verify_run: int = 32 * MIB
    """Up to so many bytes of segments that follow one another are read in one request."""
    verify_least: int = 64 * MIB
    """The least bytes that a worker gets to verify, if there are so many."""
    verify_most: int = 512 * MIB
    """The same at most, unless one segment has more."""
    verify_time: float = 60.0
    """How long a worker may begin new segments."""
    body_inline: int = 100 * 1024
    """The largest manifest whose bytes are in its item (an item holds 400 KB)."""
    blob_inline: int = 16 * 1024
    """The largest blob whose bytes are in its record, if they come in one request: most configs.

    They are read with the link, so a pull of a config asks S3 for nothing.
    """
    references_inline: int = 1000
    """Most references of a manifest that are in its item (71 to 135 bytes each)."""
    referrer_row: int = 128 * 1024
    """Most bytes of annotations and artifact type, as JSON, in an entry of a referrers list."""
    sparse_index: bool = False
    """Whether an index may name manifests that its repository lacks."""
    sparse_image: bool = False
    """Whether an image may name blobs that its repository lacks."""
    anonymous_mount: bool = False
    """Whether a mount without a source may find the blob in any repository."""

    def inlined(self, body: bytes) -> bytes | None:
        """Return the bytes of a blob for its record; None where they are too many."""
        return body if len(body) <= self.blob_inline else None

    @property
    def stray_age(self) -> float:
        """How long after its session was opened an object below direct/ may be published.

        Or may still be on its way: after that no request is under way any more.
        """
        return self.ticket_life + self.direct_put + self.sweep_again


class Ports(NamedTuple):
    """The adapters to the world that the rules are given."""

    objects: "ObjectStore"
    sessions: "SessionStore"
    metadata: "MetadataStore"
    workers: "Workers"
    clock: "Clock"
    ticket_keys: "TicketKeys"
    at_once: AtOnce = in_threads
    meanwhile: Meanwhile = in_a_thread

    def is_there(self, key: str) -> bool:
        """Whether the object store has an object under a key, in one request."""
        return self.objects.stat(key) is not None
