"""Servers for tests: a gateway or a proxy in a thread of its own, and bytes to talk to it with.

Nothing here is shared between tests, and nothing here outlives its `with` block.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from chalicelib.digest import Digest
from moorage.gateway.rest_api import RestApi
from moorage.gateway.server import Gateway, GatewayOptions
from moorage.proxy.direct_stream import PartPlan
from moorage.proxy.options import ProxyOptions
from moorage.proxy.ranged_pulls import PullPlan
from moorage.proxy.server import Proxy
from tests.support.fake_registry import in_background

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from moorage.common.http_server import Pace, Startable
    from moorage.gateway.function import LambdaFunction

ANY_PORT = GatewayOptions(port=0)
OPEN = RestApi()
CHUNK = 64 * 1024
"""The chunks of a proxy that `run_proxy` runs, in bytes."""


@contextlib.contextmanager
def run_gateway(
    function: LambdaFunction, options: GatewayOptions = ANY_PORT, api: RestApi = OPEN
) -> Iterator[str]:
    """Run a Gateway until the block ends, and give its URL; what `start` raises is raised here."""
    with run_server(Gateway(function, options, api)) as url:
        yield url


@contextlib.contextmanager
def run_proxy(  # noqa: PLR0913 - each is an option of the proxy
    upstream: str,
    pace: Pace | None = None,
    uploads: int = 64,
    patience: float = 2.0,
    memory_bytes: int = 64 * 1024 * 1024,
    chunk_size: int = CHUNK,
    plan: PartPlan | None = None,
    pull_streams: int = 4,
    pull_plan: PullPlan | None = None,
) -> Iterator[str]:
    """Run a proxy before a registry until the block ends, and give its URL."""
    options = ProxyOptions(
        upstream,
        port=0,
        chunk_size=chunk_size,
        patience_seconds=patience,
        uploads=uploads,
        memory_bytes=memory_bytes,
        plan=PartPlan() if plan is None else plan,
        pull_streams=pull_streams,
        pull_plan=PullPlan() if pull_plan is None else pull_plan,
    )
    with run_server(Proxy(options if pace is None else replace(options, pace=pace))) as url:
        yield url


@contextlib.contextmanager
def run_server(server: Startable) -> Iterator[str]:
    """Run a gateway or a proxy in a thread until the block ends, and give its URL."""

    async def start() -> Callable[[], Awaitable[None]]:
        await server.start()
        return server.stop

    with in_background(start):
        yield server.url


def connect(url: str, timeout: float = 20) -> socket.socket:
    """Open a plain TCP connection to a server's URL."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return socket.create_connection((parts.hostname, parts.port), timeout=timeout)


def exchange(url: str, *pieces: bytes) -> bytes:
    """Send bytes as they are, and give all that comes back until the server closes.

    Send `Connection: close`, or bytes that make the server close.
    """
    with connect(url) as connection:
        for piece in pieces:
            connection.sendall(piece)
        received = bytearray()
        while chunk := connection.recv(65536):
            received += chunk
        return bytes(received)


class Recorder:
    """A Lambda function that keeps its events and returns `answer`."""

    def __init__(self, answer: object = None) -> None:
        self.answer = {"statusCode": 200} if answer is None else answer
        self.events: list[dict[str, Any]] = []

    def __call__(self, event: dict[str, Any], _: object) -> object:
        """Keep the event and answer."""
        self.events.append(event)
        return self.answer


def request(
    url: str,
    method: str,
    target: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Make one request on a connection of its own; give status, headers, body."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, target, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def push_blob(
    url: str, repository: str, content: bytes, headers: Mapping[str, str] | None = None
) -> int:
    """Push a blob by POST and PUT; return the status of the PUT."""
    target = f"/v2/{repository}/blobs/uploads/"
    status, answered, _ = request(url, "POST", target, b"", headers)
    assert status == 202
    place = urlsplit(answered["Location"])
    query = f"{place.query}&digest={Digest.of(content)}".lstrip("&")
    return request(url, "PUT", f"{place.path}?{query}", content, headers)[0]
