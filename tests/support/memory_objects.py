"""An object store in memory, as strict as S3: what the contract suite holds the real one to.

It must never be kinder than S3: short parts, other ETags and ended uploads are refused. A Complete
and a copy are *under way* for a while, in which others see neither upload nor object, and they end
whether or not their caller still lives.
"""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import UnavailableError
from chalicelib.limits import PART_COUNT
from chalicelib.registry.outcomes import (
    CheckedObject,
    ListedObject,
    MultipartMissingError,
    MultipartUpload,
    ObjectChangedError,
    ObjectMissingError,
    ObjectStat,
    Part,
    PartsChangedError,
    PartTooSmallError,
    PresignedPut,
    WrittenObject,
)
from chalicelib.registry.service import COPY_WHOLE
from chalicelib.registry.session import StoredObject
from chalicelib.stores.s3.copies import COPY_PART, CopyPlan, copy_in_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PART_MINIMUM = 5 * 1024 * 1024


def etag_of(data: bytes) -> str:
    """Return an ETag as S3 writes it."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def at_once(_operation: str, effect: Callable[[], None]) -> None:
    """Let no time pass."""
    effect()


@dataclass
class MemoryObjectStore:
    """`ObjectStore` in a dictionary; safe for threads.

    `part_minimum` moves S3's 5 MiB (bytes), `copy_whole` and `copy_part` the sizes of copies.
    `under_way` is called in the middle of what takes S3 long, with the operation's name and its
    effect: others may act before that, and it may raise in the caller's place.
    """

    part_minimum: int = PART_MINIMUM
    copy_whole: int = COPY_WHOLE
    copy_part_size: int = COPY_PART
    now: Callable[[], float] = time.time
    checked: dict[str, CheckedObject] = field(default_factory=dict)
    """What was compared of objects that were put by a URL; may be of one that is gone."""
    under_way: Callable[[str, Callable[[], None]], None] = at_once
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[tuple[str, str], dict[int, bytes]] = field(default_factory=dict)
    _begun: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def become(self, other: MemoryObjectStore) -> None:
        """Take all that another store holds; later neither changes the other."""
        self.objects, self.checked = dict(other.objects), dict(other.checked)
        self.uploads = {upload: dict(parts) for upload, parts in other.uploads.items()}
        self._begun = other._begun

    def put(self, key: str, data: bytes) -> WrittenObject:
        """Store an object."""
        self._store(key, data)
        return WrittenObject(etag_of(data))

    def _store(self, key: str, data: bytes) -> None:
        with self._lock:
            self.objects[key] = bytes(data)

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

    def read(
        self, key: str, *, etag: str, chunk_size: int, first: int = 0, last: int | None = None
    ) -> Iterator[bytes]:
        """Stream an object."""
        data = self.get(key, etag=etag)
        if first and first >= len(data):
            raise UnavailableError(f"{key} has no byte {first}")
        data = data if last is None else data[: last + 1]
        for start in range(first, len(data), chunk_size):
            yield data[start : start + chunk_size]

    def list_between(self, first: str, last: str, limit: int) -> Sequence[ListedObject]:
        """List objects."""
        with self._lock:
            keys = sorted(key for key in self.objects if key > first)[:limit]
            return [ListedObject(key, len(self.objects[key])) for key in keys if key < last]

    def stat(self, key: str) -> ObjectStat | None:
        """Look at an object."""
        with self._lock:
            data = self.objects.get(key)
        return None if data is None else ObjectStat(len(data), etag_of(data))

    def check(self, key: str) -> CheckedObject | None:
        """Look at what was compared of an object."""
        with self._lock:
            data = self.objects.get(key)
            found = self.checked.get(key)
        return None if data is None else found or CheckedObject(len(data), None)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete keys."""
        with self._lock:
            for key in keys:
                self.objects.pop(key, None)

    def copy(self, source: str, etag: str, size: int, target: str, *, until: float) -> None:
        """Copy an object."""
        if size >= self.copy_whole:
            plan = CopyPlan(part=self.copy_part_size, threads=1, now=self.now)
            copy_in_parts(self, StoredObject(source, size, etag), target, plan, until)
            return
        data = self.get(source, etag=etag)
        if len(data) != size:
            raise UnavailableError(f"{source} has {len(data)} bytes, not {size}")
        self.under_way("copy", lambda: self._store(target, data))

    def begin_multipart(self, key: str) -> MultipartUpload:
        """Open a multipart upload."""
        with self._lock:
            upload_id = f"upload-{self._begun}"
            self._begun += 1
            self.uploads[key, upload_id] = {}
        return MultipartUpload(upload_id)

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> None:
        """Store a part."""
        if not 1 <= number <= PART_COUNT:
            raise UnavailableError(f"no part has the number {number}")
        with self._lock:
            self._parts(key, upload_id)[number] = bytes(data)

    def copy_part(  # noqa: PLR0913 - see the port
        self,
        key: str,
        upload_id: str,
        number: int,
        source: str,
        etag: str,
        span: tuple[int, int] | None = None,
    ) -> str:
        """Make a part from an object, or from some of its bytes."""
        with self._lock:
            self._parts(key, upload_id)
            data = self.get(source, etag=etag)
        if span is not None and not 0 <= span[0] <= span[1] < len(data):
            raise UnavailableError(f"{source} has no bytes {span}")
        data = data if span is None else data[span[0] : span[1] + 1]

        def copied() -> None:
            with suppress(MultipartMissingError):
                self.put_part(key, upload_id, number, data)

        self.under_way("copy_part", copied)
        with self._lock:
            self._parts(key, upload_id)
        return etag_of(data)

    def open_multiparts(self, key: str) -> Sequence[str]:
        """Ids of the uploads of one key."""
        with self._lock:
            return [upload_id for found, upload_id in self.uploads if found == key]

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """All parts, ascending."""
        with self._lock:
            parts = self._parts(key, upload_id)
            return [Part(n, len(parts[n]), etag_of(parts[n])) for n in sorted(parts)]

    def complete_multipart(self, key: str, upload_id: str, parts: Sequence[Part]) -> str:
        """Make the object."""
        with self._lock:
            stored = self._parts(key, upload_id)
            numbers = [part.number for part in parts]
            if not numbers or numbers != sorted(set(numbers)):
                raise UnavailableError("the list of parts has none, or is out of order")
            if any(p.number not in stored or etag_of(stored[p.number]) != p.etag for p in parts):
                raise PartsChangedError("a part is not the one listed")
            chosen = [stored[number] for number in numbers]
            if any(len(data) < self.part_minimum for data in chosen[:-1]):
                raise PartTooSmallError("a part is too small")
            del self.uploads[key, upload_id]
        whole = b"".join(chosen)
        self.under_way("complete_multipart", lambda: self._store(key, whole))
        return etag_of(whole)

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

    def presign_put(self, key: str, digest: Digest, size: int, *, seconds: int) -> PresignedPut:
        """Return what stands for a URL: what it is for, and until when."""
        headers = {"digest": str(digest), "size": str(size)}
        return PresignedPut(f"memory:PUT:{self.now() + seconds}:{key}:{digest}:{size}", headers)

    def put_by_url(
        self, put: PresignedPut, data: bytes, *, begun: float | None = None, **chosen: str
    ) -> int:
        """Put an object by a URL; returns S3's status. `chosen`: headers beside those it binds.

        `begun` is when the request began, if that was before now (seconds since the epoch).
        """
        _, _, until, key, algorithm, hexed, size = put.url.split(":")
        digest = Digest(Algorithm(algorithm), hexed)
        bound = {"digest": str(digest), "size": size}
        if (self.now() if begun is None else begun) > float(until):
            return HTTPStatus.FORBIDDEN
        if dict(put.headers) != bound or len(data) != int(size):
            return HTTPStatus.FORBIDDEN
        if Digest.of(data) != digest:
            return HTTPStatus.BAD_REQUEST
        with self._lock:
            if key in self.objects:
                return HTTPStatus.PRECONDITION_FAILED
            self.checked[key] = CheckedObject(len(data), digest, tuple(chosen))
            self._store(key, data)
        return HTTPStatus.OK

    def presign_part(
        self, key: str, upload_id: str, number: int, size: int, *, seconds: int
    ) -> PresignedPut:
        """Return what stands for a URL of a part."""
        until = self.now() + seconds
        return PresignedPut(f"memory:PART:{until}:{key}:{upload_id}:{number}:{size}", {})

    def put_part_by_url(self, put: PresignedPut, data: bytes, *, begun: float | None = None) -> int:
        """Put a part by a URL; returns S3's status. `begun` is as for `put_by_url`."""
        _, _, until, key, upload_id, number, size = put.url.split(":")
        late = (self.now() if begun is None else begun) > float(until)
        if late or len(data) != int(size):
            return HTTPStatus.FORBIDDEN
        try:
            self.put_part(key, upload_id, int(number), data)
        except MultipartMissingError:
            return HTTPStatus.NOT_FOUND
        return HTTPStatus.OK

    def _parts(self, key: str, upload_id: str) -> dict[int, bytes]:
        if (key, upload_id) not in self.uploads:
            raise MultipartMissingError(upload_id)
        return self.uploads[key, upload_id]
