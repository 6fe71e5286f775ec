"""What every object store does: in memory, on strict moto, and on MiniStack."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any, cast

import pytest

from chalicelib.errors import RegistryError, TooManyRequestsError, UnavailableError
from chalicelib.registry.outcomes import (
    ListedObject,
    MultipartBusyError,
    MultipartMissingError,
    ObjectChangedError,
    ObjectMissingError,
    ObjectStat,
    Part,
    PartsChangedError,
    PartTooSmallError,
)
from chalicelib.stores.s3.objects import S3ObjectStore
from tests.chalicelib.stores.conftest import BACKENDS, Script, error, signing_store
from tests.support.memory_objects import MemoryObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.ports import ObjectStore
    from tests.chalicelib.stores.conftest import Running
    from tests.emulators.backends import Backend

MIB = 1024 * 1024
LATER = time.time() + 3600


@pytest.fixture(params=["memory", *BACKENDS])
def store(request: pytest.FixtureRequest, running: Running) -> ObjectStore:
    """Object stores of every kind."""
    if request.param == "memory":
        return MemoryObjectStore()
    backend = running.backend(request.param)
    return S3ObjectStore(backend.s3(), backend.bucket)


def key() -> str:
    """Return a key never used."""
    return f"uploads/{uuid.uuid4()}/data"


def test_an_object_is_read_as_it_was_put(store: ObjectStore) -> None:
    """Whole, in part, streamed and by its ETag, an object is its bytes."""
    name, data = key(), os.urandom(100_000)
    etag = store.put(name, data).etag
    assert store.stat(name) == ObjectStat(len(data), etag)
    assert store.get(name) == store.get(name, etag=etag) == data
    assert store.get(name, span=(10, 19)) == data[10:20]
    chunks = list(store.read(name, etag=etag, chunk_size=4096))
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= 4096
    assert b"".join(store.read(name, etag=etag, chunk_size=4096, first=99_000)) == data[99_000:]


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    """Empty bytes are not a missing object."""
    name = key()
    etag = store.put(name, b"").etag
    assert store.stat(name) == ObjectStat(0, etag)
    assert store.get(name) == b""


def test_an_absent_object_is_object_missing(store: ObjectStore) -> None:
    """For reading and copying; deleting it does nothing."""
    assert store.stat(key()) is None
    with pytest.raises(ObjectMissingError):
        store.get(key())
    with pytest.raises(ObjectMissingError):
        store.copy(key(), '"x"', 1, key(), until=LATER)
    store.delete([key()])


def test_another_object_under_the_key_is_noticed(store: ObjectStore) -> None:
    """With another ETag, reads, copies and part copies are refused."""
    name, target = key(), key()
    old = store.put(name, b"old").etag
    store.put(name, b"new")
    upload_id = store.begin_multipart(target).id
    with pytest.raises(ObjectChangedError):
        store.get(name, etag=old)
    with pytest.raises(ObjectChangedError):
        store.copy(name, old, 3, target, until=LATER)
    with pytest.raises(ObjectChangedError):
        store.copy_part(target, upload_id, 1, name, old)
    assert store.stat(target) is None


def test_parts_make_an_object(store: ObjectStore) -> None:
    """Put and copied parts, with a number left out, make exactly the chosen bytes."""
    name, tail = key(), key()
    first, late = os.urandom(5 * MIB), os.urandom(5 * MIB)
    etag = store.put(tail, b"tail").etag
    upload_id = store.begin_multipart(name).id
    store.put_part(name, upload_id, 1, first)
    store.put_part(name, upload_id, 2, late)
    store.copy_part(name, upload_id, 4, tail, etag)
    parts = store.list_parts(name, upload_id)
    assert [(part.number, part.size) for part in parts] == [(1, 5 * MIB), (2, 5 * MIB), (4, 4)]
    chosen = [part for part in parts if part.number != 2]
    made = store.complete_multipart(name, upload_id, chosen)
    assert store.get(name, etag=made) == first + b"tail"
    copied = key()
    store.copy(name, made, 5 * MIB + 4, copied, until=LATER)
    assert store.get(copied) == first + b"tail"


def test_an_ended_upload_is_missing(store: ObjectStore) -> None:
    """After an abort every use of a multipart upload says so, and a second abort is nothing."""
    name = key()
    upload_id = store.begin_multipart(name).id
    store.put_part(name, upload_id, 1, b"x")
    store.abort_multipart(name, upload_id)
    store.abort_multipart(name, upload_id)
    uses: list[Callable[[], object]] = [
        lambda: store.put_part(name, upload_id, 1, b"x"),
        lambda: store.list_parts(name, upload_id),
    ]
    for use in uses:
        with pytest.raises(MultipartMissingError):
            use()


@pytest.mark.parametrize("kind", ["memory", "moto"])
def test_a_short_part_is_refused(kind: str, strict_moto: Backend) -> None:
    """A part below the minimum that is not the last is an error (MiniStack takes it)."""
    moto = S3ObjectStore(strict_moto.s3(), strict_moto.bucket)
    store: ObjectStore = MemoryObjectStore() if kind == "memory" else moto
    name = key()
    upload_id = store.begin_multipart(name).id
    store.put_part(name, upload_id, 1, b"short")
    store.put_part(name, upload_id, 2, b"last")
    with pytest.raises(PartTooSmallError):
        store.complete_multipart(name, upload_id, store.list_parts(name, upload_id))
    assert store.stat(name) is None


def test_a_part_that_was_put_anew_is_not_the_one_listed(store: ObjectStore) -> None:
    """Nothing is put together of parts with other ETags, or that never came."""
    name = key()
    upload_id = store.begin_multipart(name).id
    store.put_part(name, upload_id, 1, b"first")
    listed = store.list_parts(name, upload_id)
    store.put_part(name, upload_id, 1, b"later")
    for parts in (listed, [*store.list_parts(name, upload_id), Part(2, 5, listed[0].etag)]):
        with pytest.raises(PartsChangedError):
            store.complete_multipart(name, upload_id, parts)
    assert store.stat(name) is None
    etag = store.complete_multipart(name, upload_id, store.list_parts(name, upload_id))
    assert store.get(name, etag=etag) == b"later"


def test_purge_leaves_nothing_below_a_prefix(store: ObjectStore) -> None:
    """Objects and open uploads below a prefix go, those beside it stay."""
    prefix, beside = f"uploads/{uuid.uuid4()}/", key()
    store.put(beside, b"x")
    store.put(f"{prefix}tail-1", b"x")
    upload_id = store.begin_multipart(f"{prefix}data").id
    store.put_part(f"{prefix}data", upload_id, 1, b"x")
    store.purge(prefix)
    assert store.stat(f"{prefix}tail-1") is None
    assert store.stat(beside) is not None
    with pytest.raises(MultipartMissingError):
        store.list_parts(f"{prefix}data", upload_id)


def test_many_keys_are_deleted(store: ObjectStore) -> None:
    """More keys than one request takes are deleted all the same."""
    prefix = f"uploads/{uuid.uuid4()}/"
    names = [f"{prefix}{number}" for number in range(1003)]
    for name in (names[0], names[-1]):
        store.put(name, b"x")
    store.delete(names)
    assert [store.stat(name) for name in (names[0], names[-1])] == [None, None]


def test_objects_are_listed_by_their_keys_across_folders(store: ObjectStore) -> None:
    """After one key, which need not exist, and below another; so many at most, with their sizes."""
    folder = f"blobs/{uuid.uuid4()}"
    names = [f"{folder}/{name}" for name in ("a/1", "a/2", "a0", "b/c/1", "d")]
    for size, name in enumerate(names):
        store.put(name, b"x" * size)
    listed = [ListedObject(name, size) for size, name in enumerate(names)]
    assert store.list_between(f"{folder}/", f"{folder}/~", 1000) == listed
    assert store.list_between(names[0], names[4], 1000) == listed[1:4]
    assert store.list_between(f"{folder}/a/11", names[4], 2) == listed[1:3]
    assert store.list_between(names[4], f"{folder}/~", 1000) == []


def test_a_short_page_of_a_list_is_not_its_end(strict_moto: Backend) -> None:
    """S3 may send fewer keys than were asked for; a list that says so and not where is an error."""
    client, folder = strict_moto.s3(), f"blobs/{uuid.uuid4()}"
    store = S3ObjectStore(client, strict_moto.bucket)
    names = [f"{folder}/{number}" for number in range(7)]
    for name in names:
        store.put(name, b"x")

    def short(params: dict[str, Any], **_: object) -> None:
        params["MaxKeys"] = 2

    def listed(last: str, limit: int) -> list[str]:
        return [each.key for each in store.list_between(f"{folder}/", last, limit)]

    client.meta.events.register("provide-client-params.s3.ListObjectsV2", short)
    assert listed(f"{folder}/~", 1000) == names
    assert listed(names[3], 1000) == names[:3]
    assert listed(f"{folder}/~", 5) == names[:5]

    def cut(parsed: dict[str, Any], **_: object) -> None:
        parsed.pop("NextContinuationToken", None)

    client.meta.events.register("after-call.s3.ListObjectsV2", cut)
    with pytest.raises(UnavailableError):
        listed(f"{folder}/~", 1000)


def test_a_presigned_url_is_for_its_method_and_key(ministack: Backend) -> None:
    """A URL gives its object by its method; another method, key or a forged one is refused."""
    store = signing_store(ministack)
    name, other = key(), key()
    store.put(name, b"hello")
    store.put(other, b"other")
    url = store.presign(name, method="GET", seconds=60)
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - loopback
        assert answer.read() == b"hello"
    head = store.presign(name, method="HEAD", seconds=60)
    with urllib.request.urlopen(urllib.request.Request(head, method="HEAD")) as answer:  # noqa: S310 - loopback
        assert answer.headers["Content-Length"] == "5"
    forged = url.replace(name, other)
    wrong = (
        urllib.request.Request(url, data=b"x", method="PUT"),  # noqa: S310 - loopback
        urllib.request.Request(forged),  # noqa: S310 - loopback
    )
    for request in wrong:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)  # noqa: S310 - loopback
        assert refused.value.code == 403


@pytest.mark.parametrize("lost", [False, True])
def test_a_list_is_followed_to_its_last_page(*, lost: bool) -> None:
    """Parts and uploads behind a marker are found; a page cut short without one is a failure."""
    markers = {"NextPartNumberMarker": 7, "NextKeyMarker": "k-1", "NextUploadIdMarker": "u"}
    parts = [{"PartNumber": number, "Size": 1, "ETag": "e"} for number in (7, 3)]
    uploads = [{"Key": key, "UploadId": "u"} for key in ("k-1", "k")]
    more = {"IsTruncated": True} | ({} if lost else markers)
    script = Script(
        *({"Parts": [parts[0]], **more}, {"Parts": [parts[1]], "IsTruncated": False}),
        *({"Uploads": [uploads[0]], **more}, {"Uploads": [uploads[1]], "IsTruncated": False}),
        {},
    )
    store = S3ObjectStore(cast("Any", script), "bucket")
    if lost:
        with pytest.raises(UnavailableError):
            store.list_parts("k", "u")
        script.answers[:] = [{"Uploads": [uploads[0]], **more}]
        with pytest.raises(UnavailableError):
            store.abort_all("k")
        return
    assert [part.number for part in store.list_parts("k", "u")] == [3, 7]
    store.abort_all("k")
    _, more_parts, _, more_uploads, aborted = script.requests
    assert more_parts["PartNumberMarker"] == 7
    assert (more_uploads["KeyMarker"], more_uploads["UploadIdMarker"]) == ("k-1", "u")
    assert aborted["Key"] == "k"


def failing(code: str, status: int) -> S3ObjectStore:
    """Return a store over a client whose every call fails with one code."""
    script = Script(error(code, ResponseMetadata={"HTTPStatusCode": status}))
    return S3ObjectStore(cast("Any", script), "bucket")


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("AccessDenied", 403, UnavailableError),
        ("403", 403, UnavailableError),
        ("NoSuchBucket", 404, UnavailableError),
        ("InternalError", 500, UnavailableError),
        ("SlowDown", 503, TooManyRequestsError),
        # An answer that S3 did not write, such as a page of something between, is not believed.
        ("404", 404, UnavailableError),
        ("412", 412, UnavailableError),
    ],
)
def test_a_failed_request_is_never_taken_for_absence(
    code: str, status: int, expected: type[RegistryError]
) -> None:
    """Whatever call fails, however: it is a failure to try again after, not an absent object."""
    store = failing(code, status)
    calls: list[Callable[[], object]] = [
        lambda: store.get("k", etag="e"),
        lambda: store.put("k", b""),
        lambda: store.delete(["k"]),
        lambda: store.copy("k", "e", 1, "t", until=LATER),
        lambda: store.copy_part("k", "u", 1, "s", "e"),
        lambda: store.list_parts("k", "u"),
        lambda: store.complete_multipart("k", "u", []),
        lambda: store.abort_multipart("k", "u"),
        lambda: store.purge("k"),
    ]
    if code == "404":
        # To a HEAD the status is all that S3 says of an absent object.
        assert store.stat("k") is None
    else:
        calls.append(lambda: store.stat("k"))
    for call in calls:
        with pytest.raises(expected):
            call()


def test_a_complete_beside_another_is_no_end_of_the_upload() -> None:
    """409 says that somebody else's is under way, and nothing of what came of it."""
    store = failing("OperationAborted", 409)
    with pytest.raises(MultipartBusyError):
        store.complete_multipart("k", "u", [])
