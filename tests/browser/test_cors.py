"""A page of another site in a real browser: it reads what the setting lets it, and nothing else."""

from __future__ import annotations

import base64
import http.server
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Digest
from moorage.local.ports import free_port
from tests.browser.seeding import Seeder
from tests.clients import daemons

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
READ = """async ([url, method, headers]) => {
    try {
        const answer = await fetch(url, {method, headers});
        const bytes = await answer.arrayBuffer();
        return [answer.status, bytes.byteLength, answer.headers.get("Content-Range")];
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


def test_a_page_reads_a_blob_to_which_it_is_redirected(page: Page, tmp_path: Path) -> None:
    """From S3, at the gateway and at the edge, with a login and a range; no other page does."""
    port, other, file = free_port(), free_port(), tmp_path / "token"
    data, name = bytes(range(256)) * 64, "team/app"
    with (
        site(port) as allowed,
        site(other) as foreign,
        daemons.start_moorage(
            *("--auth", "--admin-token-file", str(file)),
            *("--cors-origins", allowed, "--inline-limit", "1024"),
        ) as running,
    ):
        login = "Basic " + base64.b64encode(f"admin:{file.read_text().strip()}".encode()).decode()
        Seeder(running.gateway, {"Authorization": login}).blob(name, data)
        for door in (running.gateway, running.edge):
            url = f"{door}/v2/{name}/blobs/{Digest.of(data)}"
            for site_, method, headers, read in (
                (allowed, "GET", {}, [200, len(data), None]),
                (allowed, "GET", {"Range": "bytes=16-31"}, [206, 16, "bytes 16-31/16384"]),
                (allowed, "HEAD", {}, [200, 0, None]),
                (foreign, "GET", {}, UNREADABLE),
            ):
                page.goto(site_)
                sent = {"Authorization": login, **headers}
                assert page.evaluate(READ, [url, method, sent]) == read, (door, method, headers)


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
            challenge = f'Bearer realm="{door}/v2/_token"'
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
