"""What servers allow their clients: how many connections, how slow, how much memory."""

from __future__ import annotations

import base64
import resource
import socket
import time
from typing import Any

import pytest

from moorage import connections
from moorage.connections import Pace, most_connections
from moorage.gateway import GatewayOptions
from tests.support.servers import Recorder, connect, exchange, request, run_gateway

MIB = 1 << 20
GET = b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n"
PATCH = b"PATCH /v2/a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
LARGE = {
    "statusCode": 200,
    "isBase64Encoded": True,
    "body": base64.b64encode(bytes(4 * MIB)).decode(),
}


def deaf(url: str, buffer: int = 4096) -> socket.socket:
    """Ask for the answer and be a client that doesn't read it; few bytes wait in its kernel."""
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


@pytest.mark.parametrize("sent", [b"", GET[:20], GET], ids=["nothing", "part of a head", "a GET"])
def test_a_connection_that_waits_for_long_is_closed(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether before its first request, in the head of one, or after one."""
    monkeypatch.setattr(connections, "_BETWEEN_REQUESTS_SECONDS", 0.5)
    with run_gateway(Recorder()) as url:
        began = time.monotonic()
        answer = exchange(url, sent)
        assert time.monotonic() - began < 10
    assert answer.startswith(b"HTTP/1.1 200") if sent == GET else answer == b""


def test_headers_that_trickle_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new header is no reason to wait longer."""
    monkeypatch.setattr(connections, "_BETWEEN_REQUESTS_SECONDS", 0.5)
    with run_gateway(Recorder()) as url, connect(url) as connection:
        connection.sendall(GET[:-2])
        with pytest.raises(ConnectionError):
            trickle(connection, b"X: y\r\n")


def trickle(connection: socket.socket, line: bytes) -> None:
    """Send a line again and again for some seconds."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        connection.sendall(line)
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
        until = time.monotonic() + 10
        while True:
            with connect(url) as another:
                another.sendall(GET)
                try:
                    if another.recv(1000).startswith(b"HTTP/1.1 200"):
                        break
                except ConnectionResetError:
                    pass
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("files", "most"), [(256, 96), (1024, 480), (1 << 20, 480), (resource.RLIM_INFINITY, 480)]
)
def test_connections_leave_files_for_the_way_on(
    files: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may need another one to AWS or upstream."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert most_connections() == most


def test_who_never_reads_is_cut_off() -> None:
    """The answer isn't kept for a client that doesn't take it."""
    with run_gateway(Recorder(LARGE), GatewayOptions(port=0, idle_seconds=0.4)) as url:
        with deaf(url) as connection:
            time.sleep(2)
            assert received(connection) < 4 * MIB
        assert request(url, "GET", "/v2/")[0] == 200


def test_who_reads_slowly_gets_all() -> None:
    """A client that keeps up more than 16 KiB a second is waited for."""
    with (
        run_gateway(Recorder(LARGE), GatewayOptions(port=0, idle_seconds=0.8)) as url,
        deaf(url, 256 * 1024) as connection,
    ):
        count = 0
        while count < 4 * MIB:
            piece = connection.recv(65536)
            assert piece
            count += len(piece)
            time.sleep(len(piece) / (2 * MIB))


def test_a_body_that_trickles_is_given_up() -> None:
    """Never pausing for long is not enough: it would hold memory for ever."""
    function = Recorder()
    options = GatewayOptions(port=0, slow_seconds=0.5)
    with run_gateway(function, options) as url, connect(url) as connection:
        connection.sendall(PATCH % 1000)
        connection.settimeout(0.05)
        until = time.monotonic() + 10
        answer = b""
        while not answer and time.monotonic() < until:
            connection.sendall(b"x")
            try:
                answer = connection.recv(1000)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408")
    assert function.events == []


def test_pace_grows_with_what_has_come() -> None:
    """A second for each 16 KiB, on top of what everybody is given, and never below none."""
    now = time.monotonic()
    assert Pace(idle=60, slow=10).left(now, 0) == pytest.approx(10, abs=1)
    assert Pace(idle=60, slow=10).left(now - 10, 32 * 1024) == pytest.approx(2, abs=1)
    assert Pace(idle=5, slow=10).left(now, 32 * 1024) == 5
    assert Pace(idle=60, slow=10).left(now - 100, 0) == 0


def test_bodies_that_would_take_too_much_memory_are_429() -> None:
    """Whole bodies and parts of others count; what is given back can be had again."""
    function = Recorder()
    with run_gateway(function, GatewayOptions(port=0, most_held=MIB)) as url:
        with connect(url) as holder:
            holder.sendall(PATCH % MIB + bytes(700_000))
            time.sleep(0.3)
            status, headers, body = request(url, "PATCH", "/v2/a", bytes(500_000))
            assert (status, body) == (429, b'{"message":"Too Many Requests"}')
            assert headers["x-amzn-ErrorType"] == "TooManyRequestsException"
            assert request(url, "PATCH", "/v2/a", bytes(200_000))[0] == 200
        until = time.monotonic() + 10
        while request(url, "PATCH", "/v2/a", bytes(900_000))[0] != 200:
            assert time.monotonic() < until
        for _ in range(3):
            assert request(url, "PATCH", "/v2/a", bytes(900_000))[0] == 200
    assert len(function.events) == 5


def test_answers_that_would_take_too_much_memory_are_429() -> None:
    """A client that doesn't read keeps others from what is large and from nothing else."""

    def function(event: dict[str, Any], _: object) -> object:
        return LARGE if event["httpMethod"] == "GET" else {"statusCode": 202}

    with run_gateway(function, GatewayOptions(port=0, most_held=5 * MIB)) as url:
        with deaf(url):
            time.sleep(0.5)
            assert request(url, "GET", "/v2/")[0] == 429
            assert request(url, "PATCH", "/v2/a", b"x")[0] == 202
        until = time.monotonic() + 10
        while request(url, "GET", "/v2/")[0] != 200:
            assert time.monotonic() < until
