"""The answers that API Gateway gives by itself, when no function of ours has a say.

One table of status, message and error type. It never carries a detail of what went wrong: that
belongs in the log.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class _Text:
    """A fault's status, message, `x-amzn-ErrorType` (None: AWS sends none), and media type."""

    status: int
    message: str
    error_type: str | None = None
    content_type: str = "application/json"


class Fault(enum.Enum):
    """Every refusal that the gateway can answer with."""

    FORBIDDEN = _Text(403, "Forbidden", "ForbiddenException")
    NO_SUCH_METHOD = _Text(
        403, "Missing Authentication Token", "MissingAuthenticationTokenException"
    )
    # Plain text: clients on AWS record this very body.
    BODY_TOO_LARGE = _Text(
        413, "HTTP content length exceeded 10485760 bytes.", content_type="text/plain"
    )
    EVENT_TOO_LARGE = _Text(413, "Request Too Long")
    BROKEN_BODY = _Text(400, "Bad Request", "BadRequestException")
    STALLED_BODY = _Text(408, "Request Timeout", "RequestTimeoutException")
    TOO_MANY = _Text(429, "Too Many Requests", "TooManyRequestsException")
    STOPPING = _Text(503, "Service Unavailable", "ServiceUnavailableException")
    FUNCTION_FAILED = _Text(502, "Internal server error", "InternalServerErrorException")
    TIMED_OUT = _Text(504, "Endpoint request timed out", "InternalServerErrorException")
    GATEWAY_FAILED = _Text(500, "Internal server error", "InternalServerErrorException")

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value.status

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers that tell what the body is, and whose error it is."""
        content_type = ("Content-Type", self.value.content_type)
        if self.value.error_type is None:
            return (content_type,)
        return (content_type, ("x-amzn-ErrorType", self.value.error_type))

    @property
    def body(self) -> bytes:
        """The body, as API Gateway words it."""
        if self.value.content_type == "text/plain":
            return self.value.message.encode()
        return json.dumps({"message": self.value.message}, separators=(",", ":")).encode()


class GatewayError(Exception):
    """The request ends here, with a fault's answer.

    `detail` is for the log only; `close` says that the connection can't carry another request.
    """

    def __init__(self, fault: Fault, detail: str = "", *, close: bool = False) -> None:
        super().__init__(detail or fault.name)
        self.fault = fault
        self.detail = detail
        self.close = close
