"""A client that sends any bytes on a connection it keeps, and reads what comes back.

It must never mend what it is told to send, nor wait for ever.
"""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.servers import connect

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

_ANSWER_SECONDS = 30.0
_NO_HTTP_SECONDS = 1.0
"""How long an answer to what is no HTTP is waited for: there may be none."""


@dataclass(frozen=True)
class FuzzAnswer:
    """An answer; headers by lower-case name, repeated ones joined by commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class FuzzWire:
    """One connection at a time, opened again whenever the server closes it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._socket: socket.socket | None = None

    def ask(self, raw: bytes, *, head: bool = False) -> FuzzAnswer:
        """Send a request on the kept connection; raises OSError or HTTPException."""
        if self._socket is None:
            self._socket = connect(self._url, _ANSWER_SECONDS)
        try:
            told, last = _exchange(self._socket, raw, head=head)
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if last:
            self.close()
        return told

    def try_anything(self, raw: bytes) -> FuzzAnswer | None:
        """Send bytes on a connection of their own; None where no answer to them comes."""
        with connect(self._url, _NO_HTTP_SECONDS) as alone:
            try:
                return _exchange(alone, raw, head=raw.startswith(b"HEAD "))[0]
            except (OSError, http.client.HTTPException):
                return None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _exchange(connection: socket.socket, raw: bytes, *, head: bool) -> tuple[FuzzAnswer, bool]:
    """Return the answer, and whether it is the connection's last one."""
    connection.sendall(raw)
    response = http.client.HTTPResponse(connection, method="HEAD" if head else "GET")
    response.begin()
    body = response.read()
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        before = headers.get(name.lower())
        headers[name.lower()] = value if before is None else f"{before}, {value}"
    return FuzzAnswer(response.status, headers, body), response.will_close
