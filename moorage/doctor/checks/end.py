"""The last checks: what strangers are told, what is deleted, and that nothing of the visit is left.

This module must never delete what the visit did not push.
"""

import contextlib
from collections.abc import Mapping

from moorage.doctor.answers import error_code, fault, require
from moorage.doctor.check import Check
from moorage.doctor.checks.login import login
from moorage.doctor.findings import FailedError, Finding, ok, skip, warn
from moorage.doctor.visit import Blob, Visit, digest_of
from moorage.doctor.wire import BROKEN, HttpResponse, told

_REFUSED = frozenset({401, 403})
_GONE = frozenset({200, 202, 204, 404})
_MOST_TOLD = 5


def no_leak(visit: Visit) -> Finding:
    """Ask, with a token for something else, for what is there and for what isn't."""
    if not visit.challenge or visit.credentials is None:
        return skip("the registry is open: it hides nothing")
    answer = login(visit, visit.credentials, f"repository:{visit.second}:pull")
    narrow = require(answer, 200, "the token endpoint").json()
    bearer = narrow.get("token") or narrow.get("access_token")
    missing = Blob(b"never pushed" + visit.sample.data).digest
    pairs = (
        (visit.v2(f"blobs/{visit.sample.digest}"), visit.v2(f"blobs/{missing}")),
        (visit.v2("tags/list"), visit.v2("tags/list", f"{visit.repository}-not-there")),
    )
    statuses = set()
    for name, who in _strangers(bearer).items():
        for there, nowhere in pairs:
            first, second = visit.ask_as(who, "GET", there), visit.ask_as(who, "GET", nowhere)
            if _shown(first) != _shown(second):
                raise FailedError(
                    f"{name}: what is there is {told(first)}; what isn't is {told(second)}",
                    fault(first) or fault(second),
                )
            if first.status not in _REFUSED:
                raise FailedError(f"{name}: a pull must be refused: {told(first)}", fault(first))
            statuses.add(f"{first.status} {error_code(first)}")
    return ok(f"{', '.join(sorted(statuses))}: the same for what is there and what isn't")


def _strangers(bearer: object) -> Mapping[str, Mapping[str, str]]:
    narrow = {"Authorization": f"Bearer {bearer}"}
    return {"without a token": {}, "with a token for something else": narrow}


def _shown(answer: HttpResponse) -> tuple[int, bytes]:
    return answer.status, answer.body


def delete(visit: Visit) -> Finding:
    """Delete a tag, a manifest and a blob, each of which must then be gone."""
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
    """Delete all that was pushed, and look whether it is gone."""
    for session in visit.sessions:
        # One that is left ends by itself after a week.
        with contextlib.suppress(*BROKEN):
            visit.ask("DELETE", session)
    if visit.keep:
        return skip(f"kept, as asked: what is in {visit.repository} and below it")
    if not visit.pushed:
        return ok("nothing was pushed")
    if not visit.may_delete:
        return warn(f"left in {visit.repository}: {len(visit.pushed)} blobs, tags and manifests")
    # Manifests first: they hold the blobs. A tag goes before its manifest does.
    order = sorted(visit.pushed, key=lambda item: (item[1] == "blobs", ":" in item[2]))
    left = []
    for repository, kind, name in order:
        target = visit.v2(f"{kind}/{name}", repository)
        if not _gone(visit, target):
            left.append(target)
    if left:
        raise FailedError(f"{len(left)} are left: {', '.join(left[:_MOST_TOLD])}")
    return ok(f"{len(order)} blobs, tags and manifests are gone; {_in_catalog(visit)}")


def _gone(visit: Visit, target: str) -> bool:
    """Delete something and look whether it is gone; a second time where a connection broke."""
    for _ in range(2):
        with contextlib.suppress(*BROKEN):
            answer = visit.ask("DELETE", target)
            return answer.status in _GONE and visit.ask("HEAD", target).status == 404  # noqa: PLR2004 - gone
    return False


def _in_catalog(visit: Visit) -> str:
    """Say whether the catalog still has the name, where it may be read."""
    # Up to, and not with, the name: in byte order the one that comes next is it, if it is there.
    answer = visit.ask("GET", f"/v2/_catalog?n=1&last={visit.repository[:-1]}")
    names = answer.json().get("repositories")
    if answer.status != 200 or not isinstance(names, list):  # noqa: PLR2004 - may be refused
        return "the catalog may keep the names"
    return "the catalog keeps the names" if visit.repository in names else "the names are gone too"


CHECKS = (
    Check(
        "no-leak",
        no_leak,
        "An answer that differs tells strangers what is there.",
        "nothing may stand before the registry that answers for it or keeps answers",
        ("upload", "refusal"),
    ),
    Check(
        "delete",
        delete,
        "What was deleted and can still be pulled was not deleted: a leaked secret stays public.",
        "nothing may stand before the registry that keeps answers; look into the function's log",
        ("upload",),
    ),
    Check(
        "cleanup",
        cleanup,
        "What the doctor pushed is of no use to anybody.",
        "delete what is left, by a client or with `--repository` and the same name again",
    ),
)
