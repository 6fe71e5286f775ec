"""Times as people read them."""

from datetime import UTC, datetime


def moment(seconds: float) -> str:
    """Return a time since the epoch for people, rounded down: `2026-11-24 17:46 UTC`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
