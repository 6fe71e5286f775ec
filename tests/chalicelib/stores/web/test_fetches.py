"""Asking others: no proxy, no other kind of URL, no answer that takes longer than its deadline."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from chalicelib.stores.web import fetches
from chalicelib.stores.web.fetches import FetchError, fetch
from tests.support.certificates import certificate
from tests.support.issuer import Server, StubResponse, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server() -> Iterator[Server]:
    """A server with one page."""
    with serving() as server:
        server.pages["/"] = StubResponse(b"here")
        yield server


def test_a_proxy_of_the_environment_is_not_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that the environment names is not asked."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert fetch(server.url + "/", limit=9999, headers={}).status == 200


@pytest.mark.parametrize(
    "url",
    ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x", "http://", "http://127.0.0.1:x/", ""],
)
def test_only_http_is_fetched(url: str) -> None:
    """A URL of another kind is not read."""
    with pytest.raises(FetchError):
        fetch(url, limit=9999, headers={})


def test_the_request_has_the_query_and_the_headers(server: Server) -> None:
    """And says that the connection ends with the answer."""
    fetch(server.url + "/?a=%20b&c", limit=9999, headers={"X-A": "b"})
    ((path, headers),) = server.received
    assert path == "/?a=%20b&c"
    assert headers["host"] == server.url.removeprefix("http://")
    assert (headers["x-a"], headers["connection"]) == ("b", "close")


@pytest.fixture(scope="module")
def own_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, with its key."""
    return certificate(tmp_path_factory.mktemp("tls"), days=1)


@contextmanager
def trickling(first: bytes, then: bytes, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve one connection `first`, and then the bytes of `then` again and again; give its URL."""
    over = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            connection, _ = listening.accept()
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            with connection:
                connection.recv(4096)
                connection.sendall(first)
                while not over.wait(0.02):
                    connection.sendall(then)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"localhost:{listening.getsockname()[1]}/"
        finally:
            over.set()
            thread.join()


OK = b"HTTP/1.1 200 OK\r\n"
SLOW = {
    "nothing": (b"", b""),
    "the status line": (b"HTTP/1.1 2", b"0"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a header": (OK + b"X: ", b"a"),
    "headers": (OK, b"X: a\r\n"),
    "a body": (OK + b"Content-Length: 1000\r\n\r\n", b"x"),
    "a body to the end of the connection": (OK + b"\r\n", b"x"),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a chunk's length": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers": (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: a\r\n"),
    "a redirect's headers": (b"HTTP/1.1 302 Found\r\nLocation: /\r\n", b"X: a\r\n"),
}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("what", SLOW)
def test_an_answer_has_one_deadline(
    what: str, scheme: str, own_certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slowly its bytes come."""
    monkeypatch.setattr(fetches, "DEADLINE", 0.3)
    tls = None
    if scheme == "https":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(own_certificate)
        monkeypatch.setenv("SSL_CERT_FILE", str(own_certificate))
        fetches._tls.cache_clear()  # noqa: SLF001 - it has read the certificates of this machine
    began = time.monotonic()
    with trickling(*SLOW[what], tls) as place, pytest.raises(FetchError, match="in time"):
        fetch(f"{scheme}://{place}", limit=9999, headers={})
    assert time.monotonic() - began < 10  # it trickles for ever; the machine may be busy


def test_a_handshake_has_the_same_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which each byte comes in time."""
    monkeypatch.setattr(fetches, "DEADLINE", 0.3)
    hello = b"\x16\x03\x03\x40\x00"
    with trickling(hello, b"\x02") as place, pytest.raises(FetchError, match="in time"):
        fetch(f"https://{place}", limit=9999, headers={})


def test_a_certificate_has_to_be_valid(own_certificate: Path) -> None:
    """One that nobody vouches for is no answer."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own_certificate)
    fetches._tls.cache_clear()  # noqa: SLF001 - another test trusts it
    with trickling(OK, b"", tls) as place, pytest.raises(FetchError, match="certificate"):
        fetch(f"https://{place}", limit=9999, headers={})


def test_a_resolver_has_the_same_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is looked up for ever is no answer."""
    released = threading.Event()
    monkeypatch.setattr(fetches, "DEADLINE", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(20))
    with pytest.raises(FetchError, match="in time"):
        fetch("http://issuer.example/", limit=9999, headers={})
    released.set()


def test_a_host_is_asked_at_its_next_address(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody answers at the first one; without any address there is no answer."""
    port = int(server.url.rpartition(":")[2])
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", each)) for each in (1, port)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert fetch("http://issuer.example/", limit=9999, headers={}).body == b"here"
    found.clear()
    with pytest.raises(FetchError, match="no address"):
        fetch("http://issuer.example/", limit=9999, headers={})


def test_a_body_has_at_most_the_allowed_bytes(server: Server) -> None:
    """One byte more is an error."""
    server.pages["/x"] = StubResponse(b"x" * 100_000)
    assert len(fetch(server.url + "/x", limit=100_000, headers={}).body) == 100_000
    with pytest.raises(FetchError, match="99999 bytes"):
        fetch(server.url + "/x", limit=99_999, headers={})
