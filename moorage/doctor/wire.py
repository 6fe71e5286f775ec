"""HTTP as it is on the wire, for `moorage doctor`: one request, one connection, one answer.

This module must never follow a redirect, add a header that a check did not name (but those that
HTTP needs), nor talk to a server whose certificate can't be verified. It uses no proxy of the
user's: that one would be looked at, and not the registry.
"""

import contextlib
import http.client
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from moorage.common.http import HttpResponse

__all__ = ["BROKEN", "Body", "HttpResponse", "Secured", "Wire", "clean", "told"]

BROKEN = (OSError, http.client.HTTPException)
"""What is raised when a connection, or what comes over it, is broken."""

TIMEOUT = 35.0
"""Seconds to wait for each piece: API Gateway itself gives up after 29."""

Body = bytes | Sequence[bytes] | None
"""Bytes go with a Content-Length, a list of them in chunked transfer coding, None is no body."""

_LARGEST = 32 * 1024 * 1024
_QUOTED = 160
_LONG_WORD = re.compile(r"[A-Za-z0-9+=_-]{40,}")
_SECURE = "https"


@dataclass(frozen=True, slots=True)
class Secured:
    """A connection's TLS: the protocol's version, and when the certificate ends (epoch seconds)."""

    version: str
    until: float

    def days(self, now: float | None = None) -> int:
        """Return for how many whole days the certificate is still good."""
        return int((self.until - (time.time() if now is None else now)) // 86_400)


@dataclass(frozen=True, slots=True)
class Wire:
    """A server. Every method raises one of BROKEN."""

    url: SplitResult

    def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: Body = None
    ) -> HttpResponse:
        """Send a request; `target` is the path with its query, as it is to be sent.

        A server may answer before it has read the whole body, and close: that answer counts.
        """
        with self._connection() as connection:
            self._begin(connection, method, target, headers or {}, body)
            broken: OSError | None = None
            try:
                for piece in _framed(body):
                    connection.send(piece)
            except OSError as error:
                broken = error
            try:
                response = connection.getresponse()
                return HttpResponse(response.status, response.headers, response.read(_LARGEST))
            except BROKEN as error:
                raise broken or error from None

    def cut(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, sent: int
    ) -> None:
        """Announce a body, send the first `sent` bytes of it, and break the connection."""
        with self._connection() as connection:
            self._begin(connection, method, target, headers, body)
            connection.send(body[:sent])

    def secured(self) -> Secured | None:
        """Connect, and tell the connection's TLS; None where the URL has none."""
        if self.url.scheme != _SECURE:
            return None
        with self._connection() as connection:
            connection.connect()
            channel = connection.sock
            assert isinstance(channel, ssl.SSLSocket)  # noqa: S101 - it is, with this scheme
            certificate = channel.getpeercert() or {}
            until = ssl.cert_time_to_seconds(str(certificate.get("notAfter")))
            return Secured(channel.version() or "no TLS", until)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        host, port = self.url.hostname or "", self.url.port
        connection: http.client.HTTPConnection
        if self.url.scheme == _SECURE:
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        try:
            yield connection
        finally:
            connection.close()

    @staticmethod
    def _begin(
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Body,
    ) -> None:
        connection.putrequest(method, target, skip_accept_encoding=True)
        connection.putheader("Connection", "close")
        for name, value in headers.items():
            connection.putheader(name, value)
        if isinstance(body, bytes):
            connection.putheader("Content-Length", str(len(body)))
        elif body is not None:
            connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        if connection.sock is not None:
            # Small writes one after another must not wait for each other's acknowledgement.
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def wire_of(url: str) -> tuple[Wire, str]:
    """Return the server of an absolute URL, and what to ask it for; raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", _SECURE} or not parts.hostname or parts.port == 0:
        raise ValueError("no URL with http or https and a host")
    target = parts.path or "/"
    return Wire(parts), f"{target}?{parts.query}" if parts.query else target


def told(answer: HttpResponse) -> str:
    """Return an answer's status and the beginning of what it says, for people."""
    if answer.json().get("errors"):
        return answer.told()
    try:
        text = clean(answer.body.decode())
    except UnicodeError:
        text = f"{len(answer.body)} bytes"
    return f"status {answer.status}: {text}" if text else f"status {answer.status}"


def clean(text: str) -> str:
    """Return a server's text as people can be shown it: printable, short, and without long words.

    A word of such a length may be the token or the password that was sent.
    """
    short = _LONG_WORD.sub("...", text[: _QUOTED * 10])
    printable = "".join(character if character.isprintable() else " " for character in short)
    return " ".join(printable.split())[:_QUOTED]


def _framed(body: Body) -> Iterable[bytes]:
    if isinstance(body, bytes):
        return (body,) if body else ()
    if body is None:
        return ()
    return (*(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in body if piece), b"0\r\n\r\n")
