"""A Lambda function's return value, as API Gateway (REST, proxy integration) sends it on.

The shape and the size are checked, headers are renamed and dropped, and Content-Length is counted
from the body. A length that the function names is never trusted, and HEAD never gets a body.
"""

from __future__ import annotations

import binascii
import enum
import json
import re
from typing import TYPE_CHECKING, Any, Final

import pybase64
from aiohttp import web
from multidict import CIMultiDict

from moorage.gateway.faults import GatewayError, GatewayFault, GatewayResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ANSWER_BYTES: Final = 6 * 1024 * 1024
"""Lambda's limit on the JSON that a function returns, inclusive."""

REMAPPED_PREFIX: Final = "x-amzn-Remapped-"
_REMAPPED: Final = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "content-md5",
        "date",
        "max-forwards",
        "server",
        "user-agent",
        "www-authenticate",
    }
)
_DROPPED: Final = frozenset(
    {"expect", "host", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade"}
)
_FIELDS: Final = frozenset(
    {"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"}
)
_FINAL_STATUSES: Final = range(200, 600)
_BODILESS_STATUSES: Final = frozenset({204, 304})
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE: Final = re.compile(r"[\x00\r\n]")


class HeadMode(enum.Enum):
    """Content-Length of a HEAD's answer: the body's, or 0. It is unknown which one AWS sends."""

    BODY = "body"
    ZERO = "zero"


def read_answer(returned: object) -> GatewayResponse:
    """Turn a function's return value into an answer.

    Raises GatewayError (502) for what API Gateway calls a malformed proxy response: anything but
    a dict of the five known fields with a final status, and for more JSON than Lambda returns.
    """
    if not isinstance(returned, dict):
        raise _malformed(f"it returned {type(returned).__name__}, not a dict")
    unknown = [str(name) for name in returned if name not in _FIELDS]
    if unknown:
        raise _malformed(f"fields API Gateway does not know: {', '.join(unknown)}")
    status = returned.get("statusCode")
    if isinstance(status, bool) or not isinstance(status, int) or status not in _FINAL_STATUSES:
        raise _malformed(f"statusCode is {status!r}, not an integer from 200 to 599")
    body = returned.get("body")
    if body is not None and not isinstance(body, str):
        raise _malformed(f"body is {type(body).__name__}, not str")
    is_base64 = returned.get("isBase64Encoded", False)
    if not isinstance(is_base64, bool):
        raise _malformed(f"isBase64Encoded is {is_base64!r}, not a boolean")
    headers = tuple(_sent_headers(returned))
    _check_size(returned, body or "", is_base64=is_base64)
    return GatewayResponse(status, headers, _body_bytes(body or "", is_base64=is_base64))


def to_http(
    answer: GatewayResponse,
    method: str,
    head_mode: HeadMode,
    request_id: str,
    *,
    close: bool = False,
) -> web.Response:
    """Write the aiohttp response, with a Content-Length counted here, and no body on HEAD."""
    headers = CIMultiDict(answer.headers)
    headers.setdefault("Content-Type", "application/json")
    headers["x-amzn-RequestId"] = request_id
    headers["x-amz-apigw-id"] = request_id
    body = b"" if answer.status in _BODILESS_STATUSES else answer.body
    if method == "HEAD" and head_mode is HeadMode.ZERO:
        body = b""
    if answer.status not in _BODILESS_STATUSES:
        headers["Content-Length"] = str(len(body))
    # aiohttp would put its own name and version here; API Gateway puts neither.
    headers["Server"] = "moorage"
    response = web.Response(status=answer.status, headers=headers, body=body)
    if close:
        response.force_close()
    return response


def _malformed(why: str) -> GatewayError:
    return GatewayError(GatewayFault.FUNCTION_FAILED, f"malformed Lambda proxy response: {why}")


def _sent_headers(returned: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Merge the two header maps as API Gateway does, and rename or drop what it renames or drops.

    A pair given in both maps is sent once.
    """
    multi = _mapping(returned, "multiValueHeaders")
    pairs: list[tuple[str, str]] = []
    for name, values in multi.items():
        if not isinstance(values, list):
            raise _malformed(f"multiValueHeaders[{name!r}] is not a list")
        pairs += [_header(name, value) for value in values]
    seen = {(name.lower(), value) for name, value in pairs}
    for name, value in _mapping(returned, "headers").items():
        pair = _header(name, value)
        if (pair[0].lower(), pair[1]) not in seen:
            pairs.append(pair)
    for name, value in pairs:
        if name.lower() in _REMAPPED:
            yield REMAPPED_PREFIX + name, value
        elif name.lower() not in _DROPPED:
            yield name, value


def _mapping(returned: dict[str, Any], name: str) -> dict[Any, Any]:
    value = returned.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _malformed(f"{name} is {type(value).__name__}, not a dict")
    return value


def _header(name: object, value: object) -> tuple[str, str]:
    """Check one header; numbers and booleans become strings, as in API Gateway's own map."""
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise _malformed(f"{name!r} is not a header name")
    if isinstance(value, bool):
        return name, str(value).lower()
    if not isinstance(value, str | int | float):
        raise _malformed(f"the value of header {name} is {type(value).__name__}, not str")
    text = str(value)
    if _FORBIDDEN_IN_VALUE.search(text):
        raise _malformed(f"the value of header {name} holds a control character")
    return name, text


def _check_size(returned: dict[str, Any], body: str, *, is_base64: bool) -> None:
    """Measure the JSON that Lambda would return; base64 needs no escaping, so only its length."""
    skeleton = {name: value for name, value in returned.items() if name != "body"}
    try:
        size = len(json.dumps(skeleton, ensure_ascii=False).encode()) + len(', "body": ')
        text = len(body) + 2 if is_base64 else len(json.dumps(body, ensure_ascii=False).encode())
    except (TypeError, ValueError) as error:
        raise _malformed(f"it is not JSON: {error}") from error
    if size + text > MAX_ANSWER_BYTES:
        raise GatewayError(
            GatewayFault.FUNCTION_FAILED,
            f"the answer is {size + text} bytes of JSON; Lambda returns {MAX_ANSWER_BYTES}",
        )


def _body_bytes(body: str, *, is_base64: bool) -> bytes:
    if not is_base64:
        return body.encode()
    try:
        return pybase64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed(f"isBase64Encoded, but body is not base64: {error}") from error
