"""Files of an image by name: those of a folder, or the members of a tar archive read in place.

An archive must never be unpacked, nor held in memory. An archive that is compressed or comes from a
stream is first written to a temporary file, which is deleted at the end of the command.
"""

import bz2
import contextlib
import errno
import gzip
import lzma
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from chalicelib.limits import MIB
from moorage.transfer.content import LARGEST_MANIFEST, FileSlice, TransferError
from moorage.transfer.places import STANDARD_INPUT

_COPIED = 4 * MIB
_MAGIC = 6
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_Decompressor = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
_OPENERS: dict[bytes, Callable[[IO[bytes]], _Decompressor]] = {
    _GZIP: lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
_MOST_LINKS = 8


class ImageFiles(Protocol):
    """Files by name."""

    def find(self, name: str) -> FileSlice | None:
        """Return a file's bytes; None where there is none."""


class FolderFiles:
    """The files of a folder; see ImageFiles."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, name: str) -> FileSlice | None:
        """See ImageFiles."""
        path = self._folder / name
        return FileSlice(path, 0, path.stat().st_size) if path.is_file() else None


class TarFiles:
    """The members of a tar archive; see ImageFiles. Links among them are followed."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        self._file = file
        self._members: dict[str, FileSlice] = {}
        self._links: dict[str, str] = {}
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in archive:
                    self._add(member, where)
        except tarfile.TarError as error:
            raise TransferError(f"{where} is no tar archive ({error})") from None

    def _add(self, member: tarfile.TarInfo, where: str) -> None:
        name = _plain(member.name)
        if member.issym():
            self._links[name] = _plain(str(PurePosixPath(name).parent / member.linkname))
        elif member.islnk():
            self._links[name] = _plain(member.linkname)
        elif member.issparse():
            raise TransferError(f"{where}: {name} is sparse: pack it with tar --format=ustar")
        elif member.isfile():
            self._members[name] = FileSlice(self._file, member.offset_data, member.size)

    def find(self, name: str) -> FileSlice | None:
        """See ImageFiles."""
        name = _plain(name)
        for _ in range(_MOST_LINKS):
            if name not in self._links:
                break
            name = self._links[name]
        return self._members.get(name)


def _plain(name: str) -> str:
    """Return a member's name without `.` and `..`."""
    parts: list[str] = []
    for part in PurePosixPath(name).parts:
        if part == "..":
            parts = parts[:-1]
        elif part not in {".", "/"}:
            parts.append(part)
    return "/".join(parts)


def open_archive(path: str) -> TarFiles:
    """Open a tar archive, compressed or not; `-` is standard input. Raises TransferError."""
    if path == STANDARD_INPUT:
        if sys.stdin.isatty():
            raise TransferError("standard input is a terminal: pipe `docker save IMAGE` into it")
        where = "standard input"
        # Without a buffer, whose lock would be held while the command ends.
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stream:
            return TarFiles(_uncompressed(spooled(stream), where), where)
    try:
        file: IO[bytes] = Path(path).open("rb")  # noqa: SIM115 - it is read until the command ends
        if not file.seekable():
            # A shell's <(command) is a pipe.
            file = spooled(file)
    except OSError as error:
        raise TransferError(f"the image can't be read: {error}") from None
    return TarFiles(_uncompressed(file, path), path)


def new_spool() -> IO[bytes]:
    """Return an empty temporary file without a name, in $TMPDIR."""
    return tempfile.TemporaryFile(prefix="moorage-")


@contextlib.contextmanager
def spooling() -> Iterator[None]:
    """Write to a temporary file in this block; raises TransferError where its disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise TransferError(
            f"there is no room for the image in {tempfile.gettempdir()}: set $TMPDIR to a folder on"
            " a larger disk"
        ) from None


def spooled(stream: IO[bytes] | _Decompressor) -> IO[bytes]:
    """Copy a stream to a temporary file; raises TransferError where its disk is full."""
    spool = new_spool()
    with spooling():
        shutil.copyfileobj(stream, spool, _COPIED)
        # What is in the buffer is written here.
        spool.seek(0)
    return spool


def _uncompressed(file: IO[bytes], where: str) -> IO[bytes]:
    magic = file.read(_MAGIC)
    file.seek(0)
    if magic.startswith(_ZSTD):
        raise TransferError(f"{where} is compressed by zstd: give it uncompressed (zstd -d)")
    for start, opener in _OPENERS.items():
        if magic.startswith(start):
            try:
                with opener(file) as stream:
                    return spooled(stream)
            except (OSError, EOFError, lzma.LZMAError) as error:
                raise TransferError(f"{where} can't be decompressed: {error}") from None
    return file


def compression_of(layer: FileSlice) -> str:
    """Return `gzip`, `zstd` or, for what is none of them, nothing."""
    magic = layer.read_now(0, min(_MAGIC, layer.size))
    named = {_GZIP: "gzip", _ZSTD: "zstd"}
    return next((name for start, name in named.items() if magic.startswith(start)), "")


def read_small(files: ImageFiles, name: str, where: str) -> bytes:
    """Return a small file's bytes; raises TransferError if it is missing, or is not small."""
    found = files.find(name)
    if found is None:
        raise TransferError(f"{where} has no {name}")
    if found.size > LARGEST_MANIFEST:
        raise TransferError(f"{where}: {name} has more than {LARGEST_MANIFEST} bytes")
    return found.read_now(0, found.size)


def blocks(layer: FileSlice) -> Iterator[bytes]:
    """Yield a file's bytes in order."""
    for offset in range(0, layer.size, _COPIED):
        yield layer.read_now(offset, min(_COPIED, layer.size - offset))
