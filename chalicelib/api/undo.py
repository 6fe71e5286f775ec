"""A repository's history and restorations, over HTTP. docs/retention.md.

This module must never show to callers without a login who pushed or deleted something.
"""

from datetime import UTC, datetime

from chalicelib.access.decision import ANONYMOUS
from chalicelib.api.headers import next_link
from chalicelib.api.lists import page_of, to_json
from chalicelib.api.messages import Request, Response
from chalicelib.errors import RequestInvalidError
from chalicelib.reference import Reference, parse_digest, parse_tag
from chalicelib.registry.model import Manifest, ManifestState, TagChange
from chalicelib.registry.registry import Registry
from chalicelib.registry.undo import Restoration

_LONGEST_PLACE = 256


def history(registry: Registry, request: Request, name: str) -> Response:
    """GET: a page of what tags named before and of what was deleted; of one `tag` or `digest`."""
    limit, last = page_of(request, _LONGEST_PLACE)
    reference = _reference(request)
    page = registry.undo.history(name, reference, last, limit)
    hidden = request.principal == ANONYMOUS.id
    rows = [_row(row, page.manifests.get(row.was), hidden=hidden) for row in page.items]
    headers = {}
    if page.rest_after is not None:
        path = f"/v2/{name}/_moorage/history"
        tag, digest = request.parameter("tag"), request.parameter("digest")
        headers = next_link(path, n=limit, tag=tag, digest=digest, last=page.rest_after)
    return to_json({"name": name, "history": rows}, headers)


def restore(registry: Registry, request: Request, name: str) -> Response:
    """POST: bring back a `digest` with the tags that went with it, or under one `tag` alone."""
    tag, digest = request.parameter("tag"), request.parameter("digest")
    if not digest:
        raise RequestInvalidError("say which manifest to restore: ?digest=DIGEST")
    restored = registry.undo.restore(
        Restoration(
            repository=name,
            digest=parse_digest(digest),
            principal=request.principal,
            tag=parse_tag(tag) if tag else None,
            force=request.flag("force"),
        )
    )
    answer = {
        "name": name,
        "digest": str(restored.digest),
        "tags": list(restored.tags),
        "moved_on": {tag: str(digest) for tag, digest in restored.moved_on.items()},
    }
    headers = {
        "Location": f"/v2/{name}/manifests/{restored.digest}",
        "Docker-Content-Digest": str(restored.digest),
    }
    return to_json(answer, headers)


def _reference(request: Request) -> Reference | None:
    tag, digest = request.parameter("tag"), request.parameter("digest")
    if tag and digest:
        raise RequestInvalidError("?tag= and ?digest= don't go together")
    return parse_digest(digest) if digest else parse_tag(tag) if tag else None


def _row(row: TagChange, manifest: Manifest | None, *, hidden: bool) -> dict[str, object]:
    """Return a change as the list shows it, with what became of the manifest that it names."""
    trashed = manifest is not None and manifest.state is ManifestState.TRASHED
    return {
        "tag": row.tag,
        "digest": str(row.was),
        "to": None if row.now is None else str(row.now),
        "since": _written(row.since),
        "at": _written(row.at),
        "by": None if hidden else row.by,
        "state": "gone" if manifest is None else "trash" if trashed else "live",
        "until": _written(manifest.sweep_at) if manifest is not None and trashed else None,
    }


def _written(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
