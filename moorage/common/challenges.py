"""Challenges: what an answer of 401 says of where to log in. Source: RFC 9110, section 11.

This module must never follow one.
"""

import re
from collections.abc import Mapping

_PARAMETER = re.compile(r'([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_ESCAPED = re.compile(r"\\(.)")


def bearer(header: str) -> Mapping[str, str]:
    """Return the parameters of a Bearer challenge by lower-case name; none of another one's."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "bearer":
        return {}
    return {
        name.lower(): _ESCAPED.sub(r"\1", quoted) or plain
        for name, quoted, plain in _PARAMETER.findall(rest)
    }
