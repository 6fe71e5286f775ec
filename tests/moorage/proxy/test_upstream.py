"""The headers that the proxy changes: a challenge must reach the client under its own name."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from moorage.proxy.upstream import returned
from tests.support.servers import Recorder, request, run_gateway, run_proxy

UPSTREAM = "http://127.0.0.1:8000"
HOST = "127.0.0.1:5000"
CHALLENGE, LENGTH = "WWW-Authenticate", "x-amzn-Remapped-Content-Length"
RENAMED = "x-amzn-Remapped-WWW-Authenticate"
SCOPED = 'Bearer realm="http://h/v2/_token",service="h",scope="repository:a/b:push"'


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        *(
            ([(name, SCOPED), ("Server", "s")], [("Server", "s"), (CHALLENGE, SCOPED)])
            for name in (RENAMED, RENAMED.lower(), "X-Amzn-Remapped-Www-Authenticate")
        ),
        # A client may choose among several.
        ([(RENAMED, "Basic"), (RENAMED, SCOPED)], [(CHALLENGE, "Basic"), (CHALLENGE, SCOPED)]),
        # The gateway's own challenge is not renamed.
        ([("www-authenticate", "Bearer"), (RENAMED, SCOPED)], [(CHALLENGE, "Bearer")]),
        # A client must not believe a length that the function named.
        ([(LENGTH, "7")], [(LENGTH, "7")]),
    ],
)
def test_a_renamed_challenge_alone_has_its_name_again(
    headers: list[tuple[str, str]], kept: list[tuple[str, str]]
) -> None:
    """In any case of the letters, and only where there is none under its own name."""
    assert list(returned(CIMultiDict(headers), UPSTREAM, HOST).items()) == kept


@pytest.mark.parametrize(
    ("upstream", "realm"),
    [
        (UPSTREAM, f"http://{HOST}/v2/_token"),
        (f"{UPSTREAM}/", f"http://{HOST}/v2/_token"),
        # Elsewhere is elsewhere, and what is encrypted stays so.
        ("http://127.0.0.1:8001", f"{UPSTREAM}/v2/_token"),
        ("https://registry.example.com", "https://registry.example.com/v2/_token"),
    ],
)
def test_a_realm_upstream_leads_back_here(upstream: str, realm: str) -> None:
    """Crane fetches tokens from no address of this machine but the one that it was given."""
    at = realm if realm.startswith("https") else f"{UPSTREAM}/v2/_token"
    told = CIMultiDict({"WWW-Authenticate": f'Bearer realm="{at}",service="h"'})
    answer = returned(told, upstream, HOST)
    assert answer["WWW-Authenticate"] == f'Bearer realm="{realm}",service="h"'


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/v2/a/b/tags/list", None),
        ("PATCH", "/v2/a/b/blobs/uploads/1", b"x" * 100),
        ("PUT", "/v2/a/b/blobs/uploads/1?digest=sha256:0", b"x"),
        ("POST", "/v2/a/b/blobs/uploads/?digest=sha256:0", b"x"),
    ],
)
def test_a_client_of_the_proxy_gets_the_scoped_challenge(
    method: str, target: str, body: bytes | None
) -> None:
    """The gateway renames it, and the proxy restores the name: also when a layer is half sent."""
    answer = {"statusCode": 401, "headers": {"WWW-Authenticate": SCOPED}}
    with run_gateway(Recorder(answer)) as upstream, run_proxy(upstream) as url:
        status, headers, _ = request(url, method, target, body)
    assert (status, headers["WWW-Authenticate"]) == (401, SCOPED)
    assert RENAMED not in headers
