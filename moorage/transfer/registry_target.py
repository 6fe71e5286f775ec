"""A repository that an image is pushed to: existing blobs are skipped, or mounted if possible.

A manifest must never be pushed before what it refers to.
"""

import json
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlencode

from chalicelib.descriptor import Descriptor, MediaType
from chalicelib.digest import Digest
from moorage.common.patience import UpstreamResponse
from moorage.transfer.client import RegistryClient, refusal
from moorage.transfer.content import (
    BlobProgress,
    BlobReader,
    ManifestContent,
    TransferError,
    short,
)
from moorage.transfer.known_blobs import KnownBlobs
from moorage.transfer.registry_source import fallback_referrers, fallback_tag
from moorage.transfer.uploads import BlobSender, OpenedUpload, opened_upload

# Some registries lead a HEAD to their storage too.
_THERE = frozenset({HTTPStatus.OK, HTTPStatus.FOUND, HTTPStatus.TEMPORARY_REDIRECT})


class RegistryTarget:
    """A repository; see ImageTarget. `mount_from` are others of that registry, to look into.

    `known` says where a blob was seen: a hint, which may be of old.
    With `repair` a Moorage looks whether its storage has lost what it lists.
    """

    def __init__(
        self,
        client: RegistryClient,
        sender: BlobSender,
        mount_from: Sequence[str] = (),
        *,
        known: KnownBlobs | None = None,
        repair: bool = False,
    ) -> None:
        self._client = client
        self._known = known
        self._held: list[Digest] = []
        self._in_vain: set[str] = set()
        """Repositories that were known of, from which nothing is mounted."""
        self._sender = sender
        self._asking = {"Cache-Control": "no-cache"} if repair else {}
        self._mount_from = mount_from

    def accept(self, root: ManifestContent) -> None:
        """See ImageTarget."""
        reference = self._client.place.reference
        if isinstance(reference, Digest) and reference != root.digest:
            raise TransferError(
                f"the image's digest is {root.digest}, and not the {reference} that it is to be"
                " pushed as"
            )

    async def put_blob(self, blob: Descriptor, reader: BlobReader, progress: BlobProgress) -> str:
        """See ImageTarget."""
        outcome = await self._put_blob(blob, reader, progress)
        self._held.append(blob.digest)
        return outcome

    async def _put_blob(self, blob: Descriptor, reader: BlobReader, progress: BlobProgress) -> str:
        path = self._client.path(f"blobs/{blob.digest}")
        answer = await self._client.call("HEAD", path, self._asking)
        if answer.status in _THERE:
            return "there"
        if answer.status != HTTPStatus.NOT_FOUND:
            raise refusal(self._client, answer, f"to look for {short(blob.digest)}")
        opened: OpenedUpload | None = None
        for name in self._sources_of(blob):
            mounted = await self._mount(blob, name)
            if mounted is None:
                continue
            if mounted.status == HTTPStatus.CREATED:
                return "mounted"
            if mounted.status == HTTPStatus.ACCEPTED:
                opened = opened_upload(self._client, mounted)
        await self._sender.send(blob, reader, progress, opened)
        return "sent"

    def _sources_of(self, blob: Descriptor) -> list[str]:
        """Return the repositories to mount a blob from: the given ones, then the known ones."""
        names = dict.fromkeys(self._mount_from)
        known = self._known.repository_of(blob.digest) if self._known else None
        if known is not None and known not in self._in_vain:
            names[known] = None
        return [name for name in names if name != self._client.place.name]

    async def _mount(self, blob: Descriptor, name: str) -> UpstreamResponse | None:
        """Have the registry mount a blob; None where a place that is only known of fails."""
        query = urlencode({"mount": str(blob.digest), "from": name})
        path = f"{self._client.path('blobs/uploads/')}?{query}"
        if name in self._mount_from:
            return await self._client.call("POST", path)
        answer: UpstreamResponse | None = None
        try:
            await self._client.may_pull(name)
            answer = await self._client.call("POST", path, patience=0)
        except TransferError:
            pass
        if answer is None or answer.status != HTTPStatus.CREATED:
            self._in_vain.add(name)
        return answer

    async def put_manifest(self, manifest: ManifestContent, *, root: bool) -> None:
        """See ImageTarget."""
        reference = self._client.place.reference if root else manifest.digest
        answer = await self._put(str(reference), manifest.media_type, manifest.body)
        subject = manifest.parsed.subject
        if subject is not None and "OCI-Subject" not in answer.headers:
            await self._list_referrer(subject.digest, manifest)

    async def finish(self, root: ManifestContent) -> None:  # noqa: ARG002 - the protocol's
        """See ImageTarget: the tag was set with the last manifest."""
        if self._known:
            self._known.note(self._client.place.name, self._held)

    async def _put(self, reference: str, media_type: str, body: bytes) -> UpstreamResponse:
        path = self._client.path(f"manifests/{reference}")
        headers = {"Content-Type": media_type}
        answer = await self._client.call("PUT", path, headers, memoryview(body))
        if answer.status != HTTPStatus.CREATED:
            raise refusal(self._client, answer, f"to push manifest {reference[:19]}")
        return answer

    async def _list_referrer(self, subject: Digest, manifest: ManifestContent) -> None:
        """Add a manifest to its subject's fallback tag: the registry has no referrers API.

        Source: OCI distribution spec, "Pushing Manifests with Subject".
        """
        listed = await fallback_referrers(self._client, subject)
        if manifest.digest in {each.digest for each in listed.descriptors}:
            return
        entries = [*listed.entries, entry_of(manifest)]
        index = {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": entries}
        body = json.dumps(index, separators=(",", ":")).encode()
        await self._put(fallback_tag(subject), MediaType.OCI_INDEX, body)


def entry_of(manifest: ManifestContent) -> dict[str, object]:
    """Return a manifest's entry in an index; a referrer's says what it is."""
    entry: dict[str, object] = {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": len(manifest.body),
    }
    parsed = manifest.parsed
    if parsed.subject is not None:
        if parsed.artifact_type:
            entry["artifactType"] = parsed.artifact_type
        if parsed.annotations:
            entry["annotations"] = dict(parsed.annotations)
    return entry
