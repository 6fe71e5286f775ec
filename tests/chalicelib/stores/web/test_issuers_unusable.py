"""What other issuers publish and nobody should use: documents and key sets on a loopback server."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.errors import UnavailableError
from chalicelib.stores.web.issuers import MAX_BYTES, Issuers
from tests.support.issuer import (
    DISCOVERY,
    KEYS,
    Server,
    StubResponse,
    jwk,
    key_set,
    rsa_key,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ONE = jwk(rsa_key(), kid="one")


@pytest.fixture
def server() -> Iterator[Server]:
    """An issuer that publishes one key."""
    with serving() as server:
        server.publish(ONE)
        yield server


def documents(url: str) -> dict[str, StubResponse]:
    """Return discovery documents that can't be used, of an issuer at `url`."""

    def document(**members: Any) -> StubResponse:  # noqa: ANN401 - any member
        told = {"issuer": url, "jwks_uri": url + KEYS} | members
        return StubResponse(json.dumps({name: told[name] for name in told if told[name]}).encode())

    port = url.rpartition(":")[2]
    return {
        "another issuer": document(issuer="https://accounts.example.com"),
        "a slash more": document(issuer=url + "/"),
        "no issuer": document(issuer=None),
        "several issuers": document(issuer=[url]),
        "no keys": document(jwks_uri=None),
        "keys in a list": document(jwks_uri=[url + KEYS]),
        "keys in a file": document(jwks_uri="file:///etc/passwd"),
        "keys by FTP": document(jwks_uri="ftp://127.0.0.1/keys"),
        "keys as data": document(jwks_uri="data:application/json,{}"),
        "keys without TLS": document(jwks_uri="http://keys.example.com/keys"),
        "keys of a neighbour": document(jwks_uri="http://169.254.169.254/keys"),
        "keys of a user": document(jwks_uri=f"http://x@127.0.0.1:{port}/keys"),
        "keys of two hosts": document(jwks_uri=f"http://127.0.0.1:{port}@evil.example/keys"),
        "keys with a space": document(jwks_uri=f"{url}/ke ys"),
        "keys on two lines": document(jwks_uri=f"{url}/keys\r\nX: y"),
        "a relative URL": document(jwks_uri=KEYS),
        "no object": StubResponse(b"[]"),
        "no JSON": StubResponse(b"<html>"),
        "an issuer twice": StubResponse(f'{{"issuer":"{url}","issuer":"{url}"}}'.encode()),
        "too long": StubResponse(b" " * MAX_BYTES + document().body),
        "longer than said": StubResponse(document().body, headers={"Content-Length": "9999"}),
        "an error": StubResponse(document().body, 500),
        "absent": StubResponse(document().body, 404),
        "moved": StubResponse(b"", 302, {"Location": url + "/elsewhere"}),
        "moved for good": StubResponse(document().body, 301, {"Location": "https://evil.example/"}),
        "only a part": StubResponse(document().body, 206),
    }


@pytest.mark.parametrize("name", documents("http://127.0.0.1:1"))
def test_documents_that_can_not_be_used(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that is another issuer's, or leads elsewhere, is a failure and is not used."""
    monkeypatch.setattr(socket, "getaddrinfo", _only_loopback)
    server.pages[DISCOVERY] = documents(server.url)[name]
    server.pages["/elsewhere"] = documents(server.url)["no JSON"]
    with pytest.raises(UnavailableError) as failed:
        Issuers().keys(server.url, "one")
    assert failed.value.__cause__ is not None
    assert (server.asked[KEYS], server.asked["/elsewhere"]) == (0, 0)


_getaddrinfo = socket.getaddrinfo


def _only_loopback(host: str, *rest: Any, **more: Any) -> Any:  # noqa: ANN401 - the socket module's own
    assert host in {"127.0.0.1", "localhost"}, f"{host} was about to be asked"
    return _getaddrinfo(host, *rest, **more)


SETS: Mapping[str, StubResponse] = {
    "no keys": StubResponse(key_set()),
    "no usable keys": StubResponse(key_set({"kty": "oct", "k": "AAAA"})),
    "two of one id": StubResponse(key_set(ONE, ONE)),
    "too long": StubResponse(key_set(ONE, {"kty": "x", "x": "x" * MAX_BYTES})),
    "an error": StubResponse(key_set(ONE), 503),
    "moved": StubResponse(b"", 307, {"Location": "/other"}),
    "cut": StubResponse(key_set(ONE), headers={"Content-Length": "99999"}),
    "no JSON": StubResponse(b"keys"),
}


@pytest.mark.parametrize("name", SETS)
def test_key_sets_that_can_not_be_used(server: Server, name: str) -> None:
    """A key set that can't be read whole is not used."""
    server.pages[KEYS] = SETS[name]
    server.pages["/other"] = StubResponse(key_set(ONE))
    with pytest.raises(UnavailableError):
        Issuers().keys(server.url, "one")
    assert server.asked["/other"] == 0
