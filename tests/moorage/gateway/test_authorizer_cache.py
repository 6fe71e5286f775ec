"""How long what an authorizer said of a token is remembered, and what never is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moorage.gateway import authorizer as gateway_authorizer
from tests.moorage.gateway.authorizers import BASE, ScriptedAuthorizer, ask, letting, policy
from tests.support.servers import Recorder, run_gateway

if TYPE_CHECKING:
    import pytest


def test_a_verdict_is_kept_by_the_whole_header() -> None:
    """The same token is not asked about again until its time is over; another one is."""
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


def test_a_kept_policy_is_read_anew_for_each_request() -> None:
    """A policy that allows one method of one path allows no other one for being remembered."""
    authorizer = ScriptedAuthorizer(letting(f"{BASE}GET/a"))
    with run_gateway(Recorder(), api=authorizer.rest_api()) as url:
        statuses = [
            ask(url, "t", "/v2/a")[0],
            ask(url, "t", "/v2/b")[0],
            ask(url, "t", "/v2/a", "PUT")[0],
            ask(url, "t", "/v2/a")[0],
        ]
        denied = ask(url, "t", "/v2/")
    assert statuses == [200, 403, 403, 200]
    assert denied == (
        403,
        "AccessDeniedException",
        b'{"Message":"User is not authorized to access this resource"}',
    )
    assert len(authorizer.events) == 1


def test_a_refusal_by_policy_is_a_verdict_too() -> None:
    """Somebody who may do nothing is remembered, as API Gateway remembers every policy."""
    authorizer = ScriptedAuthorizer(
        lambda token: {"principalId": token, "policyDocument": policy("*", effect="Deny")}
    )
    with run_gateway(Recorder(), api=authorizer.rest_api()) as url:
        assert [ask(url)[0], ask(url)[0]] == [403, 403]
    assert len(authorizer.events) == 1


def test_without_a_time_to_live_nothing_is_kept() -> None:
    """A TTL of 0 means to ask each time."""
    authorizer = ScriptedAuthorizer(letting("*"))
    with run_gateway(Recorder(), api=authorizer.rest_api(ttl_seconds=0)) as url:
        for _ in range(3):
            ask(url)
    assert len(authorizer.events) == 3


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict that was of no use for longest goes first."""
    monkeypatch.setattr(gateway_authorizer, "_MOST_RESULTS", 2)
    authorizer = ScriptedAuthorizer(letting("*"))
    with run_gateway(Recorder(), api=authorizer.rest_api()) as url:
        for token in ("a", "b", "a", "c", "a", "b"):
            ask(url, token)
    asked = [event["authorizationToken"] for event in authorizer.events]
    assert asked == ["a", "b", "c", "b"]
