"""The answers that API Gateway gives by itself, without a function.

GatewayFault is the table of AWS's own texts. infra/api.merge.yaml replaces some of them: its
GatewayResponses are read here, so that they are written once. An answer never carries a detail of
what went wrong, which belongs in the log, nor a variable that only API Gateway could fill in.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from moorage.common.intrinsics import TemplateError, resolved
from moorage.common.project import API_TEMPLATE, load_template

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_URL_PARAMETER: Final = "PublicUrl"


@dataclass(frozen=True)
class GatewayResponse:
    """An answer that lacks only its Content-Length; `headers` may repeat a name.

    A status of 0, in a template's answer, leaves the fault's own.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True)
class _Text:
    """A fault's status, message, `x-amzn-ErrorType` (None: AWS sends none) and media type.

    `response` is the gateway response by which a template can replace it; None: it can't. `key` is
    the name of the message in the JSON body.
    """

    status: int
    message: str | None
    error_type: str | None = None
    content_type: str = "application/json"
    response: str | None = None
    key: str = "message"


class GatewayFault(enum.Enum):
    """Every reason for which the gateway refuses a request or fails it."""

    FORBIDDEN = _Text(403, "Forbidden", "ForbiddenException")
    NO_SUCH_METHOD = _Text(
        403,
        "Missing Authentication Token",
        "MissingAuthenticationTokenException",
        response="MISSING_AUTHENTICATION_TOKEN",
    )
    UNAUTHORIZED = _Text(401, "Unauthorized", "UnauthorizedException", response="UNAUTHORIZED")
    ACCESS_DENIED = _Text(
        403,
        "User is not authorized to access this resource",
        "AccessDeniedException",
        response="ACCESS_DENIED",
        key="Message",
    )
    AUTHORIZER_FAILED = _Text(
        500, None, "AuthorizerFailureException", response="AUTHORIZER_FAILURE"
    )
    AUTHORIZER_MISCONFIGURED = _Text(
        500, None, "AuthorizerConfigurationException", response="AUTHORIZER_CONFIGURATION_ERROR"
    )
    URI_TOO_LONG = _Text(414, "Request URI too long")
    # Plain text: clients on AWS record this very body.
    BODY_TOO_LARGE = _Text(
        413, "HTTP content length exceeded 10485760 bytes.", content_type="text/plain"
    )
    EVENT_TOO_LARGE = _Text(413, "Request Too Long", response="REQUEST_TOO_LARGE")
    BROKEN_BODY = _Text(400, "Bad Request", "BadRequestException")
    STALLED_BODY = _Text(408, "Request Timeout", "RequestTimeoutException")
    TOO_MANY = _Text(429, "Too Many Requests", "TooManyRequestsException", response="THROTTLED")
    QUOTA_EXCEEDED = _Text(
        429, "Limit Exceeded", "LimitExceededException", response="QUOTA_EXCEEDED"
    )
    STOPPING = _Text(503, "Service Unavailable", "ServiceUnavailableException")
    FUNCTION_THROTTLED = _Text(
        500,
        "Internal server error",
        "InternalServerErrorException",
        response="INTEGRATION_FAILURE",
    )
    FUNCTION_FAILED = _Text(
        502, "Internal server error", "InternalServerErrorException", response="DEFAULT_5XX"
    )
    TIMED_OUT = _Text(
        504,
        "Endpoint request timed out",
        "InternalServerErrorException",
        response="INTEGRATION_TIMEOUT",
    )
    GATEWAY_FAILED = _Text(
        500, "Internal server error", "InternalServerErrorException", response="DEFAULT_5XX"
    )

    @property
    def error_headers(self) -> tuple[tuple[str, str], ...]:
        """`x-amzn-ErrorType` where AWS sends it; a template that replaces the body leaves it."""
        error_type = self.value.error_type
        return () if error_type is None else (("x-amzn-ErrorType", error_type),)

    @property
    def body(self) -> bytes:
        """The body, with API Gateway's text."""
        if self.value.content_type == "text/plain":
            return str(self.value.message).encode()
        return json.dumps({self.value.key: self.value.message}, separators=(",", ":")).encode()

    def answer(self) -> GatewayResponse:
        """Return the answer that AWS gives where no template replaces it."""
        content_type = ("Content-Type", self.value.content_type)
        return GatewayResponse(self.value.status, (content_type, *self.error_headers), self.body)


class GatewayError(Exception):
    """The request ends here with a fault's answer.

    `detail` is for the log only; `close` says that the connection can't carry another request.
    """

    def __init__(self, fault: GatewayFault, detail: str = "", *, close: bool = False) -> None:
        super().__init__(detail or fault.name)
        self.fault = fault
        self.detail = detail
        self.close = close


@dataclass(frozen=True)
class GatewayAnswers:
    """The answers of a template by the name of the gateway response; the rest are AWS's own."""

    custom: Mapping[str, GatewayResponse] = field(default_factory=dict)

    def to(self, fault: GatewayFault) -> GatewayResponse:
        """Return the answer to a request that a fault ended."""
        custom = self.custom.get(fault.value.response or "")
        if custom is None:
            return fault.answer()
        status = custom.status or fault.value.status
        return GatewayResponse(status, (*fault.error_headers, *custom.headers), custom.body)


def read_answers(
    public_url: str, template: Path = API_TEMPLATE, *, cors: bool = False
) -> GatewayAnswers:
    """Read the template for a registry at `public_url`, without a trailing slash.

    `cors`: pages of some origin may ask. Raises TemplateError.
    """
    content = load_template(template)
    responses = content["Resources"]["RestAPI"]["Properties"]["GatewayResponses"]
    parameters = {_URL_PARAMETER: public_url}
    return GatewayAnswers(
        {
            name: _read_answer(name, response, parameters, cors=cors)
            for name, response in responses.items()
        }
    )


def _read_answer(
    name: str, response: Mapping[str, Any], parameters: Mapping[str, str], *, cors: bool
) -> GatewayResponse:
    ((content_type, body),) = response["ResponseTemplates"].items()
    if "$" in body:
        raise TemplateError(f"{name}: its body holds a variable")
    given = response["ResponseParameters"]["Headers"]
    headers = [
        (header, _unquoted(f"{name}: {header}", resolved(value, parameters)))
        for header, stated in given.items()
        if (value := _decided(stated, cors=cors)) is not None
    ]
    status = int(response.get("StatusCode", 0))
    return GatewayResponse(status, (("Content-Type", content_type), *headers), body.encode())


def _decided(value: object, *, cors: bool) -> object:
    """Return what a header's value is under the one condition; None where it then has none."""
    match value:
        case {"Fn::If": ["HasCors", yes, {"Ref": "AWS::NoValue"}]}:
            return yes if cors else None
    return value


def _unquoted(what: str, text: str) -> str:
    """Take a header's value out of its single quotes, without which it names a variable."""
    inner = text[1:-1]
    if text != f"'{inner}'" or "'" in inner:
        raise TemplateError(f"{what} is no text in single quotes")
    return inner
