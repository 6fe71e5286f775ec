"""An authorizer before a function: when it is asked, and what its words come to."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from moorage.gateway import authorizer as gateway_authorizer
from moorage.gateway.server import GatewayOptions
from tests.moorage.gateway.authorizers import BASE, ScriptedAuthorizer, ask, letting
from tests.support.servers import Recorder, request, run_gateway

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_function_is_told_who_calls() -> None:
    """Principal and context are in the event, and the header is too."""
    authorizer, function = ScriptedAuthorizer(letting("*", team="blue", level=7)), Recorder()
    with run_gateway(function, api=authorizer.rest_api()) as url:
        assert ask(url, "Bearer t", "/v2/a/b%2Fc?x=1")[0] == 200
    assert authorizer.events == [
        {
            "type": "TOKEN",
            "authorizationToken": "Bearer t",
            "methodArn": f"{BASE}GET/a/b%2Fc",
        }
    ]
    [event] = function.events
    told = event["requestContext"]["authorizer"]
    assert isinstance(told.pop("integrationLatency"), int)
    assert told == {"principalId": "Bearer t", "team": "blue", "level": "7"}
    assert event["headers"]["Authorization"] == "Bearer t"


def test_a_context_can_not_name_the_principal() -> None:
    """The principal's own place wins."""
    authorizer, function = ScriptedAuthorizer(letting("*", principalId="root")), Recorder()
    with run_gateway(function, api=authorizer.rest_api()) as url:
        ask(url, "ann")
    assert function.events[0]["requestContext"]["authorizer"]["principalId"] == "ann"


@pytest.mark.parametrize("token", [None, "", "   "])
def test_without_a_token_nothing_runs(token: str | None) -> None:
    """The gateway itself answers 401."""
    authorizer, function = ScriptedAuthorizer(letting("*")), Recorder()
    with run_gateway(function, api=authorizer.rest_api()) as url:
        assert ask(url, token) == (401, "UnauthorizedException", b'{"message":"Unauthorized"}')
    assert (authorizer.events, function.events) == ([], [])


def test_a_method_without_an_authorizer_is_open() -> None:
    """Nobody is asked, whatever was sent, and the function is told of nobody."""
    authorizer, function = ScriptedAuthorizer(letting("*")), Recorder()
    with run_gateway(function, api=authorizer.rest_api()) as url:
        assert ask(url, None, "/v2/_token")[0] == 200
        assert ask(url, "t", "/v2/_token/")[0] == 200
    assert authorizer.events == []
    assert all("authorizer" not in event["requestContext"] for event in function.events)


def test_what_has_no_route_is_refused_before_anybody_is_asked() -> None:
    """A method that is not there is 403 whoever sends it."""
    authorizer = ScriptedAuthorizer(letting("*"))
    with run_gateway(Recorder(), api=authorizer.rest_api()) as url:
        status, kind, _ = ask(url, "t", "/v2/a", "DELETE")
    assert (status, kind) == (403, "MissingAuthenticationTokenException")
    assert authorizer.events == []


def raising(error: BaseException) -> Callable[[str], object]:
    """Raise an error, whoever comes."""

    def says(_: str) -> object:
        raise error

    return says


FAILED = (500, "AuthorizerFailureException", b'{"message":null}')
MISCONFIGURED = (500, "AuthorizerConfigurationException", b'{"message":null}')


@pytest.mark.parametrize(
    ("says", "answer"),
    [
        (
            raising(Exception("Unauthorized")),
            (401, "UnauthorizedException", b'{"message":"Unauthorized"}'),
        ),
        (raising(Exception("unauthorized")), FAILED),
        (raising(Exception("Unauthorized: expired")), FAILED),
        (raising(LookupError("a-secret-detail")), FAILED),
        (raising(SystemExit("Unauthorized")), FAILED),
        (lambda _: None, MISCONFIGURED),
        (lambda _: {"principalId": "ann"}, MISCONFIGURED),
        (letting("*", nested={}), MISCONFIGURED),
    ],
)
def test_who_is_not_let_in_never_reaches_the_function(
    says: Callable[[str], object], answer: tuple[int, str, bytes]
) -> None:
    """Each failure has API Gateway's answer, tells no detail, and is asked anew each time."""
    authorizer, function = ScriptedAuthorizer(says), Recorder()
    with run_gateway(function, api=authorizer.rest_api()) as url:
        assert [ask(url), ask(url)] == [answer, answer]
    assert len(authorizer.events) == 2
    assert function.events == []


def test_a_token_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the authorizer comes to."""
    answers = [
        raising(LookupError("no such table")),
        raising(Exception("Unauthorized")),
        lambda _: 7,
        letting(),
    ]
    caplog.set_level("DEBUG")
    for says in answers:
        with run_gateway(Recorder(), api=ScriptedAuthorizer(says).rest_api()) as url:
            ask(url, "Bearer s3cret")
    assert "no such table" in caplog.text
    assert "s3cret" not in caplog.text


def test_an_authorizer_that_overruns_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is let in by waiting."""
    monkeypatch.setattr(gateway_authorizer, "TIMEOUT_SECONDS", 0.2)
    release = threading.Event()

    def says(token: str) -> object:
        release.wait(20)
        return letting("*")(token)

    authorizer, function = ScriptedAuthorizer(says), Recorder()
    with run_gateway(function, api=authorizer.rest_api()) as url:
        assert ask(url) == FAILED
        release.set()
    assert function.events == []


@pytest.mark.parametrize(("length", "status"), [(1600, 200), (1601, 414)])
def test_an_arn_has_a_limit(length: int, status: int) -> None:
    """Where a method has an authorizer, API Gateway takes an ARN of 1600 bytes and no more."""
    authorizer = ScriptedAuthorizer(letting("*"))
    path = "a" * (length - len(f"{BASE}GET/"))
    with run_gateway(Recorder(), api=authorizer.rest_api()) as url:
        assert ask(url, "t", f"/v2/{path}")[0] == status
        assert ask(url, "t", f"/v2/_token?{path}")[0] == 200


def test_a_body_too_large_for_the_function_is_refused_after_the_authorizer() -> None:
    """Who is nobody hears 401, and who is somebody hears 413."""
    body = b"x" * (5 * 1024 * 1024)
    with run_gateway(Recorder(), api=ScriptedAuthorizer(letting("*")).rest_api()) as url:
        assert request(url, "PUT", "/v2/a", body)[0] == 401
        assert request(url, "PUT", "/v2/a", body, {"Authorization": "t"})[0] == 413


def test_functions_and_authorizers_do_not_wait_for_each_other() -> None:
    """They are two functions: one that takes all its threads leaves the other one's alone."""
    release = threading.Event()

    def function(_: dict[str, Any], __: object) -> object:
        release.wait(20)
        return {"statusCode": 200}

    authorizer = ScriptedAuthorizer(raising(Exception("Unauthorized")))
    options = GatewayOptions(port=0, threads=1)
    with (
        run_gateway(function, options, authorizer.rest_api()) as url,
        ThreadPoolExecutor(1) as clients,
    ):
        slow = clients.submit(ask, url, None, "/v2/_token")
        assert ask(url)[0] == 401
        release.set()
        assert slow.result(20)[0] == 200


def test_stopping_begins_no_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is let in when the gateway stops hears 503, and no function is cut off."""
    inside, release = threading.Event(), threading.Event()

    def says(token: str) -> object:
        inside.set()
        release.wait(20)
        return letting("*")(token)

    drain = gateway_authorizer.RunningAuthorizer.drain

    async def stopping(guard: gateway_authorizer.RunningAuthorizer) -> None:
        release.set()
        await drain(guard)

    monkeypatch.setattr(gateway_authorizer.RunningAuthorizer, "drain", stopping)
    function = Recorder()
    with ThreadPoolExecutor(1) as clients:
        with run_gateway(function, api=ScriptedAuthorizer(says).rest_api()) as url:
            late = clients.submit(ask, url)
            assert inside.wait(10)
        assert late.result(20)[0] == 503
    assert function.events == []
