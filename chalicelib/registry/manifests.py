"""Manifests: put, get, delete.

A manifest is put pending with its references, then the links to them are read, and only then does
one transaction make it live. This module must never change a manifest's bytes, nor answer with one
that is not live.
"""

import json
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from chalicelib.dataclass import dataclass
from chalicelib.descriptor import Descriptor, ParsedManifest, parse_manifest
from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import (
    BlobUnknownError,
    DeniedError,
    DigestInvalidError,
    ManifestBlobUnknownError,
    ManifestContradictsError,
    ManifestInvalidError,
    ManifestUnknownError,
    RegistryError,
    SizeTooLargeError,
    UnavailableError,
    quoted,
)
from chalicelib.limits import TRANSACTION_TAGS
from chalicelib.reference import Reference, Tag
from chalicelib.registry.blobs import Blobs
from chalicelib.registry.model import (
    MOST_DELETED_TAGS,
    FoundByPush,
    InUse,
    Link,
    Manifest,
    ManifestState,
    Referrer,
    Stamp,
    TagRow,
    bodies_of,
)
from chalicelib.registry.outcomes import ManifestMovedError
from chalicelib.registry.quotas import Quotas
from chalicelib.registry.service import Limits, Ports
from chalicelib.rules.document import rules_in_force

if TYPE_CHECKING:
    from chalicelib.registry.upload.uploads import Uploads

_log = logging.getLogger("moorage.manifests")

T = TypeVar("T")

_TRIES = 6


@dataclass(frozen=True)
class ManifestPush:
    """A client's PUT. `tags` come from `?tag=` beside a digest; `deadline` is epoch seconds.

    `may_pull`: whether the client may learn what the repository holds, and its size.
    """

    repository: str
    reference: Reference
    media_type: str
    body: bytes
    tags: Sequence[str]
    principal: str
    deadline: float
    may_pull: bool = True


@dataclass(frozen=True)
class StoredManifest:
    """The result of a put."""

    digest: Digest
    subject: Digest | None
    tags: Sequence[str]


@dataclass(frozen=True)
class StoredBody:
    """A live manifest with its bytes."""

    digest: Digest
    media_type: str
    size: int
    body: bytes


class Manifests:
    """The manifests of all repositories."""

    def __init__(
        self, ports: Ports, limits: Limits, uploads: "Callable[[], Uploads]", blobs: Blobs
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._uploads = uploads
        self._blobs = blobs
        self._quotas = Quotas(ports)

    def put(self, push: ManifestPush) -> StoredManifest:
        """Store a manifest and move its tags to it.

        Raises ManifestInvalidError, DigestInvalidError (its bytes have another digest),
        ManifestBlobUnknownError, UnavailableError when others keep changing the same items.
        """
        parsed = parse_manifest(push.body, push.media_type)
        _check_row(parsed, self._limits.referrer_row)
        digest = _digest(push)
        tags = [push.reference.name] if isinstance(push.reference, Tag) else []
        tags = list(dict.fromkeys([*tags, *push.tags]))
        manifest = self._manifest(push, parsed, digest)
        try:
            self.retried(lambda: self._put_once(push, manifest, parsed, tags))
        except (ManifestBlobUnknownError, ManifestContradictsError):
            if push.may_pull:
                raise
            # One answer for what is not there and for what has another size or type.
            raise ManifestBlobUnknownError(
                "the manifest names something that this repository lacks, or has in another size"
                " or under another type"
            ) from None
        return StoredManifest(digest, manifest.subject, tags)

    def get(self, repository: str, reference: Reference, *, is_use: bool = False) -> StoredBody:
        """Return a live manifest; raises ManifestUnknownError.

        `is_use`: somebody is about to use it, which is noted once a day.
        """
        manifest = self._live(repository, reference)
        if is_use:
            self._note_pull(manifest)
        return StoredBody(manifest.digest, manifest.media_type, manifest.size, self.body(manifest))

    def body(self, manifest: Manifest) -> bytes:
        """Return a live manifest's bytes; raises ManifestUnknownError if they are gone."""
        return self._large_body(manifest) if manifest.body is None else manifest.body

    def _note_pull(self, manifest: Manifest) -> None:
        """Note a pull; it is answered even if it can't be noted."""
        now = self._ports.clock.now()
        since = now - self._limits.pull_note
        if manifest.pulled_at is not None and manifest.pulled_at >= since:
            return
        try:
            self._ports.metadata.note_pull(manifest, now, since)
        except RegistryError as error:
            _log.warning("a pull of %s is not noted: %s", manifest.digest, error.message)

    def delete(
        self,
        repository: str,
        reference: Reference,
        principal: str | None,
        *,
        force: bool = False,
    ) -> None:
        """Delete a tag, or a manifest with its tags and its referrer entry.

        Raises ManifestUnknownError, and without `force` DeniedError for a manifest that is in use;
        one without its tag still is. A repeat or a put finishes a deletion that a crash stopped.
        """
        if isinstance(reference, Tag):
            self.retried(lambda: self._delete_tag(repository, reference.name, principal))
        else:
            self.retried(
                lambda: self._delete_manifest(repository, reference, principal, force=force)
            )

    def _delete_manifest(
        self, repository: str, digest: Digest, principal: str | None, *, force: bool
    ) -> None:
        metadata = self._ports.metadata
        seen = metadata.get_manifest(repository, digest)
        if seen is None or seen.state in {ManifestState.PENDING, ManifestState.TRASHED}:
            raise ManifestUnknownError
        # A deletion that was begun is ended, whatever has come to be in use since.
        if seen.state is ManifestState.LIVE and not force:
            _require_unused(digest, metadata.in_use(repository), self._ports.clock.now())
        if self._limits.trash:
            self._hold_body(seen)
        now = self._ports.clock.now()
        due = now + self._limits.manifest_grace
        self.finish_delete(metadata.begin_delete(seen, due, Stamp(now, principal)))

    def retire(self, manifest: Manifest, others: Sequence[Manifest], principal: str) -> None:
        """Delete a manifest that retention has marked; raises ManifestMovedError if it was used.

        Or if one of `others` was, at most 99, which are to go after it.
        """
        whole = self._ports.metadata.get_manifest(manifest.repository, manifest.digest)
        if whole is None or whole.mark != manifest.mark:
            raise ManifestMovedError
        if self._limits.trash:
            self._hold_body(whole)
        now = self._ports.clock.now()
        due = now + self._limits.manifest_grace
        self.finish_delete(self._ports.metadata.retire(whole, others, due, Stamp(now, principal)))

    def _delete_tag(self, repository: str, tag: str, principal: str | None) -> None:
        stamp = Stamp(self._ports.clock.now(), principal)
        if not self._ports.metadata.delete_tag(repository, tag, stamp):
            raise ManifestUnknownError

    def retried(self, work: Callable[[], T]) -> T:
        """Repeat `work` while others change what it has read; raises UnavailableError."""
        for attempt in range(_TRIES):
            if attempt:
                self._ports.clock.sleep(random.uniform(0.02, 0.1) * attempt)  # noqa: S311 - jitter
            try:
                return work()
            except ManifestMovedError:
                continue
        raise UnavailableError("the manifest or its tags keep being changed by others")

    def finish_delete(self, manifest: Manifest) -> None:
        """Take a manifest that is being deleted out of its repository, its tags first.

        Into the trash, if there is one. Idempotent; does nothing where another request has ended
        this deletion.
        """
        metadata = self._ports.metadata
        tags = metadata.tags_of(manifest.repository, manifest.digest)
        named = dict.fromkeys([*(manifest.deleted_tags or ()), *tags])
        manifest = replace(manifest, deleted_tags=tuple(islice(named, MOST_DELETED_TAGS)) or None)
        for tag, since in tags.items():
            if not metadata.drop_tag(manifest, tag, since):
                return
        if self._limits.trash:
            metadata.put_in_trash(manifest, manifest.deletion.at + self._limits.trash)
        else:
            self.retried(lambda: metadata.finish_delete(manifest, self._body_link(manifest)))

    def end_due(self, repository: str, digest: Digest) -> bool:
        """End a put or deletion whose request died, or a time in the trash, for the sweeper.

        False if none of these is due.
        """
        metadata = self._ports.metadata
        manifest = metadata.get_manifest(repository, digest)
        now = self._ports.clock.now()
        if manifest is None or manifest.sweep_at is None or manifest.sweep_at > now:
            return False
        if manifest.state is ManifestState.DELETING:
            self.finish_delete(manifest)
        elif manifest.state is ManifestState.TRASHED:
            self._empty_trash(manifest)
        else:
            self._remove_pending(manifest)
        return True

    def require_movable(self, repository: str, tags: Sequence[str], digest: Digest) -> None:
        """Raise DeniedError where a rule holds a tag that is to name another manifest."""
        if tags:
            now = self._ports.clock.now()
            found = self._ports.metadata.get_for_push(repository, [], tags, now)
            self._require_movable(repository, found, digest)

    def _require_movable(self, repository: str, found: FoundByPush, digest: Digest) -> None:
        rules = rules_in_force(found.rules.text if found.rules else "")
        for tag, row in found.tags.items():
            rule = rules.holding(repository, tag) if row.digest != digest else None
            if rule is not None:
                raise DeniedError(
                    f"tag {tag} is immutable by the rule {rule!r} and names {row.digest}: push"
                    " under another tag",
                    detail={"rule": rule, "tag": tag, "digest": str(row.digest)},
                )

    def bring_back(
        self, manifest: Manifest, tags: Mapping[str, TagRow | None], stamp: Stamp
    ) -> None:
        """Make a manifest of the trash live, with tags that name what `tags` gives: once, or not.

        Of a live one only the tags move. First the manifests of an index are brought back. Raises
        ManifestBlobUnknownError where what it refers to is gone for good, ManifestMovedError where
        something is not as it was read.
        """
        manifest = replace(manifest, restored_at=stamp.at)
        parsed = parse_manifest(self.body(manifest), manifest.media_type)
        named = [item.digest for item in parsed.manifests]
        self._bring_back_all(manifest.repository, named, stamp)
        blobs = [item.digest for item in parsed.blobs]
        links = self._ports.metadata.get_links(manifest.repository, blobs)
        self._check(manifest.repository, parsed, links, may_pull=True)
        referrer = _referrer(manifest, parsed)
        self._make_live(manifest, tags, referrer, stamp)

    def _bring_back_all(self, repository: str, digests: Sequence[Digest], stamp: Stamp) -> None:
        """Bring back those of some manifests that are in the trash, without tags.

        Of those that are live it is noted, or retention could remove one before the index is back.
        """
        metadata = self._ports.metadata
        for seen in metadata.get_manifests(repository, digests).values():
            if seen.state is ManifestState.LIVE:
                metadata.note_restore(seen, stamp.at)
            # With its body, which is not read of many.
            whole = seen.state is ManifestState.TRASHED and metadata.get_manifest(
                repository, seen.digest
            )
            if whole and whole.state is ManifestState.TRASHED:
                self.bring_back(whole, {}, stamp)

    def _empty_trash(self, manifest: Manifest) -> None:
        metadata = self._ports.metadata
        self.retried(lambda: metadata.empty_trash(manifest, self._body_link(manifest)))

    def _remove_pending(self, manifest: Manifest) -> None:
        metadata = self._ports.metadata
        self.retried(lambda: metadata.remove_pending(manifest, self._body_link(manifest)))

    def _body_link(self, manifest: Manifest) -> Link | None:
        """Read the link to the body of a manifest; None if its item holds that, or nobody does."""
        if manifest.body is not None:
            return None
        return self._ports.metadata.get_link(bodies_of(manifest.repository), manifest.digest)

    def _hold_body(self, manifest: Manifest) -> None:
        """Give a manifest a link of its own to a body that 0.1 stored as a blob of the repository.

        Else a DELETE of that blob could come before the manifest is in the trash, and empty it.
        """
        if manifest.body is not None or manifest.state is not ManifestState.LIVE:
            return
        if self._body_link(manifest) is None:
            home = bodies_of(manifest.repository)
            self._ports.metadata.add_link(home, manifest.digest, self._ports.clock.now())

    def _large_body(self, manifest: Manifest) -> bytes:
        for home in (bodies_of(manifest.repository), manifest.repository):
            # 0.1 stored bodies as blobs of the repository, where a DELETE could take them.
            with suppress(BlobUnknownError):
                return self._blobs.read(self._blobs.find(home, manifest.digest))
        raise ManifestUnknownError("the manifest's bytes were deleted as a blob: push it again")

    def _live(self, repository: str, reference: Reference) -> Manifest:
        metadata = self._ports.metadata
        if not isinstance(reference, Tag):
            return _require_live(metadata.get_manifest(repository, reference))
        seen: Digest | None = None
        for _ in range(_TRIES):
            tag = metadata.get_tags(repository, [reference.name]).get(reference.name)
            if tag is None or tag.digest == seen:
                break
            # The tag may have moved between the two reads, and this manifest have been deleted.
            seen, manifest = tag.digest, metadata.get_manifest(repository, tag.digest)
            if manifest is not None and manifest.state is ManifestState.LIVE:
                return manifest
        raise ManifestUnknownError

    def _manifest(self, push: ManifestPush, parsed: ParsedManifest, digest: Digest) -> Manifest:
        named = (item.digest for item in (*parsed.blobs, *parsed.manifests))
        references = tuple(dict.fromkeys(named))
        now = self._ports.clock.now()
        return Manifest(
            repository=push.repository,
            digest=digest,
            media_type=parsed.media_type.value,
            size=len(push.body),
            references=references if len(references) <= self._limits.references_inline else None,
            subject=parsed.subject.digest if parsed.subject else None,
            body=push.body if len(push.body) <= self._limits.body_inline else None,
            pushed_at=now,
            version=self._ports.clock.new_id(),
            sweep_at=now + self._limits.manifest_grace,
            pushed_by=push.principal,
            platforms=parsed.platforms,
            artifact_type=parsed.artifact_type,
        )

    def _put_once(
        self, push: ManifestPush, manifest: Manifest, parsed: ParsedManifest, tags: Sequence[str]
    ) -> None:
        metadata = self._ports.metadata
        found = metadata.put_pending(manifest)
        if found.state is ManifestState.DELETING:
            self.finish_delete(found)
            raise ManifestMovedError
        if found.media_type != manifest.media_type:
            raise _of_another_type(found)
        if found.state is ManifestState.TRASHED:
            manifest = replace(manifest, state=found.state, version=found.version)
        # What the collector marks from here on it leaves, for it sees the pending manifest.
        before = self._found(push.repository, parsed, tags)
        try:
            total = self._check(push.repository, parsed, before.links, may_pull=push.may_pull)
            self._require_movable(push.repository, before, manifest.digest)
        except (ManifestBlobUnknownError, ManifestInvalidError, DeniedError):
            self._remove_pending(manifest)
            raise
        if manifest.body is None:
            # After the check, so that a manifest that is refused leaves nothing.
            home = bodies_of(push.repository)
            self._uploads().put_whole(home, push.principal, manifest.digest, push.body)
        if not before.is_listed:
            metadata.add_repository(manifest.repository)
        manifest = replace(manifest, total_bytes=total)
        referrer = _referrer(manifest, parsed)
        stamp = Stamp(manifest.pushed_at, push.principal)
        try:
            self._make_live(manifest, {tag: before.tags.get(tag) for tag in tags}, referrer, stamp)
        except DeniedError:
            self._remove_pending(manifest)
            raise

    def _found(self, repository: str, parsed: ParsedManifest, tags: Sequence[str]) -> FoundByPush:
        blobs = [item.digest for item in parsed.blobs]
        now = self._ports.clock.now()
        return self._ports.metadata.get_for_push(repository, blobs, tags, now)

    def _make_live(
        self,
        manifest: Manifest,
        tags: Mapping[str, TagRow | None],
        referrer: Referrer | None,
        stamp: Stamp,
    ) -> None:
        """Make a manifest live with its tags, in as many transactions as they need.

        The first one asks for room for all of them. Those of a restoration that are to come stand
        in the manifest until the last one, so that a repeat finds them.
        """
        names, is_restored = list(tags), manifest.deleted_tags is not None
        new = [tag for tag in names if tags[tag] is None]
        for start in range(0, len(names) or 1, TRANSACTION_TAGS):
            end = start + TRANSACTION_TAGS
            rest = tuple(names[end:]) if is_restored else ()
            self._quotas.make_live(
                replace(manifest, deleted_tags=rest or None),
                {tag: tags[tag] for tag in names[start:end]},
                referrer,
                stamp,
                new_tags=0 if start else len(new),
            )

    def _check(
        self,
        repository: str,
        parsed: ParsedManifest,
        links: Mapping[Digest, Link],
        *,
        may_pull: bool,
    ) -> int | None:
        """Require all that a manifest refers to, in the sizes that it gives.

        `links` are those to its blobs. Returns how many bytes of blobs that is, None where that is
        not known of a manifest.
        """
        limits = self._limits
        sizes = {digest: link.size for digest, link in links.items()}
        _require(_needed(parsed.blobs, sizes, sparse=limits.sparse_image), sizes)
        now = self._ports.clock.now()
        for link in links.values():
            self._unmark(link, now)
        # A subject may be missing, but one that is here must have the size that is given. A client
        # that learns the size from a HEAD may have been told 0, and means no other manifest.
        # Who may not pull would learn whether it is here.
        subject = [parsed.subject] if parsed.subject and parsed.subject.size and may_pull else []
        named = dict.fromkeys(item.digest for item in (*parsed.manifests, *subject))
        manifests = self._ports.metadata.get_manifests(repository, list(named))
        live = {d: m.size for d, m in manifests.items() if m.state is ManifestState.LIVE}
        for digest in live:
            if manifests[digest].mark is not None:
                self._ports.metadata.unmark_manifest(manifests[digest])
        _require(_needed(parsed.manifests, live, sparse=limits.sparse_index), live)
        for item in parsed.manifests:
            if item.digest in live and manifests[item.digest].media_type != item.media_type:
                raise _of_another_type(manifests[item.digest])
        _require(_needed(subject, live, sparse=True), live)
        children = [manifests.get(item.digest) for item in parsed.manifests]
        return _total(parsed, children)

    def _unmark(self, link: Link, now: float) -> None:
        if link.mark is not None and not self._ports.metadata.touch_link(link, now):
            raise ManifestBlobUnknownError(f"blob {link.digest} is not in this repository")


def _of_another_type(manifest: Manifest) -> ManifestContradictsError:
    return ManifestContradictsError(
        f"this repository has {manifest.digest} as {manifest.media_type}, and a digest has one type"
    )


def _total(parsed: ParsedManifest, manifests: Iterable[Manifest | None]) -> int | None:
    """Return the bytes of all blobs, each once where one manifest names it twice."""
    total = sum({item.digest: item.size for item in parsed.blobs}.values())
    for child in {child and child.digest: child for child in manifests}.values():
        if child is None or child.total_bytes is None:
            return None
        total += child.total_bytes
    return total


def _needed(
    items: Iterable[Descriptor], sizes: Mapping[Digest, int], *, sparse: bool
) -> list[Descriptor]:
    """Return the items whose size is checked: those that are here, and those that must be."""
    return [item for item in items if item.digest in sizes or not (sparse or item.foreign)]


def _require(items: Iterable[Descriptor], sizes: Mapping[Digest, int]) -> None:
    """Require every descriptor's content, in the size that it gives."""
    for item in items:
        size = sizes.get(item.digest)
        if size is None:
            raise ManifestBlobUnknownError(
                f"{item.digest} ({quoted(item.media_type)}) is not in this repository: push it"
                " first",
                detail={"digest": str(item.digest)},
            )
        if size != item.size:
            raise ManifestContradictsError(
                f"the manifest says that {item.digest} has {item.size} bytes, it has {size}"
            )


def _require_unused(digest: Digest, leases: Iterable[InUse], now: float) -> None:
    """Require that no source says that a manifest runs; one that is overdue says it on."""
    for lease in leases:
        if digest not in lease.digests:
            continue
        running = f" ({lease.digests[digest]})" if lease.digests[digest] else ""
        overdue = f", and should have been looked at again by {_moment(lease.until)}"
        raise DeniedError(
            f"{digest} is in use, as the source {lease.source!r} says{running}: that was looked at"
            f" {_moment(lease.refreshed_at)}{overdue if lease.until < now else ''}. To delete it"
            " all the same, add ?force=true",
            detail={"source": lease.source, "running": lease.digests[digest]},
        )


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%MZ")


def _require_live(manifest: Manifest | None) -> Manifest:
    if manifest is None or manifest.state is not ManifestState.LIVE:
        raise ManifestUnknownError
    return manifest


def _digest(push: ManifestPush) -> Digest:
    if isinstance(push.reference, Tag):
        return Digest.of(push.body, Algorithm.SHA256)
    found = Digest.of(push.body, push.reference.algorithm)
    if found != push.reference:
        raise DigestInvalidError(f"the manifest has digest {found}, not {push.reference}")
    return found


def _check_row(parsed: ParsedManifest, limit: int) -> None:
    """Refuse a referrer whose entry in its subject's list is larger than an item."""
    if parsed.subject is None:
        return
    texts = [parsed.artifact_type or "", *parsed.annotations, *parsed.annotations.values()]
    size = sum(len(json.dumps(text)) for text in texts)
    if size > limit:
        raise SizeTooLargeError(
            f"annotations and artifactType of a manifest with a subject have {size} bytes, and"
            f" its entry in the referrers list takes {limit}: put them into a layer"
        )


def _referrer(manifest: Manifest, parsed: ParsedManifest) -> Referrer | None:
    if manifest.subject is None:
        return None
    return Referrer(
        repository=manifest.repository,
        subject=manifest.subject,
        digest=manifest.digest,
        media_type=manifest.media_type,
        size=manifest.size,
        artifact_type=parsed.artifact_type,
        annotations=parsed.annotations,
    )
