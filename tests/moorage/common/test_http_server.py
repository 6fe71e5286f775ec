"""The limits for clients: connections, slowness, memory."""

from __future__ import annotations

import base64
import resource
import socket
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from moorage.common import http_server as connections
from moorage.common.http_server import Pace, most_connections
from moorage.common.memory import BodyMemory
from moorage.gateway import server as gateway
from moorage.gateway.server import GatewayOptions
from tests.support.fake_registry import run_fake_registry
from tests.support.servers import Recorder, connect, exchange, run_gateway, run_proxy
from tests.support.servers import request as ask
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
GET = b"GET /v2/ HTTP/1.1\r\nHost: [::1]\r\n\r\n"
PATCH = b"PATCH /v2/a HTTP/1.1\r\nHost: [::1]\r\nContent-Length: %d\r\n\r\n"
LARGE = {
    "statusCode": 200,
    "isBase64Encoded": True,
    "body": base64.b64encode(bytes(4 * MIB)).decode(),
}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[BodyMemory]:
    """The memory of each gateway of the test, in order."""
    made: list[BodyMemory] = []

    def make(most: int) -> BodyMemory:
        made.append(BodyMemory(most))
        return made[-1]

    monkeypatch.setattr(gateway, "BodyMemory", make)
    return made


def deaf(url: str, buffer: int = 4096) -> socket.socket:
    """Send a request and don't read the answer; the kernel takes few bytes of it."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(20)
    connection.connect((host, int(port)))
    connection.sendall(GET)
    return connection


def received(connection: socket.socket) -> int:
    """Read to the end, or to a reset; return how many bytes came."""
    count = 0
    try:
        while piece := connection.recv(65536):
            count += len(piece)
    except ConnectionResetError:
        pass
    return count


@pytest.fixture(params=["gateway", "proxy"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A gateway, and a proxy with one upload session behind it; both linger for a minute."""
    monkeypatch.setattr(connections, "_LINGER_SECONDS", 60.0)
    if request.param == "gateway":
        with run_gateway(Recorder({"statusCode": 202})) as url:
            yield url
        return
    with run_fake_registry() as registry, run_proxy(registry.url) as url:
        assert ask(registry.url, "POST", "/v2/x/blobs/uploads/")[0] == 202
        yield url


def test_expect_100_continue_is_answered(server: str) -> None:
    """The client gets 100 before it sends the body, and a whole answer after it."""
    with connect(server) as connection:
        head = (
            b"PATCH /v2/x/blobs/uploads/0?at=0 HTTP/1.1\r\nHost: [::1]\r\nExpect: 100-continue\r\n"
        )
        connection.sendall(head + b"Content-Length: 3\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert connection.recv(1000).startswith(b"HTTP/1.1 202")


def test_a_tls_hello_is_refused_at_once(server: str) -> None:
    """A client that tries HTTPS first loses a moment, and not the minute of lingering."""
    began = time.monotonic()
    with connect(server) as connection, pytest.raises((ssl.SSLError, OSError)):
        ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")
    exchange(server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64))
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("sent", [b"", GET[:20], GET], ids=["nothing", "part of a head", "a GET"])
def test_an_idle_connection_is_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its first request, in the head of one, and after one."""
    monkeypatch.setattr(connections, "_BETWEEN_REQUESTS_SECONDS", 0.7)
    with run_gateway(Recorder()) as url:
        began = time.monotonic()
        answer = exchange(url, sent)
        assert time.monotonic() - began < 18
    assert answer.startswith(b"HTTP/1.1 200") if sent == GET else answer == b""


def test_a_client_that_sends_headers_slowly_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new header does not extend the time."""
    monkeypatch.setattr(connections, "_BETWEEN_REQUESTS_SECONDS", 0.5)
    with run_gateway(Recorder()) as url, connect(url) as connection:
        connection.sendall(GET[:-2])
        with pytest.raises(ConnectionError):  # noqa: PT012 - some send fails
            for _ in range(200):
                connection.sendall(b"X: y\r\n")
                time.sleep(0.05)


def test_one_connection_too_many_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before it are served, and so is the next one once one of them has gone."""
    monkeypatch.setattr(connections, "_MOST_CONNECTIONS", 2)
    with run_gateway(Recorder()) as url, connect(url) as first:
        first.sendall(GET)
        assert first.recv(1000).startswith(b"HTTP/1.1 200")
        with connect(url), connect(url) as third:
            assert received(third) == 0
            first.sendall(GET)
            assert first.recv(1000).startswith(b"HTTP/1.1 200")
        until(lambda: served(url), "there is room again")


def served(url: str) -> bool:
    """Whether a connection is taken and its request answered."""
    with connect(url) as another:
        try:
            another.sendall(GET)
            return another.recv(1000).startswith(b"HTTP/1.1 200")
        except ConnectionError:
            return False


@pytest.mark.parametrize(
    ("files", "most"), [(256, 96), (1024, 480), (1 << 20, 480), (resource.RLIM_INFINITY, 480)]
)
def test_connections_leave_file_descriptors_for_upstream(
    files: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may need another one, to AWS or upstream."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert most_connections() == most


def test_a_client_that_never_reads_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """Its answer must not stay in memory."""
    with run_gateway(Recorder(LARGE), GatewayOptions(port=0, idle_seconds=0.4)) as url:
        with deaf(url) as connection:
            until(lambda: "its client doesn't read" in caplog.text, "the connection is closed")
            assert received(connection) < 4 * MIB
        with connect(url) as another:
            another.sendall(GET)
            assert another.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_client_that_reads_slowly_gets_the_whole_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 16 KiB a second it is waited for."""
    keep_little_in_the_kernel(monkeypatch)
    idle = 1.5
    with (
        run_gateway(Recorder(LARGE), GatewayOptions(port=0, idle_seconds=idle)) as url,
        deaf(url, 256 * 1024) as connection,
    ):
        began, count = time.monotonic(), 0
        while count < 4 * MIB:
            piece = connection.recv(65536)
            assert piece
            count += len(piece)
            # Slow until the server has looked twice for progress.
            if time.monotonic() - began < 2.2 * idle:
                time.sleep(len(piece) / (MIB / 2))


def keep_little_in_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the server's kernel buffer few bytes: by default it takes a whole answer at once."""
    made = connections.BoundedServer.connection_made

    def made_small(*given: Any) -> None:  # noqa: ANN401 - as aiohttp calls it
        peer = given[-1].get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        made(*given)

    monkeypatch.setattr(connections.BoundedServer, "connection_made", made_small)


def test_a_body_that_is_sent_too_slowly_is_408() -> None:
    """Also without a long pause: it would hold memory for ever."""
    function = Recorder()
    options = GatewayOptions(port=0, slow_seconds=0.5)
    with run_gateway(function, options) as url, connect(url) as connection:
        connection.sendall(PATCH % 1000)
        connection.settimeout(0.05)
        given_up = time.monotonic() + 10
        answer = b""
        while not answer and time.monotonic() < given_up:
            connection.sendall(b"x")
            try:
                answer = connection.recv(1000)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408")
    assert function.events == []


def test_pace_gives_a_second_for_each_16_kib() -> None:
    """On top of `slow`, at most `idle`, and never below 0."""
    now = time.monotonic()
    assert Pace(idle=60, slow=10).left(now, 0) == pytest.approx(10, abs=1)
    assert Pace(idle=60, slow=10).left(now - 10, 32 * 1024) == pytest.approx(2, abs=1)
    assert Pace(idle=5, slow=10).left(now, 32 * 1024) == 5
    assert Pace(idle=60, slow=10).left(now - 100, 0) == 0


def test_bodies_that_would_take_too_much_memory_are_429(held: list[BodyMemory]) -> None:
    """Whole bodies and parts of others count; memory that was given back is free again."""
    function = Recorder()
    with run_gateway(function, GatewayOptions(port=0, most_held=MIB)) as url:
        with connect(url) as holder:
            holder.sendall(PATCH % MIB + bytes(700_000))
            until(lambda: held[0].held == 700_000, "the part of a body is held")
            status, headers, body = ask(url, "PATCH", "/v2/a", bytes(500_000))
            assert (status, body) == (429, b'{"message":"Too Many Requests"}')
            assert headers["x-amzn-ErrorType"] == "TooManyRequestsException"
            assert ask(url, "PATCH", "/v2/a", bytes(200_000))[0] == 200
        whole = partial(ask, url, "PATCH", "/v2/a", bytes(900_000))
        until(lambda: whole()[0] == 200, "what its client left is given back")
        for _ in range(3):
            assert whole()[0] == 200
    assert len(function.events) == 5


def test_answers_that_would_take_too_much_memory_are_429(held: list[BodyMemory]) -> None:
    """A client that doesn't read delays large answers to others, and nothing else."""

    def function(event: dict[str, Any], _: object) -> object:
        return LARGE if event["httpMethod"] == "GET" else {"statusCode": 202}

    with run_gateway(function, GatewayOptions(port=0, most_held=5 * MIB)) as url:
        with deaf(url):
            until(lambda: held[0].held >= 4 * MIB, "the answer is held")
            assert ask(url, "GET", "/v2/")[0] == 429
            assert ask(url, "PATCH", "/v2/a", b"x")[0] == 202
        until(lambda: ask(url, "GET", "/v2/")[0] == 200, "what nobody read is given back")
