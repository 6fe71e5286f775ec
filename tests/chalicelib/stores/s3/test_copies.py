"""Copies in parts: what they copy, where they stop, and how they go on."""

from __future__ import annotations

import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, cast

import pytest

from chalicelib.errors import UnavailableError
from chalicelib.limits import MIB, PART_COUNT
from chalicelib.registry.outcomes import (
    MultipartBusyError,
    MultipartMissingError,
    ObjectChangedError,
    ObjectMissingError,
    UnfinishedError,
)
from chalicelib.registry.service import Limits
from chalicelib.registry.session import StoredObject
from chalicelib.stores.s3.copies import COPY_PART, COPY_THREADS, CopyPlan, copy_in_parts
from chalicelib.stores.s3.objects import S3ObjectStore, s3_config
from tests.chalicelib.stores.conftest import BACKENDS, error
from tests.support.memory_objects import MemoryObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.ports import ObjectStore
    from tests.chalicelib.stores.conftest import Running

GIB = 1024 * MIB
PART = 5 * MIB
NEVER = float("inf")


class Ticks:
    """A clock that shows how often it was looked at."""

    def __init__(self) -> None:
        self.looks = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Return the number of this look, from 1."""
        with self._lock:
            self.looks += 1
            return self.looks


def in_parts(store: ObjectStore, source: StoredObject, target: str, until: float = NEVER) -> None:
    """Copy in parts of 5 MiB; `until` counts looks at the clock, one before each request."""
    plan = CopyPlan(part=PART, threads=1, now=Ticks())
    copy_in_parts(store, source, target, plan, until)


@pytest.fixture(params=["memory", *BACKENDS])
def store(request: pytest.FixtureRequest, running: Running) -> ObjectStore:
    """Object stores of every kind."""
    if request.param == "memory":
        return MemoryObjectStore()
    backend = running.backend(request.param)
    return S3ObjectStore(backend.s3(), backend.bucket, CopyPlan(PART, PART))


@pytest.fixture
def data() -> bytes:
    """Two parts and a shorter one."""
    return os.urandom(2 * PART + 4)


@pytest.fixture
def source(store: ObjectStore, data: bytes) -> StoredObject:
    """The data, stored."""
    name = f"uploads/{uuid.uuid4()}/data"
    return StoredObject(name, len(data), store.put(name, data).etag)


@pytest.fixture
def target() -> str:
    """A key never used."""
    return f"blobs/{uuid.uuid4()}"


def test_a_large_object_is_copied_whole(
    store: ObjectStore, source: StoredObject, target: str, data: bytes
) -> None:
    """In parts at once, as the port does it; nothing is left open, and a repeat copies nothing."""
    for _ in range(2):
        store.copy(source.key, source.etag, source.size, target, until=time.time() + 600)
    assert store.get(target) == data
    assert store.open_multiparts(target) == []


@pytest.mark.parametrize("parts", [0, 1, 2, 3])
def test_a_stopped_copy_is_continued(
    store: ObjectStore, source: StoredObject, target: str, data: bytes, parts: int
) -> None:
    """Copied parts are kept, and a repeat copies the rest in the same upload."""
    with pytest.raises(UnfinishedError):
        in_parts(store, source, target, until=parts + 1)
    assert store.stat(target) is None
    (upload_id,) = store.open_multiparts(target)
    sizes = [part.size for part in store.list_parts(target, upload_id)]
    assert sizes == [PART, PART, 4][:parts]
    ticks = Ticks()
    copy_in_parts(store, source, target, CopyPlan(part=PART, threads=1, now=ticks), NEVER)
    assert ticks.looks == 3 - parts + 1
    assert store.get(target) == data
    assert store.open_multiparts(target) == []


def test_parts_that_are_missing_in_the_middle_or_have_another_size_are_copied(
    store: ObjectStore, source: StoredObject, target: str, data: bytes
) -> None:
    """Parts end in any order, and one of another size is not the one that is needed."""
    upload_id = store.begin_multipart(target).id
    store.copy_part(target, upload_id, 3, source.key, source.etag, (2 * PART, 2 * PART + 3))
    store.copy_part(target, upload_id, 1, source.key, source.etag, (0, PART + 9))
    in_parts(store, source, target)
    assert store.get(target) == data


def test_a_missing_or_changed_source_is_an_error(
    store: ObjectStore, source: StoredObject, target: str
) -> None:
    """The copy can't end; the clean-up aborts its upload."""
    gone = StoredObject("uploads/none", source.size, source.etag)
    with pytest.raises(ObjectMissingError):
        in_parts(store, gone, target)
    with pytest.raises(ObjectChangedError):
        in_parts(store, StoredObject(source.key, source.size, '"other"'), target)
    store.abort_all(target)
    assert store.open_multiparts(target) == []
    assert store.stat(target) is None


def test_of_two_copies_at_once_both_end(
    store: ObjectStore, source: StoredObject, target: str, data: bytes
) -> None:
    """The second finds that the target is whole."""
    copied: list[int] = []

    def now() -> float:
        if not copied:
            copied.append(1)
            in_parts(store, source, target)
        return 0.0

    copy_in_parts(store, source, target, CopyPlan(part=PART, threads=1, now=now), NEVER)
    assert store.get(target) == data


@pytest.mark.parametrize("ended", [MultipartMissingError, MultipartBusyError])
def test_an_upload_that_another_request_ends_is_looked_for_again(ended: type[Exception]) -> None:
    """It may be under way to the target: the copy is not done, nor are its bytes lost."""

    class Ending(MemoryObjectStore):
        def complete_multipart(self, *_: object) -> str:
            raise ended("another one")

    store = Ending(part_minimum=1)
    etag = store.put("a", b"abc").etag
    plan = CopyPlan(part=2, threads=1)
    with pytest.raises(UnfinishedError):
        copy_in_parts(store, StoredObject("a", 3, etag), "b", plan, NEVER)


@pytest.mark.parametrize(
    ("size", "part"),
    [
        (256 * MIB, 64 * MIB),
        (5 * GIB, 64 * MIB),
        (87 * GIB, 64 * MIB),
        (625 * GIB, 64 * MIB),
        (1250 * GIB, 128 * MIB),
    ],
)
def test_parts_are_of_64_mib_while_10_000_are_enough(size: int, part: int) -> None:
    """The parts cover every byte once; of what an upload can hold, none is above 64 MiB."""
    spans = CopyPlan().spans(size)
    assert len(spans) <= PART_COUNT
    assert [first for first, _ in spans] == [0, *(last + 1 for _, last in spans[:-1])]
    assert spans[-1][1] == size - 1
    assert {last - first + 1 for first, last in spans[:-1]} == {part}


class SlowS3:
    """A client whose UploadPartCopy takes `seconds`, and fails at the nth; no byte is anywhere."""

    def __init__(self, seconds: float = 0.0, failing: int | None = None) -> None:
        self.requests, self.at_once, self.most = list[str](), 0, 0
        self._seconds, self._failing, self._lock = seconds, failing, threading.Lock()

    def __getattr__(self, operation: str) -> Callable[..., object]:
        def call(**request: Any) -> object:  # noqa: ANN401 - of any operation
            with self._lock:
                self.requests.append(operation)
            return self._answer(operation, request)

        return call

    def _answer(self, operation: str, request: dict[str, Any]) -> object:
        if operation == "head_object":
            raise error("404")
        if operation != "upload_part_copy":
            return {"UploadId": "u", "ETag": "e", "ResponseMetadata": {"RetryAttempts": 0}}
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(self._seconds)
        with self._lock:
            self.at_once -= 1
        if request["PartNumber"] == self._failing:
            raise error("InternalError", ResponseMetadata={"HTTPStatusCode": 500})
        return {"CopyPartResult": {"ETag": "e"}}


def test_5_gib_take_one_round_and_84_requests() -> None:
    """All parts at once: if each takes a second, 5 GiB take that and not eighty."""
    s3, seconds = SlowS3(seconds=0.05), time.monotonic()
    store = S3ObjectStore(cast("Any", s3), "bucket")
    store.copy("a", "e", 5 * GIB, "b", until=time.time() + 600)
    rounds = (time.monotonic() - seconds) / 0.05
    assert s3.requests.count("upload_part_copy") == 5 * GIB // COPY_PART == 80
    assert len(s3.requests) == 84
    assert COPY_THREADS > 80
    assert rounds < 40  # one, on a machine that has nothing else to do


def test_10_gb_take_one_round_on_connections_that_are_kept() -> None:
    """A client that copies in parts has one for each part that is copied at once."""
    s3, size = SlowS3(seconds=0.3), 10 * 10**9
    S3ObjectStore(cast("Any", s3), "bucket").copy("a", "e", size, "b", until=time.time() + 600)
    assert COPY_THREADS >= s3.requests.count("upload_part_copy") == 150
    assert s3.most > 100  # all of them, on a machine that has nothing else to do
    config: Any = s3_config(connections=COPY_THREADS)
    assert config.max_pool_connections == COPY_THREADS


def test_no_part_is_begun_after_a_failure_or_the_end_of_the_time() -> None:
    """What is under way then ends; the rest is left to the repeat."""
    s3 = SlowS3(seconds=0.01, failing=1)
    store = S3ObjectStore(cast("Any", s3), "bucket", CopyPlan(threads=16))
    with pytest.raises(UnavailableError):
        store.copy("a", "e", 5 * GIB, "b", until=time.time() + 600)
    assert s3.requests.count("upload_part_copy") <= 3 * 16
    assert "abort_multipart_upload" not in s3.requests
    late = SlowS3()
    with pytest.raises(UnfinishedError):
        S3ObjectStore(cast("Any", late), "bucket").copy("a", "e", 5 * GIB, "b", until=time.time())
    assert "upload_part_copy" not in late.requests


def test_an_object_up_to_one_part_is_copied_in_one_request() -> None:
    """Below 256 MiB nothing is looked for first: a repeat writes the same bytes again."""
    for size, copies in ((256 * MIB - 1, ["copy_object"]), (256 * MIB, ["upload_part_copy"] * 4)):
        s3 = SlowS3()
        S3ObjectStore(cast("Any", s3), "bucket").copy("a", "e", size, "b", until=NEVER)
        assert [request for request in s3.requests if "copy" in request] == copies
    assert Limits().copy_whole == Limits().commit_inline + 1 == 256 * MIB
