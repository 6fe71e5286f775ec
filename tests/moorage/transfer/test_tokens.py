"""Which Authorization a client sends: what it asks a token endpoint for, and when again."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from multidict import CIMultiDict

from moorage.common.patience import UpstreamResponse
from moorage.transfer import tokens
from moorage.transfer.content import TransferError
from moorage.transfer.credentials import KeptLogin
from moorage.transfer.tokens import Authorization

if TYPE_CHECKING:
    from collections.abc import Mapping

SCOPE = "repository:a:pull,push"
LOGIN = KeptLogin("me", "secret")
CHALLENGE = 'Bearer realm="https://auth.example.com/token?x=1",service="s"'


@dataclass
class Endpoint:
    """A token endpoint that counts its tokens."""

    answer: object = None
    status: int = 200
    asked: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> UpstreamResponse:
        """Answer with a token, or as told to."""
        self.asked.append((method, url, headers, body))
        await asyncio.sleep(0)
        answer = self.answer or {"token": f"t{len(self.asked)}", "expires_in": 100}
        return UpstreamResponse(self.status, CIMultiDict(), json.dumps(answer).encode())

    def authorization(
        self, login: KeptLogin | None = LOGIN, registry: str = "https://r.example.com"
    ) -> Authorization:
        """Return what a client of a registry sends."""
        return Authorization(registry, login, [SCOPE], self.fetch)


def answered(authorization: Authorization, *challenges: str) -> str | None:
    """Return the header after a 401 with challenges."""

    async def ask() -> str | None:
        await authorization.answer(challenges, await authorization.header())
        return await authorization.header()

    return asyncio.run(ask())


def test_a_password_is_exchanged_for_a_token_of_the_scope() -> None:
    """The realm's own query stays; the password goes as Basic."""
    endpoint = Endpoint()
    assert answered(endpoint.authorization(), CHALLENGE) == "Bearer t1"
    ((method, url, headers, body),) = endpoint.asked
    assert parse_qs(urlsplit(url).query) == {"x": ["1"], "service": ["s"], "scope": [SCOPE]}
    basic = base64.b64encode(b"me:secret").decode()
    assert (method, headers, body) == ("GET", {"Authorization": f"Basic {basic}"}, b"")


def test_an_identity_token_is_exchanged_by_a_form() -> None:
    """As docker's OAuth2 endpoint takes it."""
    endpoint = Endpoint()
    answered(endpoint.authorization(KeptLogin("", "", "refresh")), CHALLENGE)
    ((method, _, _, body),) = endpoint.asked
    assert method == "POST"
    assert parse_qs(body.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["refresh"],
        "client_id": ["moorage"],
        "scope": [SCOPE],
        "service": ["s"],
    }


def test_without_a_login_a_token_is_asked_for_all_the_same() -> None:
    """Public repositories give one."""
    endpoint = Endpoint()
    assert answered(endpoint.authorization(None), CHALLENGE) == "Bearer t1"
    assert endpoint.asked[0][2] == {}


@pytest.mark.parametrize("status", [200, 403])
def test_a_scope_more_is_asked_for_once_and_changes_nothing_where_it_is_refused(
    status: int,
) -> None:
    """The token that is there stays, and the next one is asked for without that scope."""
    endpoint = Endpoint()
    authorization = endpoint.authorization()

    async def widen() -> str | None:
        await authorization.answer([CHALLENGE], None)
        endpoint.status = status
        for _ in range(2):
            with nullcontext() if status == HTTPStatus.OK else pytest.raises(TransferError):
                await authorization.widen("repository:b:pull")
        return await authorization.header()

    assert asyncio.run(widen()) == ("Bearer t2" if status == 200 else "Bearer t1")
    assert len(endpoint.asked) == (2 if status == 200 else 3)
    endpoint.status = 200
    answered(authorization, CHALLENGE)
    scopes = parse_qs(urlsplit(endpoint.asked[-1][1]).query)["scope"]
    assert scopes == [SCOPE, *(["repository:b:pull"] if status == 200 else [])]


def test_where_nobody_asks_for_a_login_no_scope_is_asked_for() -> None:
    """There is no token endpoint to ask."""
    endpoint = Endpoint()
    asyncio.run(endpoint.authorization().widen("repository:b:pull"))
    assert endpoint.asked == []


@pytest.mark.parametrize(("login", "header"), [(LOGIN, "Basic bWU6c2VjcmV0"), (None, None)])
def test_a_basic_challenge_is_answered_with_the_password(
    login: KeptLogin | None, header: str | None
) -> None:
    """If there is one."""
    assert answered(Endpoint().authorization(login), 'Basic realm="x"') == header


def test_a_token_is_replaced_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """When four fifths of its time are over."""
    now = 1000.0
    monkeypatch.setattr(tokens, "time", SimpleNamespace(monotonic=lambda: now))
    endpoint = Endpoint()
    authorization = endpoint.authorization()
    assert answered(authorization, CHALLENGE) == "Bearer t1"
    now += 80
    assert asyncio.run(authorization.header()) == "Bearer t1"
    now += 1
    assert asyncio.run(authorization.header()) == "Bearer t2"


def test_many_refusals_at_once_fetch_one_token() -> None:
    """Each task that was refused with the old one goes on with the same new one."""
    endpoint = Endpoint()
    authorization = endpoint.authorization()

    async def ask() -> list[bool]:
        used = await authorization.header()
        return await asyncio.gather(*(authorization.answer([CHALLENGE], used) for _ in range(5)))

    assert asyncio.run(ask()) == [True] * 5
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("registry", "realm", "sent"),
    [
        ("https://r.example.com", "http://auth.example.com/t", False),
        ("https://r.example.com", "http://127.0.0.1:1/t", False),
        ("https://r.example.com", "ftp://x/", False),
        ("https://r.example.com", "http://[", False),
        ("https://r.example.com", "/token", False),
        # A registry here is in the clear because it is here, and not because somebody asked for it.
        ("http://127.0.0.1:5000", "http://127.0.0.1:1/t", True),
        ("http://127.0.0.1:5000", "http://auth.example.com/t", False),
        ("http://r.example.com", "http://auth.example.com/t", True),
    ],
)
def test_a_realm_without_tls_gets_no_password(*, registry: str, realm: str, sent: bool) -> None:
    """Except where the registry is used without TLS as well, or both are this machine."""
    endpoint = Endpoint()
    authorization = endpoint.authorization(registry=registry)
    if sent:
        answered(authorization, f'Bearer realm="{realm}"')
    else:
        with pytest.raises(Exception, match="nothing was sent"):
            answered(authorization, f'Bearer realm="{realm}"')
    assert bool(endpoint.asked) == sent


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (401, {"errors": [{"message": "who?"}]}, "does not let this login in (401: who?): log in"),
        (403, ["x"], "does not let this login in (403): log in with `moorage login`"),
        (200, {"nothing": 1}, "gives no token (status 200): try again"),
        (404, {"errors": ["x"]}, "gives no token (status 404): try again"),
        (200, {"token": "a\r\nX-Y: z"}, "gives a token that no header can hold"),
        (200, {"token": "\ud800"}, "gives a token that no header can hold"),
    ],
)
def test_a_refusal_shows_no_secret(status: int, answer: object, told: str) -> None:
    """The error says what to do."""
    endpoint = Endpoint(answer, status)
    with pytest.raises(TransferError) as refused:
        answered(endpoint.authorization(), CHALLENGE)
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("seconds", "used"),
    [(100, 80), (0, 48), (-1, 48), (None, 48), ("100", 48), (float("inf"), 48), (10**400, 48)],
)
def test_a_token_without_expires_in_is_used_for_less_than_a_minute(
    seconds: object, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the specification assumes."""
    now = [0.0]
    monkeypatch.setattr(tokens, "time", SimpleNamespace(monotonic=lambda: now[0]))
    endpoint = Endpoint({"token": "t", "expires_in": seconds})
    authorization = endpoint.authorization()
    answered(authorization, CHALLENGE)
    for now[0], asked in ((used - 1.0, 1), (used + 1.0, 2)):
        asyncio.run(authorization.header())
        assert len(endpoint.asked) == asked
