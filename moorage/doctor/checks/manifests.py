"""Checks of manifests and lists: images, pages of tags, referrers, mounts.

A check of a list must never depend on what another check has put there.
"""

from urllib.parse import urljoin, urlsplit

from moorage.common.http import HttpResponse, clean
from moorage.doctor.answers import require, require_bytes
from moorage.doctor.findings import FailedError, Finding, ok
from moorage.doctor.visit import BYTES, IMAGE, INDEX, Visit, digest_of
from moorage.doctor.wire import quoted

_TAGS = ("page-1", "page-2", "page-3")
_ARTIFACT = "application/vnd.moorage.doctor.v1"
_MOST_PAGES = 50


def manifest(visit: Visit) -> Finding:
    """Push an image's manifest under a tag, and pull it by the tag and by its digest."""
    body = visit.image(visit.sample, annotations={"doctor": "manifest"})
    digest = digest_of(body)
    visit.remember(visit.repository, "manifests", "image")
    named = visit.put_manifest("image", body).headers.get("Docker-Content-Digest")
    if named != digest:
        raise FailedError(f"PUT of a manifest names the digest {named or '(none)'}")
    for reference in ("image", digest):
        what = f"GET of a manifest by {'tag' if reference == 'image' else 'digest'}"
        answer = visit.ask("GET", visit.v2(f"manifests/{reference}"), {"Accept": IMAGE})
        require_bytes(require(answer, 200, what).body, body, what)
        if answer.headers.get("Docker-Content-Digest") != digest:
            raise FailedError(f"{what}: no Docker-Content-Digest, or not its own")
        if answer.headers.get("Content-Type") != IMAGE:
            raise FailedError(
                f"{what}: Content-Type {clean(answer.headers.get('Content-Type', ''))}"
            )
    return ok("by tag and by digest the same bytes, digest and type")


def tags(visit: Visit) -> Finding:
    """Read the list of tags in pages of two, as each Link says."""
    body = visit.image(visit.sample, annotations={"doctor": "tags"})
    for tag in _TAGS:
        visit.remember(visit.repository, "manifests", tag)
        visit.put_manifest(tag, body)
    target, found, pages = visit.v2("tags/list?n=2"), [], 0
    while target:
        answer = require(visit.ask("GET", target), 200, "GET of tags")
        found += _strings(answer, "tags")
        pages += 1
        target = _next(visit, target, answer)
        if pages > _MOST_PAGES:
            raise FailedError(f"after {pages} pages of two tags there are still more")
    if not set(_TAGS) <= set(found) or len(found) != len(set(found)):
        raise FailedError(
            f"all pages together have {clean(', '.join(found)) or 'no tag'}: some of"
            f" {', '.join(_TAGS)} are missing, or twice there"
        )
    return ok(f"{len(found)} tags on {pages} pages; each Link leads on")


def _next(visit: Visit, target: str, answer: HttpResponse) -> str:
    """Return the target of the next page; empty after the last one."""
    header = answer.headers.get("Link", "")
    if not header:
        return ""
    link, _, parameters = header.partition(">")
    if 'rel="next"' not in parameters or not link.startswith("<"):
        raise FailedError(f"a Link that can't be read: {clean(header)}")
    # A relative Link is relative to the URL of the request.
    place = urlsplit(urljoin(target, link[1:]))
    fault = visit.location_fault(place.geturl())
    if fault:
        raise FailedError(f"a Link to the next page: {fault}")
    return f"{place.path}?{place.query}"


def referrers(visit: Visit) -> Finding:
    """Attach a manifest to another one, and find it in the list of referrers."""
    subject = visit.image(visit.sample, annotations={"doctor": "subject"})
    visit.put_manifest(digest_of(subject), subject)
    described = {"mediaType": IMAGE, "digest": digest_of(subject), "size": len(subject)}
    attached = visit.image(visit.sample, artifactType=_ARTIFACT, subject=described)
    answer = visit.put_manifest(digest_of(attached), attached)
    if answer.headers.get("OCI-Subject") != digest_of(subject):
        raise FailedError("PUT of a manifest with a subject doesn't say OCI-Subject")
    listed = visit.ask("GET", visit.v2(f"referrers/{digest_of(subject)}"))
    content = require(listed, 200, "GET of referrers").json()
    manifests = content.get("manifests")
    entries = manifests if isinstance(manifests, list) else []
    found = [item.get("digest") for item in entries if isinstance(item, dict)]
    if content.get("mediaType") != INDEX or found != [digest_of(attached)]:
        raise FailedError(f"the list of referrers isn't the one that was pushed: {quoted(listed)}")
    return ok("a manifest with a subject is found there")


def mount(visit: Visit) -> Finding:
    """Mount a blob from another repository."""
    digest = visit.sample.digest
    target = visit.v2(f"blobs/uploads/?mount={digest}&from={visit.repository}", visit.second)
    answer = visit.ask("POST", target, BYTES, b"")
    if answer.status == 202:  # noqa: PLR2004 - an upload session
        visit.begun(visit.place(answer, "POST"))
        raise FailedError("the mount was ignored: 202, a session to upload the blob again")
    require(answer, 201, "a mount")
    visit.remember(visit.second, "blobs", digest)
    if visit.place(answer, "a mount") != visit.v2(f"blobs/{digest}", visit.second):
        raise FailedError(f"a mount's Location is {clean(answer.headers['Location'])}")
    got = require(visit.fetch(visit.sample, repository=visit.second), 200, "GET where it went")
    require_bytes(got.body, visit.sample.data, "GET where it went")
    return ok("201, and the blob is there without being sent again")


def _strings(answer: HttpResponse, name: str) -> list[str]:
    items = answer.json().get(name)
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise FailedError(f"no list of {name}: {quoted(answer)}")
    return items
