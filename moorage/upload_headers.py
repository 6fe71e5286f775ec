"""The few header and URL forms by which an upload session says where it stands.

Pure text to values, for the proxy: offsets, ranges, locations. It must never decode and re-encode
a path or a query: what a client or an upstream wrote is sent on as it was written.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urljoin, urlsplit

_CONTENT_RANGE: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,18})", re.ASCII)
_RANGE: Final = re.compile(r"(?:bytes=)?0-([0-9]{1,18})", re.ASCII)
_OFFSET: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def parse_content_range(text: str) -> tuple[int, int] | None:
    """Return the first and last byte (both inclusive) of a chunk, None where the form is another.

    The form is the distribution-spec's, `<first>-<last>` without a unit (Pushing a blob in chunks).
    """
    found = _CONTENT_RANGE.fullmatch(text.strip())
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    return (first, last) if first <= last else None


def format_content_range(first: int, end: int) -> str:
    """Name the bytes from `first` up to, but without, `end`; there must be at least one."""
    return f"{first}-{end - 1}"


def format_range(offset: int) -> str:
    """Say that `offset` bytes are kept; no byte and one byte look the same (distribution-spec)."""
    return f"0-{max(offset - 1, 0)}"


def offset_in_target(target: str) -> int | None:
    """Return the offset that a session's URL carries as `at`, None where it has none."""
    for parameter in _split_target(target)[1]:
        name, _, value = parameter.partition("=")
        if name == "at" and _OFFSET.fullmatch(value):
            return int(value)
    return None


def offset_in_headers(headers: Mapping[str, str], *, ambiguous: int) -> int | None:
    """Return how many bytes a session keeps, as an answer's headers tell it; None if they do not.

    `at` in the Location is exact and goes before Range; a bare `Range: 0-0` may mean no byte or
    one, and is read as `ambiguous`.
    """
    told = offset_in_target(headers.get("Location", ""))
    if told is not None:
        return told
    found = _RANGE.fullmatch(headers.get("Range", "").strip())
    if found is None:
        return None
    last = int(found[1])
    return ambiguous if last == 0 else last + 1


def take_parameter(target: str, name: str) -> tuple[str, str]:
    """Split a target in two: itself without the parameters called `name`, and those, as written."""
    path, parameters = _split_target(target)
    taken = [each for each in parameters if each.partition("=")[0] == name]
    left = [each for each in parameters if each.partition("=")[0] != name]
    return with_parameters(path, "&".join(left)), "&".join(taken)


def with_parameters(target: str, parameters: str) -> str:
    """Append raw query parameters to a target that may already have some."""
    if not parameters:
        return target
    return f"{target}{'&' if '?' in target else '?'}{parameters}"


def follow(origin: str, current: str, location: str) -> str | None:
    """Resolve a Location met at target `current`; None when it leads away from `origin`.

    Credentials must not go where this returns None.
    """
    resolved = urljoin(origin + current, location)
    return _target_of(resolved) if _same_origin(resolved, origin) else None


def localise(origin: str, location: str) -> str:
    """Make a Location that names the upstream's own origin relative; leave any other as it is.

    A client that resolves it then stays on the proxy.
    """
    if not urlsplit(location).netloc:
        return location
    scheme = urlsplit(origin).scheme
    absolute = f"{scheme}:{location}" if location.startswith("//") else location
    return _target_of(absolute) if _same_origin(absolute, origin) else location


def _split_target(target: str) -> tuple[str, list[str]]:
    path, _, query = target.partition("?")
    return path, [each for each in query.split("&") if each]


def _target_of(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _same_origin(url: str, origin: str) -> bool:
    return _origin_of(url) == _origin_of(origin)


def _origin_of(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:  # not a number: nobody's origin
        port = -1
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS.get(parts.scheme)
