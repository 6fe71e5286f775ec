"""Match, authorize, handle, translate errors: the one exit of the API.

This module must never let an exception past, nor a secret into the log.
"""

import json
import logging
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn, cast

from chalicelib.access.authorizer_context import PRINCIPAL
from chalicelib.api.authorization import AccessControl, OpenAccess
from chalicelib.api.cors import cors_headers
from chalicelib.api.headers import COMMIT_RUNNING, direct_location, session_named, upload_headers
from chalicelib.api.messages import Request, Response
from chalicelib.content_range import content_range
from chalicelib.errors import (
    CommitRunningError,
    ErrorCode,
    RangeInvalidError,
    RegistryError,
    UnauthorizedError,
    UploadError,
)
from chalicelib.reference import parse_digest
from chalicelib.routes import (
    OPTIONS,
    MethodUnknownError,
    Route,
    RouteMatch,
    RouteUnknownError,
    ServedBy,
    match,
    methods,
)
from chalicelib.settings import ApiOptions
from chalicelib.telemetry import log
from chalicelib.telemetry.line import LogLine, line_of
from chalicelib.telemetry.tally import Tally, tallied

if TYPE_CHECKING:
    from chalicelib.access.token_service import TokenService
    from chalicelib.registry.registry import Registry

Handler = Callable[..., Response]

_log = logging.getLogger("moorage.api")
_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
_FAULT = "UNKNOWN"
_REDIRECT = 307
_TRY_AGAIN = frozenset({ErrorCode.TOOMANYREQUESTS, ErrorCode.UNAVAILABLE})


def no_token_service() -> NoReturn:
    """Refuse a request to the token endpoint of an open registry, which has none."""
    raise RouteUnknownError("this registry is open and issues no tokens")


def ping(request: Request) -> Response:
    """GET /v2/: this is a registry."""
    del request
    return Response(200, {"Content-Type": "application/json"}, b"{}")


def handler_of(route: Route) -> Handler:
    """Return a route's handler. A new process imports those of its first request only."""
    module, _, name = route.operation.partition(".")
    return cast("Handler", getattr(import_module(f"chalicelib.api.{module}"), name))


class Api:
    """The registry over HTTP."""

    def __init__(
        self,
        registry: "Callable[[], Registry]",
        options: ApiOptions,
        access_control: AccessControl | None = None,
        token_service: "Callable[[], TokenService]" = no_token_service,
    ) -> None:
        self._registry = registry
        self._options = options
        self._access_control = access_control or OpenAccess()
        self._token_service = token_service

    def __call__(self, request: Request) -> Response:
        """Answer a request; an error is an answer too."""
        with tallied() as tally:
            return self._answered(request, tally)

    def _answered(self, request: Request, tally: Tally) -> Response:
        found: RouteMatch | None = None
        code: str | None = None
        try:
            if request.method == OPTIONS:
                response = Response(204, {"Allow": ", ".join(methods(request.path))})
            else:
                found = match(request.method, request.path)
                caller = self._access_control.admit(request, found)
                request = request._replace(caller=caller)
                response = _unless_known(request, self._handled(found, request))
        except RegistryError as error:
            code = error.code.code
            response = self._challenged(error, _refusal(error, found))
            if error.__cause__ is not None:
                _log.warning("%s: %s", request.request_id, error.__cause__)
        except Exception:  # noqa: BLE001 - a fault is a 500 in the spec's shape, and logged
            _log.exception("%s: %s %s failed", request.request_id, request.method, request.path)
            code, response = _FAULT, _fault()
        _write(_line(request, found, response, tally, code))
        shared = cors_headers(self._options.cors_origins, request, response.headers)
        headers = {**_VERSION, **shared, **response.headers}
        return Response(response.status, headers, response.body)

    def _handled(self, found: RouteMatch, request: Request) -> Response:
        """Call the handler with the service that it needs."""
        handler = handler_of(found.route)
        if found.route.served_by is ServedBy.NOTHING:
            return handler(request=request, **found.parameters)
        if found.route.served_by is ServedBy.TOKEN_SERVICE:
            return handler(token_service=self._token_service(), request=request)
        if found.route.takes_options:
            handler = partial(handler, options=self._options)
        return handler(registry=self._registry(), request=request, **found.parameters)

    def _challenged(self, error: RegistryError, response: Response) -> Response:
        """Add the challenge to a 401: where to get a token, and for which scopes.

        API Gateway renames the header, and its own 401 has a challenge without the scopes;
        Moorage's proxies give this one its name back.
        """
        if not isinstance(error, UnauthorizedError) or not self._options.realm:
            return response
        challenge = f'Bearer realm="{self._options.realm}",service="{self._options.service}"'
        if error.scopes:
            challenge += f',scope="{error.scopes}"'
        headers = {**response.headers, "WWW-Authenticate": challenge}
        return Response(response.status, headers, response.body)


def answer(
    build: Callable[[], Callable[[Request], Response]], read: Callable[[], Request]
) -> Response:
    """Let the API that `build` makes answer the request that `read` reads.

    An error before there is an API to answer (a setting that is missing, a malformed event) is a
    500 in the spec's shape too, and logged.
    """
    try:
        return build()(read())
    except Exception:  # noqa: BLE001 - likewise
        _log.exception("a request never reached the API")
        fault = _fault()
        with tallied() as tally:
            sent = len(fault.body)
            line = line_of(tally, action=None, status=fault.status, error=_FAULT, bytes_out=sent)
            _write(line)
        return Response(fault.status, {**_VERSION, **fault.headers}, fault.body)


def _unless_known(request: Request, response: Response) -> Response:
    """Answer 304 instead, if the client says that it has these bytes (RFC 9110, 13.1.2)."""
    tag, known = response.headers.get("ETag"), request.headers.get("if-none-match", "").strip()
    if tag is None or not (known == "*" or str(tag) in known):
        return response
    # With the type: of an answer without one the gateway says application/json.
    kept = {name: value for name, value in response.headers.items() if name != "Content-Range"}
    return Response(304, kept)


def _write(line: LogLine) -> None:
    """Write the one line of a request: no header and no query, for those may hold secrets."""
    log.write(
        _log,
        line,
        "%s %s %s %d %.0f ms",
        line.request_id,
        line.method,
        line.path,
        line.status,
        line.milliseconds,
    )


def _line(
    request: Request, found: RouteMatch | None, response: Response, tally: Tally, code: str | None
) -> LogLine:
    session = response.headers.get("Docker-Upload-UUID") or _named(found, "session") or ""
    redirected = response.status == _REDIRECT and request.method == "GET"
    return line_of(
        tally,
        action=found.route.action.value if found else None,
        status=response.status,
        operation=found.route.operation if found else None,
        error=code,
        request_id=request.request_id,
        method=request.method,
        path=session_named(request.path),  # a ticket is good for a while
        repository=_named(found, "name"),
        digest=_digest(found, response),
        session=session_named(str(session)) or None,
        # A refused principal is never the caller: the gateway's authorizer names it.
        principal=request.principal or request.authorizer.get(PRINCIPAL),
        deadline_left=round((request.deadline - time.time()) * 1000),
        bytes_in=len(request.body),
        bytes_out=0 if request.method == "HEAD" else len(response.body),
        bytes_redirected=tally.linked_bytes if redirected else 0,
    )


def _named(found: RouteMatch | None, parameter: str) -> str | None:
    return found.parameters.get(parameter) if found else None


def _digest(found: RouteMatch | None, response: Response) -> str | None:
    """Return the digest of the answer, or else of the request; None if neither has a valid one."""
    answered = response.headers.get("Docker-Content-Digest")
    named = (
        str(answered) if answered else _named(found, "digest") or _named(found, "reference") or ""
    )
    try:
        return str(parse_digest(named)) if ":" in named else None
    except RegistryError:
        return None


def _refusal(error: RegistryError, found: RouteMatch | None) -> Response:
    status = 404 if isinstance(error, RouteUnknownError) else error.code.status
    headers: dict[str, str | list[str]] = {}
    if error.code in _TRY_AGAIN:
        headers["Retry-After"] = str(getattr(error, "retry_after", None) or 1)
    if isinstance(error, UploadError):
        headers |= _session_headers(error, found)
    if isinstance(error, CommitRunningError) and error.driven:
        headers |= COMMIT_RUNNING
    if isinstance(error, RangeInvalidError):
        headers["Content-Range"] = content_range(None, error.size)
    if isinstance(error, MethodUnknownError):
        headers["Allow"] = ", ".join(error.allowed)
    plain = _body(status, error.code.code, error.message, error.detail)
    return Response(plain.status, {**plain.headers, **headers}, plain.body)


def _fault() -> Response:
    """Answer 500 without the cause, which is in the log."""
    return _body(500, _FAULT, "the registry failed: see its log", None)


def _session_headers(error: UploadError, found: RouteMatch | None) -> dict[str, str]:
    if found is None or "session" not in found.parameters:
        return {}
    parameters = found.parameters
    if found.route.operation.startswith("direct."):
        return direct_location(parameters["name"], parameters["session"])
    return upload_headers(parameters["name"], parameters["session"], error.offset)


def _body(status: int, code: str, message: str, detail: object) -> Response:
    entry = {"code": code, "message": message}
    errors = {"errors": [entry if detail is None else {**entry, "detail": detail}]}
    return Response(status, {"Content-Type": "application/json"}, json.dumps(errors).encode())
