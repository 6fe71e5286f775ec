"""Every object key in the bucket is made here and nowhere else. This module must never do I/O.

    uploads/<session>/data                            the multipart upload of a session; an object
                                                      once assembled
    uploads/<session>/tail-<fence>                    accepted bytes too few to be a part
    blobs/<algorithm>/<2 hex>/<hex>/<session>         canonical: written once, never reused
    direct/<session>/<hex>                            canonical too: a direct upload's (sha256)
    direct/<session>/parts                            the same, of a direct upload in parts
    uploads/<session>/report-<hex>                    what its client reports, under its SHA-256

The digest names the content; the session makes each canonical key unrepeatable, so that a late
delete can never hit bytes that came later.
"""

from typing import TYPE_CHECKING

from chalicelib.digest import Digest

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
    """The key to which the client of a direct upload puts its bytes, and where they stay."""
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
