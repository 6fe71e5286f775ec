"""A URL for a direct upload lets through the bytes that it was signed for, and nothing else.

Judged on MiniStack, which verifies signatures and checksums; moto verifies no signature.
"""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

import pytest

from chalicelib.digest import Digest
from chalicelib.registry.outcomes import CheckedObject
from chalicelib.stores.s3.objects import S3ObjectStore
from tests.chalicelib.stores.conftest import BACKENDS, signing_store
from tests.support.presigned_puts import send

if TYPE_CHECKING:
    from chalicelib.registry.outcomes import PresignedPut
    from tests.chalicelib.stores.conftest import Running
    from tests.emulators.backends import Backend

DATA = bytes(range(250)) * 4
OTHER = DATA[::-1]
DIGEST = Digest.of(DATA)
FORBIDDEN = (403, "SignatureDoesNotMatch")


def checksum(data: bytes) -> str:
    """Return the value of the header that names a SHA-256."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def presigned(store: S3ObjectStore, seconds: int = 60) -> tuple[str, PresignedPut]:
    """Return a key never used, and a URL for putting DATA there."""
    key = f"direct/{uuid.uuid4()}/{DIGEST.hex}"
    return key, store.presign_put(key, DIGEST, len(DATA), seconds=seconds)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_put_is_compared_with_its_digest(running: Running, backend: str) -> None:
    """Other bytes are 400 and not kept; the right ones are kept once."""
    chosen = running.backend(backend)
    store = (
        signing_store(chosen)
        if backend == "ministack"
        else S3ObjectStore(chosen.s3(), chosen.bucket)
    )
    key, put = presigned(store)
    assert send(put.url, put.headers, OTHER) == (400, "BadDigest")
    assert store.check(key) is None
    assert send(put.url, put.headers, DATA) == (200, "")
    assert store.check(key) == CheckedObject(len(DATA), DIGEST)
    encoded = {**put.headers, "Content-Encoding": "gzip"}
    assert send(put.url, encoded, DATA) == (412, "PreconditionFailed")
    assert store.check(key) == CheckedObject(len(DATA), DIGEST)
    assert store.get(key) == DATA


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_object_without_a_checksum_has_no_digest(running: Running, backend: str) -> None:
    """The headers that its writer chose are reported."""
    chosen = running.backend(backend)
    store = S3ObjectStore(chosen.s3(), chosen.bucket)
    key = f"direct/{uuid.uuid4()}/{DIGEST.hex}"
    chosen.s3(request_checksum_calculation="when_required").put_object(
        Bucket=chosen.bucket, Key=key, Body=DATA, ContentEncoding="gzip", CacheControl="no-store"
    )
    assert store.check(key) == CheckedObject(len(DATA), None, ("CacheControl", "ContentEncoding"))


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-sha256": checksum(OTHER)},
        {"x-amz-checksum-sha256": None},
        {"Content-Type": "text/html"},
        {"If-None-Match": None},
        {"If-None-Match": '"another"'},
    ],
    ids=["another checksum", "no checksum", "a type", "no condition", "another condition"],
)
def test_a_header_that_is_signed_can_not_be_changed(
    ministack: Backend, headers: dict[str, str | None]
) -> None:
    """Another checksum, or none, is 403, whatever the bytes."""
    store = signing_store(ministack)
    key, put = presigned(store)
    for data in (DATA, OTHER):
        assert send(put.url, {**put.headers, **headers}, data) == FORBIDDEN
    assert store.check(key) is None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "header",
    [
        {"x-amz-copy-source": "/others/secret"},
        {"x-amz-storage-class": "GLACIER"},
        {"x-amz-meta-owner": "somebody"},
        {"x-amz-tagging": "public=yes"},
        {"x-amz-website-redirect-location": "https://example.com/"},
    ],
    ids=lambda header: next(iter(header)),
)
def test_a_header_for_s3_that_is_not_signed_is_refused(
    running: Running, backend: str, header: dict[str, str]
) -> None:
    """Who has a URL chooses nothing that S3 would keep with the bytes, and copies nothing."""
    store = signing_store(running.backend(backend))
    key, put = presigned(store)
    assert send(put.url, {**put.headers, **header}, DATA) == (403, "AccessDenied")
    assert store.check(key) is None


def test_the_length_is_signed(ministack: Backend) -> None:
    """Fewer or more bytes are 403."""
    store = signing_store(ministack)
    key, put = presigned(store)
    for data in (DATA[:-1], DATA + b"x", b""):
        headers = {**put.headers, "Content-Length": str(len(data))}
        assert send(put.url, headers, data) == FORBIDDEN
    assert store.check(key) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST"])
def test_a_url_is_valid_only_for_its_method(ministack: Backend, method: str) -> None:
    """Whoever has a URL to put can neither read nor delete."""
    store = signing_store(ministack)
    key, put = presigned(store)
    assert send(put.url, put.headers, DATA) == (200, "")
    assert send(put.url, put.headers, DATA, method)[0] == 403
    assert store.get(key) == DATA


def test_a_url_is_valid_only_for_its_key(ministack: Backend) -> None:
    """Another session's key, or one outside, is 403."""
    store = signing_store(ministack)
    key, put = presigned(store)
    for other in (f"direct/{uuid.uuid4()}/{DIGEST.hex}", f"blobs/{uuid.uuid4()}"):
        assert send(put.url.replace(key, other), put.headers, DATA) == FORBIDDEN
        assert store.check(other) is None


@pytest.mark.parametrize(
    "change",
    [
        {"X-Amz-Expires": "604800"},
        {"X-Amz-Date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - 1))},
        {"X-Amz-SignedHeaders": "host"},
        {"X-Amz-Signature": "0" * 64},
        {"X-Amz-Credential": "other/20260101/us-east-1/s3/aws4_request"},
        {"acl": ""},
        {"tagging": ""},
        {"uploadId": "another", "partNumber": "1"},
        {"versionId": "1"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_url_that_was_altered_is_refused(ministack: Backend, change: dict[str, str]) -> None:
    """A longer life, another day, fewer headers that are signed, another subject or signer."""
    store = signing_store(ministack)
    key, put = presigned(store)
    address, _, query = put.url.partition("?")
    url = f"{address}?{urlencode(dict(parse_qsl(query)) | change)}"
    assert url != put.url
    assert send(url, put.headers, DATA)[0] == 403
    assert store.check(key) is None


def test_a_url_is_403_after_its_time(ministack: Backend) -> None:
    """After its time it is 403."""
    store = signing_store(ministack)
    key, put = presigned(store, seconds=1)
    time.sleep(2.1)
    assert send(put.url, put.headers, DATA) == (403, "AccessDenied")
    assert store.check(key) is None
