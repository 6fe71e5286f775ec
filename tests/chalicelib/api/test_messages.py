"""Chalice's traps, each with a test that fails without its remedy; what Chalice must never see."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

import app as application
from chalicelib.api import messages
from chalicelib.api.messages import MoorageChalice, Request, Response, current, to_chalice
from chalicelib.wiring import registry as wiring
from moorage.common.project import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalice.app import Response as ChaliceResponse


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 10_000)
"""A Lambda context with 10 s left."""


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
        return self.app(sent, CONTEXT)


@pytest.mark.parametrize("body", [b"", b"\x00\xff binary", b"{}"])
@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream", None])
def test_a_body_is_returned_byte_for_byte(body: bytes, content_type: str | None) -> None:
    """An answer's body is base64 of exactly its bytes, whatever its type; never `null`."""
    headers: dict[str, str | list[str]] = {"Content-Type": content_type} if content_type else {}
    answer = Echo(Response(200, headers, body))(event())
    assert answer["isBase64Encoded"] is True
    assert base64.b64decode(answer["body"]) == body


def test_threads_do_not_see_each_others_requests() -> None:
    """Two requests at once each see their own, and neither remains afterwards."""
    barrier, seen = threading.Barrier(2), {}

    def view(app: MoorageChalice) -> ChaliceResponse:
        barrier.wait(timeout=10)
        request = current(app)
        seen[request.path] = request.body
        return to_chalice(Response(200))

    app = serving(view)

    def ask(name: str) -> None:
        app(event("PUT", proxy=name, body=name), CONTEXT)

    with ThreadPoolExecutor() as pool:
        list(pool.map(ask, ("one", "two")))
    assert seen == {"one": b"one", "two": b"two"}


def test_the_deadline_is_the_invocations(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request ends when its invocation does, or at the default if there is none."""
    monkeypatch.setattr(messages, "time", SimpleNamespace(time=lambda: 1000.0))
    echo = Echo(Response(200))
    echo(event())
    echo.app(event(), None)
    assert [seen.deadline for seen in echo.seen] == [1010.0, 1029.0]


SECRET = "the name of a bucket"  # noqa: S105 - what an answer must not hold


def raising(error: Exception) -> Callable[..., NoReturn]:
    """Return a function that raises, whatever it is given."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


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


def test_a_body_is_decoded_once_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event keeps no copy, and Chalice's much slower decoding is never used."""
    data = os.urandom(100_000)
    asked = event("PUT", body=base64.b64encode(data).decode(), isBase64Encoded=True)
    app = serving(lambda app: to_chalice(Response(200, body=current(app).body)))
    with monkeypatch.context() as patch:
        patch.setattr("chalice.app.base64.b64encode", raising(AssertionError()))
        patch.setattr("chalice.app.base64.b64decode", raising(AssertionError()))
        told = app(asked, None)
    assert base64.b64decode(told["body"]) == data
    assert asked["body"] is None


def test_the_authorizer_context_is_passed_on() -> None:
    """It may be null, empty, or name the caller; its values are text."""
    told: dict[str, object] = {"principalId": "ann", "version": 3}
    for authorizer, said in ((None, {}), ({}, {}), (told, {"principalId": "ann", "version": "3"})):
        echo, asked = Echo(Response(200)), event()
        asked["requestContext"]["authorizer"] = authorizer
        assert echo(asked)["statusCode"] == 200
        assert (echo.seen[0].authorizer, echo.seen[0].source) == (said, "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("proxy", [None, "a/b/manifests/v1"])
@pytest.mark.parametrize(
    "sent",
    [
        {"Content-Type": ["application/octet-stream"]},
        {"Content-Type": ["application/json"], "Accept": ["a", "b"]},
        {"Host": ["h"]},
    ],
)
def test_both_routes_of_the_app_reach_the_api(
    monkeypatch: pytest.MonkeyPatch, method: str, proxy: str | None, sent: dict[str, list[str]]
) -> None:
    """Every method of both patterns does, with any content type or Accept, or without."""
    seen: list[Request] = []

    def api(request: Request) -> Response:
        seen.append(request)
        return Response(299, {"X": "y"}, b"\x00")

    monkeypatch.setattr(wiring, "api", lambda: api)
    last = {name: values[-1] for name, values in sent.items()}
    told = application.app(event(method, proxy, headers=last, multiValueHeaders=sent), None)
    assert (told["statusCode"], told["headers"]["X"]) == (299, "y")
    assert base64.b64decode(told["body"]) == b"\x00"
    assert [(request.method, request.path) for request in seen] == [(method, proxy or "")]
    assert seen[0].headers == {name.lower(): ", ".join(values) for name, values in sent.items()}


@pytest.mark.parametrize(
    ("api", "changes"),
    [
        (raising(ValueError(SECRET)), {}),
        (lambda: raising(AssertionError()), {"body": "no base64!", "isBase64Encoded": True}),
        (lambda: raising(AssertionError()), {"body": "YQ", "isBase64Encoded": True}),
        (lambda: raising(AssertionError()), {"multiValueHeaders": {"Host": None}}),
    ],
    ids=["a setting that is missing", "no base64", "cut base64", "no header"],
)
def test_a_failure_before_the_api_is_an_error_of_the_specification(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    api: Callable[[], Callable[..., Response]],
    changes: dict[str, Any],
) -> None:
    """It is 500 without its cause, which is in the log; the API is not called."""
    monkeypatch.setattr(wiring, "api", api)
    told = application.app(event("PUT", **changes), None)
    assert (told["statusCode"], told["headers"]["Content-Type"]) == (500, "application/json")
    assert told["headers"]["Docker-Distribution-Api-Version"] == "registry/2.0"
    (error,) = json.loads(base64.b64decode(told["body"]))["errors"]
    assert error["code"] == "UNKNOWN"
    assert SECRET not in str(error)
    assert "never reached the API" in caplog.text
    assert (SECRET in caplog.text) == (not changes)
    assert "AssertionError" not in caplog.text


def test_only_messages_and_the_app_import_chalice() -> None:
    """No other module that runs in Lambda imports Chalice."""
    files = [PROJECT / "app.py", *(PROJECT / "chalicelib").rglob("*.py")]
    known = re.compile(r"^\s*(import|from) chalice\b", re.MULTILINE)
    knowing = {
        path.relative_to(PROJECT).as_posix() for path in files if known.search(path.read_text())
    }
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
    """In Lambda each record is one JSON line; elsewhere the log stays as it was."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
    if in_lambda:
        environment["AWS_LAMBDA_FUNCTION_NAME"] = "moorage"
    program = [sys.executable, "-c", textwrap.dedent(_LOGGING)]
    ran = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    said = [(line["level"], line["message"], line.get("status")) for line in lines]
    if in_lambda:
        assert said == [("INFO", "asked", 202), ("WARNING", "broken", None)]
        assert ran.stderr == "plain not ours\n"
    else:
        assert (said, ran.stderr) == ([], "plain broken\nplain not ours\n")
