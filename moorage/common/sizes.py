"""Formats sizes for people, in powers of 1,000 only, and what they cost."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size_text(size: float) -> str:
    """Return a number of bytes as people read it, in powers of 1,000."""
    unit = 0
    while size >= 999.5 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - what rounds to 1,000
        size /= 1000
        unit += 1
    digits = 1 if unit and size < 99.95 else 0  # noqa: PLR2004 - three digits
    return f"{size:.{digits}f} {_UNITS[unit]}"


def dollars(amount: float) -> str:
    """Return an amount in USD, rounded to cents; what is less than one is not shown as nothing."""
    return "< 0.01" if 0 < amount < 0.01 else f"{amount:,.2f}"  # noqa: PLR2004 - a cent
