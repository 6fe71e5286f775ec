"""The events in which CloudFront shows a function requests and answers, and what it may change.

Names of headers are in lower case, values of a query as the client wrote them, cookies apart.
Sources: CloudFront Developer Guide, "CloudFront Functions event structure", "Restrictions on all
edge functions".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from moorage.common.http_server import HOP_BY_HOP

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_READ_ONLY: Final = ("content-length", "host", "transfer-encoding", "via")
_READ_ONLY_ANSWER: Final = (
    "content-encoding",
    "content-length",
    "transfer-encoding",
    "via",
    "warning",
)
_HIDDEN: Final = (HOP_BY_HOP | {"proxy-authorization"}) - {"transfer-encoding"}
"""Headers that no function sees, nor may add."""

_NO_ANSWER: Final = 0


class EdgeValidationError(Exception):
    """The function changed what it must not: CloudFront answers 502."""


@dataclass(frozen=True, slots=True)
class EdgeRequest:
    """A request; path and query are still encoded, names of headers in lower case."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """Return a header's first value."""
        return next((value for key, value in self.headers if key == name), None)


def request_event(request: EdgeRequest, ip: str) -> dict[str, Any]:
    """Write the event `viewer-request`."""
    return {
        "version": "1.0",
        "context": {"eventType": "viewer-request", "distributionId": "LOCAL"},
        "viewer": {"ip": ip},
        "request": _shown(request),
    }


def response_event(
    request: Mapping[str, Any], ip: str, status: int, headers: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    """Write the event `viewer-response`; `request` is as the function saw or made it."""
    return {
        "version": "1.0",
        "context": {"eventType": "viewer-response", "distributionId": "LOCAL"},
        "viewer": {"ip": ip},
        "request": dict(request),
        "response": {
            "statusCode": status,
            "statusDescription": "",
            "headers": _grouped((n, v) for n, v in headers if n not in _HIDDEN),
        },
    }


def made_request(before: EdgeRequest, made: Mapping[str, Any]) -> EdgeRequest:
    """Return the request that a function made of another one; raises EdgeValidationError."""
    headers = tuple(_flat(made["headers"]))
    for name in _READ_ONLY:
        if _values(headers, name) != _values(before.headers, name):
            raise EdgeValidationError(f"the function changed the read-only header {name}")
    if made["method"] != before.method:
        raise EdgeValidationError("the function changed the method")
    cookies = [f"{name}={each['value']}" for name, each in made["cookies"].items()]
    if cookies:
        headers = (*headers, ("cookie", "; ".join(cookies)))
    query = "&".join(
        f"{name}={value}" if value else name
        for name, value in _flat(made["querystring"], check=False)
    )
    return EdgeRequest(made["method"], made["uri"], query, headers)


def own_answer(made: Mapping[str, Any]) -> tuple[int, tuple[tuple[str, str], ...], bytes] | None:
    """Return status, headers and body if a function answered by itself, instead of going on."""
    if made.get("statusCode", _NO_ANSWER) == _NO_ANSWER:
        return None
    return made["statusCode"], tuple(_flat(made.get("headers", {}))), made.get("body", "").encode()


def made_response(
    before: Iterable[tuple[str, str]], made: Mapping[str, Any]
) -> tuple[int, tuple[tuple[str, str], ...]]:
    """Return status and headers that a function made of an answer; raises EdgeValidationError."""
    headers = tuple(_flat(made["headers"]))
    earlier = tuple(before)
    for name in _READ_ONLY_ANSWER:
        if _values(headers, name) != _values(earlier, name):
            raise EdgeValidationError(f"the function changed the read-only header {name}")
    return made["statusCode"], headers


def _shown(request: EdgeRequest) -> dict[str, Any]:
    seen = [(n, v) for n, v in request.headers if n not in _HIDDEN]
    crumbs = [c.strip().partition("=") for n, v in seen if n == "cookie" for c in v.split(";")]
    parameters = [part.partition("=") for part in request.query.split("&") if part]
    return {
        "method": request.method,
        "uri": request.path,
        "querystring": _grouped((name, value) for name, _, value in parameters),
        "headers": _grouped((n, v) for n, v in seen if n != "cookie"),
        "cookies": _grouped((name, value) for name, _, value in crumbs),
    }


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    grouped: dict[str, Any] = {}
    for name, value in pairs:
        if name not in grouped:
            grouped[name] = {"value": value}
            continue
        many = grouped[name].setdefault("multiValue", [{"value": grouped[name]["value"]}])
        many.append({"value": value})
    return grouped


def _flat(grouped: Mapping[str, Any], *, check: bool = True) -> Iterable[tuple[str, str]]:
    for name, held in grouped.items():
        if check and (name != name.lower() or name in _HIDDEN):
            raise EdgeValidationError(f"no function may set the header {name}")
        for each in held.get("multiValue", [held]):
            yield name, each["value"]


def _values(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in headers if key == name]
