"""Live manifests and their bytes, for whoever pulls.

This module must never answer with a manifest that is not live, nor with other bytes than were
pushed. It loads nothing that only a push or a deletion needs: it is what a pull starts.
"""

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from chalicelib.dataclass import dataclass
from chalicelib.digest import Digest
from chalicelib.errors import BlobUnknownError, ManifestUnknownError, RegistryError
from chalicelib.reference import Reference, Tag
from chalicelib.registry.model import Manifest, ManifestState, bodies_of
from chalicelib.registry.service import Limits, Ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.blobs import Blobs

_log = logging.getLogger("moorage.manifests")

_TRIES = 6
"""How often a tag may move to another manifest while it is read."""


@dataclass(frozen=True)
class StoredBody:
    """A live manifest with its bytes."""

    digest: Digest
    media_type: str
    size: int
    body: bytes


class Manifests:
    """The live manifests of all repositories."""

    def __init__(self, ports: Ports, limits: Limits, blobs: "Callable[[], Blobs]") -> None:
        self._ports = ports
        self._limits = limits
        self._blobs = blobs

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

    def _large_body(self, manifest: Manifest) -> bytes:
        blobs = self._blobs()
        for home in (bodies_of(manifest.repository), manifest.repository):
            # 0.1 stored bodies as blobs of the repository, where a DELETE could take them.
            with suppress(BlobUnknownError):
                return blobs.read(blobs.find(home, manifest.digest))
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


def _require_live(manifest: Manifest | None) -> Manifest:
    if manifest is None or manifest.state is not ManifestState.LIVE:
        raise ManifestUnknownError
    return manifest
