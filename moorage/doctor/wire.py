"""The HTTP of `moorage doctor`, as it is on the wire: one request, one connection, one answer.

This module must never follow a redirect, add a header that a check did not name (but those that
HTTP needs), nor talk to a server whose certificate can't be verified. It uses no proxy that the
user has set: the checks would then look at the proxy, and not at the registry.
"""

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult

from moorage.common.http import HttpResponse, clean, http_url

BROKEN = (OSError, http.client.HTTPException)
"""The errors of a broken connection, and of an answer that is no HTTP."""

TIMEOUT = 35.0
"""Seconds to wait for each piece of an answer: API Gateway itself gives up after 29."""

_LONG_TIMEOUT = 900.0
"""Seconds likewise for gigabytes: CloudFront may pass them on only after the last."""

Body = bytes | Sequence[bytes] | None
"""Bytes are sent with a Content-Length, a list of them in chunked coding; None is no body."""

_LARGEST = 32 * 1024 * 1024
_SECURE = "https"


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """The TLS of a connection: its version, and the end of the certificate (epoch seconds)."""

    version: str
    until: float

    def days(self, now: float | None = None) -> int:
        """Return how many whole days the certificate is still good."""
        return int((self.until - (time.time() if now is None else now)) // 86_400)


@dataclass(frozen=True, slots=True)
class Wire:
    """A client of one server. Every method raises one of BROKEN."""

    url: SplitResult

    def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: Body = None
    ) -> HttpResponse:
        """Send a request and return the answer; `target` is the path with its query, encoded.

        A server may answer and close before it has read the whole body: that answer is returned.
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

    def send_long(
        self, method: str, target: str, headers: Mapping[str, str], pieces: Sequence[bytes]
    ) -> tuple[HttpResponse, float, float]:
        """Send a body of many pieces, with its length; return the answer and how long it took.

        In seconds: until the last byte was sent, and from there to the answer.
        """
        length = {"Content-Length": str(sum(map(len, pieces)))}
        with self._connection(_LONG_TIMEOUT) as connection:
            began = time.monotonic()
            self._begin(connection, method, target, {**headers, **length}, None)
            with contextlib.suppress(OSError):  # a server may refuse before the last byte
                for piece in pieces:
                    connection.send(piece)
            sent = time.monotonic()
            response = connection.getresponse()
            answer = HttpResponse(response.status, response.headers, response.read(_LARGEST))
            return answer, sent - began, time.monotonic() - sent

    def secured(self) -> TlsInfo | None:
        """Connect, and return the connection's TLS; None for http."""
        if self.url.scheme != _SECURE:
            return None
        with self._connection() as connection:
            connection.connect()
            channel = connection.sock
            assert isinstance(channel, ssl.SSLSocket)  # noqa: S101 - it is, with https
            certificate = channel.getpeercert() or {}
            until = ssl.cert_time_to_seconds(str(certificate.get("notAfter")))
            return TlsInfo(channel.version() or "no TLS", until)

    @contextlib.contextmanager
    def _connection(self, timeout: float = TIMEOUT) -> Iterator[http.client.HTTPConnection]:
        host, port = self.url.hostname or "", self.url.port
        connection: http.client.HTTPConnection
        if self.url.scheme == _SECURE:
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
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
            # A small write must not wait for the acknowledgement of the one before.
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def wire_of(url: str) -> tuple[Wire, str]:
    """Return the server of an absolute URL, and the target of a request; raises ValueError."""
    parts = http_url(url)
    target = parts.path or "/"
    return Wire(parts), f"{target}?{parts.query}" if parts.query else target


def quoted(answer: HttpResponse) -> str:
    """Return an answer's status and the beginning of its body, in a form that can be shown."""
    if answer.json().get("errors"):
        return answer.message()
    try:
        text = clean(answer.body.decode())
    except UnicodeError:
        text = f"{len(answer.body)} bytes"
    return f"status {answer.status}: {text}" if text else f"status {answer.status}"


def _framed(body: Body) -> Iterable[bytes]:
    if isinstance(body, bytes):
        return (body,) if body else ()
    if body is None:
        return ()
    return (*(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in body if piece), b"0\r\n\r\n")
