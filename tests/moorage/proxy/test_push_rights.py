"""Who may push is asked of the registry, once a minute; a login says whose it is, and its end."""

from __future__ import annotations

import asyncio
import base64
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from multidict import CIMultiDict

from moorage.common.patience import UpstreamResponse
from moorage.proxy import push_rights
from moorage.proxy.push_rights import PushRights, lasts, whose

if TYPE_CHECKING:
    from collections.abc import Mapping

UNKNOWN = b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}'


class Registry:
    """Answers each request alike, after a moment, and keeps what it is asked."""

    def __init__(self, status: int, body: bytes) -> None:
        self.answer = UpstreamResponse(status, CIMultiDict(), body)
        self.asked: list[tuple[str, str, str]] = []
        self.encodings: list[str | None] = []

    async def ask(self, method: str, path: str, headers: Mapping[str, str]) -> UpstreamResponse:
        """Answer; 0 is a broken connection."""
        self.asked.append((method, path.rpartition("/")[0], headers.get("Authorization", "")))
        self.encodings.append(headers.get("Accept-Encoding"))
        await asyncio.sleep(0.01)
        if not self.answer.status:
            raise aiohttp.ClientOSError
        return self.answer


def refusals(registry: Registry, *requests: tuple[str, str]) -> list[int | None]:
    """Ask at once whether some logins may push to repositories: None, or an answer's status."""
    upstream: Any = registry

    async def ask() -> list[UpstreamResponse | None]:
        rights = PushRights(upstream)
        headers = [
            CIMultiDict({"Authorization": login, "Accept-Encoding": "gzip"})
            for _, login in requests
        ]
        names = [name for name, _ in requests]
        return await asyncio.gather(*map(rights.refusal, names, headers))

    return [None if answer is None else answer.status for answer in asyncio.run(ask())]


def test_the_right_of_a_login_is_requested_once() -> None:
    """Also by requests at once; other logins and repositories have requests of their own."""
    registry = Registry(404, UNKNOWN)
    assert refusals(registry, *[("x", "one"), ("x", "two"), ("y", "one")] * 4) == [None] * 12
    places = [("GET", "/v2/x/blobs/uploads", login) for login in ("one", "two")]
    assert sorted(registry.asked) == sorted([*places, ("GET", "/v2/y/blobs/uploads", "one")])
    assert registry.encodings == [None] * 3


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, UNKNOWN), (404, b"no such page"), (401, UNKNOWN), (503, UNKNOWN), (0, b"")],
)
def test_only_a_success_grants_the_right(status: int, body: bytes) -> None:
    """Any other answer is not remembered: the next request asks again."""
    registry = Registry(status, body)
    assert refusals(registry, ("x", "one"), ("x", "one")) == [status or 502] * 2
    assert len(registry.asked) == 2


def test_a_granted_right_is_forgotten_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a removed right is noticed; the registry itself notices it at once."""
    registry = Registry(404, UNKNOWN)
    # Looked at before asking and after it; once where it is known.
    times = iter([100.0, 100.0, 159.9, 160.0, 160.0])
    monkeypatch.setattr(push_rights, "time", SimpleNamespace(monotonic=lambda: next(times)))
    assert refusals(registry, *[("x", "one")] * 3) == [None] * 3
    assert len(registry.asked) == 2


def test_logins_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are too many, all are asked about anew."""
    monkeypatch.setattr(push_rights, "_MOST_REMEMBERED", 2)
    registry = Registry(404, UNKNOWN)
    logins = ("one", "two", "three", "one")
    assert refusals(registry, *[("x", login) for login in logins]) == [None] * 4
    assert len(registry.asked) == 4


def bearer(claims: object) -> str:
    """Return a bearer token whose signature only its issuer could check."""
    return f"Bearer e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()}.x"


@pytest.mark.parametrize(
    ("authorization", "lasting"),
    [
        (bearer({"exp": 1901}), True),
        (bearer({"exp": 1900.0}).replace("Bearer", "bearer"), False),
        (bearer({"exp": 0}), False),
        (bearer({"exp": "soon"}), True),
        (bearer({"exp": None}), True),
        (bearer({"exp": 10**400}), True),
        (bearer([]), True),
        ("Bearer e30.x.x", True),
        ("Bearer opaque", True),
        ("Basic YTpi", True),
        ("", True),
    ],
)
def test_only_a_token_that_says_when_it_ends_is_too_short(
    monkeypatch: pytest.MonkeyPatch, authorization: str, *, lasting: bool
) -> None:
    """All others are the registry's to judge when they are used."""
    monkeypatch.setattr(push_rights, "time", SimpleNamespace(time=lambda: 1000.0))
    assert lasts({"Authorization": authorization}, 900) is lasting


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (bearer({"sub": "ci", "exp": 1}), bearer({"sub": "ci", "exp": 2}), True),
        (bearer({"sub": "ci"}), bearer({"sub": "dev"}), False),
        (bearer({"sub": ["ci"]}), bearer({"sub": ["dev"]}), False),
        (bearer([]), bearer({}), False),
        ("Basic YTpi", "Basic YTpi", True),
        ("Basic YTpi", "Basic YTpj", False),
        ("Bearer opaque", "Bearer other", False),
        ("Basic YTpi", "", False),
        ("", "", True),
    ],
)
def test_a_principal_is_known_by_the_tokens_subject_or_by_the_login(
    one: str, other: str, *, same: bool
) -> None:
    """A client fetches another bearer token during a push, and goes on with its upload."""
    assert (whose({"Authorization": one}) == whose({"Authorization": other})) is same
