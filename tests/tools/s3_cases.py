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
OTHER_ETAG = '"00000000000000000000000000000000"'


@dataclass(frozen=True)
class Scene:
    """A bucket with two objects (6 MiB at `big`, 3 bytes at `small`) and an open upload."""

    s3: S3Client
    bucket: str
    upload: str

    def part(self, number: int, body: bytes = b"x") -> str:
        """Upload a part to the open upload and return its ETag."""
        return self.s3.upload_part(
            Bucket=self.bucket, Key="mp", UploadId=self.upload, PartNumber=number, Body=body
        )["ETag"]

    def copy_part(self, source: str = "big", number: int = 1, **more: Any) -> object:  # noqa: ANN401 - boto3's own options
        """Copy (a range of) an object into the open upload."""
        return self.s3.upload_part_copy(
            Bucket=self.bucket,
            Key="mp",
            UploadId=self.upload,
            PartNumber=number,
            CopySource={"Bucket": self.bucket, "Key": source},
            **more,
        )

    def copy(self, source: str = "small", key: str = "copy", **more: Any) -> object:  # noqa: ANN401 - boto3's own options
        """Copy an object."""
        return self.s3.copy_object(
            Bucket=self.bucket,
            Key=key,
            CopySource={"Bucket": self.bucket, "Key": source},
            **more,
        )

    def complete(self, *parts: tuple[int, str], **more: Any) -> object:  # noqa: ANN401 - boto3's own options
        """Complete the open upload."""
        return self.s3.complete_multipart_upload(
            Bucket=self.bucket,
            Key="mp",
            UploadId=self.upload,
            MultipartUpload={"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in parts]},
            **more,
        )


@dataclass(frozen=True)
class Case:
    """What S3 refuses, with which code and status."""

    name: str
    act: Callable[[Scene], object]
    code: str
    status: int


def complete_with(**more: Any) -> Callable[[Scene], object]:  # noqa: ANN401 - boto3's own options
    """Complete an upload of one 3-byte part, over an object that exists."""

    def act(scene: Scene) -> object:
        scene.s3.put_object(Bucket=scene.bucket, Key="mp", Body=b"before")
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


def put(**more: Any) -> Callable[[Scene], object]:  # noqa: ANN401 - boto3's own options
    """Put `abc` with a checksum of its own."""

    def act(scene: Scene) -> object:
        return scene.s3.put_object(Bucket=scene.bucket, Key="new", Body=b"abc", **more)

    return act


def part_with_checksum(scene: Scene) -> object:
    """Upload a part with another part's SHA-256."""
    return scene.s3.upload_part(
        Bucket=scene.bucket,
        Key="mp",
        UploadId=scene.upload,
        PartNumber=1,
        Body=b"abc",
        ChecksumSHA256=OTHER_SHA256,
    )


def to_another_key(scene: Scene) -> object:
    """Upload a part to a key that the upload isn't for."""
    return scene.s3.upload_part(
        Bucket=scene.bucket, Key="other", UploadId=scene.upload, PartNumber=1, Body=b"x"
    )


def to_unknown(scene: Scene) -> object:
    """Upload a part to an upload that was aborted."""
    scene.s3.abort_multipart_upload(Bucket=scene.bucket, Key="mp", UploadId=scene.upload)
    return scene.part(1)


def copy_to_unknown(scene: Scene) -> object:
    """Copy a part to an upload that was aborted."""
    scene.s3.abort_multipart_upload(Bucket=scene.bucket, Key="mp", UploadId=scene.upload)
    return scene.copy_part()


def complete_unknown(scene: Scene) -> object:
    """Complete an upload that was aborted."""
    etag = scene.part(1)
    scene.s3.abort_multipart_upload(Bucket=scene.bucket, Key="mp", UploadId=scene.upload)
    return scene.complete((1, etag))


OTHER_SHA256 = base64.b64encode(hashlib.sha256(b"others").digest()).decode()
OTHER_MD5 = base64.b64encode(hashlib.md5(b"others", usedforsecurity=False).digest()).decode()
BEYOND = f"bytes=0-{6 * MIB}"
OUTSIDE = f"bytes={7 * MIB}-{8 * MIB}"
WHOLE = f"bytes=0-{6 * MIB - 1}"

CASES = [
    # moto copies what there is of the range.
    Case("range-beyond", lambda s: s.copy_part(CopySourceRange=BEYOND), "InvalidArgument", 400),
    # moto makes an empty part.
    Case("range-outside", lambda s: s.copy_part(CopySourceRange=OUTSIDE), "InvalidArgument", 400),
    # moto copies the whole object.
    Case("range-open", lambda s: s.copy_part(CopySourceRange="bytes=5-"), "InvalidArgument", 400),
    # moto copies ranges of any object.
    Case(
        "range-of-small",
        lambda s: s.copy_part("small", CopySourceRange="bytes=0-1"),
        "InvalidRequest",
        400,
    ),
    # moto ignores the header in both operations.
    Case(
        "copy-source-if-match",
        lambda s: s.copy(CopySourceIfMatch=OTHER_ETAG),
        "PreconditionFailed",
        412,
    ),
    Case(
        "part-copy-source-if-match",
        lambda s: s.copy_part(CopySourceIfMatch=OTHER_ETAG),
        "PreconditionFailed",
        412,
    ),
    # moto answers 404 without a code.
    Case("part-copy-of-missing", lambda s: s.copy_part("missing"), "NoSuchKey", 404),
    # moto ignores both headers.
    Case(
        "copy-if-none-match",
        lambda s: s.copy(key="big", IfNoneMatch="*"),
        "PreconditionFailed",
        412,
    ),
    Case(
        "copy-if-match", lambda s: s.copy(key="big", IfMatch=OTHER_ETAG), "PreconditionFailed", 412
    ),
    # moto copies objects of any size in one piece.
    Case("copy-too-large", lambda s: s.copy("huge"), "InvalidRequest", 400),
    Case("part-copy-too-large", lambda s: s.copy_part("huge"), "InvalidRequest", 400),
    # moto ignores both headers.
    Case("complete-if-match", complete_with(IfMatch=OTHER_ETAG), "PreconditionFailed", 412),
    Case("complete-size", complete_with(MpuObjectSize=4), "InvalidRequest", 400),
    # moto's check of the order compares every number with 0.
    Case("complete-order", complete_out_of_order, "InvalidPartOrder", 400),
    # moto answers 200 again.
    Case("complete-twice", complete_twice, "NoSuchUpload", 404),
    # moto answers 500.
    Case("part-of-unknown", to_unknown, "NoSuchUpload", 404),
    Case("part-copy-to-unknown", copy_to_unknown, "NoSuchUpload", 404),
    Case("complete-unknown", complete_unknown, "NoSuchUpload", 404),
    # moto finds the upload by its id alone.
    Case("part-of-another-key", to_another_key, "NoSuchUpload", 404),
    # moto stores the bytes, and tells their wrong checksum to whoever asks.
    Case("put-sha256", put(ChecksumSHA256=OTHER_SHA256), "BadDigest", 400),
    Case("put-md5", put(ContentMD5=OTHER_MD5), "BadDigest", 400),
    Case("part-sha256", part_with_checksum, "BadDigest", 400),
]

MOTO_AGREES = [
    Case(
        "get-if-match",
        lambda s: s.s3.get_object(Bucket=s.bucket, Key="big", IfMatch=OTHER_ETAG),
        "PreconditionFailed",
        412,
    ),
    Case(
        "put-if-none-match",
        lambda s: s.s3.put_object(Bucket=s.bucket, Key="big", Body=b"", IfNoneMatch="*"),
        "PreconditionFailed",
        412,
    ),
    Case("complete-if-none-match", complete_with(IfNoneMatch="*"), "PreconditionFailed", 412),
    Case(
        "complete-etag",
        lambda s: (s.part(1), s.complete((1, OTHER_ETAG))),
        "InvalidPart",
        400,
    ),
    Case(
        "complete-part-replaced",
        lambda s: s.complete((1, (s.part(1, b"first"), s.part(1, b"second"))[0])),
        "InvalidPart",
        400,
    ),
    Case(
        "complete-small-part",
        lambda s: s.complete((1, s.part(1)), (2, s.part(2))),
        "EntityTooSmall",
        400,
    ),
    Case(
        "list-unknown",
        lambda s: s.s3.list_parts(Bucket=s.bucket, Key="mp", UploadId="unknown"),
        "NoSuchUpload",
        404,
    ),
    Case(
        "abort-unknown",
        lambda s: s.s3.abort_multipart_upload(Bucket=s.bucket, Key="mp", UploadId="unknown"),
        "NoSuchUpload",
        404,
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
