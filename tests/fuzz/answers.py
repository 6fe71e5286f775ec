"""Answers: a client that sends any bytes and reads what comes back, and a judge of that.

The client must never mend what it is told to send, nor wait for ever. The judge must never excuse
an answer: what is not described in docs/openapi.yaml is a fault.
"""

from __future__ import annotations

import http.client
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chalicelib.errors import ErrorCode
from chalicelib.routes import ROUTES
from moorage.gateway.faults import GatewayFault
from tests.support import description
from tests.support.description import Operation, operations, template
from tests.support.servers import connect

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from tests.fuzz.cases import FuzzRequest

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


_VERSION = "docker-distribution-api-version"
_FAILED = 500
_REFUSED = 400
_UNSUPPORTED, _OPTIONS = {404, 405}, {204, 404}
_FOREIGN = (
    b"this registry answers to the names of its own machine",
    b"one Host header",
    b"this registry takes no requests from a web page of",
)
_GATEWAY = {(fault.value.status, fault.body) for fault in GatewayFault}


@dataclass(frozen=True)
class Judge:
    """Holds answers to the description."""

    described: Mapping[tuple[str, str], Operation] = field(
        default_factory=lambda: operations(description.load())
    )

    def code(self, asked: FuzzRequest, told: FuzzAnswer) -> str | None:
        """Return the error code that an answer tells; None if it has none, or no body for it."""
        if told.status < _REFUSED or _VERSION not in told.headers or _is_head(asked):
            return None
        return str(json.loads(told.body)["errors"][0]["code"])

    def faults(self, asked: FuzzRequest, told: FuzzAnswer) -> Iterator[str]:
        """Say everything that is wrong with an answer."""
        busy = asked.busy and told.status == ErrorCode.UNAVAILABLE.status
        if told.status >= _FAILED and not (busy and _VERSION in told.headers):
            yield f"{told.status} {told.body[:200]!r}"
        elif _VERSION not in told.headers:
            yield from _gateway_faults(told, head=_is_head(asked))
        else:
            if told.status >= _REFUSED:
                yield from _shape_faults(told, head=_is_head(asked))
            if asked.wire is None:
                yield from self._description_faults(asked, told)

    def _description_faults(self, asked: FuzzRequest, told: FuzzAnswer) -> Iterator[str]:
        operation = self._operation(asked)
        if operation is None:
            if told.status not in (_OPTIONS if asked.method == b"OPTIONS" else _UNSUPPORTED):
                yield f"no such endpoint, and yet {told.status}"
        elif told.status not in operation.responses:
            yield f"{told.status} is not described"
        else:
            response = operation.responses[told.status]
            yield from response.faults(told.headers, self.code(asked, told))

    def _operation(self, asked: FuzzRequest) -> Operation | None:
        path = asked.path.removeprefix(b"/v2").removeprefix(b"/").decode("latin-1").rstrip("/")
        for route in ROUTES:
            if route.method.encode() == asked.method and re.fullmatch(route.pattern, path):
                return self.described[template(route)]
        return None


def _is_head(asked: FuzzRequest) -> bool:
    return (asked.wire or asked.method).startswith(b"HEAD")


def _shape_faults(told: FuzzAnswer, *, head: bool) -> Iterator[str]:
    """An error of the registry is JSON in the spec's shape, and its code has its status."""
    if told.headers.get("content-type") != "application/json":
        yield f"an error of type {told.headers.get('content-type')}"
    if head:
        return
    try:
        (error,) = json.loads(told.body)["errors"]
        code, message = error["code"], error["message"]
    except (ValueError, KeyError, TypeError):
        yield f"an error of another shape: {told.body[:200]!r}"
        return
    table = {(known.code, known.status) for known in ErrorCode} | {("UNSUPPORTED", 404)}
    if (code, told.status) not in table or not message:
        yield f"{code} is told with {told.status} and {message!r}"


def _gateway_faults(told: FuzzAnswer, *, head: bool) -> Iterator[str]:
    """What the gateway says by itself is in its table, or of a line that it can't or won't read."""
    statuses = {status for status, _ in _GATEWAY}
    known = told.status in statuses if head else (told.status, told.body) in _GATEWAY
    unread = told.status == _REFUSED and told.headers.get("content-type", "").startswith("text/")
    foreign = any(text in told.body for text in _FOREIGN)
    if not known and not unread and not foreign:
        yield f"neither the registry's nor the gateway's: {told.status} {told.body[:200]!r}"
