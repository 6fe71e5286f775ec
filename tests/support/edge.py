"""The edge in tests: the deployed function in JavaScript, and tickets that it takes or refuses."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from chalicelib.registry.tickets import FixedKeys, Purpose, Tickets
from moorage.common.project import EDGE_FUNCTION, EDGE_TEMPLATE, load_template
from moorage.edge.distribution import Distribution
from moorage.edge.event import EdgeRequest, request_event, response_event
from moorage.edge.runtime import EdgeFunction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moorage.edge.runtime import EdgeOutcome

EDGE: Final = load_template(EDGE_TEMPLATE)
DISTRIBUTION: Final = Distribution.of(EDGE)
CODE: Final = EDGE_FUNCTION.read_text(encoding="utf-8")
KEYS: Final = FixedKeys((b"k" * 32, b"l" * 32))
"""The key that signs, and another one that counts as well."""

TICKETS: Final = Tickets(KEYS)
NAME: Final = "team/app"
SESSION: Final = "019ad3f1-6a40-4000-8000-000000000001"
OWNER: Final = "o" * 22
LATER: Final = "4102444800"
"""An expiry in the year 2100."""

PAST: Final = "1000000000"
VIEWER_IP: Final = "192.0.2.7"


def store_of(keys: FixedKeys = KEYS) -> dict[str, str]:
    """Return what the store of keys holds."""
    words = [base64.urlsafe_b64encode(key).decode().rstrip("=") for key in keys.keys]
    return {"keys": " ".join(words)}


def function_with(store: Mapping[str, str]) -> EdgeFunction:
    """Return the deployed function over a store."""
    return EdgeFunction(CODE, store.get, DISTRIBUTION.origins)


def upload(
    name: str = NAME,
    *,
    session: str = SESSION,
    expiry: str = LATER,
    algorithm: str = "sha256",
    tickets: Tickets = TICKETS,
) -> str:
    """Return the path of an upload, as the API answers a POST."""
    fields = (session, expiry, algorithm, OWNER)
    return f"/v2/{name}/blobs/uploads/{tickets.write(Purpose.UPLOAD, name, *fields)}"


def download(
    digest: str,
    *,
    session: str = SESSION,
    expiry: str = LATER,
    place: str = "direct",
    tickets: Tickets = TICKETS,
) -> str:
    """Return the path of a blob's bytes, as the API answers a GET."""
    fields = (digest, expiry, place, session)
    return f"/v2/{NAME}/blobs/{tickets.write(Purpose.DOWNLOAD, NAME, *fields)}"


def ask(
    function: EdgeFunction,
    method: str,
    target: str,
    headers: Mapping[str, str] | tuple[tuple[str, str], ...] = (),
) -> EdgeOutcome:
    """Show the function a client's request."""
    path, _, query = target.partition("?")
    listed = tuple(headers.items()) if not isinstance(headers, tuple) else headers
    request = EdgeRequest(method, path, query, (("host", "registry.example"), *listed))
    return function(request_event(request, VIEWER_IP))


def answer(
    function: EdgeFunction,
    request: Mapping[str, Any],
    status: int = 200,
    headers: tuple[tuple[str, str], ...] = (),
) -> dict[str, Any]:
    """Show the function an answer to a request that it made, and return what it makes of it."""
    event = response_event(request, VIEWER_IP, status, headers)
    made: dict[str, Any] = function(event).value
    return made
