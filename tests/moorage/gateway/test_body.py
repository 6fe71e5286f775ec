"""Bodies through the gateway: limits, framing, clients that leave, memory."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import threading
import time
from typing import Any

import pytest

from moorage.gateway.server import GatewayOptions
from tests.support.servers import Recorder, connect, exchange, request, run_gateway

MIB = 1024 * 1024
HEAD = b"PATCH /v2/a HTTP/1.1\r\nHost: h\r\n"
CLOSE = HEAD + b"Connection: close\r\n"


def patch(url: str, body: bytes) -> tuple[int, bytes]:
    """Send one PATCH with a Content-Length."""
    status, _, answer = request(url, "PATCH", "/v2/a", body)
    return status, answer


def body_of(event: dict[str, Any]) -> bytes:
    """Decode the body of an event."""
    return base64.b64decode(event["body"])


def chunked(pieces: list[bytes]) -> bytes:
    """Frame pieces as chunks, the last one included."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


@pytest.mark.parametrize(
    "sizes",
    [[4 * MIB], [1] * 500, [65536] * 20, [4_716_000], [0]],
    ids=["one giant chunk", "tiny chunks", "middling chunks", "nearly all that fits", "none"],
)
def test_a_chunked_body_arrives_whole(sizes: list[int]) -> None:
    """Without a Content-Length, in chunks of any size, the function gets every byte."""
    function = Recorder()
    block = bytes(range(251)) * (4_800_000 // 251)
    pieces = [block[:size] for size in sizes if size]
    with run_gateway(function) as url:
        raw = exchange(url, CLOSE + b"Transfer-Encoding: chunked\r\n\r\n", chunked(pieces))
    assert raw.startswith(b"HTTP/1.1 200")
    [event] = function.events
    assert (body_of(event) if pieces else event["body"]) == (b"".join(pieces) or None)
    assert "Transfer-Encoding" not in event["headers"]


def test_a_body_comes_as_it_was_sent_whatever_its_encoding_says() -> None:
    """The gateway doesn't decompress: bytes are stored as they come."""
    function = Recorder()
    with run_gateway(function) as url:
        exchange(url, CLOSE + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")
    assert body_of(function.events[0]) == b"abc"
    assert function.events[0]["headers"]["Content-Encoding"] == "gzip"


def test_a_client_that_expects_100_is_told_to_go_on() -> None:
    """It hears 100 before it sends the body, and a whole answer after."""
    function = Recorder({"statusCode": 202})
    with run_gateway(function) as url, connect(url) as connection:
        connection.sendall(CLOSE + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert connection.recv(1000).startswith(b"HTTP/1.1 202")
    assert body_of(function.events[0]) == b"abc"


@pytest.mark.parametrize(
    ("length", "status", "answer"),
    [
        (4_700_000, 200, b""),
        (4_718_592, 413, b'{"message":"Request Too Long"}'),
        (6 * MIB, 413, b'{"message":"Request Too Long"}'),
        (10 * MIB, 413, b'{"message":"Request Too Long"}'),
        (10 * MIB + 1, 413, b"HTTP content length exceeded 10485760 bytes."),
        (30 * MIB, 413, b"HTTP content length exceeded 10485760 bytes."),
    ],
)
def test_a_body_over_a_limit_is_413(length: int, status: int, answer: bytes) -> None:
    """Lambda's 6 MiB of event and API Gateway's 10 MiB of body, each in its own words."""
    function = Recorder()
    with run_gateway(function) as url:
        assert patch(url, b"x" * length) == (status, answer)
    assert len(function.events) == (status == 200)


def test_a_refused_event_gives_its_thread_back() -> None:
    """An event found too large when its turn came doesn't block those behind it."""
    with run_gateway(Recorder(), GatewayOptions(port=0, threads=1)) as url:
        for _ in range(2):
            assert patch(url, bytes(4_718_592))[0] == 413
        assert patch(url, b"a")[0] == 200


def test_a_body_that_is_too_large_is_read_before_the_answer() -> None:
    """A client that listens only after its last byte hears the 413, and the connection lives on."""
    with run_gateway(Recorder()) as url, connect(url) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (12 * MIB))
        for _ in range(11):
            connection.sendall(bytes(MIB))
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(20)
        connection.sendall(bytes(MIB))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
        connection.sendall(CLOSE + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_body_without_end_is_cut_off() -> None:
    """After 64 MiB of discarding, the client hears 413 and the connection closes."""
    answer = bytearray()

    def listen(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while received := connection.recv(65536):
                answer.extend(received)

    def send_until_refused(connection: socket.socket) -> int:
        for sent in range(1024):
            try:
                connection.sendall(bytes(MIB))
            except OSError:
                return sent
            if answer:
                time.sleep(0.05)  # it is still listening for a moment: don't flood it
        return 1024

    with run_gateway(Recorder()) as url, connect(url) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n40000000\r\n")
        listener = threading.Thread(target=listen, args=(connection,))
        listener.start()
        sent = send_until_refused(connection)
        listener.join(20)
    assert 64 <= sent < 1024
    assert bytes(answer).startswith(b"HTTP/1.1 413")
    assert b"Connection: close" in answer


def test_a_client_that_first_sends_all_hears_why_it_was_cut_off() -> None:
    """The rest of the body is read for a moment after the 413, or a reset would destroy it."""
    with run_gateway(Recorder()) as url, connect(url) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (80 * MIB))
        for _ in range(80):
            connection.sendall(bytes(MIB))
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 10\r\n\r\nabc",
        b"Content-Length: 4000000\r\n\r\n" + b"x" * 3_999_999,
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ],
    ids=["short", "one byte short", "no last chunk", "in mid-chunk"],
)
@pytest.mark.parametrize("how", ["closes", "half-closes", "resets"])
def test_part_of_a_body_never_reaches_the_function(
    sent: bytes, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that leaves before the end of its body has sent nothing."""
    function = Recorder()
    with run_gateway(function) as url:
        with connect(url) as connection:
            # Who hears 100 knows that its body is being read.
            head, _, part = sent.partition(b"\r\n\r\n")
            connection.sendall(HEAD + b"Expect: 100-continue\r\n" + head + b"\r\n\r\n")
            assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(part)
            if how == "half-closes":
                connection.shutdown(socket.SHUT_WR)
                assert not connection.recv(1000).startswith(b"HTTP/1.1 2")
            elif how == "resets":
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        assert patch(url, b"whole") == (200, b"")
    assert [body_of(event) for event in function.events] == [b"whole"]
    assert "the body broke off" in caplog.text
    assert "the gateway failed" not in caplog.text


@pytest.mark.parametrize("first", [b"3\r\nabc\r\n", b""], ids=["in mid-body", "at once"])
def test_broken_framing_never_reaches_the_function(first: bytes) -> None:
    """A malformed chunk is refused, also when nobody tells the reader of the body."""
    function = Recorder()
    options = GatewayOptions(port=0, idle_seconds=0.3)
    with run_gateway(function, options) as url, connect(url) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + first)
        time.sleep(0.05)
        connection.sendall(b"no-length\r\n")
        assert connection.recv(1000)[9:12] in {b"400", b"408"}
    assert function.events == []


def test_a_client_that_stalls_in_a_body_is_given_up() -> None:
    """After `idle_seconds` without a byte it hears 408; one that goes on slowly is served."""
    function = Recorder()
    options = GatewayOptions(port=0, idle_seconds=3)
    with run_gateway(function, options) as url:
        with connect(url) as slow:
            slow.sendall(HEAD + b"Content-Length: 6\r\n\r\n")
            for _ in range(6):
                time.sleep(0.6)
                slow.sendall(b"x")
            assert slow.recv(1000).startswith(b"HTTP/1.1 200")
        with connect(url) as stalled:
            stalled.sendall(HEAD + b"Content-Length: 6\r\n\r\nabc")
            answer = stalled.recv(1000)
            assert answer.startswith(b"HTTP/1.1 408")
            assert b"Connection: close" in answer
    assert len(function.events) == 1


def test_large_answers_come_whole() -> None:
    """Four MiB of base64 arrive as the bytes they stand for."""
    content = bytes(range(256)) * 16384
    encoded = base64.b64encode(content).decode()
    function = Recorder({"statusCode": 200, "isBase64Encoded": True, "body": encoded})
    with run_gateway(function) as url:
        status, body = patch(url, b"")
    assert (status, hashlib.sha256(body).digest()) == (200, hashlib.sha256(content).digest())


def test_an_answer_over_lambdas_limit_is_502() -> None:
    """More than 6 MiB of JSON can't leave Lambda."""
    function = Recorder({"statusCode": 200, "isBase64Encoded": True, "body": "A" * (6 * MIB)})
    with run_gateway(function) as url:
        assert patch(url, b"") == (502, b'{"message":"Internal server error"}')
