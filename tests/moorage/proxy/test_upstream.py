"""The headers that the proxy changes: a challenge must reach the client under its own name."""

from __future__ import annotations

import re

import pytest
from aiohttp import web
from multidict import CIMultiDict

from moorage.common.http import AddressError
from moorage.proxy.options import ProxyOptions
from moorage.proxy.server import Proxy
from moorage.proxy.upstream import returned, upstream_origin
from tests.support.fake_registry import run_handler
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
    ("address", "origin"),
    [
        ("https://Registry.example.com/", "https://registry.example.com"),
        ("registry.example.com:8443", "https://registry.example.com:8443"),
        ("https://registry.example.com:443", "https://registry.example.com"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("HTTP://LOCALHOST:8000", "http://localhost:8000"),
        ("localhost:8000", "http://localhost:8000"),
    ],
)
def test_an_upstream_has_tls_or_is_this_machine(address: str, origin: str) -> None:
    """Its address is written as for a login."""
    assert upstream_origin(address) == origin


@pytest.mark.parametrize(
    ("address", "told"),
    [
        *[
            (f"http://{host}", f"http://{host} has no TLS")
            for host in (
                *("registry.example.com", "10.0.0.1:8000", "0.0.0.0:8000", "moorage:8000"),
                *("localhost.example.com", "127.0.0.1.nip.io", "host.docker.internal:8000"),
            )
        ],
        ("https://registry.example.com/v2/", "a registry's address has no path"),
        ("https://registry.example.com?x", "a registry's address has no path"),
        ("http://127.0.0.1:8000@registry.example.com", "no address of a registry"),
        ("https://me:secret@registry.example.com", "no address of a registry"),
        ("ftp://registry.example.com", "no address of a registry"),
        ("file:///etc/passwd", "no address of a registry"),
        ("", "no address of a registry"),
    ],
)
def test_any_other_upstream_is_refused(address: str, told: str) -> None:
    """What clients send would cross a network in the clear, or go nowhere."""
    with pytest.raises(AddressError, match=re.escape(told)) as refused:
        Proxy(ProxyOptions(address))
    assert "secret" not in str(refused.value)


FIXED = 'Bearer realm="https://h/v2/_token",service="h"'


@pytest.mark.parametrize(
    ("method", "target", "scope"),
    [
        ("GET", "/v2/", None),
        ("GET", "/v2/_catalog?n=1", "registry:catalog:*"),
        ("GET", "/v2/a/b/manifests/1", "repository:a/b:pull"),
        ("HEAD", "/v2/a/b/manifests/1", "repository:a/b:pull"),
        ("GET", "/v2/a%2Db/blobs/sha256:0", "repository:a-b:pull"),
        ("GET", "/v2/a/blobs/uploads/manifests/1", "repository:a/blobs/uploads:pull"),
        ("GET", "/v2/a/tags/list/", "repository:a:pull"),
        ("GET", "/v2/a/referrers/sha256:0", "repository:a:pull"),
        # A push begins with it, and oras-py keeps the first token.
        ("HEAD", "/v2/a/blobs/sha256:0", "repository:a:pull,push"),
        ("POST", "/v2/a/blobs/uploads/", "repository:a:pull,push"),
        (
            "POST",
            "/v2/a/blobs/uploads/?mount=sha256:0&from=b",
            "repository:a:pull,push repository:b:pull",
        ),
        ("POST", "/v2/a/blobs/uploads/?mount=sha256:0&from=B%22", "repository:a:pull,push"),
        ("POST", "/v2/a/blobs/uploads/?digest=sha256:0", "repository:a:pull,push"),
        ("PATCH", "/v2/a/blobs/uploads/1", "repository:a:pull,push"),
        ("PUT", "/v2/a/blobs/uploads/1?digest=sha256:0", "repository:a:pull,push"),
        ("PUT", "/v2/a/manifests/1", "repository:a:pull,push"),
        ("DELETE", "/v2/a/manifests/1", "repository:a:delete"),
        # What is no endpoint needs none.
        ("GET", "/v2/A/manifests/1", None),
        ("GET", "/v2/a/manifests", None),
        ("GET", "/", None),
    ],
)
def test_the_gateways_own_challenge_gets_the_scope(
    method: str, target: str, scope: str | None
) -> None:
    """It is one text for all requests; python-dxf and oras-py ask for what the challenge names."""

    async def refuse(_: web.BaseRequest) -> web.Response:
        return web.Response(status=401, headers={CHALLENGE: FIXED})

    body = b"x" if method in {"POST", "PATCH", "PUT"} else None
    with run_handler(refuse) as upstream, run_proxy(upstream) as url:
        status, headers, _ = request(url, method, target, body)
    named = "" if scope is None else f',scope="{scope}"'
    assert (status, headers[CHALLENGE]) == (401, FIXED + named)


@pytest.mark.parametrize("challenge", [SCOPED, 'Basic realm="r"', 'BEARER realm="r",SCOPE="x"'])
def test_no_other_challenge_gets_a_scope(challenge: str) -> None:
    """One that has a scope, and one of another scheme."""
    told = returned(CIMultiDict({CHALLENGE: challenge}), UPSTREAM, HOST, "repository:a:pull")
    assert told[CHALLENGE] == challenge


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
