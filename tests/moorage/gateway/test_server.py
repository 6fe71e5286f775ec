"""The gateway as a server: routes, failing functions, connections."""

from __future__ import annotations

import http.client
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest

from moorage.gateway.faults import GatewayFault
from moorage.gateway.response import HeadMode
from moorage.gateway.server import GatewayOptions
from tests.support.servers import Recorder, exchange, request, run_gateway


def test_a_target_is_not_normalised(url: str, recorder: Recorder) -> None:
    """Dots, encoded slashes and the trailing slash reach the function as they were sent."""
    line = b"GET /v2/a/../%2e%2e/b%2Fc/?x=%3A HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    exchange(url, line)
    [event] = recorder.events
    assert event["path"] == "/a/../%2e%2e/b%2Fc/"
    assert event["pathParameters"] == {"proxy": "a/../%2e%2e/b%2Fc"}
    assert event["requestContext"]["path"] == "/v2/a/../%2e%2e/b%2Fc/"
    assert event["queryStringParameters"] == {"x": ":"}
    assert event["headers"]["Host"] == "h"
    assert event["requestContext"]["identity"]["sourceIp"] == "127.0.0.1"
    assert event["headers"]["X-Forwarded-Port"] == str(urlsplit(url).port)


def test_a_target_may_be_a_whole_url(url: str, recorder: Recorder) -> None:
    """The absolute form of RFC 9112 names the same path."""
    exchange(url, b"GET http://h/v2/a?n=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert recorder.events[0]["path"] == "/a"
    assert recorder.events[0]["queryStringParameters"] == {"n": "1"}


@pytest.mark.parametrize(
    ("method", "target", "fault"),
    [
        ("GET", "/", GatewayFault.FORBIDDEN),
        ("PUT", "/v1/a", GatewayFault.FORBIDDEN),
        ("OPTIONS", "/v2/", GatewayFault.NO_SUCH_METHOD),
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
    """The length is the returned body's or 0, no byte of it is sent, the connection lives on."""
    function = Recorder({"statusCode": 200, "body": "12345", "headers": {"Content-Length": "77"}})
    with run_gateway(function, GatewayOptions(port=0, head_mode=mode)) as url:
        raw = exchange(
            url,
            b"HEAD /v2/a HTTP/1.1\r\nHost: h\r\n\r\n",
            b"HEAD /v2/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        )
    answers = [part for part in raw.split(b"\r\n\r\n") if part]
    assert len(answers) == 2
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 200")
        assert f"\r\nContent-Length: {length}\r\n".encode() in answer
        assert b"\r\nx-amzn-Remapped-Content-Length: 77\r\n" in answer


def test_a_204_has_neither_body_nor_length(url: str, recorder: Recorder) -> None:
    """A function's body on a 204 would be read as the next answer, so it is not sent."""
    recorder.answer = {"statusCode": 204, "body": "stray"}
    raw = exchange(url, b"DELETE /v2/a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
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
        ("OPTIONS", "/v2/a", b"x" * 300_000),
        ("HEAD", "/v2/a", None),
        ("GET", "/v2/a", None),
    ]:
        connection.request(method, target, body=body)
        connection.getresponse().read()
        assert connection.sock is used
    connection.close()
    assert len(recorder.events) == 4


TUNNELLED = b"GET /v2/secret HTTP/1.1\r\nHost: h\r\n\r\n"


def test_the_bytes_after_a_connect_are_no_request(url: str, recorder: Recorder) -> None:
    """It is refused and the connection closed: there are no tunnels here."""
    head = b"CONNECT /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(TUNNELLED)
    told = exchange(url, head + TUNNELLED)
    assert told.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert told.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in told
    assert recorder.events == []
