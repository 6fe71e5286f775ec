"""A bearer token that ends while an upload goes on: what it may finish, and that it may no more.

One request has one authorization: the push proxy sends the body of one request in many.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import app
from chalicelib.access.grants import Grants
from chalicelib.access.tokens import CONTINUES, LIFE, TokenUse
from chalicelib.digest import Digest
from chalicelib.registry.keys import direct_key
from chalicelib.registry.outcomes import CheckedObject
from chalicelib.routes import ROUTES, Action
from chalicelib.wiring import access as wiring_access
from chalicelib.wiring import registry as wiring_registry
from moorage.gateway.policy import read_result
from moorage.gateway.rest_api import rest_api_of
from tests.chalicelib.api.test_authorization_matrix import (
    CHALLENGE,
    DIGEST,
    FOREIGN,
    PRIVATE,
    SESSION_REQUESTS,
    World,
    target_of,
)
from tests.support.access import URL
from tests.support.servers import CHUNK, request, run_gateway, run_proxy
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chalicelib.access.decision import Principal
    from chalicelib.api.messages import Response

HOUR = 3600
SCOPES = f"repository:{PRIVATE}:pull,push,delete registry:catalog:*"
FINISHING = frozenset({"status", "append", "append nothing", "commit"})


class Upload:
    """A world, an upload that `login` opened and sent 4 bytes of, and its bearer token."""

    def __init__(self, login: str = "writer") -> None:
        self.world = World()
        self.header = self.world.bearer(login, SCOPES)
        self.at = self.open(self.header)
        assert self.send("append first").status == 202

    def open(self, header: str) -> str:
        """Open an upload and return its path."""
        opened = self.world.ask("POST", f"{PRIVATE}/blobs/uploads", header)
        assert opened.status == 202
        return str(opened.headers["Location"]).removeprefix("/v2/").partition("?")[0]

    def send(self, name: str, header: str | None = None, at: str | None = None) -> Response:
        """Send one request about the upload."""
        at = at or self.at
        method, target, body = ("PATCH", f"{at}?at=0", b"some")
        if name != "append first":
            method, target, body = SESSION_REQUESTS[name](at)
        return self.world.ask(method, target, header or self.header, body)

    def expire(self, seconds: float = 1) -> None:
        """Let the token have ended so long ago, and the gateway have forgotten it."""
        self.world.memory.clock.offset += LIFE[TokenUse.BEARER] + seconds


def refused(answer: Response) -> bool:
    """Whether an answer is a 401; the authorizer's own is the gateway's, which has a challenge."""
    if answer.status != 401:
        return False
    assert not answer.body or str(answer.headers["WWW-Authenticate"]).startswith(CHALLENGE)
    return True


@pytest.mark.parametrize("late", [0, 1, HOUR, CONTINUES - 60])
@pytest.mark.parametrize("name", sorted(FINISHING))
def test_an_upload_is_finished_with_the_token_that_began_it(name: str, late: float) -> None:
    """For twelve hours after its end: PATCH, PUT and GET of the session."""
    upload = Upload()
    upload.expire(late)
    assert upload.send(name).status in {201, 202, 204}


def test_what_the_edge_was_putting_when_the_token_ended_is_committed_with_it() -> None:
    """The ticket has ended, too: a PUT of 5 GiB takes hours. Another principal's is refused."""
    upload, data = Upload(), b"x" * 100
    at = upload.open(upload.header)
    others = upload.open(upload.world.bearer("keeper", SCOPES))
    objects = upload.world.memory.objects
    digest = Digest.of(data)
    for each in (at, others):
        key = direct_key(digest, each.rpartition("/")[2].partition("~")[0])
        objects.put(key, data)
        objects.checked[key] = CheckedObject(len(data), digest)
    upload.expire(HOUR)
    later = upload.open(upload.world.bearer("writer", SCOPES))
    for each, status in ((at, 201), (others, 401), (later, 401)):
        target = f"{each}?commit&digest={digest}"
        assert upload.world.ask("GET", target, upload.header).status == status


def test_twelve_hours_after_its_end_a_token_finishes_nothing() -> None:
    """It is refused by the authorizer, as any token that is not valid."""
    upload = Upload()
    upload.expire(CONTINUES + 1)
    for name in SESSION_REQUESTS:
        assert refused(upload.send(name))
    assert upload.world.access.authorizer(upload.header) is None


def test_an_expired_token_does_nothing_else() -> None:
    """On no endpoint, its own session's cancellation included, with whatever session it names."""
    upload = Upload()
    upload.expire()
    assert refused(upload.send("cancel"))
    for route in ROUTES:
        if route.action is Action.TOKEN:
            continue
        for target in (target_of(route, PRIVATE), target_of(route, FOREIGN)):
            assert refused(upload.world.ask(route.method, target, upload.header)), target
    mount = f"{PRIVATE}/blobs/uploads?mount={DIGEST}&from={PRIVATE}"
    whole = f"{PRIVATE}/blobs/uploads?digest={Digest.of(b'x')}"
    assert refused(upload.world.ask("POST", mount, upload.header))
    assert refused(upload.world.ask("POST", whole, upload.header, b"x"))
    assert upload.send("status").status == 204


@pytest.mark.parametrize("name", sorted(FINISHING))
def test_an_upload_that_was_opened_after_the_end_is_not_the_tokens(name: str) -> None:
    """Nor is another principal's, however early it was opened, nor one in another repository."""
    upload = Upload()
    others = upload.open(upload.world.bearer("keeper", SCOPES))
    upload.expire(0)
    later = upload.open(upload.world.bearer("writer", SCOPES))
    elsewhere = upload.at.replace(PRIVATE, FOREIGN)
    for at in (others, later, elsewhere, f"{PRIVATE}/blobs/uploads/{'0' * 32}"):
        assert refused(upload.send(name, at=at))
    assert upload.send(name).status in {201, 202, 204}


CHANGES: dict[str, Callable[[World], None]] = {
    "revoked": lambda world: world.access.store.revoke("id-of-writer"),
    "rotated": lambda world: _replaced(world, version=3),
    "expired": lambda world: _replaced(world, expires_at=world.memory.clock.now()),
    "no longer granted": lambda world: world.access.store.regrant(
        "id-of-writer", Grants.parse(["team/*:pull"])
    ),
}


def _replaced(world: World, **changes: object) -> None:
    store = world.access.store
    store.replace(replace(store.credentials["id-of-writer"], **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("change", CHANGES)
def test_a_revoked_or_expired_login_can_not_finish_its_uploads(change: str) -> None:
    """The credential is read at each request, also where the gateway keeps who sent it."""
    upload = Upload()
    upload.expire()
    kept = upload.world.access.authorizer(upload.header)
    assert kept is not None
    CHANGES[change](upload.world)
    for name in SESSION_REQUESTS:
        method, target, body = SESSION_REQUESTS[name](upload.at)
        answer = upload.world.send(method, target, kept, body)
        # A narrowed login is told so where its token is looked at at all.
        narrowed = change == "no longer granted" and name in FINISHING
        assert answer.status == (403 if narrowed else 401)
        assert upload.send(name).status == answer.status


def test_a_token_without_push_finishes_nothing() -> None:
    """A token's scopes limit it after its end as before."""
    upload = Upload()
    narrow = upload.world.bearer("writer", f"repository:{PRIVATE}:pull")
    upload.expire()
    for name in SESSION_REQUESTS:
        assert refused(upload.send(name, narrow))


def test_use_of_an_expired_token_is_not_noted() -> None:
    """The day of use is the last one of a valid login."""
    upload = Upload()
    _replaced(upload.world, last_used_day="2020-01-01")
    upload.expire()
    assert upload.send("status").status == 204
    assert upload.world.access.store.credentials["id-of-writer"].last_used_day == "2020-01-01"


# the gateway


ARN = "arn:aws:execute-api:us-east-1:000000000000:local/v2"
LET_THROUGH = [
    ("PATCH", "/team/app/blobs/uploads/1"),
    ("PUT", "/a/blobs/uploads/1"),
    ("GET", "/a/b/c/blobs/uploads/1"),
]
ANSWERED_THERE = [
    ("GET", "/"),
    ("POST", "/a/blobs/uploads/"),
    ("POST", "/a/blobs/uploads"),
    ("DELETE", "/a/blobs/uploads/1"),
    ("HEAD", "/a/blobs/uploads/1"),
    ("PUT", "/a/manifests/1"),
    ("GET", "/a/manifests/1"),
    ("GET", f"/a/blobs/{DIGEST}"),
    ("DELETE", f"/a/blobs/{DIGEST}"),
    ("GET", "/_catalog"),
]


def policy_of(principal: Principal, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], bool]:
    """Return whether the authorizer's policy for a principal lets a request through."""
    monkeypatch.setattr(wiring_access, "identify", lambda _: principal)
    asked = {"type": "TOKEN", "methodArn": f"{ARN}/GET/", "authorizationToken": "Bearer a.b.c"}
    result = read_result(json.loads(json.dumps(app.authorize(asked, None))))
    return lambda method, path: result.allows(f"{ARN}/{method}{path}")


def test_the_gateway_lets_an_expired_token_through_to_uploads_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All else it answers itself, by a challenge that no client misses: the API's is renamed."""
    upload = Upload()
    valid = upload.world.access.authenticator.identify(upload.header)
    upload.expire()
    expired = upload.world.access.authenticator.identify(upload.header)
    assert valid is not None
    assert expired is not None
    for asked in (*LET_THROUGH, *ANSWERED_THERE):
        assert policy_of(valid, monkeypatch)(*asked)
        assert policy_of(expired, monkeypatch)(*asked) == (asked in LET_THROUGH)


def test_the_policy_and_the_routes_name_the_same_requests() -> None:
    """Those that outlive their token."""
    outliving = [route for route in ROUTES if route.outlives_token]
    assert {*app.EXPIRED.methods} == {route.method for route in outliving}
    paths = {f"/{target_of(route, 'a')}" for route in outliving}
    assert paths == {app.EXPIRED.path.replace("/*", "/a", 1).replace("*", "0" * 36)}


@contextmanager
def served(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """Serve a world behind app.py, the gateway, which keeps no answer, and a push proxy."""
    monkeypatch.setattr(wiring_access, "identify", world.access.authenticator.identify)
    monkeypatch.setattr(wiring_registry, "api", lambda: world.api)
    api = rest_api_of(app.app, {"MOORAGE_URL": URL})
    forgetting = {key: replace(each, ttl_seconds=0) for key, each in api.authorizers.items()}
    with (
        run_gateway(app.app, api=replace(api, authorizers=forgetting)) as gateway,
        run_proxy(gateway) as proxy,
    ):
        yield gateway, proxy


@pytest.mark.parametrize("closing", ["PATCH, then PUT", "PUT"])
def test_a_layer_that_takes_longer_than_its_token_arrives_through_the_proxy(
    closing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And afterwards the token is challenged at proxy and gateway alike."""
    upload, layer = Upload(), bytes(range(256)) * (CHUNK // 64)
    at, header = upload.open(upload.header), {"Authorization": upload.header}
    session = at.rpartition("/")[2].partition("~")[0]

    def pieces() -> Iterator[bytes]:
        yield layer[: len(layer) // 2]
        until(lambda: upload.world.memory.sessions.get(session), "the first chunk arrives")
        upload.expire(HOUR)
        yield layer[len(layer) // 2 :]

    with served(upload.world, monkeypatch) as (gateway, proxy):
        query = f"?digest={Digest.of(layer)}"
        if closing == "PUT":
            status, _, _ = request(proxy, "PUT", f"/v2/{at}{query}", pieces(), header)
        else:
            assert request(proxy, "PATCH", f"/v2/{at}", pieces(), header)[0] == 202
            status, _, _ = request(proxy, "PUT", f"/v2/{at}{query}&at={len(layer)}", b"", header)
        assert status == 201
        for url in (gateway, proxy):
            for method, path in ANSWERED_THERE[:3] + ANSWERED_THERE[5:]:
                status, answered, _ = request(url, method, f"/v2{path}", b"", header)
                assert status == 401
                assert CHALLENGE in answered["WWW-Authenticate"]
