"""Which requests a server on this machine answers, by the client's Host and Origin headers.

A web page can make its own host name resolve to 127.0.0.1 (DNS rebinding). Then the browser takes
the local registry for the page's server, and lets the page read and write all of it. But the
browser sends that name as Host. A page can also send requests to localhost without reading the
answers, and such a POST would store a blob; but the browser sends the page's address as Origin.
This module must never trust X-Forwarded-Host, nor resolve a name.
"""

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from chalicelib.errors import ErrorCode
from chalicelib.origins import EVERY_ORIGIN, parse_origins
from moorage.common.errors import CommandError
from moorage.common.http import clean

EVERY_HOST = "*"
"""Stands for any name among `AllowedHosts.names`: such a server is open to rebinding."""

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::\d{0,5})?", re.IGNORECASE)
# RFC 9112, 3.2.2 and 3.2.3: a target that is a URL or, of CONNECT, a host names the server too.
_OF_TARGET = re.compile(r"(?:[a-z][a-z0-9+.-]*://)?([^/?#]*)", re.IGNORECASE)
# RFC 6454, 6.2: scheme, host and port; pages of files and frames without rights say "null".
_ORIGIN = re.compile(r"https?://([^/?#]*)")

HostKey = str | ipaddress.IPv4Address | ipaddress.IPv6Address
"""A name in lower case, or an address: equal for every way to write the same host."""


def host_key(text: str) -> HostKey:
    """Read a host, with or without a port and brackets; raises ValueError."""
    address = _address(text)
    found = None if address else _AUTHORITY.fullmatch(text)
    name = found[1].lower().removesuffix(".") if found else ""
    key = address or _address(name.strip("[]")) or name
    if not key:
        raise ValueError("no name and no address of a host")
    return key


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The names of this machine, the address that is listened on, and more that the user gave.

    `listening` is an address or a name, `names` are names, addresses or EVERY_HOST. A server that
    listens on every address is for other machines too, which may use any address of it: rebinding
    takes a name. Pages of `origins` may ask as well, as CORS lets them: EVERY_ORIGIN is any page.
    """

    listening: str
    names: Sequence[str] = ()
    origins: Sequence[str] = ()

    def refusal(self, request: web.BaseRequest) -> web.Response | None:
        """Return the answer to a request for another host; None where the request may go on."""
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1:
            return _error(ErrorCode.REQUEST_INVALID, "a request needs one Host header")
        target = request.raw_path
        if not target.startswith("/") and target != "*":
            hosts += _OF_TARGET.findall(target)[:1]
        refused = next((host for host in hosts if not self.admits(host)), None)
        if refused is not None:
            return _error(ErrorCode.DENIED, _advice(refused))
        origins = request.headers.getall("Origin", [])
        foreign = next((origin for origin in origins if not self._admits_origin(origin)), None)
        return None if foreign is None else _error(ErrorCode.DENIED, _foreign(foreign))

    def _admits_origin(self, origin: str) -> bool:
        """Whether a page's Origin is this server, another one of the same name, or allowed."""
        if origin in self.origins or EVERY_ORIGIN in self.origins:
            return True
        found = _ORIGIN.fullmatch(origin)
        return EVERY_HOST in self.names or bool(found and self.admits(found[1]))

    def admits(self, host: str) -> bool:
        """Whether a Host header names this server; the port in it doesn't matter."""
        try:
            key = host_key(host)
        except ValueError:
            return False
        if isinstance(key, str):
            of_this_machine = key == "localhost" or key.endswith(".localhost")
        else:
            everywhere = _address(self.listening)
            of_this_machine = key.is_loopback or bool(everywhere and everywhere.is_unspecified)
        if of_this_machine or EVERY_HOST in self.names:
            return True
        return key in {host_key(name) for name in (self.listening, *self.names)}


def page_origins(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return `AllowedHosts.origins` of a registry's environment; raises CommandError."""
    try:
        return parse_origins(environment.get("MOORAGE_CORS_ORIGINS", ""))
    except ValueError as error:
        raise CommandError(f"MOORAGE_CORS_ORIGINS: {error}") from None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _advice(host: str) -> str:
    try:
        name = str(host_key(host))
    except ValueError:
        name = "NAME"
    return (
        "this registry answers to the names of its own machine, such as localhost, and not to"
        f" {clean(host)!r}: if other machines are to use it, start it with --allow-host {name}"
    )


def _foreign(origin: str) -> str:
    return (
        f"this registry takes no requests from a web page of {clean(origin)!r}: if it is to, start"
        " it with --allow-host and the name of the page's host; with `moorage local --cors-origins`"
        " the page may also read the answers"
    )


def _error(code: ErrorCode, message: str) -> web.Response:
    body = json.dumps({"errors": [{"code": code.code, "message": message}]})
    response = web.Response(status=code.status, text=body, content_type="application/json")
    # The body of the request is unread.
    response.force_close()
    return response
