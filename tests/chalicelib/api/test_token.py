"""The token endpoint over HTTP: how it is asked, what it answers, and what it takes for none."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from chalicelib.access.credentials import generate
from chalicelib.access.throttle import LIMIT, WINDOW
from chalicelib.api.dispatch import Api
from chalicelib.api.messages import Request, Response
from tests.chalicelib.api.test_authorization_matrix import OPTIONS, PUBLIC, World

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORM = "application/x-www-form-urlencoded"
TEAM, LIST = "repository:team/app:pull,push", "registry:catalog:*"


def basic(user: str, password: str) -> str:
    """Return a Basic header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def get(
    world: World, header: str | None = None, source: str = "198.51.100.7", **query: Sequence[str]
) -> Response:
    """Ask by GET."""
    headers = {} if header is None else {"authorization": header}
    return world.api(Request("GET", "_token", query, headers, b"", 0.0, "r", source))


def post(world: World, form: Mapping[str, str] | bytes, content_type: str = FORM) -> Response:
    """Ask by POST."""
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    headers = {"content-type": content_type}
    return world.api(Request("POST", "_token", {}, headers, body, 0.0, "r", "198.51.100.7"))


def told(response: Response, status: int = 200) -> dict[str, Any]:
    """Return an answer's JSON, after looking at what every one of them has."""
    assert response.status == status, response.body
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    body: dict[str, Any] = json.loads(response.body)
    return body


def granted(world: World, answer: dict[str, Any]) -> str:
    """Return the scopes that the token in an answer holds."""
    context = world.access.authorizer(f"Bearer {answer['token']}")
    assert context is not None
    return context["limit"]


def test_an_answer_to_get() -> None:
    """It has the token under both names, for at least a minute, and is kept by no cache."""
    world = World()
    began = int(world.memory.clock.now())
    response = get(world, basic("me", world.passwords["writer"]), scope=[TEAM], service=["x"])
    answer = told(response)
    assert answer["token"] == answer["access_token"]
    assert answer["expires_in"] >= 60
    issued_at = datetime.fromisoformat(answer["issued_at"])
    assert issued_at.tzinfo is UTC
    assert began <= issued_at.timestamp() <= world.memory.clock.now()
    assert "refresh_token" not in answer
    assert response.headers["Cache-Control"] == "no-store"
    assert granted(world, answer) == TEAM


@pytest.mark.parametrize(
    "scope",
    [
        [TEAM, "registry:catalog:*"],
        [f"{TEAM} registry:catalog:*"],
        ["", TEAM, "registry:catalog:*"],
    ],
    ids=["repeated", "in one", "with an empty one"],
)
def test_several_scopes(scope: list[str]) -> None:
    """Scopes come repeated, or several in one; an empty one is none."""
    world = World()
    answer = told(get(world, basic("me", world.passwords["writer"]), scope=scope))
    assert granted(world, answer) == f"{TEAM} registry:catalog:*"


def test_a_partial_grant_is_no_error() -> None:
    """What is not granted is left out, and so is what nobody knows."""
    world = World()
    scope = ["repository:team/app:pull,push,delete", "repository:x/y:pull", "gpu:a:b"]
    answer = told(get(world, basic("me", world.passwords["reader"]), scope=scope))
    assert granted(world, answer) == "repository:team/app:pull"


@pytest.mark.parametrize("header", [None, "", "Basic Og=="])
def test_nobody_in_particular_is_anonymous(header: str | None) -> None:
    """No header, an empty one, an empty user name and password: a token for what is public."""
    world = World()
    scope = [f"repository:{PUBLIC}:pull,push", "repository:team/app:pull"]
    assert granted(world, told(get(world, header, scope=scope))) == f"repository:{PUBLIC}:pull"


@pytest.mark.parametrize(
    "header",
    [
        basic("me", "hunter2"),
        basic("me", generate()),
        basic("", "x"),
        "Basic !",
        "Basic",
        "Bearer x.y.z",
        "Digest x",
    ],
    ids=range(7),
)
def test_what_is_no_login_is_401(header: str) -> None:
    """A wrong password is told as such, with the challenge, and nothing of why."""
    response = get(World(), header, scope=[TEAM])
    (error,) = told(response, 401)["errors"]
    assert error["code"] == "UNAUTHORIZED"
    assert "not valid" in error["message"]
    assert str(response.headers["WWW-Authenticate"]).startswith("Bearer realm=")


def test_a_refresh_token_by_get_and_its_use_by_post() -> None:
    """`offline_token=true` gives one; it gives access tokens, and an offline one another of it."""
    world = World()
    header = basic("me", world.passwords["writer"])
    again = told(get(world, header, scope=[TEAM], offline_token=["true"]))["refresh_token"]
    assert "refresh_token" not in told(get(world, header, offline_token=["false"]))
    form = {"grant_type": "refresh_token", "refresh_token": again, "scope": TEAM, "service": "x"}
    answer = told(post(world, form))
    assert (answer["scope"], granted(world, answer)) == (TEAM, TEAM)
    assert "refresh_token" in told(post(world, form | {"access_type": "offline"}))
    told(post(world, form | {"refresh_token": answer["access_token"]}), 401)


def test_a_password_by_post() -> None:
    """As OAuth2 has it, with what was granted said in the answer."""
    world = World()
    form = {
        "grant_type": "password",
        "username": "me",
        "password": world.passwords["reader"],
        "scope": f"{TEAM} registry:catalog:*",
        "client_id": "containerd-client",
    }
    answer = told(post(world, form))
    assert answer["scope"] == "repository:team/app:pull registry:catalog:*"
    assert (answer["token"], answer["token_type"]) == (answer["access_token"], "Bearer")
    assert "refresh_token" in told(post(world, form | {"access_type": "offline"}))
    told(post(world, form | {"password": "hunter2"}), 401)


MALFORMED: dict[str, tuple[Mapping[str, str] | bytes, str]] = {
    "no grant type": ({"password": "x"}, FORM),
    "an unknown grant type": ({"grant_type": "client_credentials"}, FORM),
    "no password": ({"grant_type": "password", "username": "x"}, FORM),
    "an empty password": ({"grant_type": "password", "username": "x", "password": ""}, FORM),
    "no refresh token": ({"grant_type": "refresh_token"}, FORM),
    "no proof": ({"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"}, FORM),
    "an unknown proof": (
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": "x",
            "subject_token_type": "urn:ietf:params:oauth:token-type:saml2",
        },
        FORM,
    ),
    "JSON": (b'{"grant_type": "password"}', "application/json"),
    "no type": ({"grant_type": "password"}, ""),
    "a large form": (b"grant_type=password&x=" + b"a" * 70_000, FORM),
    "many fields": (b"&".join(b"a%d=1" % number for number in range(100)), FORM),
    "no text": (b"\xff\xfe", FORM),
    "too many scopes": (
        {
            "grant_type": "password",
            "username": "x",
            "password": "x",
            "scope": " ".join(f"repository:a{number}:pull" for number in range(40)),
        },
        FORM,
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_request_that_cannot_be_read_is_400(name: str) -> None:
    """It says what to change, is no failed login, and repeats nothing of what came."""
    form, content_type = MALFORMED[name]
    (error,) = told(post(World(), form, content_type), 400)["errors"]
    assert error["code"] == "REQUEST_INVALID"
    assert "aaaa" not in error["message"]


def test_too_many_failed_logins_are_429() -> None:
    """From that address, under that name: others are let in."""
    world = World()
    clock = world.memory.clock
    clock.offset = WINDOW / 2 - clock.now() % WINDOW  # where none begins meanwhile
    for _ in range(LIMIT):
        assert get(world, basic("me", "wrong")).status == 401
    right = basic("me", world.passwords["reader"])
    response = get(world, right)
    assert response.status == 429
    assert int(str(response.headers["Retry-After"])) >= 1
    assert get(world, right, source="203.0.113.9").status == 200


def test_an_open_registry_issues_no_tokens() -> None:
    """Nobody is challenged there, so nobody comes; who does hears that there is nothing."""
    api = Api(lambda: World().memory.registry, OPTIONS)
    response = api(Request("GET", "_token", {}, {}, b"", 0.0, "r"))
    assert told(response, 404)["errors"][0]["code"] == "UNSUPPORTED"
