"""What a transfer moves: whole manifests, and blobs in pieces that are read at any offset.

The protocols here are all that the engine knows of registries, layouts and archives. A manifest's
bytes must never be changed, and no more of a blob than a few pieces may be in memory.
"""

import asyncio
import concurrent.futures
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar

from chalicelib.descriptor import Descriptor, MediaType, ParsedManifest, parse_manifest
from chalicelib.digest import Digest, InvalidDigestError
from chalicelib.errors import RegistryError
from chalicelib.limits import MIB
from chalicelib.strict_json import is_whole
from moorage.common.errors import CommandError

PIECE = 4 * MIB
"""Bytes that are read at once, and sent in one chunk: what a gateway before Lambda takes."""

LARGEST_MANIFEST = 8 * MIB
Result = TypeVar("Result")


class TransferError(CommandError):
    """The image can't be moved; the text says what is wrong, and what to do."""


@dataclass(frozen=True)
class ManifestContent:
    """A manifest or index as it is stored, byte for byte."""

    media_type: str
    body: bytes
    digest: Digest

    @cached_property
    def parsed(self) -> ParsedManifest:
        """What it refers to; raises TransferError for what is no manifest."""
        try:
            return parse_manifest(self.body, self.media_type)
        except RegistryError as error:
            raise TransferError(f"manifest {short(self.digest)} can't be read: {error}") from None

    @property
    def descriptor(self) -> Descriptor:
        """What names it elsewhere."""
        return Descriptor(self.media_type, self.digest, len(self.body))


class BlobReader(Protocol):
    """A blob's bytes, readable at any offset, again and again."""

    @property
    def parallel(self) -> bool:
        """Whether several pieces may be read at once."""

    async def read(self, offset: int, size: int) -> memoryview:
        """Return exactly `size` bytes from `offset` on; raises TransferError."""


class ImageSource(Protocol):
    """Where an image is read."""

    async def root(self) -> ManifestContent:
        """Return the requested manifest or index; raises TransferError."""

    async def manifest(self, descriptor: Descriptor) -> ManifestContent:
        """Return a manifest that another one names; raises TransferError."""

    def blob(self, descriptor: Descriptor) -> BlobReader:
        """Return a blob's bytes; raises TransferError where they are missing."""

    async def referrers(self, digest: Digest) -> list[Descriptor]:
        """Return the manifests whose subject is the one with this digest."""


class BlobProgress(Protocol):
    """Who watches one blob."""

    def kept(self, size: int) -> None:
        """So many bytes are there from an earlier run."""

    def moved(self, offset: int) -> None:
        """All bytes before `offset` have arrived."""


class ImageTarget(Protocol):
    """Where an image is written."""

    def accept(self, root: ManifestContent) -> None:
        """Raise TransferError for an image that must not be written here."""

    async def put_blob(self, blob: Descriptor, reader: BlobReader, progress: BlobProgress) -> str:
        """Store a blob and return what was done: `sent`, `there` or `mounted`.

        Raises TransferError.
        """

    async def put_manifest(self, manifest: ManifestContent, *, root: bool) -> None:
        """Store a manifest whose content is there; the root gets the tag. Raises TransferError."""

    async def finish(self, root: ManifestContent) -> None:
        """Make the image visible, where that isn't done yet."""


def listed(entries: Any) -> list[Descriptor]:  # noqa: ANN401 - JSON
    """Return the descriptors that JSON lists; raises ValueError for what is no list of them."""
    if not isinstance(entries, list):
        raise ValueError("it has no list of manifests")  # noqa: TRY004 - as of all that is read here
    try:
        read = [
            Descriptor(str(each["mediaType"]), Digest.parse(str(each["digest"])), each["size"])
            for each in entries
        ]
    except (KeyError, TypeError, InvalidDigestError):
        raise ValueError("it lists what is no descriptor") from None
    if not all(is_whole(each.size) for each in read):
        raise ValueError("it lists a size that is no whole number")
    return read


def is_manifest(descriptor: Descriptor) -> bool:
    """Whether a descriptor in an index names a manifest: build caches name blobs there."""
    return descriptor.media_type in set(MediaType)


def short(digest: Digest) -> str:
    """Return as much of a digest as people compare."""
    return f"{digest.algorithm.value}:{digest.hex[:12]}"


def checked_manifest(body: bytes, media_type: str, digest: Digest, where: str) -> ManifestContent:
    """Return a manifest whose bytes have the digest; raises TransferError."""
    if Digest.of(body, digest.algorithm) != digest:
        raise TransferError(
            f"{where}: the manifest {short(digest)} has other bytes than its digest"
        )
    return ManifestContent(media_type, body, digest)


@dataclass(frozen=True)
class FileSlice:
    """Bytes of a file: a whole one, by its path, or a member of an archive that is open."""

    file: Path | IO[bytes]
    offset: int
    size: int
    parallel = True

    async def read(self, offset: int, size: int) -> memoryview:
        """See BlobReader."""
        return memoryview(await asyncio.to_thread(self.read_now, offset, size))

    def read_now(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes; raises TransferError if the file has become shorter."""
        try:
            if isinstance(self.file, Path):
                with self.file.open("rb") as file:
                    data = os.pread(file.fileno(), size, self.offset + offset)
            else:
                data = os.pread(self.file.fileno(), size, self.offset + offset)
        except OSError as error:
            raise TransferError(f"the image can't be read: {error}") from None
        if len(data) != size or offset + size > self.size:
            raise TransferError("the image's file ends too early: it was cut, or is being written")
        return data


async def in_background(work: Callable[..., Result], *arguments: object) -> Result:
    """Run what takes long in a thread that ends with the command: Ctrl-C doesn't wait for it."""
    done: concurrent.futures.Future[Result] = concurrent.futures.Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work(*arguments))
        except BaseException as error:  # noqa: BLE001 - it is raised to whoever waits
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(done)


async def pieces(
    reader: BlobReader, first: int, end: int, size: int, ahead: int
) -> AsyncGenerator[memoryview, None]:
    """Yield a blob's bytes in order, `size` at once, and read up to `ahead` pieces in advance."""
    reads: deque[asyncio.Task[memoryview]] = deque()
    position = first

    def read_ahead() -> None:
        nonlocal position
        while position < end and len(reads) < (ahead if reader.parallel else 1):
            count = min(size, end - position)
            reads.append(asyncio.create_task(reader.read(position, count)))
            position += count

    try:
        read_ahead()
        while reads:
            piece = await reads[0]
            reads.popleft()
            read_ahead()
            yield piece
    finally:
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
