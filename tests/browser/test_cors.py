"""A page of another site in a real browser: it reads what the setting lets it, and nothing else."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from moorage.local.ports import free_port
from tests.clients import daemons

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

pytestmark = pytest.mark.timeout(300)
ASK = """async ([url, method, login]) => {
    const headers = login ? {Authorization: login} : {};
    try {
        const answer = await fetch(url, {method, headers});
        return [answer.status, answer.headers.get("WWW-Authenticate"), answer.headers.get("Allow")];
    } catch (error) {
        return String(error);
    }
}"""
WRONG_LOGIN = "Basic YTpi"
UNREADABLE = "TypeError: Failed to fetch"


class _Empty(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def site(port: int) -> Iterator[str]:
    """Serve empty pages, and give their origin."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), _Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{port}"
        server.shutdown()


def test_a_page_reads_answers_where_its_origin_is_allowed(page: Page) -> None:
    """By way of a preflight that carries no login, at the gateway and at the edge."""
    port, other = free_port(), free_port()
    with (
        site(port) as allowed,
        site(other) as foreign,
        daemons.start_moorage("--auth", "--cors-origins", allowed) as running,
    ):

        def asked(url: str, method: str, login: str | None) -> Any:  # noqa: ANN401 - JSON
            return page.evaluate(ASK, [url, method, login])

        for door in (running.gateway, running.edge):
            page.goto(allowed)
            challenge = f'Bearer realm="{running.gateway}/v2/_token"'
            for login in (None, WRONG_LOGIN):
                status, told, _ = asked(f"{door}/v2/_catalog", "GET", login)
                assert (status, told.partition(",")[0]) == (401, challenge)
            assert asked(f"{door}/v2/a/tags/list", "OPTIONS", WRONG_LOGIN) == [
                204,
                None,
                "GET, HEAD, OPTIONS",
            ]
            page.goto(foreign)
            # Its preflight is not answered for it, and the API's answers aren't either.
            assert asked(f"{door}/v2/_catalog", "GET", WRONG_LOGIN) == UNREADABLE
            assert asked(f"{door}/v2/a/manifests/v1", "DELETE", None) == UNREADABLE
            assert asked(f"{door}/v2/_token", "GET", None) == UNREADABLE
