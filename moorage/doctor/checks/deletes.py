"""Checks of deletes, and the cleanup: nothing that the visit pushed is left.

This module must never delete what the visit did not push.
"""

import contextlib

from moorage.doctor.answers import require
from moorage.doctor.findings import FailedError, Finding, ok, skip, warn
from moorage.doctor.visit import Blob, Visit, digest_of
from moorage.doctor.wire import BROKEN

_GONE = frozenset({200, 202, 204, 404})
_MOST_LISTED = 5


def delete(visit: Visit) -> Finding:
    """Delete a tag, a manifest and a blob: each must then be gone."""
    if not visit.may_delete:
        return skip("these credentials may not delete here")
    blob = visit.push(Blob(b"to be deleted" + visit.sample.data[-32:]))
    body = visit.image(blob, annotations={"doctor": "delete"})
    digest = digest_of(body)
    visit.remember(visit.repository, "manifests", "gone")
    visit.put_manifest("gone", body)
    _delete(visit, "manifests/gone", "a tag")
    by_digest = visit.ask("GET", visit.v2(f"manifests/{digest}"))
    require(by_digest, 200, "GET of a manifest whose tag was deleted")
    _delete(visit, f"manifests/{digest}", "a manifest")
    _delete(visit, f"blobs/{blob.digest}", "a blob")
    return ok("a tag, a manifest and a blob: 202, then 404")


def _delete(visit: Visit, rest: str, what: str) -> None:
    require(visit.ask("DELETE", visit.v2(rest)), 202, f"DELETE of {what}")
    require(visit.ask("GET", visit.v2(rest)), 404, f"GET of {what} that was deleted")


def cleanup(visit: Visit) -> Finding:
    """Delete all that the visit pushed, and check that it is gone."""
    for session in visit.sessions:
        # A session that is left expires after a week.
        with contextlib.suppress(*BROKEN):
            visit.ask("DELETE", session)
    if visit.keep:
        return skip(f"kept, as asked: what is in {visit.repository} and below it")
    if not visit.pushed:
        return ok("nothing was pushed")
    if not visit.may_delete:
        return warn(f"left in {visit.repository}: {len(visit.pushed)} blobs, tags and manifests")
    # Manifests before the blobs that they hold, and tags before their manifests.
    order = sorted(visit.pushed, key=lambda item: (item[1] == "blobs", ":" in item[2]))
    left = []
    for repository, kind, name in order:
        target = visit.v2(f"{kind}/{name}", repository)
        if not _gone(visit, target):
            left.append(target)
    if left:
        raise FailedError(f"{len(left)} are left: {', '.join(left[:_MOST_LISTED])}")
    return ok(f"{len(order)} blobs, tags and manifests are gone; {_in_catalog(visit)}")


def _gone(visit: Visit, target: str) -> bool:
    """Delete something and check that it is gone; twice where a connection breaks."""
    for _ in range(2):
        with contextlib.suppress(*BROKEN):
            answer = visit.ask("DELETE", target)
            return answer.status in _GONE and visit.ask("HEAD", target).status == 404  # noqa: PLR2004 - gone
    return False


def _in_catalog(visit: Visit) -> str:
    """Return whether the catalog still has the name, where it may be read."""
    # The next name after `last`, in byte order, is this repository's if the catalog has it.
    answer = visit.ask("GET", f"/v2/_catalog?n=1&last={visit.repository[:-1]}")
    names = answer.json().get("repositories")
    if answer.status != 200 or not isinstance(names, list):  # noqa: PLR2004 - may be refused
        return "the catalog may keep the names"
    return "the catalog keeps the names" if visit.repository in names else "the names are gone too"
