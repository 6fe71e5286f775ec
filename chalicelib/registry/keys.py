"""Every object key in the bucket is made here and nowhere else. This module must never do I/O.

    uploads/<session>/data                            the multipart upload of a session; an object
                                                      once assembled
    uploads/<session>/tail-<fence>                    accepted bytes too few to be a part
    blobs/<algorithm>/<2 hex>/<hex>/<session>         canonical: written once, never reused
    direct/<session>/<hex>                            canonical too: of a blob that came whole, or
                                                      by a direct upload
    direct/<session>/parts                            the same, of a direct upload in parts
    uploads/<session>/report-<hex>                    what its client reports, under its SHA-256

The digest names the content; the session makes each canonical key unrepeatable, so that a late
delete can never hit bytes that came later.

An object may be put below direct/ before any item names it. So the ids of these sessions begin with
their time, and all objects that were put there within some time are in one range of keys.
"""

import re
from typing import TYPE_CHECKING

from chalicelib.digest import Algorithm, Digest

if TYPE_CHECKING:
    from chalicelib.registry.session import Session


def session_prefix(session_id: str) -> str:
    """The prefix of every key that a session writes before its commit."""
    return f"uploads/{session_id}/"


def data_key(session_id: str) -> str:
    """The key of the multipart upload that a session's chunks fill."""
    return f"{session_prefix(session_id)}data"


def tail_key(session_id: str, fence: int) -> str:
    """The key of the tail that the append under this fence stores."""
    return f"{session_prefix(session_id)}tail-{fence}"


def canonical_key(digest: Digest, session_id: str) -> str:
    """The key at which a session publishes its bytes, if they have this digest."""
    return f"blobs/{digest.algorithm.value}/{digest.hex[:2]}/{digest.hex}/{session_id}"


def direct_key(digest: Digest, session_id: str) -> str:
    """The key of bytes that are put there whole, by us or by a client itself, and stay there."""
    return f"direct/{session_id}/{digest.hex}"


def parts_key(session_id: str) -> str:
    """The key of a direct upload's parts, and of the object that they become, where it stays."""
    return f"direct/{session_id}/parts"


def report_key(session_id: str, report: Digest) -> str:
    """The key of a report by its digest: reports of two requests don't replace each other."""
    return f"{session_prefix(session_id)}report-{report.hex}"


def own_key(session: "Session") -> str:
    """The key at which a session publishes its own bytes; it must have a claim."""
    if session.by_parts:
        return parts_key(session.id)
    digest = session.claimed_digest
    if session.is_direct:
        return direct_key(digest, session.id)
    return canonical_key(digest, session.id)


def multipart_key(session: "Session") -> str:
    """The key of a session's multipart upload."""
    return parts_key(session.id) if session.by_parts else data_key(session.id)


_DIRECT = r"direct/(?P<session>[0-9a-f-]{36})/(?P<hex>[0-9a-f]+)"
_BLOBS = r"blobs/[a-z0-9]+/[0-9a-f]{2}/(?P<hex>[0-9a-f]+)/(?P<session>[^/]+)"


def timed_id(now: float, random_id: str) -> str:
    """Return a UUID (version 7) of a time, in seconds since the epoch, and of a random UUID."""
    time = f"{int(now * 1000):012x}"
    return f"{time[:8]}-{time[8:]}-7{random_id[15:]}"


def opened_at(session_id: str) -> float | None:
    """Return the time of a `timed_id`, in seconds since the epoch; None for any other id."""
    plain = session_id.replace("-", "")
    return int(plain[:12], 16) / 1000 if session_id[14:15] == "7" else None


def direct_keys_from(now: float) -> str:
    """The least of the keys below direct/ of sessions with a time no earlier than this."""
    return f"direct/{timed_id(now, '-' * 15)}"


def place_of(key: str) -> tuple[str, str] | None:
    """Return the place and session by which a ticket of the edge names a canonical key.

    None for any other key.
    """
    match key.split("/"):
        case ["blobs", _, _, _, session]:
            return "blobs", session
        case ["direct", session, name]:
            return ("parts" if name == "parts" else "direct"), session
    return None


def read_direct_key(key: str) -> tuple[str, Digest] | None:
    """Return the session and digest of a key below direct/; None for any other one."""
    return _read(_DIRECT, key)


def read_canonical_key(key: str) -> tuple[str, Digest] | None:
    """Return the session and digest of a canonical key; None for one that says no digest."""
    return _read(_DIRECT, key) or _read(_BLOBS, key)


def _read(pattern: str, key: str) -> tuple[str, Digest] | None:
    found = re.fullmatch(pattern, key, re.ASCII)
    sizes = {2 * algorithm.words_size: algorithm for algorithm in Algorithm}
    algorithm = found and sizes.get(len(found["hex"]))
    return (found["session"], Digest(algorithm, found["hex"])) if found and algorithm else None
