"""A check of size limits: the largest body that one request may have, and how more is refused.

This module must never send more requests than it needs: each has megabytes.
"""

import os

from chalicelib.limits import MIB
from moorage.common.http import clean
from moorage.doctor.answers import require, require_kept
from moorage.doctor.findings import FailedError, Finding, ok, warn
from moorage.doctor.visit import BYTES, Visit
from moorage.doctor.wire import BROKEN, quoted

CHUNK = 4 * MIB
"""Bytes that `moorage proxy` sends in one request."""

LADDER = (4_400_000, 4_500_000, 4_700_000, 6_000_000, 9_500_000)
ABOVE = 10_500_000
"""Above the 10 MB that API Gateway takes."""

_BELOW = (2 * MIB, MIB)


def sizes(visit: Visit) -> Finding:
    """Find the largest body that is accepted, between 1 MiB and 10.5 MB."""
    taken = _largest(visit)
    visit.facts["largest_body_bytes"] = taken
    if taken < CHUNK:
        if not taken:
            raise FailedError(f"not even 1 MiB is taken; {_refused(visit)}")
        seen = f"{taken} bytes are taken, {CHUNK} not; {_refused(visit)}"
        return warn(seen, f"push through `moorage proxy --chunk-size {taken}`")
    if taken == ABOVE:
        return ok(f"even {taken} bytes are taken: nothing here has API Gateway's limits")
    return ok(f"{_megabytes(taken)} is taken; above that {_refused(visit)}")


def _largest(visit: Visit) -> int:
    """Return the largest size that is accepted; 0 if not even the smallest one is."""
    if not _takes(visit, CHUNK):
        return next((size for size in _BELOW if _takes(visit, size)), 0)
    if _takes(visit, ABOVE):
        return ABOVE
    # Sizes below `low` are accepted, sizes from `high` on are refused.
    low, high = 0, len(LADDER)
    while low < high:
        middle = (low + high) // 2
        if _takes(visit, LADDER[middle]):
            low = middle + 1
        else:
            high = middle
    return LADDER[low - 1] if low else CHUNK


def _takes(visit: Visit, size: int) -> bool:
    """Send a body of that size to a new session."""
    target = visit.open()
    try:
        answer = visit.ask("PATCH", target, BYTES, os.urandom(size))
        refused = quoted(answer)
    except BROKEN as error:
        answer, refused = None, f"a broken connection ({clean(str(error))})"
    if answer is not None and answer.status == 202:  # noqa: PLR2004 - accepted
        require_kept(answer, size, f"PATCH of {size} bytes")
        return True
    visit.facts.setdefault("refusals_by_size", {})[str(size)] = refused
    status = require(visit.ask("GET", target), 204, f"the status after {size} bytes were refused")
    if status.headers.get("Range") != "0-0":
        raise FailedError(f"{size} bytes were refused ({refused}), yet some of them are kept")
    return False


def _refused(visit: Visit) -> str:
    """Return how sizes were refused: each answer once, with the smallest size that got it."""
    refusals = visit.facts.get("refusals_by_size", {})
    ways: dict[str, str] = {}
    for size in sorted(refusals, key=int):
        ways.setdefault(refusals[size], _megabytes(int(size)))
    return "; ".join(f"{size}: {way}" for way, size in ways.items())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
