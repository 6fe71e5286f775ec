"""Fetches a URL by one deadline, without the redirects and proxies that an HTTP library adds.

The deadline covers everything: finding the address, connecting, TLS, the status line, headers and
body. A socket's time limit begins again with each byte, so it would not bound a slow answer.

This module must never follow a redirect, use a proxy that the environment names, or read a URL of
another kind than http and https. The caller decides whether a URL may be fetched at all.
"""

import functools
import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from chalicelib.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence
    from urllib.parse import SplitResult

DEADLINE = 10
"""Seconds for an answer, or for several of one host, from its name to the last byte."""

_CONNECT = 3.0
"""Seconds to wait for a connection, before the host's next address is tried."""

_PIECE = 16 * 1024


class FetchError(Exception):
    """There was no answer, or one that is too long, or too slow; the message says which."""


@dataclass(frozen=True)
class FetchedResponse:
    """An answer with any status."""

    status: int
    body: bytes = field(repr=False)


class Fetch(Protocol):
    """What `fetch` does."""

    def __call__(
        self, url: str, *, limit: int, headers: Mapping[str, str], end: float | None = None
    ) -> FetchedResponse:
        """See fetch."""


def fetch(
    url: str, *, limit: int, headers: Mapping[str, str], end: float | None = None
) -> FetchedResponse:
    """Get a URL and return the answer, whatever its status, a redirect too.

    `limit`: most bytes of a body. `end`: by when, on the monotonic clock; None: DEADLINE from now.
    Raises FetchError.
    """
    end = time.monotonic() + DEADLINE if end is None else end
    sent = {"User-Agent": "moorage", "Connection": "close", **headers}
    try:
        parts = urlsplit(url)
        with closing(_Connection(parts, end)) as connection:
            connection.request("GET", parts._replace(scheme="", netloc="").geturl(), headers=sent)
            response = connection.getresponse()
            return FetchedResponse(response.status, _body(response, limit))
    except TimeoutError as error:
        raise FetchError(f"no answer from {url[:200]} in time") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(f"no answer from {url[:200]}: {error}") from error


def _body(response: http.client.HTTPResponse, limit: int) -> bytes:
    pieces, size = list[bytes](), 0
    while piece := response.read1(_PIECE):
        size += len(piece)
        if size > limit:
            raise FetchError(f"an answer of more than {limit} bytes")
        pieces.append(piece)
    if response.length:
        raise FetchError(f"an answer that ends {response.length} bytes early")
    return b"".join(pieces)


class _Socket(socket.socket):
    """A socket whose every read ends by `end`, however many there are."""

    end: float

    def recv_into(self, *args: Any) -> int:  # noqa: ANN401 - as the library has it
        self.settimeout(_left(self.end))
        return super().recv_into(*args)


class _TlsSocket(ssl.SSLSocket):
    """The same with TLS."""

    end: float

    def recv_into(self, *args: Any) -> int:  # noqa: ANN401 - likewise
        self.settimeout(_left(self.end))
        return super().recv_into(*args)


class _Connection(http.client.HTTPConnection):
    """A connection to a URL's host that is over by `end`."""

    def __init__(self, url: "SplitResult", end: float) -> None:
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError("no URL of http or https")
        self.default_port = 443 if url.scheme == "https" else 80
        super().__init__(url.hostname, url.port)
        self._has_tls = url.scheme == "https"
        self._end = end

    def connect(self) -> None:
        """See the library: called when the request is sent."""
        plain = self._connected()
        plain.settimeout(_left(self._end))  # for the whole handshake
        self.sock = plain
        if self._has_tls:
            secure = _tls().wrap_socket(plain, server_hostname=self.host)
            assert isinstance(secure, _TlsSocket)  # noqa: S101 - by sslsocket_class
            secure.end, self.sock = self._end, secure

    def _connected(self) -> _Socket:
        failed: OSError = OSError("the host has no address")
        for family, kind, protocol, _, address in _addresses(self.host, self.port, self._end):
            connecting = _Socket(family, kind, protocol)
            connecting.end = self._end
            connecting.settimeout(min(_CONNECT, _left(self._end)))
            try:
                connecting.connect(address)
            except OSError as error:
                connecting.close()
                failed = error
            else:
                return connecting
        raise failed


def _addresses(host: str, port: int, end: float) -> "Sequence[tuple[Any, ...]]":
    """Return the addresses of a host; the resolver itself has no time limit, so it has a thread."""
    found = queue.SimpleQueue[Any]()

    def look_up() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - raised again below
            found.put(error)

    threading.Thread(target=look_up, daemon=True).start()
    try:
        answer = found.get(timeout=_left(end))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    addresses: Sequence[tuple[Any, ...]] = answer
    return addresses


def _left(end: float) -> float:
    """Return the seconds until `end`; raises TimeoutError where there are none."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@functools.cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = _TlsSocket
    return context
