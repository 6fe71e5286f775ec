"""The relay before a backend: what it passes on, what it counts, and how long it takes."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from yarl import URL

from bench import cloud
from bench.backends import Counts, relay
from bench.relay import Kind, kind_of, latency, units_of
from tests.support.fake_registry import read_body, run_handler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse

    from bench.backends import Counted

SIGNED = "X-Amz-Signature=0"


async def told(request: web.BaseRequest) -> web.Response:
    """Answer with what came: method, target, Host and the number of bytes."""
    body = await read_body(request)
    came = [request.method, request.raw_path, request.headers["Host"], len(body)]
    return web.json_response(came, status=404 if "missing" in request.path else 200)


@pytest.fixture(scope="module", params=[False, True], ids=["unslowed", "slowed"])
def relayed(request: pytest.FixtureRequest) -> Iterator[tuple[bool, Counted]]:
    """A relay before a server that tells what came, and whether it takes AWS's time."""
    with run_handler(told) as behind, relay(behind, slowed=request.param) as running:
        yield request.param, running


def asked(url: str, method: str, data: bytes | None) -> HTTPResponse:
    """Send one request."""
    request = urllib.request.Request(url, data=data, method=method)  # noqa: S310 - loopback
    answer: HTTPResponse = urllib.request.urlopen(request)  # noqa: S310 - loopback
    return answer


def test_a_request_is_passed_on_as_it_is_counted_and_slowed(
    relayed: tuple[bool, Counted],
) -> None:
    """An encoded path, the Host and the body; the time is that of a request and of its bytes."""
    slowed, running = relayed
    before, size = running.counts(), 4_000_000
    target = f"/bucket/a%2Fb?{SIGNED}"
    began = time.perf_counter()
    with asked(running.url + target, "PUT", bytes(size)) as answer:
        came = json.load(answer)
    took = time.perf_counter() - began
    assert came == ["PUT", target, urlsplit(running.url).netloc, size]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        asked(f"{running.url}/bucket/missing", "GET", None)
    assert took >= cloud.s3_seconds(size) * 0.9 or not slowed
    counted = running.counts().since(before)
    assert counted.requests("s3", "PutObject", by_url=True) == 1
    assert counted.requests("s3", "GetObject", by_url=False) == 1
    [put] = [row for kind, row in counted.rows.items() if kind.operation == "PutObject"]
    assert size < put.moved < size + 200
    assert Counts.of(json.loads(json.dumps(counted.as_rows()))) == counted


@pytest.mark.parametrize(
    ("method", "target", "headers", "operation"),
    [
        ("PUT", "/b/k", {}, "PutObject"),
        ("PUT", "/b/k", {"x-amz-copy-source": "/b/o"}, "CopyObject"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", {}, "UploadPart"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", {"x-amz-copy-source": "/b/o"}, "UploadPartCopy"),
        ("POST", "/b/k?uploads", {}, "CreateMultipartUpload"),
        ("POST", "/b/k?uploadId=u", {}, "CompleteMultipartUpload"),
        ("DELETE", "/b/k?uploadId=u", {}, "AbortMultipartUpload"),
        ("GET", "/b/k?uploadId=u", {}, "ListParts"),
        ("GET", "/b/k/with/slashes", {}, "GetObject"),
        ("HEAD", "/b/k", {}, "HeadObject"),
        ("DELETE", "/b/k", {}, "DeleteObject"),
        ("POST", "/b?delete", {}, "DeleteObjects"),
        ("GET", "/b?list-type=2", {}, "ListObjectsV2"),
        ("GET", "/b/?uploads", {}, "ListMultipartUploads"),
    ],
)
def test_a_request_to_s3_is_named(
    method: str, target: str, headers: dict[str, str], operation: str
) -> None:
    """By its method, its query and whether it copies."""
    kind = kind_of(method, URL(target, encoded=True), headers, 0)
    assert kind == Kind("s3", operation, by_url=False, size="none")
    assert latency(kind) == cloud.S3_REQUEST_SECONDS


def test_a_request_to_dynamodb_or_to_a_gateway_is_named() -> None:
    """By X-Amz-Target; by the method and what it is about."""
    target = {"X-Amz-Target": "DynamoDB_20120810.GetItem"}
    read = kind_of("POST", URL("/"), target, 100)
    assert read == Kind("dynamodb", "GetItem", by_url=False, size="up to 64 KiB")
    assert latency(read) == cloud.DYNAMODB_REQUEST_SECONDS
    chunk = kind_of("PATCH", URL("/v2/a/b/blobs/uploads/x"), {}, 6 << 20)
    assert chunk == Kind("gateway", "PATCH blobs/uploads", by_url=False, size="above 5 MiB")
    assert latency(chunk) == 0


@pytest.mark.parametrize(
    ("operation", "body", "units"),
    [
        ("TransactWriteItems", {"TransactItems": [{}, {}, {}]}, 6),
        ("UpdateItem", {}, 1),
        ("GetItem", {"ConsistentRead": True}, 1),
        ("Query", {}, 0.5),
        (
            "BatchGetItem",
            {
                "RequestItems": {
                    "t": {"Keys": [{}, {}], "ConsistentRead": True},
                    "u": {"Keys": [{}]},
                }
            },
            2.5,
        ),
    ],
)
def test_units_are_those_of_small_items(
    operation: str, body: dict[str, object], units: float
) -> None:
    """A transaction takes two for each item, an eventually consistent read half of one."""
    assert units_of(operation, json.dumps(body).encode()) == units
