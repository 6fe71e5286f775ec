"""S3's rule for a request that is signed in its URL: each `x-amz-` header must be signed, too.

Neither emulator knows the rule, so both get it from here: s3_refusals.py for moto, and
ministack_server.py. Without it, who has a URL to put bytes could choose a storage class, metadata
and tags, or make it a copy of another object (`x-amz-copy-source`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    Scope = Mapping[str, Any]
    Receive = Callable[[], Awaitable[Mapping[str, Any]]]
    Send = Callable[[Mapping[str, Any]], Awaitable[None]]
    AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

MESSAGE: Final = "There were headers present in the request which were not signed"
_TOLERATED: Final = "x-amz-content-sha256"
"""S3 has refused it unsigned at times, and let it pass at others: it passes here."""


def unsigned(query: str, headers: Iterable[str]) -> list[str]:
    """Return those of a request's headers for which S3 refuses it; `query` is its URL's."""
    parameters = {name.lower(): values[0] for name, values in parse_qs(query).items()}
    if "x-amz-signature" not in parameters:
        return []
    signed = {*parameters.get("x-amz-signedheaders", "").lower().split(";"), _TOLERATED}
    return sorted(
        name for name in map(str.lower, headers) if name.startswith("x-amz-") and name not in signed
    )


class SignedHeadersOnly:
    """An ASGI application that answers such a request as S3 does, and passes all others on."""

    def __init__(self, application: AsgiApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI 3)."""
        headers = (name.decode("latin-1") for name, _ in scope.get("headers", ()))
        if scope["type"] != "http" or not unsigned(scope["query_string"].decode(), headers):
            await self._application(scope, receive, send)
            return
        while (await receive()).get("more_body"):
            pass  # a client hears no answer while it still sends
        body = f"<Error><Code>AccessDenied</Code><Message>{MESSAGE}</Message></Error>".encode()
        start = {"type": "http.response.start", "status": 403}
        await send({**start, "headers": [(b"content-type", b"application/xml")]})
        await send({"type": "http.response.body", "body": body})
