"""Blobs that are live in a repository: stat, read, mount, delete.

This module must never answer for a blob that the repository has no link to.
"""

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from chalicelib.digest import Digest
from chalicelib.errors import BlobUnknownError, UnavailableError
from chalicelib.registry.model import Link, Manifest, ManifestState, Record, bodies_of
from chalicelib.registry.outcomes import ManifestMovedError, ObjectMissingError
from chalicelib.registry.quotas import Quotas
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.tickets import Tickets

if TYPE_CHECKING:
    from chalicelib.registry.ports import ObjectStore

URL_SECONDS = 20 * 60
"""How long a client may take to begin a download from a presigned URL."""

_TRIES = 6


class Blobs:
    """The blobs of all repositories."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._tickets = Tickets(ports.ticket_keys)
        self._quotas = Quotas(ports)

    def find(self, repository: str, digest: Digest) -> Link:
        """Find a blob for a reader; raises BlobUnknownError."""
        link = self._ports.metadata.get_link(repository, digest)
        if link is None:
            raise BlobUnknownError
        return link

    def stat(self, repository: str, digest: Digest, *, look: bool = False) -> Link:
        """Find a blob for a client that pushes no bytes if it is there; raises BlobUnknownError.

        The client relies on the answer, so a link that the collector may be about to delete is
        touched first. Then, and whenever `look` is set, the object store is asked for the bytes: a
        client that is told that they are gone brings them again, and its push heals the record.
        The same where the record is lost: a reader still finds the bytes by the link.
        """
        link = self.find(repository, digest)
        if not link.recorded:
            raise BlobUnknownError
        fresh = self._fresh(link)
        if (look or not fresh) and not self._ports.is_there(link.key):
            raise BlobUnknownError
        if not fresh and not self._touched(link):
            raise BlobUnknownError
        return link

    def read(self, link: Link, span: tuple[int, int] | None = None) -> bytes:
        """Read a blob, or the bytes first..last (inclusive) of it."""
        try:
            return bytes_of(link, self._ports.objects, span)
        except ObjectMissingError:
            raise UnavailableError(f"the bytes of {link.digest} can't be read now") from None

    def url(self, link: Link, method: str) -> str:
        """Return a URL from which anyone can GET or HEAD this blob for 20 minutes."""
        return self._ports.objects.presign(link.key, method=method, seconds=URL_SECONDS)

    def viewer(self, ticket: str) -> str | None:
        """Return who asks the edge, by what the edge says; None if another one says it.

        Raises UnavailableError.
        """
        return self._tickets.read_viewer(ticket)

    def edge_path(self, link: Link) -> str | None:
        """Return the path from which the edge serves this blob for 20 minutes.

        None for an object that it can't name. Raises UnavailableError.
        """
        ends = self._ports.clock.now() + URL_SECONDS
        ticket = self._tickets.write_download(link.repository, link.digest, link.key, ends)
        return ticket and f"/v2/{link.repository}/blobs/{ticket}"

    def mount(self, repository: str, source: str | None, digest: Digest) -> Link | None:
        """Link a blob of `source` into `repository`; None if it has none: start an upload then.

        None, too, if the object that the record names is gone: the upload brings the bytes again.
        Raises DeniedError where the repository has no room for it.
        Without a source only where anonymous mounts are on: else a digest would give any blob away.
        """
        metadata = self._ports.metadata
        if source is None:
            live: Link | Record | None = None
            if self._limits.anonymous_mount:
                live = metadata.get_record(digest)
        else:
            live = metadata.get_link(source, digest)
        if live is None or not self._ports.is_there(live.key):
            return None
        if isinstance(live, Link) and not self._fresh(live) and not self._touched(live):
            return None
        return self._quotas.add_link(repository, digest)

    def delete(self, repository: str, digest: Digest) -> None:
        """Remove a repository's link; other repositories keep theirs. Raises BlobUnknownError.

        Raises UnavailableError when others keep changing the same items.
        """
        for _ in range(_TRIES):
            manifest = self._manifest_of_0_1(repository, digest)
            link = self._ports.metadata.get_link(repository, digest) if manifest else None
            if manifest is None or link is None:
                break
            with suppress(ManifestMovedError):
                self._ports.metadata.keep_body(manifest, link)
                return
        else:
            raise UnavailableError(f"others keep changing {digest}")
        if not self._ports.metadata.delete_link(repository, digest):
            raise BlobUnknownError

    def _manifest_of_0_1(self, repository: str, digest: Digest) -> Manifest | None:
        """Find a manifest whose body is a blob of its repository, as 0.1 stored large ones.

        It is live, or in the trash. Such a manifest names itself among its references, unless an
        item can't hold them all.
        """
        metadata = self._ports.metadata
        manifest = metadata.get_manifests(repository, [digest]).get(digest)
        if manifest is None or manifest.state not in {ManifestState.LIVE, ManifestState.TRASHED}:
            return None
        if manifest.references is not None and digest not in manifest.references:
            return None
        has_body = metadata.get_link(bodies_of(repository), digest) is not None
        return None if has_body else manifest

    def _fresh(self, link: Link) -> bool:
        """Whether a link is neither old nor marked."""
        age = self._ports.clock.now() - link.touched_at
        return link.mark is None and age < self._limits.link_grace / 2

    def _touched(self, link: Link) -> bool:
        """Touch a link; False if it is gone."""
        now = self._ports.clock.now()
        return self._ports.metadata.touch_link(replace(link, touched_at=now), now)


def bytes_of(link: Link, objects: "ObjectStore", span: tuple[int, int] | None = None) -> bytes:
    """Return the bytes first..last (inclusive) of a blob, or all; from its record if that has them.

    Raises ObjectMissingError.
    """
    if link.content is not None:
        return link.content if span is None else link.content[span[0] : span[1] + 1]
    return objects.get(link.key, span=span) if link.size else b""
