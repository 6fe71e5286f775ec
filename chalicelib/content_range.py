"""Content-Range, read from chunks of an upload and written for parts of a blob.

This module must never guess: a malformed header is None. Source: OCI distribution spec, "Pushing a
blob in chunks"; RFC 9110, 14.4.
"""

import re

_CHUNK = r"(?:bytes[ =])?(\d{1,19})-(\d{1,19})(?:/(?:\d+|\*))?"


def parse_content_range(header: str) -> tuple[int, int] | None:
    """Read a chunk's Content-Range (`first-last`, inclusive); None if it is malformed."""
    found = re.fullmatch(_CHUNK, header.strip(), re.ASCII)
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    return (first, last) if first <= last else None


def content_range(span: tuple[int, int] | None, size: int) -> str:
    """Return a Content-Range of an answer: `span` inclusive, None where no byte can be served."""
    return f"bytes {f'{span[0]}-{span[1]}' if span else '*'}/{size}"
