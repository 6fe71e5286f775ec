"""Bodies through the gateway: limits, framing, clients that leave, memory."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from moorage.common.project import PROJECT
from moorage.gateway.server import GatewayOptions
from tests.support.servers import Recorder, connect, exchange, request, run_gateway
from tests.support.waiting import until

MIB = 1024 * 1024
HEAD = b"PATCH /v2/a HTTP/1.1\r\nHost: [::1]\r\n"
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
def test_a_chunked_body_arrives_whole(sizes: list[int], url: str, recorder: Recorder) -> None:
    """Without a Content-Length, in chunks of any size, the function gets every byte."""
    block = bytes(range(251)) * (4_800_000 // 251)
    pieces = [block[:size] for size in sizes if size]
    raw = exchange(url, CLOSE + b"Transfer-Encoding: chunked\r\n\r\n", chunked(pieces))
    assert raw.startswith(b"HTTP/1.1 200")
    [event] = recorder.events
    assert (body_of(event) if pieces else event["body"]) == (b"".join(pieces) or None)
    assert "Transfer-Encoding" not in event["headers"]


def test_a_body_is_not_decompressed(url: str, recorder: Recorder) -> None:
    """A registry stores the bytes that were sent, whatever Content-Encoding says."""
    exchange(url, CLOSE + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")
    assert body_of(recorder.events[0]) == b"abc"
    assert recorder.events[0]["headers"]["Content-Encoding"] == "gzip"


@pytest.mark.parametrize(
    ("length", "status", "answer"),
    [
        (4_700_000, 200, b""),
        *((size, 413, b'{"message":"Request Too Long"}') for size in (4_718_592, 10 * MIB)),
        (10 * MIB + 1, 413, b"HTTP content length exceeded 10485760 bytes."),
    ],
)
def test_a_body_over_a_limit_is_413(
    length: int, status: int, answer: bytes, url: str, recorder: Recorder
) -> None:
    """Lambda's 6 MiB for the event and API Gateway's 10 MiB for the body, with their own texts."""
    assert patch(url, b"x" * length) == (status, answer)
    assert len(recorder.events) == (status == 200)


def test_an_event_that_is_too_large_frees_its_slot() -> None:
    """An event found too large when its turn came does not block those behind it."""
    with run_gateway(Recorder(), GatewayOptions(port=0, threads=1)) as url:
        for _ in range(2):
            assert patch(url, bytes(4_718_592))[0] == 413
        assert patch(url, b"a")[0] == 200


def test_a_body_that_is_too_large_is_read_before_the_answer(url: str) -> None:
    """A client that reads only after its last byte gets the 413, and the connection is kept."""
    with connect(url) as connection:
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


def test_a_body_without_end_is_cut_off(url: str) -> None:
    """After 64 MiB the client gets 413 and the connection is closed."""
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

    with connect(url) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n40000000\r\n")
        listener = threading.Thread(target=listen, args=(connection,))
        listener.start()
        sent = send_until_refused(connection)
        listener.join(20)
    assert 64 <= sent < 1024
    assert bytes(answer).startswith(b"HTTP/1.1 413")
    assert b"Connection: close" in answer


def test_a_client_that_sends_everything_first_gets_the_413(url: str) -> None:
    """The rest of the body is read for a moment after the answer: a reset would destroy that."""
    with connect(url) as connection:
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
    sent: bytes, how: str, caplog: pytest.LogCaptureFixture, url: str, recorder: Recorder
) -> None:
    """A client that leaves before the end of its body has sent nothing."""
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
    assert [body_of(event) for event in recorder.events] == [b"whole"]
    until(lambda: "the body broke off" in caplog.text, "that is logged")
    assert "the gateway failed" not in caplog.text


@pytest.mark.parametrize("first", [b"3\r\nabc\r\n", b""], ids=["in mid-body", "at once"])
def test_broken_framing_never_reaches_the_function(first: bytes) -> None:
    """A malformed chunk is refused, also where aiohttp doesn't tell the reader of the body."""
    function = Recorder()
    options = GatewayOptions(port=0, idle_seconds=0.3)
    with run_gateway(function, options) as url, connect(url) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + first)
        time.sleep(0.05)
        connection.sendall(b"no-length\r\n")
        assert connection.recv(1000)[9:12] in {b"400", b"408"}
    assert function.events == []


def test_a_client_that_stalls_in_a_body_is_408() -> None:
    """After `idle_seconds` without a byte; a client that goes on slowly is served."""
    function = Recorder()
    options = GatewayOptions(port=0, idle_seconds=1.2)
    with run_gateway(function, options) as url:
        with connect(url) as slow:
            slow.sendall(HEAD + b"Content-Length: 6\r\n\r\n")
            for _ in range(6):
                time.sleep(0.25)
                slow.sendall(b"x")
            assert slow.recv(1000).startswith(b"HTTP/1.1 200")
        with connect(url) as stalled:
            stalled.sendall(HEAD + b"Content-Length: 6\r\n\r\nabc")
            answer = stalled.recv(1000)
            assert answer.startswith(b"HTTP/1.1 408")
            assert b"Connection: close" in answer
    assert len(function.events) == 1


def test_a_large_answer_arrives_whole(url: str, recorder: Recorder) -> None:
    """Four MiB of base64 arrive as the bytes that they encode."""
    content = bytes(range(256)) * 16384
    encoded = base64.b64encode(content).decode()
    recorder.answer = {"statusCode": 200, "isBase64Encoded": True, "body": encoded}
    status, body = patch(url, b"")
    assert (status, hashlib.sha256(body).digest()) == (200, hashlib.sha256(content).digest())


PROGRAM = """
import sys, time, pybase64
from tests.support.servers import run_gateway

def function(event, context):
    data = pybase64.b64decode(event["body"])
    time.sleep(0.05)
    return {"statusCode": 202, "body": str(len(data))}

with run_gateway(function) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def resident_mib(pid: int, which: str) -> float:
    """Read a process's resident memory: its peak (VmHWM) or as it is now (VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(which))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(("clients", "bound"), [(1, 40), (8, 104)])
def test_memory_stays_bounded_while_bodies_pass(clients: int, bound: int) -> None:
    """Of 40 bodies of 4 MiB memory holds those at once, and they are given back to the system.

    Eight at once are eight times 4 MiB of bytes and 5.3 MiB of base64, 75 MiB, when they meet.
    """
    body = bytes(4 * MIB)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        request(url, "PATCH", "/v2/a", b"a")
        before = resident_mib(server.pid, "VmHWM")
        with ThreadPoolExecutor(clients) as pool:
            statuses = list(pool.map(lambda _: request(url, "PATCH", "/v2/a", body)[0], range(40)))
        grown = resident_mib(server.pid, "VmHWM") - before
        kept = resident_mib(server.pid, "VmRSS") - before
        server.communicate()
    assert statuses == [202] * 40
    assert grown < bound
    assert kept < 32


def test_glibc_takes_the_settings() -> None:
    """Elsewhere nothing happens, and nothing fails."""
    program = (
        "import ctypes, json, sys\n"
        "from moorage.common.memory import return_large_buffers\n"
        "glibc = sys.platform.startswith('linux') and hasattr(ctypes.CDLL(None), 'mallopt')\n"
        "print(json.dumps([return_large_buffers(), glibc]))\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    told, glibc = json.loads(output)
    assert told is glibc
