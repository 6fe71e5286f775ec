"""A request to S3 that botocore sends twice, because its first answer was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Digest
from chalicelib.stores.s3.objects import S3ObjectStore
from tests.emulators.lost_answers import answer_lost
from tests.support.registries import registry_over

if TYPE_CHECKING:
    from tests.emulators.backends import Backend

PART = b"x" * (6 * 1024 * 1024)


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "PutObject"])
def test_a_request_that_was_sent_twice_says_so(strict_moto: Backend, operation: str) -> None:
    """`repeated` says that a second upload may be open, or an earlier sending may still arrive."""
    s3 = strict_moto.s3()
    store = S3ObjectStore(s3, strict_moto.bucket)

    def repeated() -> bool:
        if operation == "PutObject":
            return store.put("uploads/x/tail-1", b"x").repeated
        return store.begin_multipart("uploads/x/data").repeated

    assert not repeated()
    with answer_lost(s3, operation):
        assert [repeated(), repeated()] == [True, False]


def test_a_blob_that_was_sent_twice_is_looked_at_again(strict_moto: Backend) -> None:
    """Where another push's bytes are live, the earlier sending of these may still bring them."""
    registry = registry_over(strict_moto.fresh())
    digest = Digest.of(b"hello")
    target = f"blobs/uploads?digest={digest}"
    assert registry.ask("POST", f"a/b/{target}", b"hello").status == 201
    (live,), sent = registry.stored(), []

    def seen(params: dict[str, Any], **_: object) -> None:
        sent.append(params["Key"])

    registry.s3.meta.events.register("provide-client-params.s3.PutObject", seen)
    with answer_lost(registry.s3, "PutObject"):
        assert registry.ask("POST", f"c/d/{target}", b"hello").status == 201
    assert registry.stored() == [live]
    registry.s3.put_object(Bucket=registry.bucket, Key=sent[0], Body=b"hello")
    registry.clock.offset += 27 * 3600
    registry.registry.sweeper.sweep(registry.clock.now() + 600)
    assert set(registry.stored()) == {live}


def test_nothing_is_left_of_an_upload_that_was_opened_twice(strict_moto: Backend) -> None:
    """A session whose upload may have a double, with an id that nobody knows, ends without it."""
    registry = registry_over(strict_moto.fresh())
    at = str(registry.ask("POST", "a/b/blobs/uploads").headers["Location"])
    with answer_lost(registry.s3, "CreateMultipartUpload"):
        at = str(registry.ask("PATCH", at, PART).headers["Location"])
    assert len(registry.s3.list_multipart_uploads(Bucket=registry.bucket)["Uploads"]) == 2
    assert registry.ask("PUT", f"{at}&digest={Digest.of(PART)}").status == 201
    assert "Uploads" not in registry.s3.list_multipart_uploads(Bucket=registry.bucket)
    assert len(registry.stored()) == 1
