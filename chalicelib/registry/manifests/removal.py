"""Deletion of manifests and tags: into the trash, and out of it for good.

A deletion is begun in one write, then the tags go, and only then the manifest: a repeat, a put or
the sweeper ends what a crash stopped. This module must never delete a manifest that is in use,
unless it is forced to.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice

from chalicelib.digest import Digest
from chalicelib.errors import DeniedError, ManifestUnknownError
from chalicelib.reference import Reference, Tag
from chalicelib.registry.manifests.retries import retried
from chalicelib.registry.model import (
    MOST_DELETED_TAGS,
    InUse,
    Link,
    Manifest,
    ManifestState,
    Stamp,
    bodies_of,
)
from chalicelib.registry.outcomes import ManifestMovedError
from chalicelib.registry.service import Limits, Ports


class Removals:
    """What takes manifests and tags away."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits

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
            retried(
                self._ports.clock, lambda: self._delete_tag(repository, reference.name, principal)
            )
        else:
            retried(
                self._ports.clock,
                lambda: self._delete_manifest(repository, reference, principal, force=force),
            )

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
            retried(
                self._ports.clock,
                lambda: metadata.finish_delete(manifest, self._body_link(manifest)),
            )

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
            self.remove_pending(manifest)
        return True

    def remove_pending(self, manifest: Manifest) -> None:
        """Take a manifest that was put pending, and did not come to be live, away again."""
        metadata = self._ports.metadata
        retried(
            self._ports.clock, lambda: metadata.remove_pending(manifest, self._body_link(manifest))
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

    def _delete_tag(self, repository: str, tag: str, principal: str | None) -> None:
        stamp = Stamp(self._ports.clock.now(), principal)
        if not self._ports.metadata.delete_tag(repository, tag, stamp):
            raise ManifestUnknownError

    def _empty_trash(self, manifest: Manifest) -> None:
        metadata = self._ports.metadata
        retried(
            self._ports.clock, lambda: metadata.empty_trash(manifest, self._body_link(manifest))
        )

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
