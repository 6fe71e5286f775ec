"""A URL for a part lets through so many bytes as that part of that upload, and nothing else.

Judged on MiniStack, which verifies signatures; moto verifies none.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from chalicelib.registry.outcomes import MultipartMissingError
from chalicelib.stores.s3.objects import S3ObjectStore
from tests.chalicelib.stores.conftest import BACKENDS, signing_store
from tests.support.presigned_puts import send

if TYPE_CHECKING:
    from chalicelib.registry.outcomes import PresignedPut
    from tests.chalicelib.stores.conftest import Running
    from tests.emulators.backends import Backend

DATA = bytes(range(250)) * 4
OCTETS = {"Content-Type": "application/octet-stream"}
FORBIDDEN = (403, "SignatureDoesNotMatch")


class OpenUpload:
    """A multipart upload at a key never used, and a URL for its first part."""

    def __init__(self, store: S3ObjectStore, seconds: int = 60) -> None:
        self.store = store
        self.key = f"direct/{uuid.uuid4()}/parts"
        self.id = store.begin_multipart(self.key).id
        self.url = self.presigned(1, len(DATA), seconds)

    def presigned(self, number: int, size: int, seconds: int = 60) -> PresignedPut:
        """Return a URL for a part."""
        return self.store.presign_part(self.key, self.id, number, size, seconds=seconds)

    def put(
        self, data: bytes, url: str = "", method: str = "PUT", **headers: str
    ) -> tuple[int, str]:
        """Send a request to the URL, or to another one."""
        length = {"Content-Length": str(len(data))}
        return send(url or self.url.url, length | OCTETS | headers, data, method)

    def stored(self) -> list[tuple[int, int]]:
        """Return number and size of each part that is there."""
        return [(part.number, part.size) for part in self.store.list_parts(self.key, self.id)]


def store_of(running: Running, backend: str) -> S3ObjectStore:
    """Return a store over a backend, which signs if the backend looks."""
    chosen = running.backend(backend)
    signs = backend == "ministack"
    return signing_store(chosen) if signs else S3ObjectStore(chosen.s3(), chosen.bucket)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_part_is_put_and_put_anew_until_the_upload_is_over(
    running: Running, backend: str
) -> None:
    """The later bytes count; after the upload's end the URL is 404, and the object stays."""
    upload = OpenUpload(store_of(running, backend))
    assert upload.url.headers == {"Content-Length": "1000"}
    assert upload.put(DATA[::-1]) == (200, "")
    assert upload.put(DATA) == (200, "")
    assert upload.stored() == [(1, 1000)]
    etag = upload.store.complete_multipart(
        upload.key, upload.id, upload.store.list_parts(upload.key, upload.id)
    )
    assert upload.put(DATA[::-1]) == (404, "NoSuchUpload")
    assert upload.store.get(upload.key, etag=etag) == DATA
    other = OpenUpload(upload.store)
    other.store.abort_multipart(other.key, other.id)
    assert other.put(DATA) == (404, "NoSuchUpload")
    with pytest.raises(MultipartMissingError):
        other.stored()


@pytest.mark.parametrize("change", ["key", "upload", "number", "expiry", "method", "headers"])
def test_a_url_is_for_its_part_alone(ministack: Backend, change: str) -> None:
    """Another key, upload, number or method, a longer life, or a header of S3's own: 403."""
    upload, other = OpenUpload(signing_store(ministack)), OpenUpload(signing_store(ministack))
    url, method, headers = upload.url.url, "PUT", {}
    match change:
        case "key":
            url = url.replace(upload.key, other.key)
        case "upload":
            url = url.replace(f"uploadId={upload.id}", f"uploadId={other.id}")
        case "number":
            url = url.replace("partNumber=1", "partNumber=2")
        case "expiry":
            url = re.sub("X-Amz-Expires=[0-9]+", "X-Amz-Expires=604800", url)
        case "method":
            method = "POST"
        case _:
            headers = {"x-amz-copy-source": f"{ministack.bucket}/{other.key}"}
    assert (url, method, headers) != (upload.url.url, "PUT", {})
    assert upload.put(DATA, url, method, **headers)[0] == 403
    assert (upload.stored(), other.stored()) == ([], [])


def test_the_length_is_signed(ministack: Backend) -> None:
    """Fewer or more bytes are 403."""
    upload = OpenUpload(signing_store(ministack))
    for data in (DATA[:-1], DATA + b"x", b""):
        assert upload.put(data) == FORBIDDEN
    assert upload.stored() == []
    assert upload.put(DATA) == (200, "")


def test_a_url_is_403_after_its_time(ministack: Backend) -> None:
    """After its time it is 403."""
    upload = OpenUpload(signing_store(ministack), seconds=1)
    time.sleep(2.1)
    assert upload.put(DATA) == (403, "AccessDenied")
    assert upload.stored() == []
