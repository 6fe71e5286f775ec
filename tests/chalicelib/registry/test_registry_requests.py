"""What an upload costs in requests to S3 and DynamoDB, counted at botocore."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from chalicelib.digest import Digest
from chalicelib.registry.service import Limits
from tests.support.calls import record_calls

if TYPE_CHECKING:
    from tests.support.calls import CallRecorder
    from tests.support.registries import RegistryUnderTest

MIB = 1024 * 1024


def push(registry: RegistryUnderTest, size: int, chunk: int) -> tuple[int, CallRecorder]:
    """Push random bytes in chunks; returns how many chunks, and the calls made."""
    data = os.urandom(size)
    with record_calls(registry.s3, registry.dynamodb) as calls:
        at = str(registry.ask("POST", "a/b/blobs/uploads").headers["Location"])
        offsets = range(0, size, chunk)
        for offset in offsets:
            response = registry.ask("PATCH", at, data[offset : offset + chunk])
            assert response.status == 202
            at = str(response.headers["Location"])
        assert registry.ask("PUT", f"{at}&digest={Digest.of(data)}").status == 201
    return len(offsets), calls


@pytest.mark.parametrize("size", [100_000_000, 100 * MIB])
def test_a_layer_in_chunks_of_4_mib(registry: RegistryUnderTest, size: int) -> None:
    """100 MB cost at most 1.5 S3 requests a chunk and 10; nothing but tails is read back."""
    chunks, calls = push(registry, size, 4 * MIB)
    s3 = calls.operations("s3")
    print(f"{size} bytes, {chunks} chunks: {calls.count('s3')} S3 requests {dict(s3)},")
    print(f"{calls.count('dynamodb')} DynamoDB requests {dict(calls.operations('dynamodb'))}")
    assert calls.count("s3") <= 1.5 * chunks + 10
    assert {name for name in s3 if name.startswith("List")} == {"ListParts"}
    read = [str(call.params["Key"]) for call in calls.of("s3", "GetObject")]
    assert all("/tail-" in key for key in read)


def test_a_patch_is_two_writes(registry: RegistryUnderTest) -> None:
    """Appending a chunk costs two DynamoDB writes and no read."""
    with record_calls(registry.s3, registry.dynamodb) as calls:
        at = str(registry.ask("POST", "a/b/blobs/uploads").headers["Location"])
    assert calls.count() == 0
    with record_calls(registry.s3, registry.dynamodb) as calls:
        at = str(registry.ask("PATCH", at, b"abc").headers["Location"])
    assert dict(calls.operations("dynamodb")) == {"PutItem": 1, "UpdateItem": 1}
    with record_calls(registry.s3, registry.dynamodb) as calls:
        assert registry.ask("PATCH", at, b"def").status == 202
    assert dict(calls.operations("dynamodb")) == {"UpdateItem": 2}


def test_a_whole_put_is_one_put_and_one_transaction(registry: RegistryUnderTest) -> None:
    """POST and PUT, as containerd sends every blob, cost no more than the blob's own two writes.

    Of what another repository has, S3 is asked whether it is there, and the bytes are deleted.
    """
    data = os.urandom(2 * MIB)
    costs = []
    for name in ("a/b", "c/d"):
        with record_calls(registry.s3, registry.dynamodb) as calls:
            at = registry.ask("POST", f"{name}/blobs/uploads").headers["Location"]
            assert registry.ask("PUT", f"{at}&digest={Digest.of(data)}", data).status == 201
        costs.append((dict(calls.operations("s3")), dict(calls.operations("dynamodb"))))
    assert costs == [
        ({"PutObject": 1}, {"TransactWriteItems": 1}),
        ({"PutObject": 1, "HeadObject": 1, "DeleteObjects": 1}, {"TransactWriteItems": 2}),
    ]


def test_an_upload_without_a_byte_costs_nothing(registry: RegistryUnderTest) -> None:
    """A status is one read, a cancellation one write more; a forged ticket costs nothing."""
    at = str(registry.ask("POST", "a/b/blobs/uploads").headers["Location"]).partition("?")[0]
    for method, target, status, cost in (
        ("GET", at, 204, {"GetItem": 1}),
        ("GET", f"{at}x", 404, {}),
        ("DELETE", at, 204, {"GetItem": 1, "PutItem": 1}),
        ("GET", at, 404, {"GetItem": 1}),
    ):
        with record_calls(registry.s3, registry.dynamodb) as calls:
            assert registry.ask(method, target).status == status
        assert dict(calls.operations("dynamodb")) == cost
        assert calls.count("s3") == 0


def test_small_chunks_cost_as_much_late_as_early(registry: RegistryUnderTest) -> None:
    """In chunks of 1 MB the requests for each chunk do not grow with the upload."""
    few, early = push(registry, 10_000_000, 1_000_000)
    many, late = push(registry, 40_000_000, 1_000_000)
    print(f"{few} chunks: {early.count('s3')} S3 requests; {many}: {late.count('s3')}")
    assert (late.count("s3") - early.count("s3")) / (many - few) <= 2.3


def test_a_small_blob_in_one_request(registry: RegistryUnderTest) -> None:
    """1 KiB by POST ?digest= costs one S3 request and one transaction."""
    data = os.urandom(1024)
    with record_calls(registry.s3, registry.dynamodb) as calls:
        target = f"a/b/blobs/uploads?digest={Digest.of(data)}"
        assert registry.ask("POST", target, data).status == 201
    assert dict(calls.operations("s3")) == {"PutObject": 1}
    assert dict(calls.operations("dynamodb")) == {"TransactWriteItems": 1}


def test_a_large_manifest(registry: RegistryUnderTest) -> None:
    """Its body costs what a small blob costs. A DELETE of a blob asks if it is a manifest's."""
    document = {"schemaVersion": 2, "manifests": [], "annotations": {"a": "x" * 120_000}}
    body = json.dumps(document).encode()
    digest, media_type = Digest.of(body), "application/vnd.oci.image.index.v1+json"
    with record_calls(registry.s3, registry.dynamodb) as calls:
        target = f"a/b/manifests/{digest}"
        assert registry.ask("PUT", target, body, content_type=media_type).status == 201
    assert dict(calls.operations("s3")) == {"PutObject": 1}
    # Pending; what the push finds; the catalog; the body, and the manifest live.
    assert dict(calls.operations("dynamodb")) == {
        "PutItem": 2,
        "BatchGetItem": 1,
        "TransactWriteItems": 2,
    }
    with record_calls(registry.s3, registry.dynamodb) as calls:
        assert registry.ask("DELETE", target).status == 202
    # Its body stays as long as it is in the trash; whether it is the manifest's own is asked. Its
    # tags are looked for, and whether it is in use.
    operations = {
        "GetItem": 1,
        "BatchGetItem": 1,
        "UpdateItem": 1,
        "Query": 2,
        "TransactWriteItems": 1,
    }
    assert dict(calls.operations("dynamodb")) == operations
    blob = Digest.of(b"")
    assert registry.ask("POST", f"a/b/blobs/uploads?digest={blob}").status == 201
    with record_calls(registry.s3, registry.dynamodb) as calls:
        assert registry.ask("DELETE", f"a/b/blobs/{blob}").status == 202
    operations = {"BatchGetItem": 1, "GetItem": 1, "TransactWriteItems": 1}
    assert dict(calls.operations("dynamodb")) == operations


def test_a_small_blob_in_three_requests(registry: RegistryUnderTest) -> None:
    """1 KiB by POST, PATCH and PUT costs at most three S3 requests."""
    _, calls = push(registry, 1024, 1024)
    print(f"1 KiB: {dict(calls.operations('s3'))} {dict(calls.operations('dynamodb'))}")
    assert calls.count("s3") <= 3


def test_an_existing_blob_costs_one_head_of_its_object(registry: RegistryUnderTest) -> None:
    """For a push, a mount, and a HEAD that touches its link."""
    data = os.urandom(7 * MIB)
    for size in (1024, len(data)):
        target = f"a/b/blobs/uploads?digest={Digest.of(data[:size])}"
        assert registry.ask("POST", target, data[:size]).status == 201
    small, large = Digest.of(data[:1024]), Digest.of(data)

    def cost(method: str, target: str, body: bytes = b"") -> tuple[dict[str, int], int]:
        with record_calls(registry.s3, registry.dynamodb) as calls:
            assert registry.ask(method, target, body).status < 300
        return dict(calls.operations("s3")), calls.count("dynamodb")

    whole = cost("POST", f"c/d/blobs/uploads?digest={small}", data[:1024])
    assert whole == ({"PutObject": 1, "HeadObject": 1, "DeleteObjects": 1}, 2)
    at = str(registry.ask("POST", "c/d/blobs/uploads").headers["Location"])
    at = str(registry.ask("PATCH", at, data).headers["Location"])
    parts = cost("PUT", f"{at}&digest={large}")
    assert parts == ({"HeadObject": 1, "AbortMultipartUpload": 1, "DeleteObjects": 1}, 5)
    mounted = cost("POST", f"e/f/blobs/uploads?mount={large}&from=a/b")
    assert mounted == ({"HeadObject": 1}, 3)
    assert cost("HEAD", f"a/b/blobs/{small}") == ({}, 1)
    assert cost("GET", f"a/b/blobs/{small}") == ({}, 1)
    registry.clock.sleep(Limits().link_grace)
    assert cost("GET", f"a/b/blobs/{small}") == ({}, 1)
    assert cost("HEAD", f"a/b/blobs/{small}") == ({"HeadObject": 1}, 2)
    assert cost("HEAD", f"a/b/blobs/{small}") == ({}, 1)
