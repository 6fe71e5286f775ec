"""Requests that S3 refuses, each in a scene of its own, and what plain moto does with them.

Nothing here asserts: tests.tools.test_strict_moto does.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

    from tests.emulators.backends import Backend

MIB = 1024 * 1024
SMALL_COPY_LIMIT = 6 * MIB
"""Stands for S3's 5 GiB in these tests."""
UNKNOWN = "unknown"
OTHER_ETAG = '"00000000000000000000000000000000"'


@dataclass(frozen=True)
class Scene:
    """A bucket with two objects (6 MiB at `big`, 3 bytes at `small`) and an open upload."""

    s3: S3Client
    bucket: str
    upload: str

    def upload_to(self, upload: str | None = None) -> Any:  # noqa: ANN401 - boto3's own options
        """Return the parameters that name the open upload, or another one of its key."""
        return {"Bucket": self.bucket, "Key": "mp", "UploadId": upload or self.upload}

    def part(self, number: int, body: bytes = b"x", **more: Any) -> str:  # noqa: ANN401 - likewise
        """Upload a part to the open upload and return its ETag."""
        options = {**self.upload_to(), "PartNumber": number, "Body": body, **more}
        return str(self.s3.upload_part(**options)["ETag"])

    def copy_part(self, source: str = "big", number: int = 1, **more: Any) -> object:  # noqa: ANN401 - likewise
        """Copy (a range of) an object into the open upload."""
        whence: Any = {"Bucket": self.bucket, "Key": source}
        return self.s3.upload_part_copy(
            **self.upload_to(), PartNumber=number, CopySource=whence, **more
        )

    def copy(self, source: str = "small", key: str = "copy", **more: Any) -> object:  # noqa: ANN401 - likewise
        """Copy an object."""
        whence: Any = {"Bucket": self.bucket, "Key": source}
        return self.s3.copy_object(Bucket=self.bucket, Key=key, CopySource=whence, **more)

    def put(self, key: str, body: bytes, **more: Any) -> object:  # noqa: ANN401 - likewise
        """Put an object."""
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **more)

    def get(self, key: str, **more: Any) -> object:  # noqa: ANN401 - likewise
        """Get an object."""
        return self.s3.get_object(Bucket=self.bucket, Key=key, **more)

    def complete(self, *parts: tuple[int, str], **more: Any) -> object:  # noqa: ANN401 - likewise
        """Complete the open upload."""
        listed: Any = {"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in parts]}
        return self.s3.complete_multipart_upload(**self.upload_to(), MultipartUpload=listed, **more)


Refusal = tuple[str, int]
"""S3's error code, and the status."""

ARGUMENT: Refusal = ("InvalidArgument", 400)
REQUEST: Refusal = ("InvalidRequest", 400)
CHANGED: Refusal = ("PreconditionFailed", 412)
NO_UPLOAD: Refusal = ("NoSuchUpload", 404)
DIGEST: Refusal = ("BadDigest", 400)
PART: Refusal = ("InvalidPart", 400)


@dataclass(frozen=True)
class Case:
    """What S3 refuses, with which code and status."""

    name: str
    refusal: Refusal
    act: Callable[[Scene], object]


def complete_with(**more: Any) -> Callable[[Scene], object]:  # noqa: ANN401 - boto3's own options
    """Complete an upload of one 3-byte part, over an object that exists."""

    def act(scene: Scene) -> object:
        scene.put("mp", b"before")
        return scene.complete((1, scene.part(1, b"abc")), **more)

    return act


def complete_twice(scene: Scene) -> object:
    """Complete an upload that is complete."""
    etag = scene.part(1)
    scene.complete((1, etag))
    return scene.complete((1, etag))


def complete_out_of_order(scene: Scene) -> object:
    """Name the second part first."""
    first, second = scene.part(1, bytes(5 * MIB)), scene.part(2, bytes(5 * MIB))
    return scene.complete((2, second), (1, first))


def aborted(act: Callable[[Scene], object]) -> Callable[[Scene], object]:
    """Do something to the upload after it was aborted."""

    def act_late(scene: Scene) -> object:
        scene.s3.abort_multipart_upload(**scene.upload_to())
        return act(scene)

    return act_late


OTHER_SHA256 = base64.b64encode(hashlib.sha256(b"others").digest()).decode()
OTHER_MD5 = base64.b64encode(hashlib.md5(b"others", usedforsecurity=False).digest()).decode()
BEYOND = f"bytes=0-{6 * MIB}"
OUTSIDE = f"bytes={7 * MIB}-{8 * MIB}"
WHOLE = f"bytes=0-{6 * MIB - 1}"

CASES = [
    # moto copies what there is of the range, or an empty part.
    Case("range-beyond", ARGUMENT, lambda s: s.copy_part(CopySourceRange=BEYOND)),
    Case("range-outside", ARGUMENT, lambda s: s.copy_part(CopySourceRange=OUTSIDE)),
    # moto copies the whole object.
    Case("range-open", ARGUMENT, lambda s: s.copy_part(CopySourceRange="bytes=5-")),
    # moto copies ranges of any object.
    Case("range-of-small", REQUEST, lambda s: s.copy_part("small", CopySourceRange="bytes=0-1")),
    # moto ignores the header in both operations.
    Case("copy-source-if-match", CHANGED, lambda s: s.copy(CopySourceIfMatch=OTHER_ETAG)),
    Case("part-copy-source-if-match", CHANGED, lambda s: s.copy_part(CopySourceIfMatch=OTHER_ETAG)),
    # moto answers 404 without a code.
    Case("part-copy-of-missing", ("NoSuchKey", 404), lambda s: s.copy_part("missing")),
    # moto ignores both headers.
    Case("copy-if-none-match", CHANGED, lambda s: s.copy(key="big", IfNoneMatch="*")),
    Case("copy-if-match", CHANGED, lambda s: s.copy(key="big", IfMatch=OTHER_ETAG)),
    # moto copies objects of any size in one piece.
    Case("copy-too-large", REQUEST, lambda s: s.copy("huge")),
    Case("part-copy-too-large", REQUEST, lambda s: s.copy_part("huge")),
    # moto ignores both headers.
    Case("complete-if-match", CHANGED, complete_with(IfMatch=OTHER_ETAG)),
    Case("complete-size", REQUEST, complete_with(MpuObjectSize=4)),
    # moto's check of the order compares every number with 0.
    Case("complete-order", ("InvalidPartOrder", 400), complete_out_of_order),
    # moto answers 200 again.
    Case("complete-twice", NO_UPLOAD, complete_twice),
    # moto answers 500.
    Case("part-of-unknown", NO_UPLOAD, aborted(lambda s: s.part(1))),
    Case("part-copy-to-unknown", NO_UPLOAD, aborted(lambda s: s.copy_part())),
    Case("complete-unknown", NO_UPLOAD, aborted(lambda s: s.complete((1, OTHER_ETAG)))),
    # moto finds the upload by its id alone.
    Case("part-of-another-key", NO_UPLOAD, lambda s: s.part(1, Key="other")),
    # moto stores the bytes, and gives their wrong checksum to anyone who asks.
    Case("put-sha256", DIGEST, lambda s: s.put("new", b"abc", ChecksumSHA256=OTHER_SHA256)),
    Case("put-md5", DIGEST, lambda s: s.put("new", b"abc", ContentMD5=OTHER_MD5)),
    Case("part-sha256", DIGEST, lambda s: s.part(1, b"abc", ChecksumSHA256=OTHER_SHA256)),
]

MOTO_AGREES = [
    Case("get-if-match", CHANGED, lambda s: s.get("big", IfMatch=OTHER_ETAG)),
    Case("put-if-none-match", CHANGED, lambda s: s.put("big", b"", IfNoneMatch="*")),
    Case("complete-if-none-match", CHANGED, complete_with(IfNoneMatch="*")),
    Case("complete-etag", PART, lambda s: (s.part(1), s.complete((1, OTHER_ETAG)))),
    Case(
        "complete-part-replaced",
        PART,
        lambda s: s.complete((1, (s.part(1, b"first"), s.part(1, b"second"))[0])),
    ),
    Case(
        "complete-small-part",
        ("EntityTooSmall", 400),
        lambda s: s.complete((1, s.part(1)), (2, s.part(2))),
    ),
    Case("list-unknown", NO_UPLOAD, lambda s: s.s3.list_parts(**s.upload_to("unknown"))),
    Case(
        "abort-unknown", NO_UPLOAD, lambda s: s.s3.abort_multipart_upload(**s.upload_to("unknown"))
    ),
]


def scene(backend: Backend) -> Scene:
    """Set the scene in a bucket of its own."""
    fresh = backend.fresh()
    s3 = fresh.s3()
    s3.put_object(Bucket=fresh.bucket, Key="big", Body=bytes(6 * MIB))
    s3.put_object(Bucket=fresh.bucket, Key="small", Body=b"abc")
    s3.put_object(Bucket=fresh.bucket, Key="huge", Body=bytes(SMALL_COPY_LIMIT + 1))
    upload = s3.create_multipart_upload(Bucket=fresh.bucket, Key="mp")["UploadId"]
    return Scene(s3, fresh.bucket, upload)


def outcome(backend: Backend, case: Case) -> tuple[str, int]:
    """Return the code and status of the refusal; ("", 200) if there was none."""
    stage = scene(backend)
    try:
        case.act(stage)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    return "", 200
