"""What the proxy changes of requests and answers on their way: headers of one connection, places.

This module must never pass on a header that concerns one connection only, nor lead a client past
the proxy to the registry behind it.
"""

import json
from http import HTTPStatus
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from moorage.proxy.rechunk import UpstreamResponse

_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_CHALLENGE: Final = "WWW-Authenticate"
_RENAMED_CHALLENGE: Final = "x-amzn-Remapped-WWW-Authenticate"
OF_THE_BODY: Final = frozenset({"content-length", "content-range", "content-type", "host"})
"""What is said anew of each chunk of a body."""


def forwarded(request: web.BaseRequest, dropped: frozenset[str]) -> CIMultiDict[str]:
    """Headers for the registry: a request's own, less `dropped` and those of one connection."""
    named = {name.strip().lower() for name in request.headers.get("Connection", "").split(",")}
    gone = _HOP_BY_HOP | dropped | named
    return CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in gone)


def returned(headers: CIMultiDict[str], upstream: str, host: str) -> CIMultiDict[str]:
    """Headers for the client: none of one connection only, and places that lead back here.

    A challenge to log in has its own name again. `host` is what the client calls this proxy.
    """
    kept = CIMultiDict(
        (name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP
    )
    origin = upstream.rstrip("/")
    # API Gateway renames a function's own, and no client would find it: the scoped challenge.
    challenges = kept.popall(_CHALLENGE, kept.popall(_RENAMED_CHALLENGE, []))
    if origin.startswith("http:"):
        # crane asks for tokens at no other address of this machine than the one it was given. What
        # is encrypted upstream stays so: a password is then not for this proxy.
        challenges = [c.replace(f'realm="{origin}/', f'realm="http://{host}/') for c in challenges]
    kept.extend((_CHALLENGE, challenge) for challenge in challenges)
    location = kept.get("Location", "")
    if location.startswith(origin + "/"):
        kept["Location"] = location.removeprefix(origin)
    return kept


def relayed(answer: UpstreamResponse, upstream: str, host: str, **replaced: str) -> web.Response:
    """An answer of the registry's, with headers of ours in place of some."""
    headers = returned(answer.headers, upstream, host)
    headers.pop("Content-Length", None)
    headers.update(replaced)
    return web.Response(status=answer.status, headers=headers, body=answer.body)


def error(status: HTTPStatus, message: str, code: str = "UNAVAILABLE") -> web.Response:
    """An answer of the proxy's own, in the shape that the OCI spec gives errors."""
    body = json.dumps({"errors": [{"code": code, "message": message}]})
    return web.Response(status=status, text=body, content_type="application/json")
