"""Reads URLs and answers of registries, for every command that is a registry's client.

This module must never do any I/O, nor show a word that could be a token.
"""

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import SplitResult, urlsplit

from moorage.common.errors import CommandError

_PORTS = {"http": 80, "https": 443}
# A server may quote the token that it was sent. No word of this length is shown, but URLs are.
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
_LONG_WORD = re.compile(r"[A-Za-z0-9+=_-]{40,}")
# A proof of `moorage login` is a URL itself.
_LONG_WORD_OR_URL = re.compile(r"\S{40,}")
_KEPT = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")
# int() itself refuses thousands of digits, and takes those of other scripts.
_WHOLE = re.compile(r"[0-9]{1,19}")
_PARAMETER = re.compile(r'([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_ESCAPED = re.compile(r"\\(.)")


class AddressError(CommandError):
    """A text is no registry's address; the message is one line that says what to write instead."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP answer, whatever its status."""

    status: int
    headers: Message
    body: bytes = field(repr=False)

    def json(self) -> dict[str, Any]:
        """Return the body's JSON object; an empty one if it is anything else."""
        return json_object(self.body)

    def error(self) -> dict[str, Any]:
        """Return the first error of a body in the OCI spec's form; empty if it has none."""
        errors = self.json().get("errors")
        first = errors[0] if isinstance(errors, list) and errors else None
        return first if isinstance(first, dict) else {}

    def message(self) -> str:
        """Return the status and the error message of the body, in a form that can be shown."""
        content = self.json()
        text = self.error().get("message") or content.get("error_description")
        text = text or content.get("error")
        if not isinstance(text, str):
            return f"status {self.status}"
        return f"status {self.status}: {clean(text, 300, _LONG_WORD_OR_URL)}"


def read_json(body: bytes | str) -> Any:  # noqa: ANN401 - JSON
    """Return what a JSON text says; raises ValueError, also for one that is nested too deep."""
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("its objects and lists are nested too deep") from None


def required_object(text: bytes | str) -> dict[str, Any]:
    """Return a JSON object; raises ValueError, which says what the text is instead."""
    try:
        content = read_json(text)
    except ValueError as error:
        raise ValueError(f"it is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")  # noqa: TRY004 - as above
    return content


def json_object(body: bytes) -> dict[str, Any]:
    """Return a JSON object; an empty one if the text is anything else."""
    try:
        return required_object(body)
    except ValueError:
        return {}


def clean(text: str, longest: int = 160, hidden: re.Pattern[str] = _LONG_WORD) -> str:
    """Return a server's text in a form that can be shown: printable, short, on one line.

    Words that match `hidden` are left out: one of them may be the token that was sent.
    """
    short = hidden.sub("...", text[: longest * 10])
    printable = "".join(character if character.isprintable() else " " for character in short)
    return " ".join(printable.split())[:longest]


def bearer_challenge(header: str) -> Mapping[str, str]:
    """Return a Bearer challenge's parameters by lower-case name; none of another challenge's.

    Source: RFC 9110, section 11.
    """
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "bearer":
        return {}
    return {
        name.lower(): _ESCAPED.sub(r"\1", quoted) or plain
        for name, quoted, plain in _PARAMETER.findall(rest)
    }


def next_page(link: str) -> str | None:
    """Return where a list continues, from a Link header; None after the last page (RFC 8288)."""
    found = _NEXT.search(link)
    return found[1] if found else None


def whole_number(text: str) -> int | None:
    """Return a whole number, 0 or more, as headers and queries have it; None of any other text."""
    return int(text) if _WHOLE.fullmatch(text) else None


def last_kept_byte(headers: Mapping[str, str] | Message) -> int | None:
    """Return the last byte, from 0, that an upload's Range says is kept; None if it has none.

    `0-0` is one byte or none.
    """
    found = _KEPT.fullmatch(headers.get("Range", ""))
    return None if found is None else int(found[1])


def http_url(text: str) -> SplitResult:
    """Return the parts of an absolute http or https URL; raises ValueError.

    Its host is one that can be looked up: what looks it up fails for any other with UnicodeError.
    """
    parts = urlsplit(text)
    if parts.scheme not in _PORTS or not parts.hostname or parts.port == 0 or "\\" in parts.netloc:
        raise ValueError("no URL with http or https and a host")
    parts.hostname.encode("idna")
    return parts


def registry_url(text: str) -> SplitResult:
    """Return the URL of a registry as a person writes it; raises AddressError.

    Without a scheme it is https, and http on this machine, as client programs have it.
    """
    plain = "://" not in text
    parts = safe_url(f"https://{text}" if plain else text)
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise AddressError(f"a registry's address has no path: write {origin(parts)}")
    scheme = "http" if plain and is_loopback(parts) else parts.scheme
    return parts._replace(scheme=scheme, path="")


def safe_url(text: str) -> SplitResult:
    """Return the parts of a URL that every program reads alike; raises AddressError."""
    try:
        parts = http_url(text)
    except ValueError:
        parts = None
    if parts is None or "@" in parts.netloc or not (text.isascii() and text.isprintable()):
        # The text isn't shown: there may be a password in it.
        raise AddressError("no address of a registry: write it as https://registry.example.com")
    return parts


def is_loopback(parts: SplitResult) -> bool:
    """Whether a URL's host is this machine."""
    host = parts.hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(parts: SplitResult) -> str:
    """Return a URL's host in lower case, and its port unless it is the scheme's own."""
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return host if parts.port in {None, _PORTS.get(parts.scheme)} else f"{host}:{parts.port}"


def origin(parts: SplitResult) -> str:
    """Return a URL's scheme, host and port."""
    return f"{parts.scheme}://{host_of(parts)}"
