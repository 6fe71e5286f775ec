"""What one layer of `moorage push` costs in requests to S3 and DynamoDB, counted at botocore."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

import app
from chalicelib.descriptor import Descriptor
from chalicelib.digest import Algorithm, Digest
from chalicelib.wiring import registry as wiring_registry
from moorage.transfer import direct_sender
from moorage.transfer.client import RegistryClient
from moorage.transfer.content import FileSlice
from moorage.transfer.direct_sender import DirectSender
from moorage.transfer.places import registry_place
from moorage.transfer.registry_target import RegistryTarget
from moorage.transfer.uploads import ChunkSender
from tests.moorage.transfer.images import LAYER_TYPE
from tests.support.calls import record_calls
from tests.support.servers import run_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.registries import RegistryUnderTest

CHUNK = 4 << 20


class Counted:
    """Counts nothing, and remembers how far a blob was."""

    def __init__(self) -> None:
        self.offset = 0

    def kept(self, size: int) -> None:
        """See BlobProgress."""
        raise AssertionError(size)

    def moved(self, offset: int) -> None:
        """See BlobProgress."""
        self.offset = offset


@pytest.fixture
def gateway(registry: RegistryUnderTest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a gateway before app.py."""
    monkeypatch.setattr(wiring_registry, "api", lambda: registry.api)
    with run_gateway(app.app) as url:
        yield url


def layer(folder: Path, size: int) -> tuple[Path, bytes]:
    """Make the file of a layer; return it, and its bytes."""
    file, data = folder / "layer", os.urandom(size)
    file.write_bytes(data)
    return file, data


async def push(
    url: str,
    file: Path,
    data: bytes,
    algorithm: Algorithm = Algorithm.SHA256,
    *,
    repair: bool = False,
) -> str:
    """Push a layer as the command does, and look for it before; return the outcome."""
    blob = Descriptor(LAYER_TYPE, Digest.of(data, algorithm), len(data))
    client = RegistryClient(registry_place(f"{url}/team/app:1"), [], 90.0, plain_http=False)
    try:
        await client.open()
        sender = DirectSender(client, ChunkSender(client, CHUNK, 90.0), CHUNK, 90.0)
        target, progress = RegistryTarget(client, sender, repair=repair), Counted()
        outcome = await target.put_blob(blob, FileSlice(file, 0, len(data)), progress)
        assert progress.offset == (0 if outcome == "there" else len(data))
        return outcome
    finally:
        await client.close()


def test_a_layer_of_100_mb_costs_two_requests_to_s3_and_four_to_dynamodb(
    registry: RegistryUnderTest, gateway: str, tmp_path: Path
) -> None:
    """The client's PUT is counted where the registry signs it; a layer that is there costs two."""
    file, data = layer(tmp_path, 100_000_000)
    with record_calls(registry.s3, registry.dynamodb) as calls:
        assert asyncio.run(push(gateway, file, data)) == "sent"
    assert dict(calls.operations("s3")) == {"PutObject": 1, "HeadObject": 1}
    assert dict(calls.operations("dynamodb")) == {
        "BatchGetItem": 1,
        "PutItem": 1,
        "GetItem": 1,
        "TransactWriteItems": 1,
    }
    with record_calls(registry.s3, registry.dynamodb) as calls:
        assert asyncio.run(push(gateway, file, data)) == "there"
    assert dict(calls.operations()) == {"BatchGetItem": 1, "HeadObject": 1}


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_what_the_storage_has_lost_is_sent_again_by_a_repair(
    registry: RegistryUnderTest, gateway: str, tmp_path: Path, size: int
) -> None:
    """A push of the same day believes the registry, one with `repair` has it look at S3."""
    file, data = layer(tmp_path, size)
    assert asyncio.run(push(gateway, file, data)) == "sent"
    registry.s3.delete_object(Bucket=registry.bucket, Key=registry.stored()[0])
    assert asyncio.run(push(gateway, file, data)) == "there"
    assert asyncio.run(push(gateway, file, data, repair=True)) == "sent"
    assert asyncio.run(push(gateway, file, data, repair=True)) == "there"
    assert len(registry.stored()) == 1


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_layer_in_two_parts_costs_eight_requests_to_s3(
    algorithm: Algorithm,
    registry: RegistryUnderTest,
    gateway: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each part is put once, and both are read at once; a sha512 goes in parts at any size."""
    if algorithm is Algorithm.SHA256:
        monkeypatch.setattr(direct_sender, "LARGEST_WHOLE", CHUNK)
    file, data = layer(tmp_path, 9_000_000)
    with record_calls(registry.s3, registry.dynamodb) as calls:
        assert asyncio.run(push(gateway, file, data, algorithm)) == "sent"
    assert dict(calls.operations("s3")) == {
        "CreateMultipartUpload": 1,
        "UploadPart": 2,
        "PutObject": 1,
        "ListParts": 1,
        "CompleteMultipartUpload": 1,
        "GetObject": 1,
        "DeleteObjects": 1,
    }
    assert calls.count("dynamodb") <= 9


def test_a_layer_that_fits_a_chunk_costs_one_put(
    registry: RegistryUnderTest, gateway: str, tmp_path: Path
) -> None:
    """It goes to the registry by one POST."""
    file, data = layer(tmp_path, CHUNK)
    with record_calls(registry.s3, registry.dynamodb) as calls:
        assert asyncio.run(push(gateway, file, data)) == "sent"
    assert dict(calls.operations("s3")) == {"PutObject": 1}
    assert dict(calls.operations("dynamodb")) == {"BatchGetItem": 1, "TransactWriteItems": 1}
