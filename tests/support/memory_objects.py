"""An object store in memory, as strict as S3: what the contract suite holds the real one to.

It must never be kinder than S3: short parts, other ETags and ended uploads are refused.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chalicelib.errors import UnavailableError
from chalicelib.registry.outcomes import (
    MultipartMissingError,
    MultipartUpload,
    ObjectChangedError,
    ObjectMissingError,
    ObjectStat,
    Part,
    WrittenObject,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PART_MINIMUM = 5 * 1024 * 1024


def etag_of(data: bytes) -> str:
    """Return an ETag as S3 writes it."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


@dataclass
class MemoryObjectStore:
    """`ObjectStore` in a dictionary; safe for threads. `part_minimum` moves S3's 5 MiB (bytes)."""

    part_minimum: int = PART_MINIMUM
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[tuple[str, str], dict[int, bytes]] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def put(self, key: str, data: bytes) -> WrittenObject:
        """Store an object."""
        with self._lock:
            self.objects[key] = bytes(data)
        return WrittenObject(etag_of(data))

    def get(
        self, key: str, *, etag: str | None = None, span: tuple[int, int] | None = None
    ) -> bytes:
        """Read an object or a part of it."""
        with self._lock:
            if key not in self.objects:
                raise ObjectMissingError(key)
            data = self.objects[key]
        if etag is not None and etag != etag_of(data):
            raise ObjectChangedError(key)
        return data if span is None else data[span[0] : span[1] + 1]

    def read(self, key: str, *, etag: str, chunk_size: int) -> Iterator[bytes]:
        """Stream an object."""
        data = self.get(key, etag=etag)
        for start in range(0, len(data), chunk_size):
            yield data[start : start + chunk_size]

    def stat(self, key: str) -> ObjectStat | None:
        """Look at an object."""
        with self._lock:
            data = self.objects.get(key)
        return None if data is None else ObjectStat(len(data), etag_of(data))

    def delete(self, keys: Sequence[str]) -> None:
        """Delete keys."""
        with self._lock:
            for key in keys:
                self.objects.pop(key, None)

    def copy(self, source: str, etag: str, size: int, target: str) -> None:
        """Copy an object."""
        data = self.get(source, etag=etag)
        if len(data) != size:
            raise UnavailableError(f"{source} has {len(data)} bytes, not {size}")
        self.put(target, data)

    def begin_multipart(self, key: str) -> MultipartUpload:
        """Open a multipart upload."""
        with self._lock:
            upload_id = f"upload-{next(self._ids)}"
            self.uploads[key, upload_id] = {}
        return MultipartUpload(upload_id)

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> None:
        """Store a part."""
        with self._lock:
            self._parts(key, upload_id)[number] = bytes(data)

    def copy_part(self, key: str, upload_id: str, number: int, source: str, etag: str) -> None:
        """Make a part from an object."""
        with self._lock:
            self._parts(key, upload_id)
            self.put_part(key, upload_id, number, self.get(source, etag=etag))

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """All parts, ascending."""
        with self._lock:
            parts = self._parts(key, upload_id)
            return [Part(n, len(parts[n]), etag_of(parts[n])) for n in sorted(parts)]

    def complete_multipart(self, key: str, upload_id: str, parts: Sequence[Part]) -> str:
        """Make the object."""
        with self._lock:
            stored = self._parts(key, upload_id)
            chosen = [stored.get(part.number, b"") for part in parts]
            agree = all(etag_of(d) == p.etag for d, p in zip(chosen, parts, strict=True))
            if not agree or any(len(data) < self.part_minimum for data in chosen[:-1]):
                raise UnavailableError("a part is too small, or not the one listed")
            del self.uploads[key, upload_id]
            return self.put(key, b"".join(chosen)).etag

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Abort."""
        with self._lock:
            self.uploads.pop((key, upload_id), None)

    def abort_all(self, key: str) -> None:
        """Abort all of one key."""
        with self._lock:
            for upload in [upload for upload in self.uploads if upload[0] == key]:
                del self.uploads[upload]

    def purge(self, prefix: str) -> None:
        """Remove everything below a prefix."""
        with self._lock:
            for upload in [u for u in self.uploads if u[0].startswith(prefix)]:
                del self.uploads[upload]
            self.delete([key for key in self.objects if key.startswith(prefix)])

    def presign(self, key: str, *, method: str, seconds: int) -> str:
        """Return what stands for a URL."""
        return f"memory:{method}:{seconds}:{key}"

    def _parts(self, key: str, upload_id: str) -> dict[int, bytes]:
        if (key, upload_id) not in self.uploads:
            raise MultipartMissingError(upload_id)
        return self.uploads[key, upload_id]
