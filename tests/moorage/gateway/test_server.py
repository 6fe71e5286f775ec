"""The gateway as a server: routes, failing functions, connections, starting and stopping, logs."""

from __future__ import annotations

import asyncio
import http.client
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from moorage.gateway import server as gateway_server
from moorage.gateway.faults import GatewayFault
from moorage.gateway.response import HeadMode
from moorage.gateway.server import Gateway, GatewayOptions, load_function
from tests.support.servers import Recorder, connect, exchange, request, run_gateway


def test_a_target_is_not_normalised(url: str, recorder: Recorder) -> None:
    """Dots, encoded slashes and the trailing slash reach the function as they were sent."""
    line = b"GET /v2/a/../%2e%2e/b%2Fc/?x=%3A HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n"
    exchange(url, line)
    [event] = recorder.events
    assert event["path"] == "/a/../%2e%2e/b%2Fc/"
    assert event["pathParameters"] == {"proxy": "a/../%2e%2e/b%2Fc"}
    assert event["requestContext"]["path"] == "/v2/a/../%2e%2e/b%2Fc/"
    assert event["queryStringParameters"] == {"x": ":"}
    assert event["headers"]["Host"] == "[::1]"
    assert event["requestContext"]["identity"]["sourceIp"] == "127.0.0.1"
    assert event["headers"]["X-Forwarded-Port"] == str(urlsplit(url).port)


def test_a_target_may_be_a_whole_url(url: str, recorder: Recorder) -> None:
    """The absolute form of RFC 9112 names the same path."""
    exchange(
        url,
        b"GET http://[::1]/v2/a?n=1 HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n",
    )
    assert recorder.events[0]["path"] == "/a"
    assert recorder.events[0]["queryStringParameters"] == {"n": "1"}


@pytest.mark.parametrize(
    ("method", "target", "fault"),
    [
        ("GET", "/", GatewayFault.FORBIDDEN),
        ("PUT", "/v1/a", GatewayFault.FORBIDDEN),
        ("TRACE", "/v2/", GatewayFault.NO_SUCH_METHOD),
    ],
)
def test_a_request_without_a_route_is_403_and_calls_no_function(
    method: str, target: str, fault: GatewayFault, url: str, recorder: Recorder
) -> None:
    """The gateway answers by itself, with API Gateway's text."""
    status, headers, body = request(url, method, target, b"x")
    assert (status, body) == (403, fault.body)
    assert headers["x-amzn-ErrorType"] == fault.value.error_type
    assert headers["Content-Type"] == "application/json"
    assert headers["x-amzn-RequestId"]
    assert recorder.events == []


@pytest.mark.parametrize(("mode", "length"), [(HeadMode.BODY, "5"), (HeadMode.ZERO, "0")])
def test_a_head_has_a_length_and_no_body(mode: HeadMode, length: str) -> None:
    """The length is the returned body's or 0, no byte of it is sent, the connection lives on.

    A GET behind it has the body and its true length in both modes.
    """
    function = Recorder({"statusCode": 200, "body": "12345", "headers": {"Content-Length": "77"}})
    with run_gateway(function, GatewayOptions(port=0, head_mode=mode)) as url:
        raw = exchange(
            url,
            b"HEAD /v2/a HTTP/1.1\r\nHost: [::1]\r\n\r\n",
            b"HEAD /v2/a HTTP/1.1\r\nHost: [::1]\r\n\r\n",
            b"GET /v2/a HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n",
        )
    *answers, body = raw.split(b"\r\n\r\n")
    assert body == b"12345"
    for answer, counted in zip(answers, (length, length, "5"), strict=True):
        assert answer.startswith(b"HTTP/1.1 200")
        assert f"\r\nContent-Length: {counted}\r\n".encode() in answer + b"\r\n"
        assert b"\r\nx-amzn-Remapped-Content-Length: 77\r\n" in answer + b"\r\n"


def test_a_204_has_neither_body_nor_length_on_the_wire(url: str, recorder: Recorder) -> None:
    """A function's body on a 204 would be read as the next answer, so it is not sent."""
    recorder.answer = {"statusCode": 204, "body": "stray"}
    raw = exchange(url, b"DELETE /v2/a HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n")
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 204")
    assert b"content-length" not in head.lower()
    assert rest == b""


def test_headers_that_aws_renames_are_renamed_on_the_wire(url: str, recorder: Recorder) -> None:
    """No WWW-Authenticate and no Server of the function's gets out under its own name."""
    sent = {"WWW-Authenticate": "Bearer x", "Server": "mine"}
    recorder.answer = {"statusCode": 401, "headers": sent}
    status, headers, _ = request(url, "GET", "/v2/")
    assert status == 401
    assert headers["x-amzn-Remapped-WWW-Authenticate"] == "Bearer x"
    assert headers["x-amzn-Remapped-Server"] == "mine"
    assert "WWW-Authenticate" not in headers
    assert headers["Server"] != "mine"
    assert "aiohttp" not in headers["Server"]


def raising(_: dict[str, Any], __: object) -> object:
    """Fail as a function with a bug does."""
    raise LookupError("a-secret-detail")


def exiting(_: dict[str, Any], __: object) -> object:
    """Fail as a function that ends its process does."""
    sys.exit("a-secret-detail")


@pytest.mark.parametrize("function", [raising, exiting, Recorder("no proxy response")])
def test_a_function_that_fails_is_502(function: Any) -> None:  # noqa: ANN401 - any callable may stand here
    """The answer is API Gateway's, without a detail, and the next request is served."""
    with run_gateway(function) as url:
        for _ in range(2):
            status, _, body = request(url, "GET", "/v2/")
            assert (status, body) == (502, b'{"message":"Internal server error"}')


def test_a_bug_in_the_gateway_is_500_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    """The traceback is in the log and nowhere else."""

    def broken(*_: object) -> None:
        raise LookupError("a-secret-detail")

    monkeypatch.setattr("moorage.gateway.resources.Resources.match", broken)
    status, _, body = request(url, "GET", "/v2/")
    assert (status, body) == (500, b'{"message":"Internal server error"}')
    assert "a-secret-detail" in caplog.text


def test_requests_follow_each_other_on_one_connection(url: str, recorder: Recorder) -> None:
    """A connection is kept alive, also after a refusal and after a body."""
    recorder.answer = {"statusCode": 200, "body": "ok"}
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.connect()
    used = connection.sock
    for method, target, body in [
        ("GET", "/v2/", None),
        ("PATCH", "/v2/a", b"x" * 300_000),
        ("PROPFIND", "/v2/a", b"x" * 300_000),
        ("HEAD", "/v2/a", None),
        ("GET", "/v2/a", None),
    ]:
        connection.request(method, target, body=body)
        connection.getresponse().read()
        assert connection.sock is used
    connection.close()
    assert len(recorder.events) == 4


TUNNELLED = b"GET /v2/secret HTTP/1.1\r\nHost: [::1]\r\n\r\n"


def test_a_connect_is_refused_and_the_connection_closed(url: str, recorder: Recorder) -> None:
    """The gateway has no tunnels, and the bytes after it are no request."""
    head = b"CONNECT /v2/ HTTP/1.1\r\nHost: [::1]\r\nContent-Length: %d\r\n\r\n" % len(TUNNELLED)
    told = exchange(url, head + TUNNELLED)
    assert told.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert told.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in told
    assert recorder.events == []


def test_one_line_is_logged_for_each_request(caplog: pytest.LogCaptureFixture) -> None:
    """It has method, path, status and time; never a query, never an Authorization header."""
    caplog.set_level(logging.DEBUG)
    with run_gateway(Recorder({"statusCode": 201})) as url:
        exchange(
            url,
            b"PUT /v2/a?state=querysecret HTTP/1.1\r\nHost: [::1]\r\nAuthorization: Bearer "
            b"tokensecret\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        )
        # Refused by the parser, whose own errors quote the header they refuse.
        exchange(
            url,
            b"GET /v2/ HTTP/1.1\r\nHost: [::1]\r\nAuthorization: Bearer tokensecret\x01\r\n\r\n",
        )
    lines = [
        record.getMessage()
        for record in caplog.records
        if record.name == "moorage.gateway" and record.levelno == logging.INFO
    ]
    assert len(lines) == 1
    assert lines[0].startswith("PUT /v2/a 201 ")
    assert lines[0].endswith(" ms")
    assert "Error handling request" in caplog.text
    assert "secret" not in caplog.text


def test_start_raises_when_the_port_is_taken() -> None:
    """An OSError, and nothing is left behind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with (
            pytest.raises(OSError, match="in use"),
            run_gateway(Recorder(), GatewayOptions(port=taken.getsockname()[1])),
        ):
            pytest.fail("it started")


def test_stop_answers_what_a_function_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for longer than connections alone are; a later connection is refused."""
    monkeypatch.setattr(gateway_server, "_SHUTDOWN_SECONDS", 0.1)
    inside = threading.Event()

    def function(_: dict[str, Any], __: object) -> object:
        inside.set()
        time.sleep(0.5)
        return {"statusCode": 201}

    with ThreadPoolExecutor(1) as clients:
        with run_gateway(function) as url:
            answer = clients.submit(request, url, "PUT", "/v2/a")
            assert inside.wait(10)
        assert answer.result(20)[0] == 201
        with pytest.raises(OSError, match="refused"):
            connect(url)


def test_a_request_during_the_stop_is_503() -> None:
    """On a connection from before, which then closes."""
    inside, release = threading.Event(), threading.Event()

    def function(event: dict[str, Any], _: object) -> object:
        if event["path"] == "/slow":
            inside.set()
            release.wait(60)
        return {"statusCode": 200}

    def ask(connection: socket.socket, path: bytes) -> bytes:
        connection.sendall(b"GET /v2/%b HTTP/1.1\r\nHost: [::1]\r\n\r\n" % path)
        return connection.recv(65536)

    async def stop_meanwhile() -> tuple[bytes, bytes]:
        gateway = Gateway(function, GatewayOptions(port=0))
        await gateway.start()
        with connect(gateway.url) as kept, connect(gateway.url) as busy:
            await asyncio.to_thread(ask, kept, b"quick")
            slow = asyncio.create_task(asyncio.to_thread(ask, busy, b"slow"))
            assert await asyncio.to_thread(inside.wait, 20)
            stopping = asyncio.create_task(gateway.stop())
            await asyncio.sleep(0)  # it has begun: from here on every new request is refused
            refused = await asyncio.to_thread(ask, kept, b"quick")
            release.set()
            await stopping
            return refused, await slow

    refused, answered = asyncio.run(stop_meanwhile())
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"Connection: close" in refused
    assert answered.startswith(b"HTTP/1.1 200")


def test_a_gateway_can_be_stopped_before_it_started() -> None:
    """Clean-up code need not know how far the start got."""
    asyncio.run(Gateway(Recorder(), GatewayOptions()).stop())


def test_load_function_takes_the_projects_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is `app` of the project's app.py, whatever else is named `app`."""
    monkeypatch.setitem(sys.modules, "app", SimpleNamespace(app=Recorder()))
    assert type(load_function()).__name__ == "MoorageChalice"


def test_importing_the_gateway_loads_no_app() -> None:
    """Only load_function does."""
    program = "import sys, moorage.gateway.server; sys.exit('app' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("function", "status", "number"),
    [
        ("lambda event, _: {'statusCode': 202}", 202, signal.SIGINT),
        ("lambda event, _: {'statusCode': 202}", 202, signal.SIGTERM),
        # A function that never ends does not keep the gateway from ending.
        ("lambda event, _: threading.Event().wait()", 504, signal.SIGINT),
    ],
)
def test_the_command_prints_that_it_is_ready_and_ends_on_a_signal(
    function: str, status: int, number: signal.Signals
) -> None:
    """It prints one line with the URL, serves, and exits with 0 once the time of a call is over."""
    program = (
        "import sys, threading\n"
        "from moorage.cli.main import main\n"
        "from moorage.gateway import server\n"
        f"server.load_function = lambda: {function}\n"
        "sys.exit(main(['gateway', '--port', '0', '--timeout', '0.5']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            words = server.stdout.readline().split()
            assert words[:3] == ["gateway", "ready", "on"]
            assert request(words[3], "GET", "/v2/")[0] == status
            server.send_signal(number)
            assert server.wait(60) == 0
        finally:
            server.kill()
