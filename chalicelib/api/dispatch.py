"""Match, authorize, handle, translate errors: the one exit of the API.

This module must never let an exception past, nor a secret into the log.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from chalicelib.api.authorization import Authorizer, Open
from chalicelib.api.headers import upload_headers
from chalicelib.api.messages import Request, Response
from chalicelib.api.options import ApiOptions
from chalicelib.api.routes import Match, MethodUnknownError, RouteUnknownError, match
from chalicelib.errors import (
    ErrorCode,
    RangeInvalidError,
    RegistryError,
    UnauthorizedError,
    UploadError,
)
from chalicelib.registry.registry import Registry

if TYPE_CHECKING:
    from chalicelib.access.desk import Desk

_log = logging.getLogger("moorage.api")
_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
_TRY_AGAIN = frozenset({ErrorCode.TOOMANYREQUESTS, ErrorCode.UNAVAILABLE})


def no_desk() -> NoReturn:
    """Say that an open registry has no token endpoint: nobody is sent there."""
    raise RouteUnknownError("this registry is open and issues no tokens")


class Api:
    """The registry over HTTP."""

    def __init__(
        self,
        registry: Registry,
        options: ApiOptions,
        authorizer: Authorizer | None = None,
        desk: "Callable[[], Desk]" = no_desk,
    ) -> None:
        self._registry = registry
        self._options = options
        self._authorizer = authorizer or Open()
        self._desk = desk

    def __call__(self, request: Request) -> Response:
        """Answer a request; whatever goes wrong is an answer too."""
        began = time.perf_counter()
        found: Match | None = None
        try:
            found = match(request.method, request.path)
            name = found.parameters.get("name")
            caller = self._authorizer.admit(request, found.route.action, name)
            request = replace(request, principal=caller.id, caller=caller)
            response = found.handle(self._registry, self._options, request, self._desk)
        except RegistryError as error:
            response = self._challenged(error, _refusal(error, found))
            if error.__cause__ is not None:
                _log.warning("%s: %s", request.request_id, error.__cause__)
        except Exception:  # noqa: BLE001 - a fault is a 500 in the spec's shape, and logged
            _log.exception("%s: %s %s failed", request.request_id, request.method, request.path)
            response = _fault()
        _log_line(request, found, response, time.perf_counter() - began)
        return Response(response.status, {**_VERSION, **response.headers}, response.body)

    def _challenged(self, error: RegistryError, response: Response) -> Response:
        """Tell where to get a token for what was asked. API Gateway renames the header.

        Its own 401 has a challenge under the right name, without the scopes; a proxy of ours gives
        this one its name back.
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

    What goes wrong before there is an API to answer (a setting that is missing, an event that is
    none) is a 500 in the spec's shape too, and logged.
    """
    try:
        return build()(read())
    except Exception:  # noqa: BLE001 - likewise
        _log.exception("a request never reached the API")
        fault = _fault()
        return Response(fault.status, {**_VERSION, **fault.headers}, fault.body)


def _log_line(request: Request, found: Match | None, response: Response, seconds: float) -> None:
    """Write the one line of a request: no header and no query, for those may hold secrets."""
    _log.info(
        "%s %s %s %d %.0f ms",
        request.request_id,
        request.method,
        request.path,
        response.status,
        seconds * 1000,
        extra={
            "request_id": request.request_id,
            "method": request.method,
            "path": request.path,
            "principal": request.principal,
            "action": found.route.action.value if found else None,
            "status": response.status,
            "milliseconds": round(seconds * 1000, 1),
            "bytes_in": len(request.body),
            "bytes_out": len(response.body),
        },
    )


def _refusal(error: RegistryError, found: Match | None) -> Response:
    status = 404 if isinstance(error, RouteUnknownError) else error.code.status
    headers: dict[str, str | list[str]] = {}
    if error.code in _TRY_AGAIN:
        headers["Retry-After"] = str(getattr(error, "retry_after", None) or 1)
    if isinstance(error, UploadError):
        headers |= _session_headers(error, found)
    if isinstance(error, RangeInvalidError):
        headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, MethodUnknownError):
        headers["Allow"] = ", ".join(error.allowed)
    told = _body(status, error.code.code, error.message, error.detail)
    return Response(told.status, {**told.headers, **headers}, told.body)


def _fault() -> Response:
    """Say that it failed and nothing of why: that is in the log."""
    return _body(500, "UNKNOWN", "the registry failed: see its log", None)


def _session_headers(error: UploadError, found: Match | None) -> dict[str, str]:
    if found is None or "session" not in found.parameters:
        return {}
    parameters = found.parameters
    return upload_headers(parameters["name"], parameters["session"], error.offset)


def _body(status: int, code: str, message: str, detail: object) -> Response:
    entry = {"code": code, "message": message}
    errors = {"errors": [entry if detail is None else {**entry, "detail": detail}]}
    return Response(status, {"Content-Type": "application/json"}, json.dumps(errors).encode())
