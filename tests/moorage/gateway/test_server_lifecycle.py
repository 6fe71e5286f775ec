"""The gateway's life: starting, stopping, serving, logging, and a Chalice app behind it."""

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
from chalice.app import Chalice, Response

from moorage.gateway.server import Gateway, GatewayOptions, load_function
from tests.support.servers import Recorder, connect, exchange, request, run_gateway


def test_one_line_is_logged_for_each_request(caplog: pytest.LogCaptureFixture) -> None:
    """It says method, path, status and time; never a query, never an Authorization."""
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


def test_start_says_when_the_port_is_taken() -> None:
    """It raises OSError, and leaves nothing behind."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with (
            pytest.raises(OSError, match="in use"),
            run_gateway(Recorder(), GatewayOptions(port=taken.getsockname()[1])),
        ):
            pytest.fail("it started")


def test_stop_lets_a_function_end_and_its_client_hear() -> None:
    """What began before the stop is answered; what comes after finds nobody."""
    inside = threading.Event()

    def function(_: dict[str, Any], __: object) -> object:
        inside.set()
        time.sleep(2.5)  # longer than connections alone are given
        return {"statusCode": 201}

    with ThreadPoolExecutor(1) as clients:
        with run_gateway(function) as url:
            answer = clients.submit(request, url, "PUT", "/v2/a")
            assert inside.wait(10)
        assert answer.result(20)[0] == 201
        with pytest.raises(OSError, match="refused"):
            connect(url)


def test_a_request_that_comes_during_the_stop_is_refused() -> None:
    """On a connection kept alive from before, it hears 503 and that the connection closes."""
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
    """Clean-up code need not know how far it got."""
    asyncio.run(Gateway(Recorder(), GatewayOptions()).stop())


def test_load_function_takes_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is `app` of the module `app`."""
    function = Recorder()
    monkeypatch.setitem(sys.modules, "app", SimpleNamespace(app=function))
    assert load_function() is function


def test_importing_the_gateway_loads_no_app() -> None:
    """Only load_function does, when it is called."""
    program = "import sys, moorage.gateway.server; sys.exit('app' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_says_it_is_ready_and_ends_on_a_signal(number: signal.Signals) -> None:
    """It prints one line with the URL, serves, and exits with 0."""
    program = (
        "import asyncio, sys, types\n"
        "sys.modules['app'] = types.SimpleNamespace(app=lambda event, _: {'statusCode': 202})\n"
        "from moorage.gateway.server import GatewayOptions, serve\n"
        "asyncio.run(serve(GatewayOptions(port=0)))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        words = server.stdout.readline().split()
        assert words[:3] == ["gateway", "ready", "on"]
        assert request(words[3], "GET", "/v2/")[0] == 202
        server.send_signal(number)
        assert server.wait(20) == 0


def test_a_function_without_end_does_not_keep_the_gateway() -> None:
    """After Ctrl-C the process ends once a call's time is over, whatever the call still does."""
    program = (
        "import sys, threading, types\n"
        "def function(event, _): threading.Event().wait()\n"
        "sys.modules['app'] = types.SimpleNamespace(app=function)\n"
        "from moorage.cli.main import main\n"
        "sys.exit(main(['gateway', '--port', '0', '--timeout', '0.5']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            assert request(url, "GET", "/v2/")[0] == 504
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0
        finally:
            server.kill()


def test_a_chalice_app_runs_behind_the_gateway() -> None:
    """Chalice finds `/` and `/{proxy+}` in the event, and its bytes come back as they were."""
    app = Chalice("behind")
    app.api.binary_types = ["*/*"]

    @app.route("/", methods=["GET"])
    def root() -> Response:
        return Response(b"root", headers={"Content-Type": "application/octet-stream"})

    @app.route("/{proxy+}", methods=["PATCH"], content_types=[])
    def proxy() -> Response:
        sent = app.current_request
        assert sent is not None
        assert sent.uri_params is not None
        assert isinstance(sent.raw_body, bytes)
        return Response(
            sent.uri_params["proxy"].encode() + b":" + sent.raw_body,
            status_code=202,
            headers={"Content-Type": "application/octet-stream"},
        )

    with run_gateway(app) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
        connection.request("GET", "/v2/", headers={"Accept": "*/*"})
        assert connection.getresponse().read() == b"root"
        connection.request("PATCH", "/v2/a/b%2Fc/", b"\x00\xff", headers={"Accept": "*/*"})
        response = connection.getresponse()
        assert (response.status, response.read()) == (202, b"a/b%2Fc:\x00\xff")
        connection.close()
