"""A TOKEN authorizer before a function: when it is called, what its output does, what is cached."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from moorage.gateway import authorizer as gateway_authorizer
from moorage.gateway.authorizer import TokenAuthorizer
from moorage.gateway.resources import Resources
from moorage.gateway.rest_api import RestApi
from moorage.gateway.server import GatewayOptions
from tests.support.servers import Recorder, request, run_gateway

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = "arn:aws:execute-api:us-east-1:000000000000:local/v2/"
ANY = ("GET", "PUT")
RESOURCES = Resources({"/": ANY, "/{proxy+}": ANY, "/_token": ANY})


@dataclass
class ScriptedAuthorizer:
    """A function that keeps its events and returns what a test wants for each token."""

    says: Callable[[str], object]
    events: list[dict[str, Any]] = field(default_factory=list)
    now: float = 1000.0

    def __call__(self, event: dict[str, Any], _: object) -> object:
        """Keep the event and answer."""
        self.events.append(event)
        return self.says(event["authorizationToken"])

    def rest_api(self, ttl_seconds: float = 60) -> RestApi:
        """Put it before every method but those of /_token."""
        asked = TokenAuthorizer(self, ttl_seconds, clock=lambda: self.now)
        guarded = {(path, method): asked for path in ("/", "/{proxy+}") for method in ANY}
        return RestApi(RESOURCES, guarded)


def policy(*resources: str, effect: str = "Allow") -> dict[str, object]:
    """Write a policy of one statement."""
    invoke = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": list(resources)}
    return {"Version": "2012-10-17", "Statement": [invoke]}


def letting(*resources: str, **context: object) -> Callable[[str], object]:
    """Allow everybody some resources; the principal is the token."""
    return lambda token: {
        "principalId": token,
        "policyDocument": policy(*resources),
        "context": context,
    }


SOMEBODY = "t"
UNAUTHORIZED = (401, "UnauthorizedException", b'{"message":"Unauthorized"}')
FAILED = (500, "AuthorizerFailureException", b'{"message":null}')
MISCONFIGURED = (500, "AuthorizerConfigurationException", b'{"message":null}')


def ask(
    url: str, token: str | None = SOMEBODY, target: str = "/v2/a", method: str = "GET"
) -> tuple[int, object, bytes]:
    """Send a request with a token; give status, error type and body."""
    headers = {} if token is None else {"Authorization": token}
    status, answered, body = request(url, method, target, headers=headers)
    return status, answered["x-amzn-ErrorType"], body


def test_the_event_has_principal_and_context() -> None:
    """And the Authorization header too; a context can't name the principal."""
    says = letting("*", team="blue", level=7, principalId="root")
    authorizer, function = ScriptedAuthorizer(says), Recorder()
    with run_gateway(function, api=authorizer.rest_api()) as url:
        assert ask(url, "Bearer t", "/v2/a/b%2Fc?x=1")[0] == 200
    arn = f"{BASE}GET/a/b%2Fc"
    sent = {"type": "TOKEN", "authorizationToken": "Bearer t", "methodArn": arn}
    assert authorizer.events == [sent]
    [event] = function.events
    told = event["requestContext"]["authorizer"]
    assert isinstance(told.pop("integrationLatency"), int)
    assert told == {"principalId": "Bearer t", "team": "blue", "level": "7"}
    assert event["headers"]["Authorization"] == "Bearer t"


@pytest.mark.parametrize("token", [None, "", "   "])
def test_without_a_token_it_is_401_and_nothing_runs(token: str | None) -> None:
    """The gateway itself answers."""
    authorizer, function = ScriptedAuthorizer(letting("*")), Recorder()
    with run_gateway(function, api=authorizer.rest_api()) as url:
        assert ask(url, token) == UNAUTHORIZED
    assert (authorizer.events, function.events) == ([], [])


def test_a_method_without_an_authorizer_is_open() -> None:
    """No authorizer is called, whatever was sent, and the event names nobody."""
    authorizer, function = ScriptedAuthorizer(letting("*")), Recorder()
    with run_gateway(function, api=authorizer.rest_api()) as url:
        assert ask(url, None, "/v2/_token")[0] == 200
        assert ask(url, "t", "/v2/_token/")[0] == 200
    assert authorizer.events == []
    assert all("authorizer" not in event["requestContext"] for event in function.events)


def test_a_request_without_a_route_calls_no_authorizer() -> None:
    """A missing method is 403 for everybody."""
    authorizer = ScriptedAuthorizer(letting("*"))
    with run_gateway(Recorder(), api=authorizer.rest_api()) as url:
        status, kind, _ = ask(url, "t", "/v2/a", "DELETE")
    assert (status, kind) == (403, "MissingAuthenticationTokenException")
    assert authorizer.events == []


def raising(error: BaseException) -> Callable[[str], object]:
    """Raise an error for every token."""

    def says(_: str) -> object:
        raise error

    return says


@pytest.mark.parametrize(
    ("says", "answer"),
    [
        (raising(Exception("Unauthorized")), UNAUTHORIZED),
        (raising(Exception("unauthorized")), FAILED),
        (raising(Exception("Unauthorized: expired")), FAILED),
        (raising(LookupError("a-secret-detail")), FAILED),
        (raising(SystemExit("Unauthorized")), FAILED),
        (lambda _: None, MISCONFIGURED),
        (lambda _: {"principalId": "ann"}, MISCONFIGURED),
        (letting("*", nested={}), MISCONFIGURED),
    ],
)
def test_a_refusal_or_failure_of_the_authorizer_calls_no_function(
    says: Callable[[str], object], answer: tuple[int, str, bytes]
) -> None:
    """Each has API Gateway's answer, without a detail, and is not cached."""
    authorizer, function = ScriptedAuthorizer(says), Recorder()
    with run_gateway(function, api=authorizer.rest_api()) as url:
        assert [ask(url), ask(url)] == [answer, answer]
    assert len(authorizer.events) == 2
    assert function.events == []


def test_a_token_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the authorizer returns or raises."""
    broken = raising(LookupError("no such table"))
    answers = [broken, raising(Exception("Unauthorized")), lambda _: 7, letting()]
    caplog.set_level("DEBUG")
    for says in answers:
        with run_gateway(Recorder(), api=ScriptedAuthorizer(says).rest_api()) as url:
            ask(url, "Bearer s3cret")
    assert "no such table" in caplog.text
    assert "s3cret" not in caplog.text


def test_an_authorizer_that_runs_too_long_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_an_arn_above_1600_bytes_is_414(length: int, status: int) -> None:
    """Where the method has an authorizer, and there alone."""
    authorizer = ScriptedAuthorizer(letting("*"))
    path = "a" * (length - len(f"{BASE}GET/"))
    with run_gateway(Recorder(), api=authorizer.rest_api()) as url:
        assert ask(url, "t", f"/v2/{path}")[0] == status
        assert ask(url, "t", f"/v2/_token?{path}")[0] == 200


def test_a_body_too_large_for_the_function_is_refused_after_the_authorizer() -> None:
    """A client without a token gets 401, and one with a token 413."""
    body = b"x" * (5 * 1024 * 1024)
    with run_gateway(Recorder(), api=ScriptedAuthorizer(letting("*")).rest_api()) as url:
        assert request(url, "PUT", "/v2/a", body)[0] == 401
        assert request(url, "PUT", "/v2/a", body, {"Authorization": "t"})[0] == 413


def test_functions_and_authorizers_do_not_wait_for_each_other() -> None:
    """They are two functions: one that uses all its slots leaves the other's alone."""
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
    """A request that is authorized while the gateway stops is 503, and no function is cut off."""
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


def test_a_result_is_cached_by_the_whole_header() -> None:
    """A token is not asked about again until its time is over; another one is."""
    authorizer, function = ScriptedAuthorizer(letting("*")), Recorder()
    with run_gateway(function, api=authorizer.rest_api(ttl_seconds=60)) as url:
        for token in ("a", "b", "a", "A"):
            ask(url, token, "/v2/")
        authorizer.now += 59.9
        ask(url, "a", "/v2/x", "PUT")
        authorizer.now += 0.1
        ask(url, "a")
    asked = [event["authorizationToken"] for event in authorizer.events]
    assert asked == ["a", "b", "A", "a"]
    callers = [event["requestContext"]["authorizer"]["principalId"] for event in function.events]
    assert callers == ["a", "b", "a", "A", "a", "a"]


def test_a_cached_policy_is_evaluated_for_each_request() -> None:
    """A policy for one method of one path allows no other one because it is cached."""
    authorizer = ScriptedAuthorizer(letting(f"{BASE}GET/a"))
    with run_gateway(Recorder(), api=authorizer.rest_api()) as url:
        targets = [("/v2/a", "GET"), ("/v2/b", "GET"), ("/v2/a", "PUT"), ("/v2/a", "GET")]
        statuses = [ask(url, "t", *target)[0] for target in targets]
        denied = ask(url, "t", "/v2/")
    assert statuses == [200, 403, 403, 200]
    assert denied == (
        403,
        "AccessDeniedException",
        b'{"Message":"User is not authorized to access this resource"}',
    )
    assert len(authorizer.events) == 1


def test_a_denying_policy_is_cached_too() -> None:
    """As API Gateway caches every policy."""
    authorizer = ScriptedAuthorizer(
        lambda token: {"principalId": token, "policyDocument": policy("*", effect="Deny")}
    )
    with run_gateway(Recorder(), api=authorizer.rest_api()) as url:
        assert [ask(url)[0], ask(url)[0]] == [403, 403]
    assert len(authorizer.events) == 1


@pytest.mark.parametrize(
    ("ttl_seconds", "tokens", "called"), [(0, "aaa", "aaa"), (60, "abacab", "abcb")]
)
def test_a_ttl_of_0_caches_nothing_and_the_cache_is_bounded(
    ttl_seconds: float, tokens: str, called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result that was unused for longest goes first."""
    monkeypatch.setattr(gateway_authorizer, "_MOST_RESULTS", 2)
    authorizer = ScriptedAuthorizer(letting("*"))
    with run_gateway(Recorder(), api=authorizer.rest_api(ttl_seconds)) as url:
        for token in tokens:
            ask(url, token)
    assert [event["authorizationToken"] for event in authorizer.events] == [*called]
