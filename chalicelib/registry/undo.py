"""Undo: a repository's history, and restoring tags and manifests that were moved or deleted.

This module must never move a tag that now names another manifest, unless the caller forces it. It
must never restore a manifest that can't be pulled completely.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from chalicelib.dataclass import dataclass
from chalicelib.descriptor import parse_manifest
from chalicelib.digest import Digest
from chalicelib.errors import ManifestUnknownError, NameUnknownError, TagMovedError
from chalicelib.limits import BATCH_KEYS
from chalicelib.reference import Reference, Tag
from chalicelib.registry.manifests.publishing import Publisher
from chalicelib.registry.manifests.reading import Manifests
from chalicelib.registry.manifests.removal import Removals
from chalicelib.registry.manifests.retries import retried
from chalicelib.registry.model import Manifest, ManifestState, Stamp, TagChange, TagRow
from chalicelib.registry.outcomes import ManifestMovedError
from chalicelib.registry.service import Limits, Ports

PAGE = BATCH_KEYS
"""Most changes on a page: one request reads what became of their manifests."""


@dataclass(frozen=True)
class HistoryPage:
    """A page of changes; `manifests` has those that are live, or in the trash, of what they name.

    `rest_after` is where the next page begins, None after the last.
    """

    items: Sequence[TagChange]
    manifests: Mapping[Digest, Manifest]
    rest_after: str | None


@dataclass(frozen=True)
class Restoration:
    """What to bring back: a manifest under one tag, or (None) under the tags that went with it.

    `force`: tags that name another manifest by now are moved.
    """

    repository: str
    digest: Digest
    principal: str
    tag: Tag | None = None
    force: bool = False


@dataclass(frozen=True)
class Restored:
    """What was brought back; `moved_on` are tags that name another manifest, and were left."""

    digest: Digest
    tags: Sequence[str]
    moved_on: Mapping[str, Digest]


class Undo:
    """The history of all repositories, and the way back."""

    def __init__(
        self, ports: Ports, limits: Limits, manifests: Manifests, removals: Removals
    ) -> None:
        self._ports = ports
        self._manifests = manifests
        self._removals = removals
        self._publisher = Publisher(ports, limits)

    def history(
        self, repository: str, reference: Reference | None, after: str | None, limit: int | None
    ) -> HistoryPage:
        """Changes of a tag, deletions of a manifest, or all, name by name and the latest first.

        Raises NameUnknownError.
        """
        metadata = self._ports.metadata
        wanted = min(PAGE if limit is None else limit, PAGE)
        page = metadata.list_history(repository, _name(reference), after, wanted or 1)
        if not page.items and not metadata.has_repository(repository):
            raise NameUnknownError
        if not wanted:
            return HistoryPage([], {}, None)
        named = list(dict.fromkeys(row.was for row in page.items))
        found = metadata.get_manifests(repository, named) if named else {}
        kept = {ManifestState.LIVE, ManifestState.TRASHED}
        there = {digest: each for digest, each in found.items() if each.state in kept}
        return HistoryPage(page.items, there, page.items[-1].place if page.more else None)

    def restore(self, wanted: Restoration) -> Restored:
        """Bring back a manifest with its tags, in one transaction; a repeat finds it done.

        Raises ManifestUnknownError (it is gone for good), TagMovedError (of the tag that was asked
        for), ManifestBlobUnknownError (what it refers to is gone), UnavailableError.
        """
        return retried(self._ports.clock, lambda: self._restore_once(wanted))

    def _restore_once(self, wanted: Restoration) -> Restored:
        repository, digest = wanted.repository, wanted.digest
        manifest = self._kept(repository, digest)
        named = [wanted.tag.name] if wanted.tag else manifest.deleted_tags or ()
        tags: Mapping[str, TagRow] = {}
        for start in range(0, len(named), BATCH_KEYS):
            rows = self._ports.metadata.get_tags(repository, named[start : start + BATCH_KEYS])
            tags = {**tags, **rows}
        moved = {tag: row.digest for tag, row in tags.items() if row.digest != digest}
        if wanted.force:
            moved = {}
        if wanted.tag and moved:
            tag, by_now = wanted.tag.name, str(moved[wanted.tag.name])
            raise TagMovedError(
                f"tag {tag} names {by_now} by now: force moves it to {digest}",
                detail={"tag": tag, "digest": by_now},
            )
        to_set = {tag: tags.get(tag) for tag in named if tag not in moved}
        now = self._ports.clock.now()
        if wanted.force and to_set:
            found = self._ports.metadata.get_for_push(repository, [], list(to_set), now)
            self._publisher.require_movable(repository, found, digest)
        self._bring_back(manifest, to_set, Stamp(now, wanted.principal))
        return Restored(digest, list(to_set), moved)

    def _kept(self, repository: str, digest: Digest) -> Manifest:
        """Return a manifest that is live or in the trash; raises ManifestUnknownError."""
        manifest = self._ports.metadata.get_manifest(repository, digest)
        if manifest is None or manifest.state is ManifestState.PENDING:
            raise ManifestUnknownError(f"{digest} is gone for good, or was never here: push it")
        if manifest.state is ManifestState.DELETING:
            self._removals.finish_delete(manifest)
            raise ManifestMovedError(f"{digest} was being deleted")
        return manifest

    def _bring_back(
        self, manifest: Manifest, tags: Mapping[str, TagRow | None], stamp: Stamp
    ) -> None:
        """Make a manifest of the trash live, with tags that name what `tags` gives: once, or not.

        Of a live one only the tags move. First the manifests of an index are brought back. Raises
        ManifestBlobUnknownError where what it refers to is gone for good, ManifestMovedError where
        something is not as it was read.
        """
        manifest = replace(manifest, restored_at=stamp.at)
        parsed = parse_manifest(self._manifests.body(manifest), manifest.media_type)
        named = [item.digest for item in parsed.manifests]
        self._bring_back_all(manifest.repository, named, stamp)
        blobs = [item.digest for item in parsed.blobs]
        links = self._ports.metadata.get_links(manifest.repository, blobs)
        self._publisher.check(manifest.repository, parsed, links, may_pull=True)
        self._publisher.make_live(manifest, parsed, tags, stamp)

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
                self._bring_back(whole, {}, stamp)


def _name(reference: Reference | None) -> str | None:
    """Return the name under which history has a reference."""
    if isinstance(reference, Tag):
        return reference.name
    return None if reference is None else f"@{reference}"
