"""A registry behind the edge: the deployed function, the gateway and the API, over MiniStack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import app
from chalicelib.api.dispatch import Api
from chalicelib.digest import Digest
from chalicelib.settings import ApiOptions, HeadStrategy
from chalicelib.wiring import registry as wiring_registry
from moorage.edge.origins import ApiOrigin, BucketOrigin, Origin
from moorage.edge.server import Edge, EdgeOptions
from moorage.gateway.server import GatewayOptions
from tests.support.edge import DISTRIBUTION, function_with, store_of
from tests.support.registries import TICKET_KEYS, registry_over
from tests.support.servers import request, run_gateway, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.emulators.backends import Backend

DATA = bytes(range(256)) * 24_000
"""Six megabytes: more than Lambda takes."""

DIGEST = Digest.of(DATA)
PAGES = ("https://ui.example.com", "http://localhost:3000")
"""The origins of pages that may ask."""


@pytest.fixture
def url(ministack: Backend, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve an empty registry behind the edge."""
    backend = ministack.fresh()
    registry = registry_over(backend)
    options = ApiOptions(1024 * 1024, HeadStrategy.BODY, 4096, cors_origins=PAGES)
    api = Api(lambda: registry.registry, options)
    monkeypatch.setattr(wiring_registry, "api", lambda: api)
    with run_gateway(app.app, GatewayOptions(port=0, cors_origins=("*",))) as gateway:
        origins: dict[str, Origin] = {
            "api": ApiOrigin(gateway),
            "bucket": BucketOrigin.at(backend.environment),
        }
        running = function_with(store_of(TICKET_KEYS))
        with run_server(
            Edge(EdgeOptions(port=0, cors_origins=("*",)), DISTRIBUTION, running, origins)
        ) as served:
            yield served


def push(url: str, data: bytes, claimed: Digest) -> tuple[int, str]:
    """POST, PUT, and follow what the PUT's answer says; return the last status and Location."""
    _, opened, _ = request(url, "POST", "/v2/team/app/blobs/uploads/")
    at = opened["Location"]
    status, answered, _ = request(url, "PUT", f"{at}&digest={claimed}", data)
    if status == 303:
        status, answered, _ = request(url, "GET", answered["Location"])
    return status, answered.get("Location", "")


def test_a_large_layer_is_pushed_in_one_put_and_pulled_in_ranges(url: str) -> None:
    """With nothing installed; each answer's Location is on the edge's own host."""
    assert push(url, DATA, DIGEST) == (201, f"/v2/team/app/blobs/{DIGEST}")
    for headers, status, body in (
        ({}, 200, DATA),
        ({"Range": "bytes=1000000-"}, 206, DATA[1_000_000:]),
    ):
        redirected, answered, _ = request(url, "GET", f"/v2/team/app/blobs/{DIGEST}", b"", headers)
        assert (redirected, answered["Location"][:4]) == (307, "/v2/")
        found, given, pulled = request(url, "GET", answered["Location"], b"", headers)
        assert (found, given["Docker-Content-Digest"]) == (status, str(DIGEST))
        assert pulled == body
    head, answered, _ = request(url, "HEAD", answered["Location"])
    assert (head, answered["Content-Length"]) == (200, str(len(DATA)))
    altered = answered.get("Location", f"/v2/team/app/blobs/{DIGEST}~1~direct~x~y")
    assert request(url, "GET", altered)[0] == 403


def test_wrong_bytes_are_refused_and_nothing_is_published(url: str) -> None:
    """S3 compares them with the digest before it keeps them."""
    assert push(url, DATA[:-1] + b"?", DIGEST)[0] == 400
    assert request(url, "HEAD", f"/v2/team/app/blobs/{DIGEST}")[0] == 404
    assert push(url, DATA, DIGEST)[0] == 201


def test_small_blobs_go_through_the_api(url: str) -> None:
    """As without an edge, in the same two requests."""
    assert push(url, b"small", Digest.of(b"small"))[0] == 201
    assert request(url, "GET", f"/v2/team/app/blobs/{Digest.of(b'small')}")[2] == b"small"


def test_a_page_of_another_site_is_answered_through_the_edge(url: str) -> None:
    """The API gets the page's origin, and the edge caches no answer of the API."""
    push(url, b"small", Digest.of(b"small"))
    target = f"/v2/team/app/blobs/{Digest.of(b'small')}"
    for page in (*PAGES, "https://evil.example", *PAGES):
        allowed = page if page in PAGES else None
        asked = {"Origin": page, "Access-Control-Request-Method": "GET"}
        status, told, _ = request(url, "OPTIONS", target, headers=asked)
        assert (status, told["Access-Control-Allow-Origin"]) == (204, allowed)
        assert told["Access-Control-Allow-Methods"] == (allowed and "DELETE, GET, HEAD, OPTIONS")
        for at, found in ((target, 200), ("/v2/team/none/manifests/v1", 404)):
            status, told, _ = request(url, "GET", at, headers={"Origin": page})
            assert (status, told["Access-Control-Allow-Origin"]) == (found, allowed)
            assert told["Vary"] == "Origin"
