"""The size limits as they really are: how large one request's body may be, and how more is refused.

This module must never send more requests than it needs: each is megabytes over somebody's line.
"""

import os

from moorage.doctor.answers import require, require_kept
from moorage.doctor.check import Check
from moorage.doctor.findings import FailedError, Finding, ok, warn
from moorage.doctor.visit import BYTES, Visit
from moorage.doctor.wire import BROKEN, clean, told

CHUNK = 4 * 1024 * 1024
"""What `moorage proxy` sends in one request."""

LADDER = (4_400_000, 4_500_000, 4_700_000, 6_000_000, 9_500_000)
ABOVE = 10_500_000
"""Above the 10 MB that API Gateway takes."""

_BELOW = (2 * 1024 * 1024, 1024 * 1024)


def sizes(visit: Visit) -> Finding:
    """Find the largest body that is taken, between 4 MiB and 10.5 MB."""
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
    """Return the largest size that is taken; 0 if not even the smallest one is."""
    if not _takes(visit, CHUNK):
        return next((size for size in _BELOW if _takes(visit, size)), 0)
    if _takes(visit, ABOVE):
        return ABOVE
    # What lies below `low` is taken, what lies from `high` on is not.
    low, high = 0, len(LADDER)
    while low < high:
        middle = (low + high) // 2
        if _takes(visit, LADDER[middle]):
            low = middle + 1
        else:
            high = middle
    return LADDER[low - 1] if low else CHUNK


def _takes(visit: Visit, size: int) -> bool:
    """Send a body of that size to a session of its own."""
    target = visit.open()
    try:
        answer = visit.ask("PATCH", target, BYTES, os.urandom(size))
        refused = told(answer)
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
    """Say how sizes were refused, smallest first, each way once."""
    refusals = visit.facts.get("refusals_by_size", {})
    ways: dict[str, str] = {}
    for size in sorted(refusals, key=int):
        ways.setdefault(refusals[size], _megabytes(int(size)))
    return "; ".join(f"{size}: {way}" for way, size in ways.items())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


CHECKS = (
    Check(
        "sizes",
        sizes,
        "A layer that is larger than one request must travel in chunks, and `moorage proxy` cuts"
        " them at 4 MiB.",
        "find out what refuses: a firewall (WAF) or a proxy before the registry has a limit of its"
        " own, which must be 5 MB at least; where it is a 5xx, look into the function's log",
        ("upload",),
    ),
)
