"""Asks AWS STS who signed a request, by sending that request with this registry's name.

This module must never send anything but a `PresignedCallerIdentity`, which was checked, nor treat
an answer as a refusal unless it is a 4xx of STS.
"""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from xml.etree import ElementTree as ET

from chalicelib.access.federation.aws_identity import (
    REGISTRY_HEADER,
    PresignedCallerIdentity,
    parse_caller,
)
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.errors import UnavailableError
from chalicelib.limits import THROTTLE_CODES
from chalicelib.stores.web.fetches import Fetch, FetchedResponse, FetchError, fetch

MAX_BYTES = 64 * 1024
"""Most bytes of an answer; usual are 500."""

_LOOPBACK_URL = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?")
_ANSWER, _RESULT = "GetCallerIdentityResponse", "GetCallerIdentityResult"
_NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"
_REFUSALS = range(400, 500)
# STS answers these with the status 400, like a wrong signature.
_THROTTLES = tuple(code.encode() for code in THROTTLE_CODES)


class StsClient:
    """`Sts` over HTTPS. `endpoint`: an emulator's URL on loopback, in place of AWS.

    Raises ValueError for another endpoint: presigned requests would be sent to it.
    """

    def __init__(self, *, endpoint: str | None = None, fetch: Fetch = fetch) -> None:
        if endpoint is not None and not _LOOPBACK_URL.fullmatch(endpoint):
            raise ValueError(f"{endpoint!r} is no emulator of STS: use http and a loopback host")
        self._endpoint = endpoint
        self._fetch = fetch

    def caller(self, presigned: PresignedCallerIdentity, service: str) -> str:
        """See Sts.caller."""
        headers = {REGISTRY_HEADER: service, "Accept": "application/json"}
        url = presigned.url
        if self._endpoint is not None:
            url = f"{self._endpoint}/?{presigned.query}"
            # moto has all services at one address, and tells them apart by this header alone.
            headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={presigned.credential}"
        try:
            answer = self._fetch(url, limit=MAX_BYTES, headers=headers)
        except FetchError as error:
            raise UnavailableError("AWS STS could not be asked who this is") from error
        if _is_refusal(answer):
            raise AuthenticationError(Reason.AWS_REFUSED)
        if answer.status != HTTPStatus.OK:
            raise UnavailableError(f"AWS STS answered with the status {answer.status}")
        try:
            return _caller(answer.body)
        except (ValueError, RecursionError, ET.ParseError) as error:
            raise UnavailableError("AWS STS gave an answer that can't be read") from error


def _is_refusal(answer: FetchedResponse) -> bool:
    too_many = answer.status == HTTPStatus.TOO_MANY_REQUESTS
    is_throttled = too_many or any(code in answer.body for code in _THROTTLES)
    return answer.status in _REFUSALS and not is_throttled


def _caller(body: bytes) -> str:
    """Return the ARN in an answer: JSON of STS, as Accept asks; XML of emulators nevertheless."""
    text = body.decode()
    result = _from_xml(text) if text.lstrip().startswith("<") else _from_json(text)
    return parse_caller(result.get("Arn"), result.get("Account"))


def _from_json(text: str) -> Mapping[str, Any]:
    match json.loads(text):
        case {"GetCallerIdentityResponse": {"GetCallerIdentityResult": dict(result)}}:
            return result
    raise ValueError("STS answered with another operation's result")


def _from_xml(text: str) -> Mapping[str, str | None]:
    # No document type, and so no entities, of which a short text can make a long one.
    if "<!" in text:
        raise ValueError("STS answered with XML that has a document type")
    root = ET.fromstring(text)  # noqa: S314 - see above
    if root.tag != _NAMESPACE + _ANSWER:
        raise ValueError("STS answered with another operation's result")
    names = ("Arn", "Account")
    return {name: root.findtext(f"{_NAMESPACE}{_RESULT}/{_NAMESPACE}{name}") for name in names}
