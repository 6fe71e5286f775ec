"""The ports of the rules: object store, session store, metadata store, workers, keys, clock.

Nothing here may name S3, DynamoDB or an SDK. Every method may also raise UnavailableError
(503, nothing lost) when the world fails; a failure is never answered as "absent".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from chalicelib.digest import Digest
from chalicelib.page import Page
from chalicelib.registry.model import (
    CatalogFacts,
    CatalogRow,
    CollectorState,
    Covered,
    FoundByPush,
    Garbage,
    Holding,
    InUse,
    Link,
    Manifest,
    Record,
    Referrer,
    RetentionState,
    ScannedRow,
    Stamp,
    TagChange,
    TagRow,
)
from chalicelib.registry.outcomes import (
    CheckedObject,
    ListedObject,
    MultipartUpload,
    ObjectStat,
    Part,
    PresignedPut,
    Sweep,
    WrittenObject,
)
from chalicelib.registry.proof import Stretch, Verdict
from chalicelib.registry.session import Owner, Session
from chalicelib.rules.document import StoredRules


class ObjectStore(Protocol):
    """Bytes by key."""

    def put(self, key: str, data: bytes) -> WrittenObject:
        """Store an object whole, in one request."""

    def get(
        self, key: str, *, etag: str | None = None, span: tuple[int, int] | None = None
    ) -> bytes:
        """Read an object, or the bytes first..last (inclusive) of it, in one request.

        Raises ObjectMissingError; ObjectChangedError if `etag` is given and differs. Fewer bytes
        than promised raise UnavailableError, never a short answer.
        """

    def read(
        self, key: str, *, etag: str, chunk_size: int, first: int = 0, last: int | None = None
    ) -> Iterator[bytes]:
        """Stream an object from the byte `first` on, up to `last` (inclusive); raises as `get`.

        In chunks of at most `chunk_size` bytes; `first` must lie inside an object that has bytes.
        """

    def stat(self, key: str) -> ObjectStat | None:
        """Read size and ETag of an object; None only if the store answers that there is none."""

    def check(self, key: str) -> CheckedObject | None:
        """Read what the store has compared of an object; None as for `stat`."""

    def delete(self, keys: Sequence[str]) -> None:
        """Delete keys, 1,000 a request; absent keys are no error."""

    def list_between(self, first: str, last: str, limit: int) -> Sequence[ListedObject]:
        """The first objects after `first` and below `last`, by their keys, at most `limit` (1,000).

        Fewer only if there are no more. In one request, mostly: S3 may need more of them.
        """

    def copy(self, source: str, etag: str, size: int, target: str, *, until: float) -> None:
        """Copy an object of `size` bytes whose ETag is `etag`, inside the store.

        A large one is copied in parts, many at once, unless the target is already complete.
        No part is begun after `until` (seconds since the epoch): then UnfinishedError is raised,
        and a repeat copies the parts that are missing. The target may hold nothing but copies of
        this source, of which an open multipart upload may be left. Raises ObjectMissingError,
        ObjectChangedError.
        """

    def begin_multipart(self, key: str) -> MultipartUpload:
        """Open a multipart upload."""

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> None:
        """Store a part; raises MultipartMissingError."""

    def copy_part(  # noqa: PLR0913 - a part's place, and where its bytes come from
        self,
        key: str,
        upload_id: str,
        number: int,
        source: str,
        etag: str,
        span: tuple[int, int] | None = None,
    ) -> str:
        """Make a part from an object whose ETag is `etag`, or from its bytes first..last.

        Returns the part's ETag. Raises MultipartMissingError, ObjectMissingError,
        ObjectChangedError.
        """

    def open_multiparts(self, key: str) -> Sequence[str]:
        """The ids of all open multipart uploads of one key, always in the same order."""

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """All parts, ascending; raises MultipartMissingError."""

    def complete_multipart(self, key: str, upload_id: str, parts: Sequence[Part]) -> str:
        """Make the object from exactly these parts; returns its ETag.

        Raises MultipartMissingError when the upload is over (the object may be there),
        MultipartBusyError when another request is about to complete it, PartsChangedError when a
        part has another ETag, PartTooSmallError when one but the last has less than 5 MiB.
        """

    def purge(self, prefix: str) -> None:
        """Abort every multipart upload and delete every object below a prefix, and list once more.

        For sessions in which a late writer may exist: a part in flight can outlive an abort.
        """

    def abort_all(self, key: str) -> None:
        """Abort every multipart upload of one key; an object at that key stays."""

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Abort; an upload that is over is no error."""

    def presign(self, key: str, *, method: str, seconds: int) -> str:
        """A URL with which anyone may GET or HEAD this key for so many seconds."""

    def presign_put(self, key: str, digest: Digest, size: int, *, seconds: int) -> PresignedPut:
        """A URL by which anyone may put these bytes to this key, for so many seconds.

        The store refuses bytes of another SHA-256 or size, and a key that has an object already.
        """

    def presign_part(
        self, key: str, upload_id: str, number: int, size: int, *, seconds: int
    ) -> PresignedPut:
        """A URL by which anyone may put so many bytes as this part, for so many seconds.

        The store takes any bytes, also in place of those that it has of the part.
        """


class SessionStore(Protocol):
    """The sessions, one item each. Reads are strongly consistent."""

    def create(self, session: Session) -> None:
        """Put a new session; a repeat of this very creation (same id and nonce) succeeds.

        Raises SessionMovedError when the id belongs to another creation.
        """

    def get(self, session_id: str) -> Session | None:
        """Read a session."""

    def take_lease(  # noqa: PLR0913 - one conditional write needs all it tests and sets
        self,
        session_id: str,
        *,
        owner: Owner,
        at: int | None,
        claim: Digest | None,
        holder: str,
        now: float,
        until: float,
    ) -> Session:
        """Take the lease in ONE conditional write and return the session as it then is.

        Condition: the session is open, of this owner, alive at `now`, its offset is `at`
        (any, if None), and its lease is free. Effect: holder, lease_until, fence + 1; and
        `claim`, if given. A repeat by the same holder succeeds and returns the session.
        Only if the condition fails: a lease that ended without an append (`lease_until <= now`)
        is taken over by a second write, conditional on that holder and fence, which also burns
        the part number: next_part + 1, the old one joins `burned`, `disturbed` is set.

        Raises UploadUnknownError (absent, another's, not open, past its life, or burned
        is full), UploadOffsetError, UploadBusyError (a live lease; retry_after = its rest in
        whole seconds, at least 1).
        """

    def due(self, now: float) -> Iterator[str]:
        """Ids of sessions whose `sweep_at` has come, read page by page as they are used.

        At a cost that depends on them alone. May name sessions that are gone or no longer due.
        """

    def searched(self) -> str:
        """Up to which key the sweeper has looked for strays; empty before its first look."""

    def mark_searched(self, key: str) -> None:
        """Note that; a later mark stays."""

    def write(self, before: Session, after: Session) -> Session:
        """Write what differs, conditional on `before`'s state and fence; returns `after`.

        If the condition fails but the item already equals `after`, this write took effect
        earlier: success. Else raises SessionMovedError with the current session (None: no item).
        """


class MetadataStore(Protocol):
    """Links, records, manifests, tags, referrers, the catalog. Reads are strongly consistent."""

    # blobs

    def get_link(self, repository: str, digest: Digest) -> Link | None:
        """Read a repository's link to a blob; key and content are those of the record now."""

    def get_links(self, repository: str, digests: Sequence[Digest]) -> Mapping[Digest, Link]:
        """Read many links, 100 a request; absent ones are left out.

        The key of each is the one that the record named when the link was written last.
        """

    def get_record(self, digest: Digest) -> Record | None:
        """Read the record of a blob."""

    def get_records(self, digests: Sequence[Digest]) -> Mapping[Digest, Record]:
        """Read many records, 100 a request; absent ones are left out."""

    def publish(  # noqa: PLR0913 - one transaction needs all that it writes and tests
        self,
        before: Session,
        after: Session,
        key: str | None,
        now: float,
        *,
        is_there: Callable[[str], bool],
        content: bytes | None = None,
        covered: Covered | None = None,
    ) -> Session:
        """In ONE transaction make `after.claim` (size `after.offset`) live in its repository.

        With `key` None only a link to a record that is live already may be made: where there is
        no record, RecordMissingError is raised and nothing was written.
        Record absent: put with `key`, `content`, links 1 and a fresh `count_id`. Record live: links
        + 1, its key stays, and the link names that key. Record live whose object is gone, as
        `is_there` says of its key: the record names `key` from now on, and so do all links of all
        repositories. Link there already: only touched, and counted if the record did not know it.
        The session is written in the same transaction, conditional on `before`'s state and fence,
        with `published_key` the key that the record names. Tries "all new" first, without reading.

        A session whose own key is the one published, and whose `after` has an expires_at, has
        nothing to remove: it gets no sweep_at. One whose own key is not gets no expires_at.
        Returns the session as written, also when this very publication had taken effect earlier.
        Raises SessionMovedError when the session moved otherwise.

        Where the repository is `covered`, a new link adds its size to what that holds, in the same
        transaction; OverQuotaError if there is no room by what is counted, or nothing is counted.
        """

    def add_link(
        self, repository: str, digest: Digest, now: float, *, covered: Covered | None = None
    ) -> Link | None:
        """Link a live blob into a repository (mount); links + 1 in one transaction.

        A link that is there already is touched, and counted if it was not. None if no record is
        live. `covered` is as in `publish`.
        """

    def count_link(self, link: Link, record: Record, now: float) -> Link | None:
        """Let a record count a link that it does not know, in ONE transaction: the link is touched.

        None, and nothing is written, if the link is not as it was read, and not counted, or the
        record names another key.
        """

    def touch_link(self, link: Link, now: float) -> bool:
        """Set touched_at, a fresh version, and un-mark; False if the link is gone.

        The time only moves forward: a link that was touched later keeps that time.
        """

    def delete_link(self, repository: str, digest: Digest) -> bool:
        """Remove a link as `sweep_link` does, in whatever version it is; False if absent."""

    # manifests

    def get_manifest(self, repository: str, digest: Digest) -> Manifest | None:
        """Read a manifest's item, in any state."""

    def get_manifests(
        self, repository: str, digests: Sequence[Digest]
    ) -> Mapping[Digest, Manifest]:
        """Read many manifest items (without their bodies), 100 a request."""

    def put_pending(self, manifest: Manifest) -> Manifest:
        """Put a manifest as pending where there is none, or only a pending one.

        Returns the item that is there now: `manifest` itself, or a live or deleting one.
        """

    def remove_pending(self, manifest: Manifest, body: Link | None = None) -> None:
        """Remove a pending manifest if it still has this version.

        `body`, the link to its body, goes in the same transaction, as `sweep_link` does that.
        Raises ManifestMovedError if that link is no longer as it was read.
        """

    def make_live(  # noqa: PLR0913 - one transaction needs all that it writes and tests
        self,
        manifest: Manifest,
        tags: Mapping[str, TagRow | None],
        referrer: Referrer | None,
        stamp: Stamp,
        *,
        covered: Covered | None = None,
        new_tags: int | None = None,
    ) -> None:
        """In ONE transaction make a manifest live with its tags and its referrer row.

        Conditional on the manifest being live, or pending with this version, or (if that is its
        state) trashed with it, which gives it a fresh version; each tag naming the
        digest that `tags` gives (None: no such tag). The manifest's facts of its push replace those
        that are there. Each tag's TAG and TAGGED rows are put; of one that named another digest
        the TAGGED row is deleted, and a row of history put. At most 24 tags. Raises
        ManifestMovedError when a condition fails. `covered` is as in `publish`, for tags that
        are new, or for `new_tags` of them. The manifest's `deleted_tags` are those that a
        restoration brings back by further transactions: they stand in the item until then.
        """

    def note_pull(self, manifest: Manifest, now: float, since: float) -> None:
        """Note that a live manifest is pulled, unless a pull is noted since then or it is gone."""

    def begin_delete(self, manifest: Manifest, sweep_at: float, stamp: Stamp) -> Manifest:
        """Mark a live (or already deleting) manifest as deleting, if it still has this version.

        The sweeper ends the deletion at `sweep_at` (seconds since the epoch). Raises
        ManifestMovedError if it is gone, or was pushed again.
        """

    def keep_body(self, manifest: Manifest, link: Link) -> None:
        """Make a repository's link the link to a large manifest's body, in one transaction.

        The repository loses it, and the record counts as many as before. Raises ManifestMovedError
        if the manifest is no longer live or in the trash in this version, it has such a link
        already, or `link` is no longer as it was read. Nothing is done where that is gone.
        """

    def note_restore(self, manifest: Manifest, now: float) -> None:
        """Note that an index is brought back that names this live manifest, and un-mark it.

        Raises ManifestMovedError if it is live no longer.
        """

    def mark_manifest(self, manifest: Manifest, mark: str) -> bool:
        """Mark a live manifest for retention; False if it is gone or was used since it was read.

        That is: pushed, pulled or brought back.
        """

    def unmark_manifest(self, manifest: Manifest) -> None:
        """Take a live manifest's mark away, if it still has that.

        Raises ManifestMovedError if it has another one, or is live no longer.
        """

    def retire(
        self, manifest: Manifest, others: Sequence[Manifest], sweep_at: float, stamp: Stamp
    ) -> Manifest:
        """Mark a live manifest as deleting as `begin_delete` does, if it still has its mark.

        And if each of `others`, at most 99, is live with its own. Raises ManifestMovedError.
        """

    def retention_state(self) -> RetentionState | None:
        """Read how far retention is; None before its first run."""

    def put_retention_state(self, before: RetentionState | None, after: RetentionState) -> bool:
        """Write it in place of `before`; False if another run has written since that was read."""

    def due_manifests(self, now: float) -> Iterator[tuple[str, Digest]]:
        """Repository and digest of manifests whose `sweep_at` has come, read as they are used.

        At a cost that depends on them alone. May name manifests that are gone or live by now.
        """

    def tags_of(self, repository: str, digest: Digest) -> Mapping[str, float | None]:
        """All tags that have a TAGGED row for this digest, and since when they name it."""

    def delete_tag(self, repository: str, tag: str, stamp: Stamp) -> bool:
        """Delete a tag with its TAGGED row, and put a row of history; False if there is no tag.

        Raises ManifestMovedError when the tag moves meanwhile.
        """

    def drop_tag(self, manifest: Manifest, tag: str, since: float | None) -> bool:
        """Delete a tag of a manifest that is being deleted, as `delete_tag` does.

        The manifest's `deleted_tags` are written with it.
        A tag that names another manifest by now keeps its name, and only the TAGGED row goes.
        False, and nothing was deleted, if the manifest is no longer being deleted in this
        version: another request ended the deletion, and the tag may be a later push's.
        """

    def finish_delete(self, manifest: Manifest, body: Link | None = None) -> None:
        """Delete the deleting manifest's item and its referrer row (if any) in one transaction.

        History has a row of it. Nothing is done if the item is gone, not deleting, or of another
        version. `body` is as in `remove_pending`.
        """

    def put_in_trash(self, manifest: Manifest, sweep_at: float) -> None:
        """End a deletion as `finish_delete` does, but keep the item, and its body, until then."""

    def empty_trash(self, manifest: Manifest, body: Link | None = None) -> None:
        """Delete the item of a manifest in the trash, if it is there in this version.

        `body` is as in `remove_pending`.
        """

    # what the collector alone does

    def scan(self, after: str | None) -> Iterator[ScannedRow]:
        """Walk through all rows there are, from behind the place `after` (None: all of them).

        Read page by page as they are used, eventually consistent, and manifests without their
        bodies. The rows of one home come together: links, manifests, tags, each kind in the order
        of its digests or names. The place of a row may be kept, and the row be gone by then.
        """

    def mark_link(self, link: Link, mark: str) -> Link | None:
        """Mark a link that is as it was read, under a fresh version; returns it as it is then.

        None, and nothing was written, if it was touched meanwhile or is gone.
        """

    def unmark_link(self, link: Link) -> None:
        """Un-mark a link, under a fresh version, unless it was touched meanwhile or is gone."""

    def sweep_link(self, link: Link) -> Sweep:
        """Delete a link that is as it was read, and take 1 from the record's links.

        In one transaction, which sets the record's `released_at` to the link's `touched_at`, unless
        that is later already. A link that no record counts is deleted alone.
        """

    def note_release(self, record: Record, now: float) -> None:
        """Set `released_at` of a record that has none, if it counts no link."""

    def drop_record(self, record: Record, now: float) -> bool:
        """In ONE transaction delete a record that counts no link, and put its key to the garbage.

        Conditional on the key and `released_at` that were read. False if it is used again; True
        also if it was gone already.
        """

    def garbage(self, limit: int) -> Sequence[Garbage]:
        """Read the first rows of garbage, at most `limit` of them."""

    def get_garbage(self, keys: Sequence[str]) -> Sequence[Garbage]:
        """Read the rows of garbage of some keys, 100 a request; absent ones are left out."""

    def forget_garbage(self, garbage: Sequence[Garbage]) -> None:
        """Delete rows of garbage, 100 a request; absent ones are no error."""

    def collector_state(self) -> CollectorState | None:
        """Read how far the collector is; None before its first pass."""

    def save_collector_state(
        self, before: CollectorState | None, after: CollectorState
    ) -> CollectorState:
        """Write it, conditional on what was read before; returns it under its fresh version.

        Raises CollectorMovedError.
        """

    # lists

    def get_tags(self, repository: str, tags: Sequence[str]) -> Mapping[str, TagRow]:
        """Read tags; absent ones are left out."""

    def get_for_push(
        self, repository: str, blobs: Sequence[Digest], tags: Sequence[str], now: float
    ) -> FoundByPush:
        """Read all that a push of a manifest with these blobs and tags goes by.

        In one request for up to 98 of them. The rules are read if there are tags; `known_rules`
        gives them from `now` on.
        """

    # rules and quotas

    def known_rules(self, now: float, age: float) -> StoredRules | None:
        """The registry's rules, read no more than `age` seconds before `now` by this process."""

    def get_holding(self, repository: str) -> Holding | None:
        """Read what a repository holds, as far as it is counted."""

    def count_holding(self, repository: str, rules: int, now: float) -> Holding:
        """Count what a repository holds, under this version of the rules; returns what is written.

        All links and tags are read, and nothing that `publish`, `add_link` and `make_live` add
        meanwhile is missed. Raises UnavailableError if they keep adding.
        """

    def get_rules(self) -> str:
        """Read the registry's rules ("" if there are none)."""

    def list_tags(self, repository: str, after: str | None, limit: int) -> Page[str]:
        """Tags in byte order after `after` (exclusive; it need not exist), at most `limit` >= 1.

        This and the lists below make one request a page, whatever the whole list's length. A page
        may end before its limit, after no less than 1 MB of it.
        """

    def list_tag_rows(
        self, repository: str, after: str | None, limit: int, prefix: str = ""
    ) -> Page[tuple[str, TagRow]]:
        """Tags as `list_tags` gives them, each with its row; those that begin with `prefix`."""

    def list_links(self, repository: str, after: Digest | None, limit: int) -> Page[Link]:
        """Links of a repository by digest, with the keys that they name; at most `limit` >= 1."""

    def list_manifests(self, repository: str, after: Digest | None, limit: int) -> Page[Manifest]:
        """Manifests by digest, in any state and without their bodies, at most `limit` >= 1."""

    def list_referrers(
        self, repository: str, subject: Digest, after: Digest | None, limit: int
    ) -> Page[Referrer]:
        """Referrers of a subject by digest, after `after`, at most `limit` >= 1."""

    def list_history(
        self, repository: str, name: str | None, after: str | None, limit: int
    ) -> Page[TagChange]:
        """Changes of a tag, name by name, the latest first, at most `limit` >= 1.

        A `name` is a tag, or `@` and the digest of a manifest that was deleted; None: all.
        Behind the place `after`, which need not exist.
        """

    def list_repositories(
        self, after: str | None, limit: int, prefix: str = ""
    ) -> Page[CatalogRow]:
        """Repositories by name in byte order after `after`, at most `limit` >= 1.

        Only those whose names begin with `prefix`.
        """

    def has_repository(self, repository: str) -> bool:
        """Whether the catalog names it (read eventually consistent, then strongly if absent)."""

    def get_repository(self, repository: str) -> CatalogRow | None:
        """Read its row of the catalog, as `has_repository` does."""

    def add_repository(self, repository: str) -> None:
        """Name a repository in the catalog; one that is named stays as it is."""

    def note_facts(self, repository: str, facts: CatalogFacts) -> None:
        """Note facts in the catalog.

        Nothing is done where the catalog does not name the repository, or has as late facts.
        """

    def in_use(self, repository: str) -> Sequence[InUse]:
        """Read all in-use leases of a repository, overdue ones too, by source."""


class Workers(Protocol):
    """Work for other processes: commits that outlast the answer to the client, and hashing."""

    def commit(self, session_id: str) -> None:
        """Ask for a sealed session to be driven to its end; returns at once."""

    def verify(self, stretch: Stretch) -> Verdict:
        """Let a worker read segments, and wait for what it found; it writes nothing.

        Takes `Limits.verify_time` and one segment's time at most. Raises ObjectMissingError,
        ObjectChangedError.
        """


class TicketKeys(Protocol):
    """The secret keys of tickets, 32 bytes each: see `chalicelib.registry.tickets`."""

    def current(self) -> Sequence[bytes]:
        """The key that makes MACs, and perhaps another that checks them, as read minutes ago."""

    def renew(self) -> bool:
        """Read the keys again; False if they can't have changed, or were read a moment ago."""


class Clock(Protocol):
    """Time, and identifiers that never repeat."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def new_id(self) -> str:
        """A fresh random 128-bit identifier, in the form of a UUID."""
