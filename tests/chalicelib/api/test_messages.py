"""Chalice's traps, each with a test that fails without its remedy."""

from __future__ import annotations

import base64
import os
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.api import messages
from chalicelib.api.messages import MoorageChalice, Request, Response, current, to_chalice

if TYPE_CHECKING:
    from chalice.app import Response as ChaliceResponse

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class Context:
    """A Lambda context with 10 s left."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds."""
        return 10_000


def event(method: str = "GET", proxy: str | None = "a/b", **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return an event as API Gateway makes it."""
    resource = "/" if proxy is None else "/{proxy+}"
    return {
        "resource": resource,
        "path": "/" + (proxy or ""),
        "httpMethod": method,
        "headers": {"Host": "h"},
        "multiValueHeaders": {"Host": ["h"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None if proxy is None else {"proxy": proxy},
        "stageVariables": None,
        "requestContext": {"resourcePath": resource, "httpMethod": method, "requestId": "r"},
        "body": None,
        "isBase64Encoded": False,
        **changes,
    }


class Echo:
    """An app whose view records the request and gives the answer it was told to."""

    def __init__(self, response: Response) -> None:
        self.app = MoorageChalice("echo")
        self.seen: list[Request] = []

        def view() -> ChaliceResponse:
            self.seen.append(current(self.app))
            return to_chalice(response)

        self.app.route("/", methods=METHODS, content_types=[], name="root")(view)
        self.app.route("/{proxy+}", methods=METHODS, content_types=[], name="below")(view)

    def __call__(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Ask."""
        return self.app(asked, Context())


@pytest.mark.parametrize("proxy", [None, "a/b/blobs/uploads/x"])
def test_a_greedy_path_reaches_the_view(proxy: str | None) -> None:
    """Both patterns reach the view, which finds the path though Chalice passes it nothing."""
    echo = Echo(Response(200))
    assert echo(event(proxy=proxy))["statusCode"] == 200
    assert echo.seen[0].path == (proxy or "")


def test_a_request_without_accept_is_answered() -> None:
    """A client that sends no Accept gets the answer, not 400."""
    answer = Echo(Response(200, {"Content-Type": "text/plain"}, b"x"))(event())
    assert answer["statusCode"] == 200


def test_repeated_accepts_reach_the_handler_joined() -> None:
    """A handler sees all of a client's Accept headers."""
    echo = Echo(Response(200))
    asked = event(headers={"Accept": "b"}, multiValueHeaders={"Accept": ["a", "b"]})
    assert echo(asked)["statusCode"] == 200
    assert echo.seen[0].headers["accept"] == "a, b"


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", None])
def test_any_content_type_is_taken(content_type: str | None) -> None:
    """No Content-Type is refused with 415."""
    headers = {"Content-Type": content_type} if content_type else {}
    many = {name: [value] for name, value in headers.items()}
    asked = event("POST", headers=headers, multiValueHeaders=many)
    assert Echo(Response(202))(asked)["statusCode"] == 202


@pytest.mark.parametrize("body", [b"", b"\x00\xff binary", b"{}"])
@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream", None])
def test_bytes_come_out_as_they_went_in(body: bytes, content_type: str | None) -> None:
    """An answer's body is base64 of exactly its bytes, whatever its type; never `null`."""
    headers: dict[str, str | list[str]] = {"Content-Type": content_type} if content_type else {}
    answer = Echo(Response(200, headers, body))(event())
    assert answer["isBase64Encoded"] is True
    assert base64.b64decode(answer["body"]) == body


def test_a_body_is_decoded_once_and_given_up() -> None:
    """A handler gets the bytes; the event keeps no copy of them."""
    data, echo = os.urandom(100_000), Echo(Response(200))
    asked = event("PUT", body=base64.b64encode(data).decode(), isBase64Encoded=True)
    echo(asked)
    assert echo.seen[0].body == data
    assert asked["body"] is None


def test_a_header_with_several_values_is_sent_as_several() -> None:
    """A list becomes a multi-value header."""
    answer = Echo(Response(201, {"OCI-Tag": ["a", "b"]}))(event("PUT"))
    assert answer["multiValueHeaders"]["OCI-Tag"] == ["a", "b"]


def test_threads_do_not_see_each_others_requests() -> None:
    """Two requests at once each see their own, and none is left behind."""
    app, barrier, seen = MoorageChalice("threads"), threading.Barrier(2), {}

    def view() -> ChaliceResponse:
        barrier.wait(timeout=10)
        request = current(app)
        seen[request.path] = request.body
        return to_chalice(Response(200))

    app.route("/{proxy+}", methods=METHODS, content_types=[])(view)

    def ask(name: str) -> None:
        app(event("PUT", proxy=name, body=name), Context())

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"one": b"one", "two": b"two"}
    assert app.current_request is None


def test_the_deadline_is_the_invocations(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request ends when its invocation does, or as a default says where there is none."""
    monkeypatch.setattr(messages, "time", SimpleNamespace(time=lambda: 1000.0))
    echo = Echo(Response(200))
    echo(event())
    echo.app(event(), None)
    assert [seen.deadline for seen in echo.seen] == [1010.0, 1029.0]
