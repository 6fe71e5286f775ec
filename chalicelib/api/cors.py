"""CORS: which pages of other sites may send requests, and read the answers.

A browser sends the page's origin along, and gives the page an answer only if its headers name that
origin. Before most requests it asks by OPTIONS, the preflight, which carries no login. This module
must never let a browser send credentials by itself: a page has to know its login.
Source: Fetch Standard, "HTTP CORS protocol".
"""

from collections.abc import Mapping, Sequence

from chalicelib.api.messages import Request
from chalicelib.origins import EVERY_ORIGIN
from chalicelib.routes import OPTIONS

REQUEST_HEADERS = ("Accept", "Authorization", "Content-Type", "Range")
"""What a page may send."""

RESPONSE_HEADERS = (
    "Accept-Ranges",
    "Allow",
    "Content-Range",
    "Docker-Content-Digest",
    "Docker-Distribution-Api-Version",
    "Docker-Upload-UUID",
    "ETag",
    "Link",
    "Location",
    "Moorage-Commit",
    "OCI-Filters-Applied",
    "OCI-Subject",
    "OCI-Tag",
    "Range",
    "Retry-After",
    "WWW-Authenticate",
    # The name that API Gateway gives to the one above.
    "x-amzn-Remapped-WWW-Authenticate",
)
"""What a page may read, beside what browsers always show."""

PREFLIGHT_SECONDS = 7200
"""How long a browser keeps a preflight's answer: none keeps it longer than two hours or a day."""


def cors_headers(
    allowed: Sequence[str], request: Request, answer: Mapping[str, str | list[str]]
) -> dict[str, str | list[str]]:
    """Return what the headers of an answer say to browsers too, for these allowed origins."""
    if not allowed:
        return {}
    origin = request.headers.get("origin")
    every = EVERY_ORIGIN in allowed
    # Whether or not this one is allowed: a cache must not give its answer to another one.
    vary: dict[str, str | list[str]] = {} if every else {"Vary": "Origin"}
    if origin is None or not (every or origin in allowed):
        return vary
    allowing = {**vary, "Access-Control-Allow-Origin": EVERY_ORIGIN if every else origin}
    if request.method == OPTIONS and "access-control-request-method" in request.headers:
        return {
            **allowing,
            "Access-Control-Allow-Methods": answer.get("Allow", OPTIONS),
            "Access-Control-Allow-Headers": ", ".join(REQUEST_HEADERS),
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        }
    return {**allowing, "Access-Control-Expose-Headers": ", ".join(RESPONSE_HEADERS)}
