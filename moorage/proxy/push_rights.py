"""Asks the registry who may push where, and tells whose a request is.

So a POST can be answered without a session of the registry's.

The proxy asks for the status of a session that does not exist, which writes nothing. The registry
answers "unknown" only to those who may push. This module must never take another answer for a yes.
"""

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final

from multidict import CIMultiDict

from moorage.common.patience import FAILURES, UpstreamResponse
from moorage.proxy.upstream import Upstream

_REMEMBERED: Final = 60.0
_MOST_REMEMBERED: Final = 1024
_UNKNOWN: Final = b"BLOB_UPLOAD_UNKNOWN"


@dataclass(slots=True)
class _Right:
    until: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class PushRights:
    """Remembers for a minute who may push where. Logins are kept as hashes."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._rights: dict[tuple[str, bytes], _Right] = {}

    async def refusal(self, name: str, headers: Mapping[str, str]) -> UpstreamResponse | None:
        """Ask whether a request with these headers may push to a repository: None if it may.

        Any other answer of the registry's is returned; 502 where none came. Requests at once with
        one login ask once.
        """
        authorization = headers.get("Authorization", "")
        key = name, sha256(authorization.encode()).digest()
        if key not in self._rights and len(self._rights) >= _MOST_REMEMBERED:
            self._rights.clear()
        right = self._rights.setdefault(key, _Right())
        async with right.lock:
            if time.monotonic() < right.until:
                return None
            answer = await self._ask(name, headers)
            if answer.status != HTTPStatus.NOT_FOUND or _UNKNOWN not in answer.body:
                return answer
            right.until = time.monotonic() + _REMEMBERED
            return None

    async def _ask(self, name: str, headers: Mapping[str, str]) -> UpstreamResponse:
        own_headers = CIMultiDict(headers)
        own_headers.popall("Accept-Encoding", None)  # the answer is read here
        path = f"/v2/{name}/blobs/uploads/{uuid.uuid4()}"
        try:
            return await self._upstream.ask("GET", path, own_headers)
        except FAILURES:
            return UpstreamResponse(HTTPStatus.BAD_GATEWAY, CIMultiDict(), b"")


def lasts(headers: Mapping[str, str], seconds: float) -> bool:
    """Whether a request's login lives for so many seconds, as far as it can be read.

    The registry lets an upload outlive its bearer token if it has opened it while the token lived.
    """
    try:
        return float(_claims(headers)["exp"]) > time.time() + seconds
    except (ValueError, TypeError, LookupError, OverflowError):
        return True


def whose(headers: Mapping[str, str]) -> str:
    """Return whom a request comes from: of one principal, each bearer token has the same subject.

    For any other login, a hash of it. The registry has to accept the login before this counts.
    """
    subject = _claims(headers).get("sub")
    if isinstance(subject, str):
        return subject
    return sha256(headers.get("Authorization", "").encode()).hexdigest()


def _claims(headers: Mapping[str, str]) -> Mapping[str, Any]:
    """Read the claims of a bearer token, which only the registry can verify; none otherwise."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    parts = token.strip().split(".")
    if scheme.lower() != "bearer" or len(parts) != 3:  # noqa: PLR2004 - a JWT's parts (RFC 7515)
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
