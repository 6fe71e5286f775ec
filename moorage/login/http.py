"""The HTTP of `moorage login`: one request and one answer; a token goes to its own server only.

This module must never follow a redirect, which may lead anywhere; never send a token in the clear
to another machine; never put what it sends in an error.
"""

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlencode

from moorage.common.errors import CommandError
from moorage.common.http import HttpResponse, is_loopback, origin, safe_url

TIMEOUT = 20
"""Seconds to wait for a connection, and for each piece of an answer."""

_LARGEST = 1024 * 1024


class LoginError(CommandError):
    """The login failed; the text is one line that says what to do, and holds no token."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: object, **_named: object) -> None:
        """Follow no redirect: it is the answer itself."""


def call(
    url: str, *, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """GET a URL, or POST a form to it, and return the answer; raises LoginError."""
    parts = require_safe(url)
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if is_loopback(parts):
        # A proxy that the user has set is another machine.
        handlers.append(urllib.request.ProxyHandler({}))
    data = None if form is None else urlencode(form).encode("ascii")
    request = urllib.request.Request(url, data, dict(headers or {}))  # noqa: S310 - require_safe read it
    try:
        with _open(urllib.request.build_opener(*handlers), request) as answer:
            return HttpResponse(answer.status, answer.headers, answer.read(_LARGEST))
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise LoginError(
            f"{origin(parts)} does not answer as a registry would ({reason}): look at the address"
            " and the network"
        ) from None


def _open(opener: urllib.request.OpenerDirector, request: urllib.request.Request) -> Any:  # noqa: ANN401 - a response, or an error that is one
    try:
        return opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        return error


def require_safe(url: str) -> SplitResult:
    """Return the parts of a URL to which a token may be sent; raises LoginError, AddressError."""
    parts = safe_url(url)
    if parts.scheme == "http" and not is_loopback(parts):
        raise LoginError(
            f"{origin(parts)} has no TLS, and a token must not be sent in the clear: write https://"
        )
    return parts
