"""What S3 refuses is refused by strict moto, and plain moto shows why it is needed."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.emulators.backends import Backend, moto_backend
from tests.emulators.s3_refusals import COPY_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_s3 import S3Client

MIB = 1024 * 1024
SMALL_COPY_LIMIT = 6 * MIB
"""Stands for S3's 5 GiB in these tests."""

OTHER_ETAG = '"00000000000000000000000000000000"'
OTHER_SHA256 = base64.b64encode(hashlib.sha256(b"others").digest()).decode()
OTHER_MD5 = base64.b64encode(hashlib.md5(b"others", usedforsecurity=False).digest()).decode()
BEYOND = f"bytes=0-{6 * MIB}"
OUTSIDE = f"bytes={7 * MIB}-{8 * MIB}"
WHOLE = f"bytes=0-{6 * MIB - 1}"


@dataclass(frozen=True)
class Scene:
    """A bucket with two objects (6 MiB at `big`, 3 bytes at `small`) and an open upload."""

    s3: S3Client
    bucket: str
    upload: str

    @property
    def open(self) -> Any:  # noqa: ANN401 - boto3's own options
        """Return what names the open upload in a call."""
        return {"Bucket": self.bucket, "Key": "mp", "UploadId": self.upload}

    def part(self, number: int, body: bytes = b"x", **more: Any) -> str:  # noqa: ANN401 - likewise
        """Upload a part to the open upload and return its ETag."""
        part = {"PartNumber": number, "Body": body}
        return self.s3.upload_part(**{**self.open, **part, **more})["ETag"]

    def copy_part(self, source: str = "big", **more: Any) -> object:  # noqa: ANN401 - likewise
        """Copy (a range of) an object into the open upload."""
        origin: Any = {"Bucket": self.bucket, "Key": source}
        return self.s3.upload_part_copy(**self.open, PartNumber=1, CopySource=origin, **more)

    def copy(self, source: str = "small", key: str = "copy", **more: Any) -> object:  # noqa: ANN401 - likewise
        """Copy an object."""
        origin: Any = {"Bucket": self.bucket, "Key": source}
        return self.s3.copy_object(Bucket=self.bucket, Key=key, CopySource=origin, **more)

    def put(self, key: str = "new", body: bytes = b"abc", **more: Any) -> object:  # noqa: ANN401 - likewise
        """Put an object."""
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **more)

    def complete(self, *parts: tuple[int, str], **more: Any) -> object:  # noqa: ANN401 - likewise
        """Complete the open upload."""
        listed: Any = {"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in parts]}
        return self.s3.complete_multipart_upload(**self.open, MultipartUpload=listed, **more)

    def complete_over(self, **more: Any) -> object:  # noqa: ANN401 - likewise
        """Complete an upload of one 3-byte part, over an object that exists."""
        self.put("mp", b"before")
        return self.complete((1, self.part(1, b"abc")), **more)

    def aborted(self) -> Scene:
        """Abort the upload; calls for it are then calls for one that is unknown."""
        self.s3.abort_multipart_upload(**self.open)
        return self


def scene(backend: Backend) -> Scene:
    """Set the scene in a bucket of its own."""
    fresh = backend.fresh()
    s3 = fresh.s3()
    upload = s3.create_multipart_upload(Bucket=fresh.bucket, Key="mp")["UploadId"]
    made = Scene(s3, fresh.bucket, upload)
    made.put("big", bytes(6 * MIB))
    made.put("small")
    made.put("huge", bytes(SMALL_COPY_LIMIT + 1))
    return made


@dataclass(frozen=True)
class Case:
    """What S3 refuses, with which code and status."""

    name: str
    act: Callable[[Scene], object]
    code: str
    status: int = 400

    def outcome(self, backend: Backend) -> tuple[str, int]:
        """Return the code and status of the refusal; ("", 200) if there was none."""
        stage = scene(backend)
        try:
            self.act(stage)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            return error.response["Error"]["Code"], status
        return "", 200


def complete_out_of_order(scene: Scene) -> object:
    """Name the second part first."""
    first, second = scene.part(1, bytes(5 * MIB)), scene.part(2, bytes(5 * MIB))
    return scene.complete((2, second), (1, first))


CHANGED, GONE = ("PreconditionFailed", 412), ("NoSuchUpload", 404)
CASES = [
    # moto copies what there is of the range.
    Case("range-beyond", lambda s: s.copy_part(CopySourceRange=BEYOND), "InvalidArgument"),
    # moto makes an empty part.
    Case("range-outside", lambda s: s.copy_part(CopySourceRange=OUTSIDE), "InvalidArgument"),
    # moto copies the whole object.
    Case("range-open", lambda s: s.copy_part(CopySourceRange="bytes=5-"), "InvalidArgument"),
    # moto copies ranges of any object.
    Case(
        "range-small", lambda s: s.copy_part("small", CopySourceRange="bytes=0-1"), "InvalidRequest"
    ),
    # moto ignores the header in both operations.
    Case("copy-source-if-match", lambda s: s.copy(CopySourceIfMatch=OTHER_ETAG), *CHANGED),
    Case("part-source-if-match", lambda s: s.copy_part(CopySourceIfMatch=OTHER_ETAG), *CHANGED),
    # moto answers 404 without a code.
    Case("part-copy-of-missing", lambda s: s.copy_part("missing"), "NoSuchKey", 404),
    # moto ignores both headers.
    Case("copy-if-none-match", lambda s: s.copy(key="big", IfNoneMatch="*"), *CHANGED),
    Case("copy-if-match", lambda s: s.copy(key="big", IfMatch=OTHER_ETAG), *CHANGED),
    # moto copies objects of any size in one piece.
    Case("copy-too-large", lambda s: s.copy("huge"), "InvalidRequest"),
    Case("part-copy-too-large", lambda s: s.copy_part("huge"), "InvalidRequest"),
    # moto ignores both headers.
    Case("complete-if-match", lambda s: s.complete_over(IfMatch=OTHER_ETAG), *CHANGED),
    Case("complete-size", lambda s: s.complete_over(MpuObjectSize=4), "InvalidRequest"),
    # moto's check of the order compares every number with 0.
    Case("complete-order", complete_out_of_order, "InvalidPartOrder"),
    # moto answers 200 again.
    Case("complete-twice", lambda s: [s.complete((1, e)) for e in [s.part(1)] * 2], *GONE),
    # moto finds the upload by its id alone.
    Case("part-of-another-key", lambda s: s.part(1, Key="other"), *GONE),
    # moto stores the bytes.
    Case("put-md5", lambda s: s.put(ContentMD5=OTHER_MD5), "BadDigest"),
]

MOTO_AGREES = [
    Case(
        "get-if-match",
        lambda s: s.s3.get_object(Bucket=s.bucket, Key="big", IfMatch=OTHER_ETAG),
        *CHANGED,
    ),
    # By corrections of ours.
    Case("part-of-unknown", lambda s: s.aborted().part(1), *GONE),
    Case("part-copy-to-unknown", lambda s: s.aborted().copy_part(), *GONE),
    Case("complete-unknown", lambda s: (e := s.part(1), s.aborted().complete((1, e))), *GONE),
    Case("put-sha256", lambda s: s.put(ChecksumSHA256=OTHER_SHA256), "BadDigest"),
    Case("part-sha256", lambda s: s.part(1, b"abc", ChecksumSHA256=OTHER_SHA256), "BadDigest"),
    Case("put-if-none-match", lambda s: s.put("big", b"", IfNoneMatch="*"), *CHANGED),
    Case("complete-if-none-match", lambda s: s.complete_over(IfNoneMatch="*"), *CHANGED),
    Case("complete-etag", lambda s: (s.part(1), s.complete((1, OTHER_ETAG))), "InvalidPart"),
    Case(
        "complete-part-replaced",
        lambda s: s.complete((1, (s.part(1, b"first"), s.part(1, b"second"))[0])),
        "InvalidPart",
    ),
    Case("small-part", lambda s: s.complete((1, s.part(1)), (2, s.part(2))), "EntityTooSmall"),
    Case("list-unknown", lambda s: s.s3.list_parts(**s.open | {"UploadId": "unknown"}), *GONE),
    Case(
        "abort-unknown",
        lambda s: s.s3.abort_multipart_upload(**s.open | {"UploadId": "unknown"}),
        *GONE,
    ),
]


@pytest.fixture(scope="module")
def strict() -> Iterator[Backend]:
    """Strict moto that takes 6 MiB for the largest copy."""
    with moto_backend(copy_limit=SMALL_COPY_LIMIT) as backend:
        yield backend


@pytest.fixture(scope="module")
def plain() -> Iterator[Backend]:
    """Run moto as the local registry does."""
    with moto_backend(strict=False) as backend:
        yield backend


@pytest.mark.parametrize("case", CASES + MOTO_AGREES, ids=lambda case: case.name)
def test_strict_moto_refuses_what_s3_refuses(strict: Backend, case: Case) -> None:
    """Strict moto answers with S3's error code and status."""
    assert case.outcome(strict) == (case.code, case.status)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_plain_moto_accepts_what_s3_refuses(plain: Backend, case: Case) -> None:
    """Plain moto answers otherwise: once it doesn't, the check can go."""
    try:
        seen = case.outcome(plain)
    except BotoCoreError:  # an answer that botocore can't read is another answer too
        return
    assert seen != (case.code, case.status)


@pytest.mark.parametrize("case", MOTO_AGREES, ids=lambda case: case.name)
def test_plain_moto_refuses_these_as_s3_does(plain: Backend, case: Case) -> None:
    """Plain moto refuses these as S3 does, so that no check of ours is needed."""
    assert case.outcome(plain) == (case.code, case.status)


def test_what_s3_accepts_passes(strict: Backend) -> None:
    """Every right precondition, range, checksum and size is taken, and the bytes are right."""
    stage = scene(strict)
    big = stage.s3.head_object(Bucket=stage.bucket, Key="big")["ETag"]
    small = stage.s3.head_object(Bucket=stage.bucket, Key="small")["ETag"]
    sha256 = base64.b64encode(hashlib.sha256(b"end").digest()).decode()
    stage.copy(CopySourceIfMatch=small, IfNoneMatch="*")
    stage.copy(key="copy", IfMatch=small)
    stage.copy_part(CopySourceRange=WHOLE, CopySourceIfMatch=big)
    last = stage.part(3, b"end", ChecksumSHA256=sha256)
    first = stage.s3.list_parts(**stage.open)["Parts"][0]
    stage.complete((1, first["ETag"]), (3, last), IfNoneMatch="*", MpuObjectSize=6 * MIB + 3)
    body = stage.s3.get_object(Bucket=stage.bucket, Key="mp")["Body"].read()
    assert body == bytes(6 * MIB) + b"end"


def test_list_parts_pages_by_number(plain: Backend) -> None:
    """Pages of two of four parts, whose numbers have gaps, lose no part."""
    stage = scene(plain)
    for number in (9, 1, 10_000, 5):
        stage.part(number)
    paginator = stage.s3.get_paginator("list_parts")
    pages = paginator.paginate(**stage.open, PaginationConfig={"PageSize": 2})
    numbers = [part["PartNumber"] for page in pages for part in page.get("Parts", [])]
    assert numbers == [1, 5, 9, 10_000]


def test_pages_hold_at_most_a_thousand_parts(strict: Backend) -> None:
    """Asking for all parts in one page gives the first 1,000."""
    stage = scene(strict)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(stage.part, range(1, 1003)))
    page = stage.s3.list_parts(**stage.open, MaxParts=10_000)
    assert (len(page["Parts"]), page["IsTruncated"]) == (1000, True)


def test_one_of_many_writers_of_a_new_key_wins(strict: Backend) -> None:
    """If-None-Match lets exactly one of sixteen racing writers through."""
    stage = scene(strict)

    def write(number: int) -> str:
        try:
            stage.put("raced", bytes([number]) * 4096, IfNoneMatch="*")
        except ClientError as error:
            return error.response["Error"]["Code"]
        return "won"

    with ThreadPoolExecutor(16) as threads:
        outcomes = list(threads.map(write, range(16)))
    assert sorted(outcomes) == ["PreconditionFailed"] * 15 + ["won"]
    body = stage.s3.get_object(Bucket=stage.bucket, Key="raced")["Body"].read()
    assert body == bytes([outcomes.index("won")]) * 4096


def test_the_copy_limit_is_s3s_own_unless_moved() -> None:
    """One copy takes up to 5 GiB."""
    assert COPY_LIMIT == 5_368_709_120
