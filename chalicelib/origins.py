"""Origins of web pages, as the setting of CORS names them.

An origin is a page's address without the path: scheme, host, and the port if it isn't the scheme's
own. This module must never take a text that no browser sends: it would allow nobody, unnoticed.
"""

import re

EVERY_ORIGIN = "*"
"""Stands for the origin of any page."""

# As browsers write it: in lower case.
_ORIGIN = r"https?://([a-z0-9][a-z0-9.-]*|\[[0-9a-f:]+\])(:(?!(80|443)\b)[1-9][0-9]{0,4})?"


def parse_origins(text: str) -> tuple[str, ...]:
    """Read EVERY_ORIGIN alone, or origins with commas between them; an empty text is none.

    Raises ValueError.
    """
    if text in {"", EVERY_ORIGIN}:
        return (text,) if text else ()
    words = [word.strip(" ") for word in text.split(",")]
    wrong = next((word for word in words if not re.fullmatch(_ORIGIN, word)), None)
    if wrong is not None:
        raise ValueError(
            f"{wrong!r} is no origin as browsers write it: use https://ui.example.com or"
            " http://localhost:3000, without a path, :80 or :443, several with commas; or * alone"
        )
    return tuple(words)
