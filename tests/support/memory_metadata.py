"""A metadata store in memory, told by the port's words and not by DynamoDB's.

It shares the session store's lock, so that a publication is one step. It must behave as
`MetadataStore` says under any number of threads: one lock, no cleverness.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

from chalicelib.registry.model import Link, Manifest, ManifestState, Page, Record, Referrer
from chalicelib.registry.outcomes import ManifestMovedError, RecordMissingError, SessionMovedError
from tests.support.memory_sessions import MemorySessionStore, changed, same_place, settled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from chalicelib.digest import Digest
    from chalicelib.registry.session import Session

T = TypeVar("T", str, Referrer)

_LIVE_OR_DELETING = (ManifestState.LIVE, ManifestState.DELETING)


class MemoryMetadataStore:
    """`MetadataStore` in dicts."""

    def __init__(self, sessions: MemorySessionStore) -> None:
        self.sessions = sessions
        self.lock = sessions.lock
        self.links: dict[tuple[str, Digest], Link] = {}
        self.records: dict[Digest, Record] = {}
        self.manifests: dict[tuple[str, Digest], Manifest] = {}
        self.tags: dict[tuple[str, str], Digest] = {}
        self.tagged: set[tuple[str, Digest, str]] = set()
        self.referrers: dict[tuple[str, Digest, Digest], Referrer] = {}
        self.repositories: set[str] = set()

    # blobs

    def get_link(self, repository: str, digest: Digest) -> Link | None:
        """Read a link."""
        with self.lock:
            return self.links.get((repository, digest))

    def get_links(self, repository: str, digests: Sequence[Digest]) -> Mapping[Digest, Link]:
        """Read those links that are there."""
        with self.lock:
            found = ((digest, self.links.get((repository, digest))) for digest in digests)
            return {digest: link for digest, link in found if link is not None}

    def get_record(self, digest: Digest) -> Record | None:
        """Read a record."""
        with self.lock:
            return self.records.get(digest)

    def publish(self, before: Session, after: Session, key: str | None, now: float) -> Session:
        """Make record, link and session agree that the claim is live."""
        assert after.claim is not None
        with self.lock:
            current = self.sessions.get(before.id)
            if current is None or not same_place(current, before):
                if current is None or (current.state, current.claim) != (after.state, after.claim):
                    raise SessionMovedError(current)
                return current
            record = self.records.get(after.claim)
            if record is None and key is None:
                raise RecordMissingError
            if record is None:
                record = Record(after.claim, str(key), after.offset, links=0)
            assert record.size == after.offset, "one digest, two sizes"
            self.records[after.claim] = record
            self._linked(after.repository, record, now)
            written = replace(after, published_key=record.key)
            if record.key != key:
                at = after.sweep_at or before.sweep_at
                written = replace(written, sweep_at=at, expires_at=None)
            written = settled(written)
            self.sessions.sessions[before.id] = changed(current, before, written)
            return written

    def add_link(self, repository: str, digest: Digest, now: float) -> Link | None:
        """Link a live blob, or touch the link that is there."""
        with self.lock:
            record = self.records.get(digest)
            return None if record is None else self._linked(repository, record, now)

    def touch_link(self, link: Link, now: float) -> bool:
        """Touch this very link, if it is still there."""
        with self.lock:
            there = self.links.get((link.repository, link.digest))
            if there is None or there.key != link.key:
                return False
            self.links[link.repository, link.digest] = _touched(there, now)
            return True

    def delete_link(self, repository: str, digest: Digest) -> bool:
        """Remove a link and count it off."""
        with self.lock:
            if self.links.pop((repository, digest), None) is None:
                return False
            record = self.records[digest]
            self.records[digest] = replace(record, links=record.links - 1)
            return True

    def _linked(self, repository: str, record: Record, now: float) -> Link:
        link = self.links.get((repository, record.digest))
        if link is None:
            link = Link(repository, record.digest, record.size, record.key, now, uuid.uuid4().hex)
            self.records[record.digest] = replace(record, links=record.links + 1)
        else:
            link = _touched(link, now)
        self.links[repository, record.digest] = link
        return link

    # manifests

    def get_manifest(self, repository: str, digest: Digest) -> Manifest | None:
        """Read a manifest in whatever state."""
        with self.lock:
            return self.manifests.get((repository, digest))

    def get_manifests(
        self, repository: str, digests: Sequence[Digest]
    ) -> Mapping[Digest, Manifest]:
        """Read those manifests that are there, without bodies."""
        with self.lock:
            found = ((digest, self.manifests.get((repository, digest))) for digest in digests)
            return {digest: replace(there, body=None) for digest, there in found if there}

    def put_pending(self, manifest: Manifest) -> Manifest:
        """Put a pending manifest over none or over a pending one."""
        with self.lock:
            place = (manifest.repository, manifest.digest)
            there = self.manifests.get(place)
            if there is not None and there.state in _LIVE_OR_DELETING:
                return there
            self.manifests[place] = manifest
            return manifest

    def remove_pending(self, manifest: Manifest) -> None:
        """Remove a pending manifest of this version."""
        with self.lock:
            if self._pending_as(manifest):
                del self.manifests[manifest.repository, manifest.digest]

    def make_live(
        self,
        manifest: Manifest,
        tags: Mapping[str, Digest | None],
        referrer: Referrer | None,
    ) -> None:
        """Make a manifest live with tags and referrer row, or nothing at all."""
        repository, digest = manifest.repository, manifest.digest
        with self.lock:
            there = self.manifests.get((repository, digest))
            live = there is not None and there.state is ManifestState.LIVE
            if there is None or not (live or self._pending_as(manifest)):
                raise ManifestMovedError
            for tag, old in tags.items():
                if self.tags.get((repository, tag)) not in {old, digest}:
                    raise ManifestMovedError
            live_now = replace(there, state=ManifestState.LIVE, sweep_at=None)
            self.manifests[repository, digest] = live_now
            for tag, old in tags.items():
                self.tags[repository, tag] = digest
                if old is not None:
                    self.tagged.discard((repository, old, tag))
                self.tagged.add((repository, digest, tag))
            if referrer is not None:
                self.referrers[repository, referrer.subject, digest] = referrer

    def begin_delete(self, manifest: Manifest, sweep_at: float) -> Manifest:
        """Turn a live manifest to deleting."""
        place = manifest.repository, manifest.digest
        with self.lock:
            there = self.manifests.get(place)
            if (
                there is None
                or there.state not in _LIVE_OR_DELETING
                or there.version != manifest.version
            ):
                raise ManifestMovedError(f"{place} is {there}")
            deleting = replace(there, state=ManifestState.DELETING, sweep_at=sweep_at)
            self.manifests[place] = deleting
            return deleting

    def tags_of(self, repository: str, digest: Digest) -> Sequence[str]:
        """Follow the ways back from a manifest to its tags."""
        with self.lock:
            return sorted(
                tag for name, of, tag in self.tagged if (name, of) == (repository, digest)
            )

    def due_manifests(self, now: float) -> Iterator[tuple[str, Digest]]:
        """List the manifests whose time for the sweeper has come."""
        with self.lock:
            waiting = [
                (there.sweep_at, place)
                for place, there in self.manifests.items()
                if there.sweep_at is not None and there.sweep_at <= now
            ]
        return iter([place for _, place in sorted(waiting, key=itemgetter(0))])

    def delete_tag(self, repository: str, tag: str) -> bool:
        """Delete a tag, whatever it names."""
        with self.lock:
            named = self.tags.pop((repository, tag), None)
            if named is None:
                return False
            self.tagged.discard((repository, named, tag))
            return True

    def drop_tag(self, manifest: Manifest, tag: str) -> bool:
        """Delete a tag of this very deletion."""
        repository, digest = manifest.repository, manifest.digest
        with self.lock:
            if not self._deleting_as(manifest):
                return False
            if self.tags.get((repository, tag)) == digest:
                del self.tags[repository, tag]
            self.tagged.discard((repository, digest, tag))
            return True

    def finish_delete(self, manifest: Manifest) -> None:
        """Delete a deleting manifest of this version, and its referrer row."""
        repository, digest = manifest.repository, manifest.digest
        with self.lock:
            if not self._deleting_as(manifest):
                return
            del self.manifests[repository, digest]
            if manifest.subject is not None:
                self.referrers.pop((repository, manifest.subject, digest), None)

    def _pending_as(self, manifest: Manifest) -> bool:
        return self._stands(manifest, ManifestState.PENDING)

    def _deleting_as(self, manifest: Manifest) -> bool:
        return self._stands(manifest, ManifestState.DELETING)

    def _stands(self, manifest: Manifest, state: ManifestState) -> bool:
        there = self.manifests.get((manifest.repository, manifest.digest))
        return there is not None and (there.state, there.version) == (state, manifest.version)

    # lists

    def get_tags(self, repository: str, tags: Sequence[str]) -> Mapping[str, Digest]:
        """Read those tags that are there."""
        with self.lock:
            places = {tag: (repository, tag) for tag in tags}
            return {tag: self.tags[at] for tag, at in places.items() if at in self.tags}

    def list_tags(self, repository: str, after: str | None, limit: int) -> Page[str]:
        """List tags by name."""
        with self.lock:
            return _page({tag: tag for name, tag in self.tags if name == repository}, after, limit)

    def list_referrers(
        self, repository: str, subject: Digest, after: Digest | None, limit: int
    ) -> Page[Referrer]:
        """List referrers by digest."""
        with self.lock:
            rows = {
                str(digest): row
                for (name, of, digest), row in self.referrers.items()
                if (name, of) == (repository, subject)
            }
            return _page(rows, None if after is None else str(after), limit)

    def list_repositories(self, after: str | None, limit: int) -> Page[str]:
        """List repositories by name."""
        with self.lock:
            return _page({name: name for name in self.repositories}, after, limit)

    def has_repository(self, repository: str) -> bool:
        """Look a repository up."""
        with self.lock:
            return repository in self.repositories

    def add_repository(self, repository: str) -> None:
        """Name a repository."""
        with self.lock:
            self.repositories.add(repository)


def _touched(link: Link, now: float) -> Link:
    return replace(link, touched_at=now, version=uuid.uuid4().hex, mark=None)


def _page(rows: Mapping[str, T], after: str | None, limit: int) -> Page[T]:
    names: Iterable[str] = sorted(name for name in rows if after is None or name > after)
    items = [rows[name] for name in names]
    return Page(items[:limit], more=len(items) > limit)
