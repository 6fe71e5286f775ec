"""Formats sizes for people, in powers of 1,000 only."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size_text(size: float) -> str:
    """Return a number of bytes as people read it, in powers of 1,000."""
    unit = 0
    while size >= 999.5 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - what rounds to 1,000
        size /= 1000
        unit += 1
    digits = 1 if unit and size < 99.95 else 0  # noqa: PLR2004 - three digits
    return f"{size:.{digits}f} {_UNITS[unit]}"
