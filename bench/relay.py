"""``python -m bench.relay``: stands before a server, counts requests, and slows them as AWS would.

Before S3 and DynamoDB it takes the time that bench/cloud.py says; with ``--unslowed``, and before a
gateway, it only counts. It changes no request and no answer: presigned URLs name its own address,
so that what a client sends to S3 itself passes here, too. ``GET /moorage-bench/counts`` reads what
it has counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from bench import cloud
from moorage.common.http_server import HOP_BY_HOP, send_continue
from moorage.local.children import exit_with_parent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

COUNTS_PATH = "/moorage-bench/counts"
_BUFFER = 1 << 20
_SIZES = ((0, "none"), (64 << 10, "up to 64 KiB"), (5 << 20, "up to 5 MiB"))
_LARGER = "above 5 MiB"
_SHORTEST = 0.002
"""No shorter sleep is worth it: it takes a millisecond more than it should."""

_OF_A_REGISTRY = re.compile(r"/(blobs/uploads|_moorage|blobs|manifests|tags|referrers)(?=/|$)")


@dataclass(frozen=True, order=True)
class Kind:
    """What one request was: what it is counted under."""

    service: str
    """`s3`, `dynamodb`, `other` of AWS's, or `gateway`."""
    operation: str
    """As AWS names it; at a gateway the method and what it is about."""
    by_url: bool
    """Whether it came by a presigned URL: from a client, which the registry sent here."""
    size: str
    """The class of the larger one of its body and its answer's."""


def kind_of(method: str, url: URL, headers: Mapping[str, str], size: int) -> Kind:
    """Return what a request is, which moved `size` bytes."""
    target = headers.get("X-Amz-Target", "")
    by_url = "X-Amz-Signature" in url.query
    name = next((name for most, name in _SIZES if size <= most), _LARGER)
    if target:
        service, _, operation = target.partition(".")
        known = "dynamodb" if service.startswith("DynamoDB") else "other"
        return Kind(known, operation, by_url, name)
    if url.raw_path.startswith("/v2/"):
        about = _OF_A_REGISTRY.search(url.raw_path)
        return Kind("gateway", f"{method} {about[1] if about else '/v2/'}", by_url, name)
    return Kind("s3", _s3_operation(method, url, headers), by_url, name)


def _s3_operation(method: str, url: URL, headers: Mapping[str, str]) -> str:
    """Name an operation on S3, whose URL has the bucket in its path."""
    _, _, key = url.raw_path.strip("/").partition("/")
    query = url.query
    if not key:
        if method == "POST" and "delete" in query:
            return "DeleteObjects"
        if method == "GET" and "uploads" in query:
            return "ListMultipartUploads"
        return "ListObjectsV2" if method == "GET" else f"{method} bucket"
    copies = "x-amz-copy-source" in headers
    if "uploadId" in query:
        put = "UploadPartCopy" if copies else "UploadPart"
        return {"GET": "ListParts", "PUT": put, "POST": "CompleteMultipartUpload"}.get(
            method, "AbortMultipartUpload"
        )
    put = "CopyObject" if copies else "PutObject"
    post = "CreateMultipartUpload" if "uploads" in query else "POST object"
    known = {"GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
    return (known | {"PUT": put, "POST": post})[method]


def units_of(operation: str, body: bytes) -> float:
    """Return the read or write units that DynamoDB bills for a request whose items are small.

    An item of more than a KB written, or of more than 4 KB read, takes more: bench/cost_meter.py.
    """
    asked = json.loads(body)
    match operation:
        case "TransactWriteItems":
            return 2.0 * len(asked["TransactItems"])
        case "BatchGetItem":
            return sum(
                (1.0 if table.get("ConsistentRead") else 0.5) * len(table["Keys"])
                for table in asked["RequestItems"].values()
            )
        case "GetItem" | "Query":
            return 1.0 if asked.get("ConsistentRead") else 0.5
    return 1.0


def latency(kind: Kind) -> float:
    """Return how long a request takes besides its bytes, in seconds."""
    known = {"s3": cloud.S3_REQUEST_SECONDS, "dynamodb": cloud.DYNAMODB_REQUEST_SECONDS}
    return known.get(kind.service, 0.0)


class Relay:
    """One server behind; `slowed`: with the time that AWS takes."""

    def __init__(self, behind: str, *, slowed: bool) -> None:
        self._behind = behind.rstrip("/")
        self._slowed = slowed
        self._requests: Counter[Kind] = Counter()
        self._bytes: Counter[Kind] = Counter()
        self._units: defaultdict[Kind, float] = defaultdict(float)

    async def serve(self, port: int) -> None:
        """Listen on loopback until the parent ends."""
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, read_bufsize=_BUFFER
        ) as session:
            self._session = session
            server = web.Server(self._handle, read_bufsize=_BUFFER, access_log=None)
            runner = web.ServerRunner(server)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await asyncio.Event().wait()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == COUNTS_PATH:
            return web.json_response(self.counted())
        url = URL(request.raw_path, encoded=True)
        kind = kind_of(request.method, url, request.headers, 0)
        if self._slowed:
            await asyncio.sleep(latency(kind))
        await send_continue(request)  # a round trip's time is left out
        moved, units = [0], 0.0
        data: bytes | AsyncIterator[bytes] | None = None
        if kind.service == "dynamodb":
            data = body = await request.read()
            moved, units = [len(body)], units_of(kind.operation, body)
        elif request.body_exists:
            data = self._paced(request.content, moved)
        async with self._session.request(
            request.method,
            URL(self._behind + request.raw_path, encoded=True),
            headers=_passed(request.headers),
            data=data,
            allow_redirects=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers=_passed(answer.headers))
            moved.append(0)
            await response.prepare(request)
            if request.method != "HEAD":
                async for piece in self._paced(answer.content, moved):
                    await response.write(piece)
            self._requests[kind := kind_of(request.method, url, request.headers, max(moved))] += 1
            self._bytes[kind] += sum(moved)
            self._units[kind] += units
            await response.write_eof()
            return response

    async def _paced(self, stream: aiohttp.StreamReader, moved: list[int]) -> AsyncIterator[bytes]:
        """Pass a body on, no faster than one stream of S3's; adds its size to `moved`."""
        began, passed = time.monotonic(), 0
        async for piece in stream.iter_any():
            passed += len(piece)
            moved[-1] += len(piece)
            ahead = passed / cloud.STREAM_BYTES_PER_SECOND - (time.monotonic() - began)
            if self._slowed and ahead > _SHORTEST:
                await asyncio.sleep(ahead)
            yield piece

    def counted(self) -> list[dict[str, object]]:
        """Return what was counted, a row a kind of request."""
        return [
            {
                **asdict(kind),
                "requests": requests,
                "bytes": self._bytes[kind],
                "units": self._units[kind],
            }
            for kind, requests in sorted(self._requests.items())
        ]


def _passed(headers: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict((k, v) for k, v in headers.items() if k.lower() not in HOP_BY_HOP)


def main() -> int:
    """Serve until the parent ends."""
    parser = argparse.ArgumentParser(prog="python -m bench.relay", description=__doc__)
    parser.add_argument("behind", help="the URL of the server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--unslowed", action="store_true", help="count only")
    options = parser.parse_args()
    asyncio.run(Relay(options.behind, slowed=not options.unslowed).serve(options.port))
    return 0


if __name__ == "__main__":
    exit_with_parent()
    sys.exit(main())
