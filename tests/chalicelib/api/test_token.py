"""The token endpoint: its requests, its answers, and what it refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from chalicelib.access.credentials import generate
from chalicelib.access.throttle import LIMIT, WINDOW
from chalicelib.access.tokens import LIFE, TokenUse
from chalicelib.api.messages import Request, Response
from chalicelib.registry.tickets import FixedKeys, Purpose, Tickets
from tests.chalicelib.api.test_authorization_matrix import PUBLIC, World
from tests.support.access import basic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FORM = "application/x-www-form-urlencoded"
TEAM, LIST = "repository:team/app:pull,push", "registry:catalog:*"
PASSWORD = {"grant_type": "password", "username": "me"}
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


def get(
    world: World,
    header: str | None = None,
    source: str = "198.51.100.7",
    edge: str = "",
    **query: Sequence[str],
) -> Response:
    """Send a GET; `edge` is what the edge says of the client."""
    headers = {} if header is None else {"authorization": header}
    headers |= {"x-moorage-edge": edge} if edge else {}
    return world.api(Request("GET", "_token", query, headers, b"", 0.0, "r", source))


def post(world: World, form: Mapping[str, str] | str | bytes, content_type: str = FORM) -> Response:
    """Send a POST."""
    text = form if isinstance(form, str | bytes) else urlencode(form)
    body = text.encode() if isinstance(text, str) else text
    headers = {"content-type": content_type}
    return world.api(Request("POST", "_token", {}, headers, body, 0.0, "r", "198.51.100.7"))


def content(response: Response, status: int = 200) -> dict[str, Any]:
    """Return an answer's JSON, after checking its status and the headers of every answer."""
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


def test_head_is_get_whose_body_the_gateway_drops() -> None:
    """The length is the same each time: `moorage deploy` compares the two."""
    world, answers = World(), []
    for method in ("GET", "HEAD", "HEAD"):
        answers.append(world.api(Request(method, "_token", {}, {}, b"", 0.0, "r", "198.51.100.7")))
        world.memory.clock.sleep(1.3)
    assert {(answer.status, len(answer.body)) for answer in answers} == {
        (200, len(answers[0].body))
    }
    assert len(answers[0].body) > 0


def test_get_with_a_password_gives_a_token() -> None:
    """The answer has it under both names, and no cache keeps it."""
    world = World()
    began = int(world.memory.clock.now())
    response = get(world, basic("me", world.passwords["writer"]), scope=[TEAM], service=["x"])
    answer = content(response)
    assert answer["token"] == answer["access_token"]
    assert answer["expires_in"] == LIFE[TokenUse.BEARER]
    issued_at = datetime.fromisoformat(answer["issued_at"])
    assert issued_at.tzinfo is UTC
    assert began <= issued_at.timestamp() <= world.memory.clock.now()
    assert "refresh_token" not in answer
    assert response.headers["Cache-Control"] == "no-store"
    assert granted(world, answer) == TEAM


ODD = ["repository:team/app:pull,push,delete", "repository:x/y:pull", "gpu:a:b"]


@pytest.mark.parametrize(
    ("login", "scope", "expected"),
    [
        ("writer", [TEAM, LIST], f"{TEAM} {LIST}"),
        ("writer", [f"{TEAM} {LIST}"], f"{TEAM} {LIST}"),
        ("writer", ["", TEAM, LIST], f"{TEAM} {LIST}"),
        ("reader", ODD, "repository:team/app:pull"),
    ],
    ids=["repeated", "in one", "with an empty one", "partly granted or unknown"],
)
def test_scopes_come_in_one_parameter_or_in_several(
    login: str, scope: list[str], expected: str
) -> None:
    """Empty, unknown and ungranted ones are left out."""
    world = World()
    answer = content(get(world, basic("me", world.passwords[login]), scope=scope))
    assert granted(world, answer) == expected


@pytest.mark.parametrize("header", [None, "", "Basic Og=="])
def test_get_without_a_login_gives_an_anonymous_token(header: str | None) -> None:
    """It is for public repositories, and has no refresh token."""
    world = World()
    scope = [f"repository:{PUBLIC}:pull,push", "repository:team/app:pull"]
    answer = content(get(world, header, scope=scope, offline_token=["true"]))
    assert granted(world, answer) == f"repository:{PUBLIC}:pull"
    assert "refresh_token" not in answer
    assert granted(world, content(get(world, header))) == ""


# fmt: off
NO_LOGINS = [
    basic("me", "hunter2"), basic("me", generate()), basic("", "x"), "Basic !", "Basic",
    "Bearer x.y.z", "Digest x",
]
# fmt: on


@pytest.mark.parametrize("header", NO_LOGINS, ids=range(len(NO_LOGINS)))
def test_a_wrong_login_is_401_with_a_challenge(header: str) -> None:
    """The message is the same for all reasons."""
    response = get(World(), header, scope=[TEAM])
    (error,) = content(response, 401)["errors"]
    assert error["code"] == "UNAUTHORIZED"
    assert "not valid" in error["message"]
    assert str(response.headers["WWW-Authenticate"]).startswith("Bearer realm=")


def test_get_gives_a_refresh_token_which_post_takes() -> None:
    """`offline_token=true` asks for one; `access_type=offline` for another."""
    world = World()
    header = basic("me", world.passwords["writer"])
    again = content(get(world, header, scope=[TEAM], offline_token=["true"]))["refresh_token"]
    assert "refresh_token" not in content(get(world, header, offline_token=["false"]))
    form = {"grant_type": "refresh_token", "refresh_token": again, "scope": TEAM, "service": "x"}
    answer = content(post(world, form))
    assert (answer["scope"], granted(world, answer)) == (TEAM, TEAM)
    assert "refresh_token" in content(post(world, form | {"access_type": "offline"}))
    content(post(world, form | {"refresh_token": answer["access_token"]}), 401)


def test_post_with_a_password_gives_a_token() -> None:
    """With the granted scopes in the answer, as OAuth2 has it."""
    world = World()
    form = PASSWORD | {"password": world.passwords["reader"], "client_id": "containerd-client"}
    form |= {"scope": f"{TEAM} registry:catalog:*"}
    answer = content(post(world, form))
    assert answer["scope"] == "repository:team/app:pull registry:catalog:*"
    assert (answer["token"], answer["token_type"]) == (answer["access_token"], "Bearer")
    assert "refresh_token" in content(post(world, form | {"access_type": "offline"}))
    content(post(world, form | {"password": "hunter2"}), 401)


SCOPES = "+".join(f"repository:a{number}:pull" for number in range(40))
# fmt: off
MALFORMED: list[tuple[Mapping[str, str] | str | bytes, str]] = [
    ({"password": "x"}, FORM), ({"grant_type": "client_credentials"}, FORM), (PASSWORD, FORM),
    (PASSWORD | {"password": ""}, FORM), ({"grant_type": "refresh_token"}, FORM),
    ({"grant_type": EXCHANGE}, FORM),
    ({"grant_type": EXCHANGE, "subject_token": "x", "subject_token_type": "urn:x:saml2"}, FORM),
    ('{"grant_type": "password"}', "application/json"), (PASSWORD | {"password": "x"}, ""),
    ("grant_type=password&x=" + "a" * 70_000, FORM), (b"\xff\xfe", FORM),
    ("&".join(f"a{number}=1" for number in range(100)), FORM),
    (f"grant_type=password&username=x&password=x&scope={SCOPES}", FORM),
]
# fmt: on


@pytest.mark.parametrize(("form", "content_type"), MALFORMED, ids=range(len(MALFORMED)))
def test_an_unreadable_post_is_400(
    form: Mapping[str, str] | str | bytes, content_type: str
) -> None:
    """The message says what to change, and quotes nothing of the form."""
    (error,) = content(post(World(), form, content_type), 400)["errors"]
    assert error["code"] == "REQUEST_INVALID"
    assert "aaaa" not in error["message"]


def in_mid_window(world: World) -> None:
    """Move the clock to where no window of the throttle begins meanwhile."""
    clock = world.memory.clock
    clock.offset = WINDOW / 2 - clock.now() % WINDOW


def test_a_wrong_login_that_is_repeated_is_429_until_its_window_ends() -> None:
    """It counts for one address; from another one it is checked."""
    world = World()
    in_mid_window(world)
    stale = basic("me", generate())
    assert [get(world, stale).status for _ in range(LIMIT)] == [401] * LIMIT
    response = get(world, stale)
    (error,) = content(response, 429)["errors"]
    assert error["code"] == "TOOMANYREQUESTS"
    assert get(world, stale, source="203.0.113.9").status == 401
    world.memory.clock.offset += int(str(response.headers["Retry-After"]))
    assert get(world, stale).status == 401


def test_behind_the_edge_a_wrong_login_counts_by_the_clients_own_address() -> None:
    """The edge sends it, because API Gateway sees only CloudFront's addresses."""
    world = World()
    in_mid_window(world)
    stale = basic("me", generate())
    mine, other = (
        world.access.tickets.write(Purpose.VIEWER, "", address)
        for address in ("192.0.2.7", "2001:db8::7")
    )
    answers = [get(world, stale, f"198.51.100.{n}", mine).status for n in range(LIMIT + 1)]
    assert answers == [401] * LIMIT + [429]
    assert get(world, stale, "198.51.100.1", other).status == 401
    # The same client at API Gateway itself: one address, one counter.
    assert get(world, stale, "192.0.2.7").status == 429


@pytest.mark.parametrize(
    "forged",
    [
        lambda _, number: f"192.0.2.{number}",
        lambda _, number: f"192.0.2.{number}~",
        lambda _, number: f"192.0.2.{number}~{'A' * 43}",
        lambda own, number: own.write(Purpose.VIEWER, "", "192.0.2.99").replace("99", str(number)),
        lambda own, number: own.write(Purpose.VIEWER, "team/app", f"192.0.2.{number}"),
        lambda own, number: own.write(Purpose.UPLOAD, "", f"192.0.2.{number}"),
        lambda own, number: own.write(Purpose.VIEWER, "", "192.0.2.99", str(number)),
        lambda _, number: Tickets(FixedKeys.of("x")).write(Purpose.VIEWER, "", f"192.0.2.{number}"),
    ],
    ids=["no-MAC", "empty-MAC", "any-MAC", "altered", "name", "purpose", "fields", "key"],
)
def test_a_client_can_not_claim_another_address(
    forged: Callable[[Tickets, int], str],
) -> None:
    """A forged header changes nothing: the sender's own address counts."""
    world = World()
    in_mid_window(world)
    stale = basic("me", generate())
    claims = [forged(world.access.tickets, number) for number in range(LIMIT + 1)]
    assert [get(world, stale, edge=claim).status for claim in claims] == [401] * LIMIT + [429]
    assert {get(world, stale, f"192.0.2.{number}").status for number in range(LIMIT)} == {401}


def test_ten_stale_logins_behind_an_address_lock_nobody_else_out() -> None:
    """In any form, and under the same user name: an office has one address."""
    world = World()
    in_mid_window(world)
    good = basic("moorage", world.passwords["writer"])
    offline = content(get(world, good, offline_token=["true"]))["refresh_token"]
    refreshing = {"grant_type": "refresh_token", "refresh_token": offline}
    kinds = [f"urn:ietf:params:oauth:token-type:{kind}" for kind in ("id_token", "jwt")]
    kinds.append("urn:moorage:params:oauth:token-type:aws-identity")
    for number in range(10):
        # One for each form: what one form presents counts for the others too.
        stale = iter(f"{offline[:-4]}{number}{letter}{letter}{letter}" for letter in "abcde")
        forms = [
            {"grant_type": EXCHANGE, "subject_token": next(stale), "subject_token_type": kind}
            for kind in kinds
        ]
        forms += [refreshing | {"refresh_token": next(stale)}, PASSWORD | {"password": next(stale)}]
        answers = [[post(world, form).status for form in forms] for _ in range(LIMIT + 1)]
        assert answers == [[401] * len(forms)] * LIMIT + [[429] * len(forms)]
    assert get(world, good).status == 200
    assert post(world, PASSWORD | {"password": world.passwords["writer"]}).status == 200
    assert post(world, refreshing).status == 200
    assert get(world).status == 200


def test_a_guesser_is_never_let_in_and_locks_nobody_out() -> None:
    """Each guess is refused by itself, and other logins of that address are not."""
    world = World()
    in_mid_window(world)
    assert {get(world, basic("me", generate())).status for _ in range(5 * LIMIT)} == {401}
    assert get(world, basic("me", world.passwords["reader"])).status == 200
