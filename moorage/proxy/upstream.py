"""The registry behind the proxy: requests to it, and what changes on the way there and back.

A header that concerns one connection only must never pass, no answer may lead a client past the
proxy to the registry itself, and nothing of a client's may go to any other server.
"""

import io
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from moorage.common.http import (
    AddressError,
    bearer_challenge,
    http_url,
    is_loopback,
    origin,
    registry_url,
)
from moorage.common.http_server import HOP_BY_HOP
from moorage.common.patience import UpstreamResponse

REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=5)
"""A gateway gives up after 29 s; a minute without an answer is a lost answer."""

# Proxy-Authorization is for this proxy, which asks for none.
_NOT_PASSED: Final = HOP_BY_HOP | {"proxy-authorization"}
_CHALLENGE: Final = "WWW-Authenticate"
_RENAMED_CHALLENGE: Final = "x-amzn-Remapped-WWW-Authenticate"
OF_THE_BODY: Final = frozenset({"content-length", "content-range", "content-type", "host"})
"""Headers that are set for each chunk, and not taken from the client."""


class ForeignLocationError(Exception):
    """The registry's answer sends the rest of an upload to another server."""


def upstream_origin(address: str) -> str:
    """Return the origin of a registry as a person writes its address; raises AddressError.

    Without TLS it must be on this machine: logins and layers must not cross a network in the clear.
    """
    parts = registry_url(address)
    if parts.scheme == "http" and not is_loopback(parts):
        raise AddressError(
            f"{origin(parts)} has no TLS, and the logins of all clients would be sent to it in the"
            " clear: write https://, or run the proxy on that machine"
        )
    return origin(parts)


class Upstream:
    """Requests to the registry behind the proxy, whose origin is `base`."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: aiohttp.StreamReader | io.BytesIO | None,
        timeout: aiohttp.ClientTimeout,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send a request; `path` has its query, both still encoded as the client sent them.

        Raises ForeignLocationError for what is no path: a Location that leads elsewhere.
        """
        if not path.startswith("/"):
            raise ForeignLocationError(path)
        url = URL(self._base + path, encoded=True)
        return self._session.request(
            method, url, headers=headers, data=body, allow_redirects=False, timeout=timeout
        )

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: memoryview | None = None
    ) -> UpstreamResponse:
        """Send a request whose body is in memory and read the whole answer."""
        data = None if body is None else io.BytesIO(body)
        async with self.request(method, path, headers, data, REQUEST_TIMEOUT) as response:
            answered = with_own_location(CIMultiDict(response.headers), self._base)
            return UpstreamResponse(response.status, answered, await response.read())


def forwarded(request: web.BaseRequest, dropped: frozenset[str]) -> CIMultiDict[str]:
    """Return a request's headers for the registry, less `dropped` and those of one connection."""
    named = {name.strip().lower() for name in request.headers.get("Connection", "").split(",")}
    gone = _NOT_PASSED | dropped | named
    return CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in gone)


def query_of(request: web.BaseRequest) -> dict[str, list[str]]:
    """Return the parameters of a request's query; one without a value has an empty one."""
    return parse_qs(request.rel_url.raw_query_string, keep_blank_values=True)


def with_own_location(headers: CIMultiDict[str], upstream: str) -> CIMultiDict[str]:
    """Return headers whose Location is a path, if it leads to the registry at `upstream`."""
    location = headers.get("Location", "")
    if not location.startswith("/") and _leads_to(upstream, location):
        path = location.partition("://")[2].partition("/")[1:]
        headers["Location"] = "".join(path)
    return headers


def _leads_to(upstream: str, location: str) -> bool:
    try:
        return origin(http_url(location)) == upstream
    except ValueError:
        return False


def returned(
    headers: CIMultiDict[str], upstream: str, host: str, scopes: str = ""
) -> CIMultiDict[str]:
    """Return an answer's headers for the client, with URLs that lead to this proxy.

    A challenge gets its own name back, and `scopes` where it names none. `host` is this proxy's
    host, as the client sent it.
    """
    kept = CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in _NOT_PASSED
    )
    # API Gateway renames the function's challenge, which has the scope, and no client finds it.
    challenges = kept.popall(_CHALLENGE, kept.popall(_RENAMED_CHALLENGE, []))
    if upstream.startswith("http:"):
        # crane fetches tokens from no address of this machine but the one that it was given. A
        # realm with TLS stays: the password then never comes through this proxy.
        there, here = f'realm="{upstream}/', f'realm="http://{host}/'
        challenges = [challenge.replace(there, here) for challenge in challenges]
    kept.extend((_CHALLENGE, _scoped(challenge, scopes)) for challenge in challenges)
    return with_own_location(kept, upstream)


def _scoped(challenge: str, scopes: str) -> str:
    """Return a challenge with the scopes: API Gateway's own is one text for all requests.

    docker and most others know what they need. python-dxf and oras-py ask for what it names.
    """
    named = bearer_challenge(challenge)
    lacks_scope = scopes and named and "scope" not in named
    return f'{challenge},scope="{scopes}"' if lacks_scope else challenge


def error(status: HTTPStatus, message: str, code: str = "UNAVAILABLE") -> web.Response:
    """Return an answer of the proxy's own, in the form that the OCI spec gives errors."""
    body = json.dumps({"errors": [{"code": code, "message": message}]})
    return web.Response(status=status, text=body, content_type="application/json")
