"""The registry behind the proxy: requests to it, and what changes on the way there and back.

A header that concerns one connection only must never pass, and no answer may lead a client past
the proxy to the registry itself.
"""

import io
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from moorage.common.http_server import HOP_BY_HOP

REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=5)
"""A gateway gives up after 29 s; a minute without an answer is a lost answer."""

# Proxy-Authorization is for this proxy, which asks for none.
_NOT_PASSED: Final = HOP_BY_HOP | {"proxy-authorization"}
_CHALLENGE: Final = "WWW-Authenticate"
_RENAMED_CHALLENGE: Final = "x-amzn-Remapped-WWW-Authenticate"
OF_THE_BODY: Final = frozenset({"content-length", "content-range", "content-type", "host"})
"""Headers that are set for each chunk, and not taken from the client."""


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """A whole answer of the upstream's, with a small body."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


class Upstream:
    """Requests to the registry behind the proxy."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base.rstrip("/")

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: aiohttp.StreamReader | io.BytesIO | None,
        timeout: aiohttp.ClientTimeout,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send a request; `path` has its query, both still encoded as the client sent them."""
        url = URL(path if "://" in path else self._base + path, encoded=True)
        return self._session.request(
            method, url, headers=headers, data=body, allow_redirects=False, timeout=timeout
        )

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: memoryview | None = None
    ) -> UpstreamResponse:
        """Send a request whose body is in memory and read the whole answer."""
        data = None if body is None else io.BytesIO(body)
        async with self.request(method, path, headers, data, REQUEST_TIMEOUT) as response:
            return UpstreamResponse(
                response.status, CIMultiDict(response.headers), await response.read()
            )


def forwarded(request: web.BaseRequest, dropped: frozenset[str]) -> CIMultiDict[str]:
    """Return a request's headers for the registry, less `dropped` and those of one connection."""
    named = {name.strip().lower() for name in request.headers.get("Connection", "").split(",")}
    gone = _NOT_PASSED | dropped | named
    return CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in gone)


def returned(headers: CIMultiDict[str], upstream: str, host: str) -> CIMultiDict[str]:
    """Return an answer's headers for the client, with URLs that lead to this proxy.

    A challenge gets its own name back. `host` is this proxy's host, as the client sent it.
    """
    kept = CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in _NOT_PASSED
    )
    origin = upstream.rstrip("/")
    # API Gateway renames the function's challenge, which has the scope, and no client finds it.
    challenges = kept.popall(_CHALLENGE, kept.popall(_RENAMED_CHALLENGE, []))
    if origin.startswith("http:"):
        # crane fetches tokens from no address of this machine but the one that it was given. A
        # realm with TLS stays: the password then never comes through this proxy.
        challenges = [c.replace(f'realm="{origin}/', f'realm="http://{host}/') for c in challenges]
    kept.extend((_CHALLENGE, challenge) for challenge in challenges)
    location = kept.get("Location", "")
    if location.startswith(origin + "/"):
        kept["Location"] = location.removeprefix(origin)
    return kept


def relayed(answer: UpstreamResponse, upstream: str, host: str, **replaced: str) -> web.Response:
    """Return an answer of the registry's for the client, with some headers replaced."""
    headers = returned(answer.headers, upstream, host)
    headers.pop("Content-Length", None)
    headers.update(replaced)
    return web.Response(status=answer.status, headers=headers, body=answer.body)


def error(status: HTTPStatus, message: str, code: str = "UNAVAILABLE") -> web.Response:
    """Return an answer of the proxy's own, in the form that the OCI spec gives errors."""
    body = json.dumps({"errors": [{"code": code, "message": message}]})
    return web.Response(status=status, text=body, content_type="application/json")
