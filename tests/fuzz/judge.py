"""Whether an answer to any request is one that the registry may give.

It must never excuse an answer: what is not described in docs/openapi.yaml is a fault.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chalicelib.api.routes import ROUTES
from chalicelib.errors import ErrorCode
from moorage.gateway.faults import GatewayFault
from tests.support import description
from tests.support.description import Operation, operations, template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.fuzz.asked import FuzzRequest
    from tests.fuzz.wire import FuzzAnswer

_VERSION = "docker-distribution-api-version"
_FAILED = 500
_REFUSED = 400
_UNSUPPORTED = {404, 405}
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
        busy = (
            asked.busy and told.status == ErrorCode.UNAVAILABLE.status and _VERSION in told.headers
        )
        if told.status >= _FAILED and not busy:
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
            if told.status not in _UNSUPPORTED:
                yield f"no such endpoint, and yet {told.status}"
        elif told.status not in operation.responses:
            yield f"{told.status} is not described"
        else:
            response = operation.responses[told.status]
            yield from response.faults(told.headers, self.code(asked, told))

    def _operation(self, asked: FuzzRequest) -> Operation | None:
        path = asked.path.removeprefix(b"/v2").removeprefix(b"/").decode("latin-1").rstrip("/")
        for route in ROUTES:
            if route.method.encode() == asked.method and route.pattern.fullmatch(path):
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
    """What the gateway says by itself is in its table, or a line that its parser refused."""
    known = told.status in {fault.value.status for fault in GatewayFault} if head else None
    if known is None:
        known = (told.status, told.body) in _GATEWAY
    unread = told.status == _REFUSED and told.headers.get("content-type", "").startswith("text/")
    if not known and not unread:
        yield f"neither the registry's nor the gateway's: {told.status} {told.body[:200]!r}"
