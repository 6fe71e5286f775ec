"""An image in an OCI layout: a folder, or a tar archive of one.

Source: OCI image spec, image-layout.md.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chalicelib.descriptor import Descriptor
from chalicelib.digest import Digest
from moorage.common.http import required_object
from moorage.transfer.content import (
    FileSlice,
    ManifestContent,
    TransferError,
    checked_manifest,
    is_manifest,
    listed,
    short,
)
from moorage.transfer.files import FolderFiles, ImageFiles, open_archive, read_small
from moorage.transfer.places import LocalPlace

INDEX = "index.json"
TAG = "org.opencontainers.image.ref.name"


class LayoutSource:
    """An image in an OCI layout; see ImageSource."""

    def __init__(self, place: LocalPlace) -> None:
        self._where = str(place)
        self._tag = place.image
        self._files = _opened(place)
        index = _json(read_small(self._files, INDEX, self._where), self._where)
        entries = index.get("manifests")
        if not isinstance(entries, list):
            raise TransferError(f"{self._where}: {INDEX} lists no manifests")
        try:
            self._entries = list(zip(listed(entries), map(_tag, entries), strict=True))
        except ValueError as error:
            raise TransferError(f"{self._where}: {INDEX} can't be read: {error}") from None

    async def root(self) -> ManifestContent:
        """See ImageSource."""
        return await self.manifest(self._chosen())

    async def manifest(self, descriptor: Descriptor) -> ManifestContent:
        """See ImageSource."""
        if self._files.find(_path(descriptor.digest)) is None:
            raise self._lacks(descriptor)
        body = read_small(self._files, _path(descriptor.digest), self._where)
        return checked_manifest(body, descriptor.media_type, descriptor.digest, self._where)

    def blob(self, descriptor: Descriptor) -> FileSlice:
        """See ImageSource."""
        found = self._files.find(_path(descriptor.digest))
        if found is None:
            raise self._lacks(descriptor)
        if found.size != descriptor.size:
            raise TransferError(
                f"{self._where}: {short(descriptor.digest)} has {found.size} bytes where its"
                f" manifest says {descriptor.size}: copy the image again"
            )
        return found

    async def referrers(self, digest: Digest) -> list[Descriptor]:
        """See ImageSource: entries of the layout's index whose subject it is."""
        return [each for each, _ in self._entries if await self._subject(each) == digest]

    def _lacks(self, descriptor: Descriptor) -> TransferError:
        return TransferError(
            f"{self._where} lacks {short(descriptor.digest)}: copy the image again, with all its"
            " platforms"
        )

    async def _subject(self, descriptor: Descriptor) -> Digest | None:
        if not is_manifest(descriptor):
            return None
        subject = (await self.manifest(descriptor)).parsed.subject
        return subject.digest if subject else None

    def _chosen(self) -> Descriptor:
        tags = [tag for _, tag in self._entries if tag]
        if self._tag is not None:
            found = [each for each, tag in self._entries if tag == self._tag]
            missing = f"has no image {self._tag!r}"
        else:
            tagged = [each for each, tag in self._entries if tag]
            found = tagged or [each for each, _ in self._entries]
            missing = f"has {len(found)} images: name one by its tag"
        # One image under two tags is one image.
        if len({each.digest for each in found}) != 1:
            known = ", ".join(sorted(tags)[:20]) or "none"
            raise TransferError(f"{self._where} {missing}; its tags are: {known}")
        return found[0]


def _opened(place: LocalPlace) -> ImageFiles:
    path = Path(place.path)
    if path.is_dir():
        return FolderFiles(path)
    if not path.exists():
        raise TransferError(f"there is no {path}")
    return open_archive(place.path)


def _path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm.value}/{digest.hex}"


def _json(body: bytes, where: str) -> Mapping[str, Any]:
    try:
        return required_object(body)
    except ValueError as error:
        raise TransferError(f"{where}: {INDEX} can't be read: {error}") from None


def _tag(entry: Any) -> str | None:  # noqa: ANN401 - JSON
    annotations = entry.get("annotations")
    tag = annotations.get(TAG) if isinstance(annotations, dict) else None
    return tag if isinstance(tag, str) else None
