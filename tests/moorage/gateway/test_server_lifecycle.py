"""The gateway's life: starting, stopping, serving, logging."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from moorage.gateway import server as gateway_server
from moorage.gateway.server import Gateway, GatewayOptions, load_function
from tests.support.servers import Recorder, connect, exchange, request, run_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_one_line_is_logged_for_each_request(caplog: pytest.LogCaptureFixture) -> None:
    """It has method, path, status and time; never a query, never an Authorization header."""
    caplog.set_level(logging.DEBUG)
    with run_gateway(Recorder({"statusCode": 201})) as url:
        exchange(
            url,
            b"PUT /v2/a?state=querysecret HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer tokensecret"
            b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        )
        # Refused by the parser, whose own errors quote the header they refuse.
        exchange(
            url, b"GET /v2/ HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer tokensecret\x01\r\n\r\n"
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
        connection.sendall(b"GET /v2/%b HTTP/1.1\r\nHost: h\r\n\r\n" % path)
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_prints_that_it_is_ready_and_ends_on_a_signal(number: signal.Signals) -> None:
    """It prints one line with the URL, serves, and exits with 0."""
    program = (
        "import asyncio\n"
        "from moorage.gateway import server\n"
        "server.load_function = lambda: lambda event, _: {'statusCode': 202}\n"
        "asyncio.run(server.serve(server.GatewayOptions(port=0)))\n"
    )
    with started(program) as (server, url):
        assert request(url, "GET", "/v2/")[0] == 202
        server.send_signal(number)
        assert server.wait(20) == 0


def test_a_function_that_never_ends_does_not_keep_the_gateway_from_ending() -> None:
    """After Ctrl-C the process ends once the time of the call is over."""
    program = (
        "import sys, threading\n"
        "def function(event, _): threading.Event().wait()\n"
        "from moorage.gateway import server\n"
        "server.load_function = lambda: function\n"
        "from moorage.cli.main import main\n"
        "sys.exit(main(['gateway', '--port', '0', '--timeout', '0.5']))\n"
    )
    with started(program) as (server, url):
        assert request(url, "GET", "/v2/")[0] == 504
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0


@contextlib.contextmanager
def started(program: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a program that serves a gateway; give the process and the URL that it prints."""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            words = server.stdout.readline().split()
            assert words[:3] == ["gateway", "ready", "on"]
            yield server, words[3]
        finally:
            server.kill()
