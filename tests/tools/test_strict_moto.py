"""What S3 refuses is refused by strict moto, and plain moto shows why it is needed."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.emulators.backends import Backend, moto_backend
from tests.emulators.s3_refusals import COPY_LIMIT
from tests.tools.s3_cases import (
    CASES,
    MIB,
    MOTO_AGREES,
    SMALL_COPY_LIMIT,
    WHOLE,
    Case,
    outcome,
    scene,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def strict() -> Iterator[Backend]:
    """Strict moto that takes 6 MiB for the largest copy."""
    with moto_backend(copy_limit=SMALL_COPY_LIMIT) as backend:
        yield backend


@pytest.fixture(scope="module")
def plain() -> Iterator[Backend]:
    """Run moto as it is."""
    with moto_backend(strict=False) as backend:
        yield backend


@pytest.mark.parametrize("case", CASES + MOTO_AGREES, ids=lambda case: case.name)
def test_strict_moto_refuses_what_s3_refuses(strict: Backend, case: Case) -> None:
    """Strict moto answers with S3's error code and status."""
    assert outcome(strict, case) == case.refusal


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_plain_moto_does_not(plain: Backend, case: Case) -> None:
    """Plain moto answers otherwise: once it doesn't, the check can go."""
    try:
        seen = outcome(plain, case)
    except BotoCoreError:  # an answer that botocore can't read is another answer too
        return
    assert seen != case.refusal


@pytest.mark.parametrize("case", MOTO_AGREES, ids=lambda case: case.name)
def test_plain_moto_agrees(plain: Backend, case: Case) -> None:
    """Plain moto refuses these as S3 does, so that no check of ours is needed."""
    assert outcome(plain, case) == case.refusal


def test_what_s3_accepts_passes(strict: Backend) -> None:
    """Every right precondition, range, checksum and size is taken, and the bytes are right."""
    stage = scene(strict)
    big = stage.s3.head_object(Bucket=stage.bucket, Key="big")["ETag"]
    small = stage.s3.head_object(Bucket=stage.bucket, Key="small")["ETag"]
    sha256 = base64.b64encode(hashlib.sha256(b"end").digest()).decode()
    stage.copy(CopySourceIfMatch=small, IfNoneMatch="*")
    stage.copy(key="copy", IfMatch=small)
    stage.copy_part(CopySourceRange=WHOLE, CopySourceIfMatch=big)
    last = stage.s3.upload_part(
        Bucket=stage.bucket,
        Key="mp",
        UploadId=stage.upload,
        PartNumber=3,
        Body=b"end",
        ChecksumSHA256=sha256,
    )["ETag"]
    first = stage.s3.list_parts(Bucket=stage.bucket, Key="mp", UploadId=stage.upload)["Parts"][0]
    stage.complete((1, first["ETag"]), (3, last), IfNoneMatch="*", MpuObjectSize=6 * MIB + 3)
    body = stage.s3.get_object(Bucket=stage.bucket, Key="mp")["Body"].read()
    assert body == bytes(6 * MIB) + b"end"


def test_list_parts_pages_by_number(strict: Backend) -> None:
    """Pages of parts whose numbers have gaps lose no part."""
    assert pages_of_parts(strict) == [1, 5, 9, 10_000]


def test_plain_moto_loses_parts(plain: Backend) -> None:
    """Plain moto takes the marker for an index, and loses parts between pages."""
    assert pages_of_parts(plain) != [1, 5, 9, 10_000]


def pages_of_parts(backend: Backend) -> list[int]:
    """List four parts in pages of two."""
    stage = scene(backend)
    for number in (9, 1, 10_000, 5):
        stage.part(number)
    pages = stage.s3.get_paginator("list_parts").paginate(
        Bucket=stage.bucket, Key="mp", UploadId=stage.upload, PaginationConfig={"PageSize": 2}
    )
    return [part["PartNumber"] for page in pages for part in page.get("Parts", [])]


def test_pages_hold_at_most_a_thousand_parts(strict: Backend) -> None:
    """Asking for all parts in one page gives the first 1,000."""
    stage = scene(strict)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(stage.part, range(1, 1003)))
    page = stage.s3.list_parts(
        Bucket=stage.bucket, Key="mp", UploadId=stage.upload, MaxParts=10_000
    )
    assert (len(page["Parts"]), page["IsTruncated"]) == (1000, True)


def test_one_of_many_writers_of_a_new_key_wins(strict: Backend) -> None:
    """If-None-Match lets exactly one of sixteen racing writers through."""
    stage = scene(strict)

    def write(number: int) -> str:
        body = bytes([number]) * 4096
        try:
            stage.s3.put_object(Bucket=stage.bucket, Key="raced", Body=body, IfNoneMatch="*")
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
