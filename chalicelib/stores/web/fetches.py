"""Fetches a URL, without the redirects and proxies that an HTTP library adds.

This module must never follow a redirect, use a proxy that the environment names, or read a URL of
another kind than http and https. The caller decides whether a URL may be fetched at all.
"""

import functools
import http.client
import ssl
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

TIMEOUT = 5
"""Seconds to wait for the next byte, or a connection."""

DEADLINE = 10
"""Seconds for a whole body."""

_PIECE = 16 * 1024


class FetchError(Exception):
    """There was no answer, or one that is too long, or too slow; the message says which."""


@dataclass(frozen=True, slots=True)
class FetchedResponse:
    """An answer with any status."""

    status: int
    body: bytes = field(repr=False)


class Fetch(Protocol):
    """What `fetch` does."""

    def __call__(self, url: str, *, limit: int, headers: Mapping[str, str]) -> FetchedResponse:
        """See fetch."""


def fetch(url: str, *, limit: int, headers: Mapping[str, str]) -> FetchedResponse:
    """Get a URL and return the answer, whatever its status, a redirect too.

    `limit`: most bytes of a body. Raises FetchError.
    """
    sent = {"User-Agent": "moorage", **headers}
    request = urllib.request.Request(url, headers=sent)  # noqa: S310 - _opener knows no other kind
    try:
        with _opener().open(request, timeout=TIMEOUT) as response:
            return FetchedResponse(response.status, _body(response, limit))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(f"no answer from {request.host}: {error}") from error


def _body(response: http.client.HTTPResponse, limit: int) -> bytes:
    pieces, size, end = list[bytes](), 0, time.monotonic() + DEADLINE
    while piece := response.read1(_PIECE):
        size += len(piece)
        if size > limit:
            raise FetchError(f"an answer of more than {limit} bytes")
        if time.monotonic() > end:
            raise FetchError(f"an answer that takes more than {DEADLINE} seconds")
        pieces.append(piece)
    if response.length:
        raise FetchError(f"an answer that ends {response.length} bytes early")
    return b"".join(pieces)


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    # Built by hand: build_opener adds redirects, proxies, and files by their URL.
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.UnknownHandler())
    opener.add_handler(urllib.request.HTTPHandler())
    opener.add_handler(urllib.request.HTTPSHandler(context=ssl.create_default_context()))
    return opener
