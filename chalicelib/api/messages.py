"""Requests and responses as the handlers see them, and every trap of Chalice between them.

Beside app.py the only file that knows Chalice. This module must never look at what a request means.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import pybase64
from chalice.app import Chalice
from chalice.app import Response as ChaliceResponse

from chalicelib.errors import RequestInvalidError, quoted

_SECONDS = 29.0
"""How long a request may take where no Lambda context says so."""

_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_NONE: Mapping[str, str] = MappingProxyType({})
_NO_HEADERS: Mapping[str, str | list[str]] = MappingProxyType({})


class AuthorizedCaller(Protocol):
    """Who sent a request that was authorized: see api/authorization.py."""

    @property
    def id(self) -> str:
        """The principal's id, in sessions and logs."""

    @property
    def sees_all(self) -> bool:
        """Whether lists show every repository."""

    def may_pull(self, repository: str) -> bool:
        """Whether the caller may pull from another repository too, such as a mount's source."""

    def may_delete(self, repository: str) -> bool:
        """Whether the caller may delete what a repository holds."""

    def visible(self, repositories: Sequence[str]) -> list[str]:
        """Return those of some repositories that a list shows; they come in byte order."""

    def cursor(self, name: str) -> str:
        """Return a name that the caller may not see, as a text that says nothing of it."""

    def name_of(self, cursor: str) -> str | None:
        """Return the name of a cursor; None for another text."""


class UnrestrictedCaller(NamedTuple):
    """The caller of an open registry, who may do everything."""

    id: str = ""
    sees_all: bool = True

    def may_pull(self, repository: str) -> bool:
        """See AuthorizedCaller.may_pull."""
        del repository
        return True

    def may_delete(self, repository: str) -> bool:
        """See AuthorizedCaller.may_delete."""
        del repository
        return True

    def visible(self, repositories: Sequence[str]) -> list[str]:
        """See AuthorizedCaller.visible."""
        return list(repositories)

    def cursor(self, name: str) -> str:
        """See AuthorizedCaller.cursor: nothing is hidden here."""
        return name

    def name_of(self, cursor: str) -> str | None:
        """See AuthorizedCaller.name_of."""
        return cursor


class Request(NamedTuple):
    """One request. `path` is what follows /v2/, still percent-encoded, without a last slash."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    """By lower-case name; repeated ones joined by commas."""
    body: bytes
    deadline: float
    """When the invocation ends, in seconds since the epoch."""
    request_id: str
    source: str = ""
    """The address that it came from."""
    authorizer: Mapping[str, str] = _NONE
    """The context that the authorizer made: see access/authorizer_context.py."""
    caller: AuthorizedCaller = UnrestrictedCaller()
    """Whom api/authorization.py has let through."""

    @property
    def principal(self) -> str:
        """Who sent it, as sessions and logs have it."""
        return self.caller.id

    def parameter(self, name: str) -> str | None:
        """Return a query parameter's last value."""
        values = self.query.get(name)
        return values[-1] if values else None

    def flag(self, name: str) -> bool:
        """Return whether a query parameter says yes; raises RequestInvalidError."""
        value = (self.parameter(name) or "false").lower()
        if value not in _FLAGS:
            raise RequestInvalidError(f"?{name}= is true or false, not {quoted(value)}")
        return _FLAGS[value]


class Response(NamedTuple):
    """One answer; a header with several values is a list."""

    status: int
    headers: Mapping[str, str | list[str]] = _NO_HEADERS
    body: bytes = b""


class _BinaryResponse(ChaliceResponse):
    """Chalice's response with a base64 many times as fast as the standard library's."""

    def _base64encode(self, data: bytes) -> str:
        return pybase64.b64encode_as_string(data)


class MoorageChalice(Chalice):
    """Chalice, safe to call from several threads at once and with no Accept header.

    - Chalice keeps the request in an attribute of the app: here each thread has its own.
    - With `binary_types=["*/*"]` it answers 400 to a request that has no Accept, after the handler
      ran: Chalice is shown `*/*`. Handlers read the client's own from multiValueHeaders.
    - A response is binary only by its content type: handlers always return bytes.
    - It would decode a body with the standard library: here the body is taken from the event.
    """

    def __init__(self, app_name: str) -> None:
        self._thread = threading.local()
        super().__init__(app_name=app_name, configure_logs=False)
        self.api.binary_types = ["*/*"]

    @property
    def current_request(self) -> Any:  # noqa: ANN401 - Chalice has no types
        """The request of this thread."""
        return getattr(self._thread, "request", None)

    @current_request.setter
    def current_request(self, value: object) -> None:
        self._thread.request = value

    @property
    def lambda_context(self) -> Any:  # noqa: ANN401 - likewise
        """The invocation's context of this thread."""
        return getattr(self._thread, "context", None)

    @lambda_context.setter
    def lambda_context(self, value: object) -> None:
        self._thread.context = value

    def __call__(self, event: dict[str, Any], context: object) -> dict[str, Any]:
        """Answer one API Gateway event."""
        headers = {k: v for k, v in (event.get("headers") or {}).items() if k.lower() != "accept"}
        shown = {
            "multiValueQueryStringParameters": None,
            "pathParameters": None,
            "stageVariables": None,
            **event,
            "headers": {**headers, "accept": "*/*"},
            "body": None,
        }
        self._thread.event = event
        try:
            answer: dict[str, Any] = super().__call__(shown, context)
        finally:
            self.current_request = None
            self.lambda_context = None
            self._thread.event = None
        return answer

    def take_body(self) -> bytes:
        """Decode the body of this thread's request, once: ValueError if it is no base64.

        The event gives its text up, which is larger than the bytes.
        """
        event: dict[str, Any] = self._thread.event
        body, event["body"] = event.get("body"), None
        if not body:
            return b""
        if event.get("isBase64Encoded"):
            # Validating is what takes pybase64's fast path: a tenth of the time, half the memory.
            return pybase64.b64decode(body, validate=True)
        return str(body).encode()


def current(app: MoorageChalice) -> Request:
    """Read the request that Chalice holds for this thread; raises on what is no proxy event."""
    event: dict[str, Any] = app.current_request.to_original_event()
    context = app.lambda_context
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    seconds = remaining() / 1000 if remaining else _SECONDS
    authorizer: Mapping[str, Any] = event["requestContext"].get("authorizer") or {}
    return Request(
        method=event["requestContext"]["httpMethod"],
        path=_path(event),
        query=event["multiValueQueryStringParameters"] or {},
        headers=_headers(event),
        body=app.take_body(),
        deadline=time.time() + seconds,
        request_id=str(event["requestContext"].get("requestId", "")),
        source=str((event["requestContext"].get("identity") or {}).get("sourceIp", "")),
        authorizer={name: str(value) for name, value in authorizer.items()},
    )


def to_chalice(response: Response) -> ChaliceResponse:
    """Hand an answer to Chalice: always bytes, header values always text.

    A value of another type would be a 500 in Chalice's own shape.
    """
    headers = {
        name: [str(item) for item in value] if isinstance(value, list) else str(value)
        for name, value in response.headers.items()
    }
    return _BinaryResponse(body=response.body, headers=headers, status_code=response.status)


def _path(event: Mapping[str, Any]) -> str:
    """Return what follows /v2/: a resource of its own has no path parameter that says it."""
    proxy = (event["pathParameters"] or {}).get("proxy")
    path = str(event["requestContext"]["resourcePath"][1:] if proxy is None else proxy)
    return path.rstrip("/")


def _headers(event: Mapping[str, Any]) -> dict[str, str]:
    many: Mapping[str, Sequence[str]] = event.get("multiValueHeaders") or {
        name: [value] for name, value in event["headers"].items()
    }
    return {name.lower(): ", ".join(values) for name, values in many.items()}
