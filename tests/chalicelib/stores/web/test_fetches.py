"""Asking others: no proxy, no other kind of URL, no answer without an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.stores.web import fetches
from chalicelib.stores.web.fetches import FetchError, fetch
from tests.support.issuer import Server, StubResponse, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[Server]:
    """A server with one page."""
    with serving() as server:
        server.pages["/"] = StubResponse(b"here")
        yield server


def test_the_environment_names_no_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is not asked."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert fetch(server.url + "/", limit=9999, headers={}).status == 200


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x"])
def test_only_http_is_fetched(url: str) -> None:
    """A URL of another kind is not read."""
    with pytest.raises(FetchError):
        fetch(url, limit=9999, headers={})


def test_what_trickles_in(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that takes too long as a whole is given up, though each byte comes in time."""
    monkeypatch.setattr(fetches, "DEADLINE", 0.2)
    server.pages["/slow"] = StubResponse(b"x" * 20, pause=0.05)
    with pytest.raises(FetchError, match="seconds"):
        fetch(server.url + "/slow", limit=9999, headers={})


def test_what_never_comes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that stops coming is given up."""
    monkeypatch.setattr(fetches, "TIMEOUT", 0.1)
    server.pages["/stuck"] = StubResponse(b"xx", pause=0.5)
    with pytest.raises(FetchError):
        fetch(server.url + "/stuck", limit=9999, headers={})


def test_limits(server: Server) -> None:
    """A body may have as many bytes as are allowed, and not one more."""
    server.pages["/x"] = StubResponse(b"x" * 100_000)
    assert len(fetch(server.url + "/x", limit=100_000, headers={}).body) == 100_000
    with pytest.raises(FetchError, match="99999 bytes"):
        fetch(server.url + "/x", limit=99_999, headers={})
