"""An OCI layout that an image is pulled into, and the two kinds of archives made of one.

A blob appears under its digest only when all its bytes are there and have that digest. What an
interrupted pull has read stays in a folder next to it, and the next pull continues from there.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import IO, Any

from chalicelib.descriptor import Descriptor
from chalicelib.digest import Digest
from moorage.common.http import read_json
from moorage.transfer.content import (
    PIECE,
    BlobProgress,
    BlobReader,
    ManifestContent,
    TransferError,
    in_background,
    pieces,
    short,
)
from moorage.transfer.layout_source import INDEX, TAG
from moorage.transfer.places import LocalPlace
from moorage.transfer.registry_target import entry_of

_PARTIAL = ".partial"
_LAYOUT_FILE = "oci-layout"
_LAYOUT = '{"imageLayoutVersion":"1.0.0"}'
# With four layers at once, 64 MiB are on their way.
_AHEAD = 3


class LayoutTarget:
    """An OCI layout in a folder; see ImageTarget."""

    def __init__(self, folder: Path, tag: str | None) -> None:
        if folder.exists() and not folder.is_dir():
            raise TransferError(f"{folder} is a file: name a folder, or oci-archive:PATH")
        if folder.is_dir() and not (folder / _LAYOUT_FILE).exists() and _has_files(folder):
            raise TransferError(f"{folder} holds something else than an OCI layout")
        self.folder = folder
        self.tag = tag
        self._partial = folder / _PARTIAL
        self._referrers: list[ManifestContent] = []

    def accept(self, root: ManifestContent) -> None:
        """See ImageTarget: any image."""

    async def put_blob(self, blob: Descriptor, reader: BlobReader, progress: BlobProgress) -> str:
        """See ImageTarget."""
        path = self.path(blob.digest)
        if path.is_file() and path.stat().st_size == blob.size:
            return "there"
        self._partial.mkdir(parents=True, exist_ok=True)
        partial = self._partial / f"{blob.digest.algorithm.value}-{blob.digest.hex}"
        with partial.open("a+b") as file:
            _lock(file, partial)
            if not await self._read(file, blob, reader, progress):
                # What was kept of an earlier run may be the fault.
                file.truncate(0)
                progress.moved(0)
                if not await self._read(file, blob, reader, progress):
                    partial.unlink()
                    raise TransferError(
                        f"{short(blob.digest)} came with other bytes than its digest: the registry,"
                        " or something on the way, has changed it"
                    )
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(path)
        return "sent"

    async def put_manifest(self, manifest: ManifestContent, *, root: bool) -> None:
        """See ImageTarget."""
        path = self.path(manifest.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, manifest.body)
        if not root and manifest.parsed.subject is not None:
            self._referrers.append(manifest)

    async def finish(self, root: ManifestContent) -> None:
        """See ImageTarget: the image is listed, in place of one that had its tag."""
        entry = entry_of(root)
        entry.pop("annotations", None)
        if self.tag:
            entry["annotations"] = {TAG: self.tag}
        added = [entry, *map(entry_of, self._referrers)]
        with _alone(self.folder):
            kept = [each for each in self._listed() if not _replaced(each, added)]
            self._make({"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": [*kept, *added]})
        # What another pull into this layout has read so far stays.
        with contextlib.suppress(OSError):
            self._partial.rmdir()

    def path(self, digest: Digest) -> Path:
        """Return where content is."""
        return self.folder / "blobs" / digest.algorithm.value / digest.hex

    async def _read(
        self, file: IO[bytes], blob: Descriptor, reader: BlobReader, progress: BlobProgress
    ) -> bool:
        """Read what the file lacks; return whether it then has the digest."""
        hasher = hashlib.new(blob.digest.algorithm.value)
        kept = await in_background(_hash_kept, file, blob.size, hasher)
        if kept:
            progress.kept(kept)
        async with aclosing(pieces(reader, kept, blob.size, PIECE, _AHEAD)) as read:
            async for piece in read:
                await asyncio.to_thread(_append, file, piece, hasher)
                kept += len(piece)
                progress.moved(kept)
        file.flush()
        return hasher.hexdigest() == blob.digest.hex

    def _listed(self) -> list[dict[str, Any]]:
        try:
            content = read_json((self.folder / INDEX).read_bytes())
            return [each for each in content["manifests"] if isinstance(each, dict)]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError):
            raise TransferError(f"{self.folder / INDEX} can't be read: remove the folder") from None

    def _make(self, index: Mapping[str, Any]) -> None:
        _write(self.folder / _LAYOUT_FILE, _LAYOUT.encode())
        _write(self.folder / INDEX, json.dumps(index, separators=(",", ":")).encode())


_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


class ArchiveTarget:
    """An archive: a layout in a folder beside it, packed when it is whole; see ImageTarget."""

    def __init__(self, path: Path, tag: str | None) -> None:
        if path.exists():
            raise TransferError(f"{path} is there already: remove it, or name another")
        self._path = path
        self._work = path.with_name(f"{path.name}{_PARTIAL}")
        self.layout = LayoutTarget(self._work, tag)
        self._digests: set[Digest] = set()

    def accept(self, root: ManifestContent) -> None:
        """See ImageTarget: any image."""

    async def put_blob(self, blob: Descriptor, reader: BlobReader, progress: BlobProgress) -> str:
        """See ImageTarget."""
        self._digests.add(blob.digest)
        return await self.layout.put_blob(blob, reader, progress)

    async def put_manifest(self, manifest: ManifestContent, *, root: bool) -> None:
        """See ImageTarget."""
        self._digests.add(manifest.digest)
        await self.layout.put_manifest(manifest, root=root)

    async def finish(self, root: ManifestContent) -> None:
        """See ImageTarget: what an interrupted pull of another image has left is not packed."""
        (self._work / INDEX).unlink(missing_ok=True)
        await self.layout.finish(root)
        packed = self._work / "packed"
        with packed.open("wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
            await in_background(self._pack, archive, root)
        packed.replace(self._path)
        shutil.rmtree(self._work)

    def _pack(self, archive: tarfile.TarFile, root: ManifestContent) -> None:
        del root
        paths = map(self.layout.path, self._digests)
        for path in sorted([self._work / _LAYOUT_FILE, self._work / INDEX, *paths]):
            _add(archive, str(path.relative_to(self._work)), path)


class DockerArchiveTarget(ArchiveTarget):
    """An archive that `docker load` reads: one image, of one platform; see ImageTarget."""

    def __init__(self, path: Path, name: str | None) -> None:
        super().__init__(path, None)
        # docker loads no archive that has a name without a tag.
        self._names = [name] if name and "@" not in name else []

    def _pack(self, archive: tarfile.TarFile, root: ManifestContent) -> None:
        config, *layers = root.parsed.blobs
        names = [f"{layer.digest.hex}.tar" for layer in layers]
        for name, layer in dict(zip(names, layers, strict=True)).items():
            _add(archive, name, self.layout.path(layer.digest))
        _add(archive, f"{config.digest.hex}.json", self.layout.path(config.digest))
        image = {"Config": f"{config.digest.hex}.json", "RepoTags": self._names, "Layers": names}
        _add(archive, "manifest.json", json.dumps([image], separators=(",", ":")).encode())


def local_target(place: LocalPlace, name: str, tag: str | None) -> LayoutTarget | ArchiveTarget:
    """Return the target at a place; `name` is what docker is to call the image.

    Raises TransferError for a place that is taken.
    """
    path = Path(place.path)
    if place.kind == "oci":
        return LayoutTarget(path, place.image or tag)
    if place.kind == "oci-archive":
        return ArchiveTarget(path, place.image or tag)
    return DockerArchiveTarget(path, place.image or name)


def _has_files(folder: Path) -> bool:
    return any(each.name not in {_PARTIAL, "blobs"} for each in folder.iterdir())


def _replaced(entry: Mapping[str, Any], added: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an entry makes way: it has the tag of one that is added, or is one of them."""

    def tag(each: Mapping[str, Any]) -> object:
        annotations = each.get("annotations")
        return annotations.get(TAG) if isinstance(annotations, dict) else None

    return any(
        (tag(entry) is not None and tag(entry) == tag(each))
        or (each["digest"] == entry.get("digest") and tag(entry) == tag(each))
        for each in added
    )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Change a layout's index alone: others wait."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise TransferError(f"another command writes {path}: wait until it has ended") from None


def _hash_kept(file: IO[bytes], most: int, hasher: "hashlib._Hash") -> int:
    """Hash what is in a file, and leave it at its end; return the bytes."""
    if file.seek(0, os.SEEK_END) > most:
        file.truncate(0)
    file.seek(0)
    kept = 0
    while block := file.read(PIECE):
        hasher.update(block)
        kept += len(block)
    return kept


def _append(file: IO[bytes], piece: memoryview, hasher: "hashlib._Hash") -> None:
    hasher.update(piece)
    file.write(piece)


def _write(path: Path, body: bytes) -> None:
    """Put a small file in place, whole."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_bytes(body)
    unfinished.replace(path)


def _add(archive: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    """Add a member that is the same for the same content, whoever packs it and when."""
    member = tarfile.TarInfo(name)
    if isinstance(content, bytes):
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    else:
        member.size = content.stat().st_size
        with content.open("rb") as file:
            archive.addfile(member, file)
