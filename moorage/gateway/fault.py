"""The answers that API Gateway gives by itself, when no function of ours has a say.

One table of status, message and error type: what AWS says where the template says nothing else
(gateway_answers.py reads it). It never carries a detail of what went wrong: that belongs in the
log.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class _Text:
    """A fault's status, message, `x-amzn-ErrorType` (None: AWS sends none), and media type.

    `response` is the name under which a template can say something else; None: it can't.
    """

    status: int
    message: str | None
    error_type: str | None = None
    content_type: str = "application/json"
    response: str | None = None
    key: str = "message"


class Fault(enum.Enum):
    """Every refusal that the gateway can answer with."""

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
    STOPPING = _Text(503, "Service Unavailable", "ServiceUnavailableException")
    FUNCTION_FAILED = _Text(502, "Internal server error", "InternalServerErrorException")
    TIMED_OUT = _Text(
        504,
        "Endpoint request timed out",
        "InternalServerErrorException",
        response="INTEGRATION_TIMEOUT",
    )
    GATEWAY_FAILED = _Text(500, "Internal server error", "InternalServerErrorException")

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value.status

    @property
    def response(self) -> str | None:
        """What a template calls this answer, to say something else; None: no template can."""
        return self.value.response

    @property
    def error_headers(self) -> tuple[tuple[str, str], ...]:
        """The header that tells whose error it is, where AWS sends one: whatever the body is."""
        if self.value.error_type is None:
            return ()
        return (("x-amzn-ErrorType", self.value.error_type),)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers that tell what the body is, and whose error it is."""
        return (("Content-Type", self.value.content_type), *self.error_headers)

    @property
    def body(self) -> bytes:
        """The body, as API Gateway words it."""
        if self.value.content_type == "text/plain":
            return str(self.value.message).encode()
        return json.dumps({self.value.key: self.value.message}, separators=(",", ":")).encode()


class GatewayError(Exception):
    """The request ends here, with a fault's answer.

    `detail` is for the log only; `close` says that the connection can't carry another request.
    """

    def __init__(self, fault: Fault, detail: str = "", *, close: bool = False) -> None:
        super().__init__(detail or fault.name)
        self.fault = fault
        self.detail = detail
        self.close = close
