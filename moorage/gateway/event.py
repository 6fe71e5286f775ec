"""The events in which API Gateway (REST, Lambda proxy integration) passes requests to a function.

A path is never normalised: percent-encoding, `..` and `%2F` reach the function as the client sent
them.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import pybase64

from moorage.common.http_server import HOP_BY_HOP
from moorage.gateway.faults import GatewayError, GatewayFault
from moorage.gateway.resources import STAGE, MatchedResource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp import web

API_ID: Final = "local"
ACCOUNT_ID: Final = "000000000000"
REGION: Final = "us-east-1"

MAX_EVENT_BYTES: Final = 6 * 1024 * 1024
"""Lambda's limit on the JSON of a synchronous invocation's event, inclusive."""

MAX_EVENT_BODY: Final = MAX_EVENT_BYTES // 4 * 3
"""No body longer than this, in raw bytes, fits an event once it is base64."""

# A function behind a REST API sees none of these. Content-Length is not in the events that AWS
# publishes, though their requests had one. X-Forwarded-* are rewritten.
_STRIPPED: Final = HOP_BY_HOP | {
    "content-length",
    "x-forwarded-for",
    "x-forwarded-port",
    "x-forwarded-proto",
}


@dataclass(frozen=True)
class GatewayRequest:
    """A request line and its headers as they came, and facts of the connection.

    `path` and `query` are raw (still percent-encoded); `headers` keep order and spelling;
    `received_at` is seconds since the epoch.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    source_ip: str
    port: int
    protocol: str = "HTTP/1.1"
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    received_at: float = field(default_factory=time.time)

    @classmethod
    def of(cls, request: web.BaseRequest, port: int) -> GatewayRequest:
        """Copy what an event needs from an aiohttp request to `port`."""
        path, query = _split_target(request.raw_path)
        major, minor = request.version
        return cls(
            method=request.method,
            path=path,
            query=query,
            headers=tuple((_text(name), _text(value)) for name, value in request.raw_headers),
            source_ip=request.remote or "127.0.0.1",
            port=port,
            protocol=f"HTTP/{major}.{minor}",
        )

    def header(self, name: str) -> str | None:
        """Return the last value of a header; the case of its name doesn't matter."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return values[-1] if values else None


def _text(raw: bytes) -> str:
    """Decode for a JSON event, which cannot carry what is not UTF-8."""
    return raw.decode("utf-8", "replace")


def _split_target(target: str) -> tuple[str, str]:
    """Split a request target into raw path and raw query; RFC 9112 3.2.2 allows a whole URL."""
    clean = _text(target.encode("utf-8", "surrogateescape"))
    if not clean.startswith("/"):
        _, _, rest = clean.partition("://")
        _, slash, tail = rest.partition("/")
        clean = slash + tail
    path, _, query = clean.partition("?")
    return path, query


def method_arn(incoming: GatewayRequest, route: MatchedResource) -> str:
    """Return the ARN by which policies name a request's method, with the path that was sent."""
    return (
        f"arn:aws:execute-api:{REGION}:{ACCOUNT_ID}:{API_ID}/{STAGE}/{incoming.method}{route.path}"
    )


def build_event(
    incoming: GatewayRequest,
    route: MatchedResource,
    body: bytes | bytearray,
    authorizer: Mapping[str, str | int] | None = None,
) -> dict[str, Any]:
    """Write the proxy event; raises GatewayError when its JSON would be over Lambda's limit.

    `authorizer` is the authorizer's context; None: the method has no authorizer. With
    `binaryMediaTypes: */*` every body is base64, and an empty one is null. The size is computed
    from the parts: to write megabytes of base64 as JSON only to measure them would cost more than
    the rest of the request.
    """
    headers = _multi_values(_forwarded(incoming))
    parameters = _multi_values(parse_qsl(incoming.query, keep_blank_values=True, errors="replace"))
    event: dict[str, Any] = {
        "resource": route.resource,
        "path": route.path,
        "httpMethod": incoming.method,
        "headers": _last_values(headers),
        "multiValueHeaders": headers,
        "queryStringParameters": _last_values(parameters) or None,
        "multiValueQueryStringParameters": parameters or None,
        "pathParameters": None if route.proxy is None else {"proxy": route.proxy},
        "stageVariables": None,
        "requestContext": _request_context(incoming, route, authorizer),
        "body": None,
        "isBase64Encoded": bool(body),
    }
    skeleton = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    size = len(skeleton)
    if body:
        base64_length = (len(body) + 2) // 3 * 4
        size += base64_length + len('""') - len("null")
    if size > MAX_EVENT_BYTES:
        raise GatewayError(GatewayFault.EVENT_TOO_LARGE)
    if body:
        event["body"] = pybase64.b64encode_as_string(body)
    return event


def _forwarded(incoming: GatewayRequest) -> list[tuple[str, str]]:
    """Return the headers that a function sees.

    API Gateway appends to the client's own X-Forwarded-For and overwrites the other two. Here they
    say http and this port, so that absolute URLs that are built from them work.
    """
    # A header that is repeated in another case is the same header: its first spelling is kept.
    spelling: dict[str, str] = {}
    kept = [
        (spelling.setdefault(name.lower(), name), value)
        for name, value in incoming.headers
        if name.lower() not in _STRIPPED
    ]
    earlier = [value for name, value in incoming.headers if name.lower() == "x-forwarded-for"]
    trace = uuid.uuid4().hex
    return [
        *kept,
        ("X-Amzn-Trace-Id", f"Root=1-{int(incoming.received_at):08x}-{trace[:24]}"),
        ("X-Forwarded-For", ", ".join([*earlier, incoming.source_ip])),
        ("X-Forwarded-Port", str(incoming.port)),
        ("X-Forwarded-Proto", "http"),
    ]


def _multi_values(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Group pairs by exact name, in order."""
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def _last_values(grouped: dict[str, list[str]]) -> dict[str, str]:
    return {name: values[-1] for name, values in grouped.items()}


def _request_context(
    incoming: GatewayRequest, route: MatchedResource, authorizer: Mapping[str, str | int] | None
) -> dict[str, Any]:
    domain = incoming.header("host") or f"127.0.0.1:{incoming.port}"
    return {
        "accountId": ACCOUNT_ID,
        "apiId": API_ID,
        "domainName": domain,
        "domainPrefix": domain.partition(".")[0],
        "extendedRequestId": incoming.request_id,
        "httpMethod": incoming.method,
        "identity": {
            "accessKey": None,
            "accountId": None,
            "caller": None,
            "cognitoAuthenticationProvider": None,
            "cognitoAuthenticationType": None,
            "cognitoIdentityId": None,
            "cognitoIdentityPoolId": None,
            "principalOrgId": None,
            "sourceIp": incoming.source_ip,
            "user": None,
            "userAgent": incoming.header("user-agent"),
            "userArn": None,
        },
        "path": incoming.path,
        "protocol": incoming.protocol,
        "requestId": incoming.request_id,
        "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(incoming.received_at)),
        "requestTimeEpoch": int(incoming.received_at * 1000),
        "resourceId": "".join(filter(str.isalnum, route.resource)) or "root",
        "resourcePath": route.resource,
        "stage": STAGE,
        **({} if authorizer is None else {"authorizer": dict(authorizer)}),
    }
