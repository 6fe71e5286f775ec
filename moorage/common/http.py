"""HTTP for `moorage login`: one request, one answer, and a token goes only where it was meant to.

This module must never follow a redirect, which may lead anywhere; never send a token in the clear
to another machine; never put what it sends in an error.
"""

import http.client
import ipaddress
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from moorage.common.errors import CommandError

TIMEOUT = 20
"""Seconds to wait for a connection, and for each piece of an answer."""

_LARGEST = 1024 * 1024
_QUOTED = 300
_LONG_WORD = re.compile(r"\S{40,}")
_PORTS = {"http": 80, "https": 443}


class LoginError(CommandError):
    """It can't be done; the text is one line that says what to do, and nothing of a token."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP answer, errors and redirects among them."""

    status: int
    headers: Message
    body: bytes = field(repr=False)

    def json(self) -> dict[str, Any]:
        """Return the body's JSON object; an empty one if it is anything else."""
        try:
            content = json.loads(self.body)
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def told(self) -> str:
        """Return what an error's body says, for people: printable, and not long."""
        content = self.json()
        errors = content.get("errors")
        first = errors[0] if isinstance(errors, list) and errors else {}
        text = first.get("message") if isinstance(first, dict) else None
        text = text or content.get("error_description") or content.get("error")
        if not isinstance(text, str):
            return f"status {self.status}"
        # A word as long as that may be the token that was sent.
        short = _LONG_WORD.sub("...", text)
        clean = "".join(character if character.isprintable() else " " for character in short)
        return f"status {self.status}: {clean[:_QUOTED]}"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: object, **_named: object) -> None:
        """Go nowhere: the redirect itself is the answer."""


def call(
    url: str, *, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """GET a URL, or POST a form to it, and return whatever is answered; raises LoginError."""
    parts = require_safe(url)
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if is_loopback(parts):
        # A proxy of the user's is another machine.
        handlers.append(urllib.request.ProxyHandler({}))
    data = None if form is None else urlencode(form).encode("ascii")
    request = urllib.request.Request(url, data, dict(headers or {}))  # noqa: S310 - looked at above
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
    """Return a URL's parts if a token may be sent there; raises LoginError."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, known = SplitResult("", "", "", "", ""), False
    if not known or "@" in parts.netloc or not (url.isascii() and url.isprintable()):
        # Not shown: there may be a password in it.
        raise LoginError("no address of a registry: write it as https://registry.example.com")
    if parts.scheme == "http" and not is_loopback(parts):
        raise LoginError(
            f"{origin(parts)} has no TLS, and a token must not be sent in the clear: write https://"
        )
    return parts


def is_loopback(parts: SplitResult) -> bool:
    """Whether a URL is of this very machine."""
    host = parts.hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(parts: SplitResult) -> str:
    """Return a URL's host in lower case, and its port unless it is the scheme's own."""
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return host if parts.port in {None, _PORTS[parts.scheme]} else f"{host}:{parts.port}"


def origin(parts: SplitResult) -> str:
    """Return where a URL is, without the rest of it."""
    return f"{parts.scheme}://{host_of(parts)}"
