"""Reads and writes headers: ranges, locations, links to the next page.

This module must never guess: a malformed header is an error, or ignored where its RFC says so.
"""

import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from chalicelib.digest import Digest
from chalicelib.errors import RangeInvalidError

if TYPE_CHECKING:
    from chalicelib.registry.session import Session

# 19 digits are more bytes than anything can have; int() itself refuses 4,301 and more.
_OFFSET = re.compile(r"\d{1,19}", re.ASCII)
_BYTE_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)

VIEWER = "x-moorage-edge"
"""Of a request: the client's address at the edge, with a MAC. The edge removes a client's own."""

COMMIT_RUNNING = {"Moorage-Commit": "running"}
"""Of a 503 that the client should repeat, however long: a driver works on the commit."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Read a Range of a blob of `size` bytes; returns first and last byte, inclusive.

    None for the whole: no header, another unit, several ranges, or a malformed one, all of which
    RFC 9110 lets a server ignore. Raises RangeInvalidError when no byte of it exists, and for a
    range that ends before it begins: its sender has miscounted, and would take the whole for it.
    """
    found = _BYTE_RANGE.fullmatch(header.strip()) if header else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        span = (max(size - int(last), 0), size - 1) if int(last) else (size, size)
    else:
        span = (int(first), min(int(last), size - 1) if last else size - 1)
    if span[0] >= size or span[1] < span[0]:
        raise RangeInvalidError(f"the blob has {size} bytes", size=size)
    return span


def parse_offset(text: str) -> int | None:
    """Read the offset that a Location carried (`at`), in bytes; None if it is malformed."""
    return int(text) if _OFFSET.fullmatch(text) else None


def session_headers(session: "Session") -> dict[str, str]:
    """Headers of an answer about a session: its Location, and the Range of its durable bytes."""
    return upload_headers(session.repository, session.ticket or session.id, session.offset)


def upload_headers(repository: str, name: str, offset: int) -> dict[str, str]:
    """The same by repository, ticket or id, and offset.

    Location has the offset for clients without ranges, and no ticket once bytes have come.
    """
    session_id = session_named(name)
    return {
        "Location": f"/v2/{repository}/blobs/uploads/{session_id if offset else name}?at={offset}",
        "Range": f"0-{max(offset - 1, 0)}",
        "Docker-Upload-UUID": session_id,
    }


def direct_location(repository: str, session_id: str) -> dict[str, str]:
    """Headers of an answer about the session of a direct upload."""
    return {
        "Location": f"/v2/{repository}/_moorage/uploads/{session_id}",
        "Docker-Upload-UUID": session_id,
    }


def session_named(name: str) -> str:
    """Return the id of a session that a path names by it or by a ticket, of any form."""
    return name.partition("~")[0]


def blob_location(repository: str, digest: Digest) -> dict[str, str]:
    """Headers that name a committed blob."""
    return {
        "Location": f"/v2/{repository}/blobs/{digest}",
        "Docker-Content-Digest": str(digest),
    }


def next_link(path: str, **parameters: str | int | None) -> dict[str, str]:
    """Header that names the next page (RFC 8288)."""
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    return {"Link": f'<{path}?{query}>; rel="next"'}
