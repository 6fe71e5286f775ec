"""What a local registry's moto holds in memory grows by what is stored, and by nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from botocore.exceptions import ClientError
from moto.s3.exceptions import NoSuchUpload
from moto.s3.models import FakeKey, S3Backend

from chalicelib.digest import Digest
from moorage.local.moto_corrections import correct_moto
from tests.support.servers import request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.emulators.backends import Backend
    from tests.support.registries import RegistryUnderTest


def held(backend: Backend) -> int:
    """Return how many bytes of memory moto's process has."""
    asked = ["ps", "-o", "rss=", "-p", str(backend.pid)]
    return int(subprocess.run(asked, check=True, capture_output=True).stdout) * 1024


def push(registry: RegistryUnderTest, blobs: int) -> None:
    """Push blobs of 1 KiB, half of them by an upload in three requests."""
    for number in range(blobs):
        data = os.urandom(1024)
        closing = f"digest={Digest.of(data)}"
        if number % 2:
            answer = registry.ask("POST", f"load/blobs/uploads/?{closing}", data)
        else:
            opened = registry.ask("POST", "load/blobs/uploads/").headers["Location"]
            sent = registry.ask("PATCH", str(opened), data).headers["Location"]
            answer = registry.ask("PUT", f"{sent}&{closing}")
        assert answer.status == 201


def test_a_push_takes_the_memory_of_what_it_stores(
    registry: RegistryUnderTest, strict_moto: Backend
) -> None:
    """Blobs of 1 KiB and their items: not a copy of the tables for each transaction."""
    push(registry, 20)
    before, blobs = held(strict_moto), 40
    push(registry, blobs)
    assert (held(strict_moto) - before) / blobs < 100 * 1024


@pytest.mark.parametrize(
    ("span", "validator", "status"),
    [
        ("bytes=2-3", None, 206),
        ("bytes=2-3", "{ETag}", 206),
        ("bytes=2-3", "{LastModified}", 206),
        ("bytes=2-3", '"another"', 200),
        ("bytes=2-3", "W/{ETag}", 200),
        ("bytes=9-", '"another"', 200),
        ("bytes=9-", None, 416),
        ("bytes=0-1,3-4", None, 200),
        ("items=2-3", None, 200),
        ("bytes", None, 200),
    ],
)
def test_a_range_of_an_object_is_served_as_s3_does(
    strict_moto: Backend, span: str, validator: str | None, status: int
) -> None:
    """Of what If-Range names, and in bytes; no answer lets another site's page read it."""
    place: Any = {"Bucket": strict_moto.bucket, "Key": "key"}
    s3 = strict_moto.shared_clients()[0]
    s3.put_object(**place, Body=b"0123456")
    url = s3.generate_presigned_url("get_object", place)
    target = url.removeprefix(strict_moto.endpoint_url)
    _, stored, _ = request(strict_moto.endpoint_url, "GET", target)
    headers = {"Range": span, "Origin": "https://elsewhere.example"}
    if validator is not None:
        named = {"ETag": stored["ETag"], "LastModified": stored["Last-Modified"]}
        headers["If-Range"] = validator.format_map(named)
    told, answered, body = request(strict_moto.endpoint_url, "GET", target, headers=headers)
    assert told == status
    assert status == 416 or body == (b"23" if status == 206 else b"0123456")
    assert "Access-Control-Allow-Origin" not in answered


def test_deleted_objects_and_items_free_their_memory(strict_moto: Backend) -> None:
    """The data of moto's dashboard, which shows all instances of its models, has none of these."""
    backend = strict_moto.fresh()
    backend.s3().put_object(Bucket=backend.bucket, Key="key", Body=b"bytes")
    backend.s3().delete_object(Bucket=backend.bucket, Key="key")
    services = json.loads(request(backend.endpoint_url, "GET", "/moto-api/data.json")[2])
    assert services["s3"]["FakeKey"] == services["dynamodb"]["Table"] == []


def test_a_part_is_copied_without_reading_the_whole_object() -> None:
    """Else each of the many parts of a large layer would cost as much as all of it."""
    correct_moto()
    moto: Any = S3Backend("us-east-1", "0" * 12)
    data, name = os.urandom(1000), uuid.uuid4().hex
    moto.create_bucket(name, "us-east-1")
    moto.put_object(name, "k", data)
    opened = moto.create_multipart_upload(name, "copy", {}, "STANDARD", [], None, "", None)

    def copied(part: int, first: int | None, last: int | None) -> bytes:
        made = moto.upload_part_copy(name, opened.id, part, name, "k", None, first, last)
        made._value_buffer.seek(0)  # noqa: SLF001 - to read it without its `value`
        return bytes(made._value_buffer.read())  # noqa: SLF001 - likewise

    assert copied(2, None, None) == data
    unreadable = FakeKey.value.getter(mock.Mock(side_effect=AssertionError("the whole object")))  # type: ignore[attr-defined]
    with mock.patch.object(FakeKey, "value", unreadable):
        assert copied(1, 100, 199) == data[100:200]


def test_an_upload_that_is_over_takes_nothing_more() -> None:
    """Each is 404 NoSuchUpload, as S3 has it, and nothing that a client repeats."""
    correct_moto()
    moto: Any = S3Backend("us-east-1", "0" * 12)
    name = uuid.uuid4().hex
    moto.create_bucket(name, "us-east-1")
    moto.put_object(name, "k", b"bytes")
    opened = moto.create_multipart_upload(name, "over", {}, "STANDARD", [], None, "", None)
    moto.abort_multipart_upload(name, opened.id)
    late: Mapping[Any, tuple[object, ...]] = {
        moto.upload_part: (1, b"late"),
        moto.upload_part_copy: (1, name, "k", None, 0, 3),
        moto.complete_multipart_upload: ([],),
        moto.abort_multipart_upload: (),
    }
    for method, given in late.items():
        with pytest.raises(NoSuchUpload):
            method(name, opened.id, *given)


def test_a_range_is_served_without_reading_the_whole_object(strict_moto: Backend) -> None:
    """Else each of the many ranges of a large layer would cost as much as all of it."""
    s3 = strict_moto.shared_clients()[0]
    place: Any = {"Bucket": strict_moto.bucket, "Key": "large"}
    size = 150_000_000
    s3.put_object(**place, Body=bytes(size))
    before, process = held(strict_moto), Path(f"/proc/{strict_moto.pid}")
    (process / "clear_refs").write_text("5")  # the most that it has had is forgotten
    for first in range(0, size, 10_000_000):
        span = f"bytes={first}-{first + 9}"
        assert s3.get_object(**place, Range=span)["Body"].read() == bytes(10)
    most = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
    assert most
    assert int(most[1]) * 1024 - before < size / 2


def test_bytes_of_another_sha256_are_not_kept(backend: Backend) -> None:
    """A PUT that names a SHA-256 is compared with it, and a HEAD tells it; S3 does both."""
    s3 = backend.s3(request_checksum_calculation="when_required")
    where: Any = {"Bucket": backend.bucket, "Key": f"direct/{uuid.uuid4()}"}
    right = base64.b64encode(hashlib.sha256(b"right").digest()).decode()
    with pytest.raises(ClientError, match="BadDigest"):
        s3.put_object(**where, Body=b"wrong", ChecksumSHA256=right)
    with pytest.raises(ClientError, match="404"):
        s3.head_object(**where)
    s3.put_object(**where, Body=b"right", ChecksumSHA256=right)
    assert s3.head_object(**where, ChecksumMode="ENABLED")["ChecksumSHA256"] == right
    assert "ChecksumSHA256" not in s3.head_object(**where)


@pytest.mark.parametrize("attributes", [1, 30])
def test_an_item_of_more_than_400_kib_is_refused(strict_moto: Backend, attributes: int) -> None:
    """However many attributes it has; one that is a little smaller is stored."""
    table, client = strict_moto.fresh().uploads_table, strict_moto.shared_clients()[1]
    for size, fits in ((395_000, True), (412_000, False)):
        texts = {f"a{number}": {"S": "x" * (size // attributes)} for number in range(attributes)}
        item: Any = {"session": {"S": str(size)}, **texts}
        if fits:
            client.put_item(TableName=table, Item=item)
        else:
            with pytest.raises(ClientError, match="Item size has exceeded"):
                client.put_item(TableName=table, Item=item)
    stored = client.scan(
        TableName=table, ProjectionExpression="#s", ExpressionAttributeNames={"#s": "session"}
    )
    assert [item["session"]["S"] for item in stored["Items"]] == ["395000"]
