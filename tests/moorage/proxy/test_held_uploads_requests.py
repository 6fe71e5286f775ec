"""What a push through the proxy costs in requests to S3 and DynamoDB, counted at botocore."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

import app
from chalicelib.digest import Digest
from chalicelib.wiring import registry as wiring_registry
from tests.support.calls import record_calls
from tests.support.servers import request, run_gateway, run_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.registries import RegistryUnderTest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@pytest.fixture
def proxy(registry: RegistryUnderTest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a proxy, with the default size of chunks, before the gateway and app.py."""
    monkeypatch.setattr(wiring_registry, "api", lambda: registry.api)
    with run_gateway(app.app) as gateway, run_proxy(gateway, chunk_size=4 << 20) as url:
        yield url


def push(url: str, data: bytes) -> dict[str, object]:
    """Push a blob as skopeo does: HEAD twice, POST, a PATCH without a length, an empty PUT."""
    digest = str(Digest.of(data))
    for _ in range(2):
        assert request(url, "HEAD", f"/v2/a/b/blobs/{digest}")[0] == 404
    status, answered, _ = request(url, "POST", "/v2/a/b/blobs/uploads/")
    assert status == 202
    status, answered, _ = request(url, "PATCH", answered["Location"], iter([data]))
    assert status == 202
    assert request(url, "PUT", f"{answered['Location']}&digest={digest}")[0] == 201
    return {"mediaType": LAYER, "digest": digest, "size": len(data)}


def test_an_image_of_thirty_small_layers(registry: RegistryUnderTest, proxy: str) -> None:
    """30 layers of 200 KB, a config and a manifest: one S3 request a blob, two of DynamoDB."""
    layers = [os.urandom(200_000) for _ in range(30)]
    with record_calls(registry.s3, registry.dynamodb) as calls:
        pushed = [push(proxy, data) for data in layers]
        config = push(proxy, b"{}")
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": pushed}
        body, headers = json.dumps(document).encode(), {"Content-Type": MANIFEST}
        assert request(proxy, "PUT", "/v2/a/b/manifests/1", body, headers)[0] == 201
    s3, dynamodb = calls.operations("s3"), calls.operations("dynamodb")
    print(f"30 x 200 KB: {calls.count('s3')} S3 requests {dict(s3)},")
    print(f"{calls.count('dynamodb')} DynamoDB requests {dict(dynamodb)}")
    assert dict(s3) == {"PutObject": 31}
    assert calls.count("dynamodb") == 67


def test_what_is_held_is_stored_by_one_request(registry: RegistryUnderTest, proxy: str) -> None:
    """After the first blob nothing is asked but for the two HEADs: one transaction."""
    push(proxy, b"first")
    with record_calls(registry.s3, registry.dynamodb) as calls:
        push(proxy, os.urandom((4 << 20) - 1))
    assert dict(calls.operations("s3")) == {"PutObject": 1}
    assert dict(calls.operations("dynamodb")) == {"BatchGetItem": 1, "TransactWriteItems": 1}


def test_a_blob_above_a_chunk_is_one_put_to_s3(registry: RegistryUnderTest, proxy: str) -> None:
    """It is published where it stands. The registry signs that PUT, and the proxy sends it."""
    push(proxy, b"first")
    with record_calls(registry.s3, registry.dynamodb) as calls:
        push(proxy, os.urandom(10 << 20))
    assert dict(calls.operations("s3")) == {"PutObject": 1, "HeadObject": 1}
    assert dict(calls.operations("dynamodb")) == {
        "BatchGetItem": 1,
        "PutItem": 1,
        "GetItem": 1,
        "TransactWriteItems": 1,
    }


def test_a_stream_in_parts_costs_two_requests_to_s3_a_part_and_six_more(
    registry: RegistryUnderTest, proxy: str
) -> None:
    """At most. 60 MB are eight parts, which the proxy puts; a URL that is signed is no request."""
    push(proxy, b"first")
    with record_calls(registry.s3, registry.dynamodb) as calls:
        push(proxy, os.urandom(60_000_000))
    s3, parts = dict(calls.operations("s3")), 8
    s3["UploadPart"] = parts
    print(f"60 MB: S3 {s3}, DynamoDB {dict(calls.operations('dynamodb'))}")
    assert sum(s3.values()) == 17 <= 2 * parts + 6
    assert calls.count("dynamodb") == 10
