"""The PUT of a manifest.

It is put pending with its references, then the links to them are read, and only then it is made
live. This module must never change a manifest's bytes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from chalicelib.dataclass import dataclass
from chalicelib.descriptor import ParsedManifest, parse_manifest
from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import (
    DeniedError,
    DigestInvalidError,
    ManifestBlobUnknownError,
    ManifestContradictsError,
    ManifestInvalidError,
    SizeTooLargeError,
)
from chalicelib.reference import Reference, Tag
from chalicelib.registry.manifests.publishing import Publisher, of_another_type
from chalicelib.registry.manifests.removal import Removals
from chalicelib.registry.manifests.retries import retried
from chalicelib.registry.model import FoundByPush, Manifest, ManifestState, Stamp, bodies_of
from chalicelib.registry.outcomes import ManifestMovedError
from chalicelib.registry.service import Limits, Ports

if TYPE_CHECKING:
    from chalicelib.registry.upload.uploads import Uploads


@dataclass(frozen=True)
class ManifestPush:
    """A client's PUT. `tags` come from `?tag=` beside a digest.

    `may_pull`: whether the client may learn what the repository holds, and its size.
    """

    repository: str
    reference: Reference
    media_type: str
    body: bytes
    tags: Sequence[str]
    principal: str
    may_pull: bool = True


@dataclass(frozen=True)
class StoredManifest:
    """The result of a put."""

    digest: Digest
    subject: Digest | None


class Pushes:
    """What puts manifests into repositories."""

    def __init__(
        self, ports: Ports, limits: Limits, uploads: "Callable[[], Uploads]", removals: Removals
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._uploads = uploads
        self._removals = removals
        self._publisher = Publisher(ports, limits)

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
            retried(self._ports.clock, lambda: self._put_once(push, manifest, parsed, tags))
        except (ManifestBlobUnknownError, ManifestContradictsError):
            if push.may_pull:
                raise
            # One answer for what is not there and for what has another size or type.
            raise ManifestBlobUnknownError(
                "the manifest names something that this repository lacks, or has in another size"
                " or under another type"
            ) from None
        return StoredManifest(digest, manifest.subject)

    def _put_once(
        self, push: ManifestPush, manifest: Manifest, parsed: ParsedManifest, tags: Sequence[str]
    ) -> None:
        metadata, publisher = self._ports.metadata, self._publisher
        found = metadata.put_pending(manifest)
        if found.state is ManifestState.DELETING:
            self._removals.finish_delete(found)
            raise ManifestMovedError
        if found.media_type != manifest.media_type:
            raise of_another_type(found)
        if found.state is ManifestState.TRASHED:
            manifest = replace(manifest, state=found.state, version=found.version)
        # What the collector marks from here on it leaves, for it sees the pending manifest.
        before = self._found(push.repository, parsed, tags)
        try:
            total = publisher.check(push.repository, parsed, before.links, may_pull=push.may_pull)
            publisher.require_movable(push.repository, before, manifest.digest)
        except (ManifestBlobUnknownError, ManifestInvalidError, DeniedError):
            self._removals.remove_pending(manifest)
            raise
        if manifest.body is None:
            # After the check, so that a manifest that is refused leaves nothing.
            home = bodies_of(push.repository)
            self._uploads().put_whole(home, push.principal, manifest.digest, push.body)
        if not before.is_listed:
            metadata.add_repository(manifest.repository)
        manifest = replace(manifest, total_bytes=total)
        named = {tag: before.tags.get(tag) for tag in tags}
        stamp = Stamp(manifest.pushed_at, push.principal)
        try:
            publisher.make_live(manifest, parsed, named, stamp)
        except DeniedError:
            self._removals.remove_pending(manifest)
            raise

    def _found(self, repository: str, parsed: ParsedManifest, tags: Sequence[str]) -> FoundByPush:
        blobs = [item.digest for item in parsed.blobs]
        now = self._ports.clock.now()
        return self._ports.metadata.get_for_push(repository, blobs, tags, now)

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
