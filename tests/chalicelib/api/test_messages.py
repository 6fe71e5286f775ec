"""Chalice's traps, each with a test that fails without its remedy; what Chalice must never see."""

from __future__ import annotations

import ast
import base64
import json
import os
import subprocess
import sys
import textwrap
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

import app as application
from chalicelib.api import messages
from chalicelib.api.dispatch import answer
from chalicelib.api.messages import MoorageChalice, Request, Response, current, to_chalice
from chalicelib.wiring import registry as wiring
from moorage.common.project import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable

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


def serving(view: Callable[[MoorageChalice], ChaliceResponse]) -> MoorageChalice:
    """Return an app whose one view is this, under both patterns of the deployed app."""
    app = MoorageChalice("test")
    for pattern in ("/", "/{proxy+}"):
        app.route(pattern, methods=METHODS, content_types=[], name=pattern)(lambda: view(app))
    return app


class Echo:
    """An app whose view records the request and gives one answer."""

    def __init__(self, response: Response) -> None:
        self.seen: list[Request] = []

        def view(app: MoorageChalice) -> ChaliceResponse:
            self.seen.append(current(app))
            return to_chalice(response)

        self.app = serving(view)

    def __call__(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Send an event."""
        return self.app(sent, Context())


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
    barrier, seen = threading.Barrier(2), {}

    def view(app: MoorageChalice) -> ChaliceResponse:
        barrier.wait(timeout=10)
        request = current(app)
        seen[request.path] = request.body
        return to_chalice(Response(200))

    app = serving(view)

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


ROOT = PROJECT
SECRET = "the name of a bucket"  # noqa: S105 - what an answer must not hold


def raising(error: Exception) -> Callable[..., NoReturn]:
    """Return a function that raises, whatever it is given."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


def assert_spec_fault(told: dict[str, Any]) -> None:
    """Require a 500 in the spec's shape that says nothing of its cause."""
    body = base64.b64decode(told["body"])
    assert told["statusCode"] == 500
    assert told["headers"]["Content-Type"] == "application/json"
    assert told["headers"]["Docker-Distribution-Api-Version"] == "registry/2.0"
    (error,) = json.loads(body)["errors"]
    assert error["code"] == "UNKNOWN"
    assert SECRET.encode() not in body


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_a_request_is_left_in_its_thread(*, fails: bool) -> None:
    """After an answer, and after a view that raised, the thread holds no request and no context."""
    seen: list[Request] = []

    def view(app: MoorageChalice) -> ChaliceResponse:
        seen.append(current(app))
        if fails:
            raise ValueError
        return to_chalice(Response(200))

    app = serving(view)
    assert app(event("PUT", body="x"), object())["statusCode"] == (500 if fails else 200)
    assert seen[0].body == b"x"
    assert (app.current_request, app.lambda_context) == (None, None)


def test_header_values_become_text() -> None:
    """A number in a header, or in a header of several values, is sent as text, not as a 500."""
    headers: Any = {"Age": 7, "Many": [1, "two"]}
    told = serving(lambda _: to_chalice(Response(200, headers)))(event(), None)
    assert told["statusCode"] == 200
    assert told["headers"]["Age"] == "7"
    assert told["multiValueHeaders"]["Many"] == ["1", "two"]


def test_the_standard_librarys_base64_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies go in and out without Chalice's own coding, which is many times as slow."""
    data = os.urandom(1000)
    asked = event("PUT", body=base64.b64encode(data).decode(), isBase64Encoded=True)
    app = serving(lambda app: to_chalice(Response(200, body=current(app).body)))
    with monkeypatch.context() as patch:
        patch.setattr("chalice.app.base64.b64encode", raising(AssertionError()))
        patch.setattr("chalice.app.base64.b64decode", raising(AssertionError()))
        told = app(asked, None)
    assert base64.b64decode(told["body"]) == data


def test_what_the_authorizer_says_is_handed_on() -> None:
    """The authorizer context of an event may be null, empty, or name the caller, all as text."""
    told: dict[str, object] = {"principalId": "ann", "version": 3}
    for authorizer, said in ((None, {}), ({}, {}), (told, {"principalId": "ann", "version": "3"})):
        echo, asked = Echo(Response(200)), event()
        asked["requestContext"]["authorizer"] = authorizer
        assert echo(asked)["statusCode"] == 200
        assert (echo.seen[0].authorizer, echo.seen[0].source) == (said, "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("proxy", [None, "a/b/manifests/v1"])
def test_both_routes_of_the_app_reach_the_api(
    monkeypatch: pytest.MonkeyPatch, method: str, proxy: str | None
) -> None:
    """The app that is deployed hands every method of both its patterns to the API."""
    seen: list[Request] = []

    def api(request: Request) -> Response:
        seen.append(request)
        return Response(299, {"X": "y"}, b"\x00")

    monkeypatch.setattr(wiring, "api", lambda: api)
    sent = {"Content-Type": "application/octet-stream"}
    told = application.app(event(method, proxy, headers=sent), None)
    assert (told["statusCode"], told["headers"]["X"]) == (299, "y")
    assert base64.b64decode(told["body"]) == b"\x00"
    assert [(request.method, request.path) for request in seen] == [(method, proxy or "")]


def test_an_api_that_can_not_be_built_is_told_in_the_specs_shape(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A setting that is missing is a 500 of the spec's shape, its cause only in the log."""
    monkeypatch.setattr(wiring, "api", raising(ValueError(SECRET)))
    assert_spec_fault(application.app(event(), None))
    assert SECRET in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"body": "no base64!", "isBase64Encoded": True},
        {"body": "YQ", "isBase64Encoded": True},
        {"multiValueHeaders": {"Host": None}},
    ],
    ids=["no base64", "cut base64", "no header"],
)
def test_an_event_that_can_not_be_read_is_told_in_the_specs_shape(changes: dict[str, Any]) -> None:
    """What API Gateway never sends is a 500 of the spec's shape too, and never reaches the API."""
    reached: list[Request] = []

    def api(request: Request) -> Response:
        reached.append(request)
        return Response(200)

    app = serving(lambda app: to_chalice(answer(lambda: api, lambda: current(app))))
    assert_spec_fault(app(event("PUT", **changes), None))
    assert reached == []


def test_only_messages_and_the_app_know_chalice() -> None:
    """No other module that runs in Lambda imports Chalice."""
    knowing = set()
    for path in [ROOT / "app.py", *(ROOT / "chalicelib").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.append(node.module)
            if any(name.partition(".")[0] == "chalice" for name in names):
                knowing.add(path.relative_to(ROOT).as_posix())
    assert knowing == {"app.py", "chalicelib/api/messages.py"}


_LOGGING = """
    import logging, os
    from chalicelib.telemetry import log

    logging.basicConfig(level=logging.WARNING, format="plain %(message)s")  # as Lambda does
    log.configure(os.environ)
    logging.getLogger("moorage.api").info("asked", extra={"status": 202})
    logging.getLogger("moorage.api").warning("broken")
    logging.getLogger("other").warning("not ours")
"""


@pytest.mark.parametrize("in_lambda", [True, False])
def test_the_log_is_json_in_lambda_only(*, in_lambda: bool) -> None:
    """In Lambda each record is one JSON line, said once; elsewhere the log is as it was."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    if in_lambda:
        environment["AWS_LAMBDA_FUNCTION_NAME"] = "moorage"
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_LOGGING)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    if not in_lambda:
        assert (lines, ran.stderr) == ([], "plain broken\nplain not ours\n")
        return
    assert [(line["level"], line["message"]) for line in lines] == [
        ("INFO", "asked"),
        ("WARNING", "broken"),
    ]
    assert lines[0]["status"] == 202
    assert ran.stderr == "plain not ours\n"
