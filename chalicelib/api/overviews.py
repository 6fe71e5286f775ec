"""Overviews over HTTP: what the page shows. docs/openapi.yaml has every field.

This module must never answer more than one page, nor guess a fact: one that nobody noted is null.
It must never show to callers without a login who pushed an image or where it runs. It must never
show anything of other repositories, not even how many share a blob, to callers who may not see them
all.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from chalicelib.access.decision import ANONYMOUS
from chalicelib.api.headers import next_link
from chalicelib.api.lists import page_of, to_json, visible_repositories
from chalicelib.api.messages import Request, Response
from chalicelib.descriptor import Descriptor
from chalicelib.digest import Digest
from chalicelib.errors import RequestInvalidError
from chalicelib.prices import stored_for_a_month
from chalicelib.reference import MAX_TAG_LENGTH, parse_digest
from chalicelib.registry.deletions import MOST_CHOSEN, ChosenImage
from chalicelib.registry.model import CatalogRow, Manifest, Referrer
from chalicelib.registry.overviews import ROWS, Image, Layer, NamedManifest, Runs, TaggedImage
from chalicelib.registry.registry import Registry
from chalicelib.rules.document import KeepingRule

_LONGEST_PREFIX = 255
_OF_LOGINS = frozenset({"pushed_by", "tagged_by", "runs"})
"""What is null for who has no login: who pushed something, and where it runs."""
_WRITTEN = frozenset({"annotations", "config"})
"""An object that the pusher wrote, with members of any name."""
_OF_CONFIG = ("os", "architecture", "variant", "created", "author")
_OF_RUNNING = {
    "user": "User",
    "env": "Env",
    "entrypoint": "Entrypoint",
    "cmd": "Cmd",
    "working_dir": "WorkingDir",
    "exposed_ports": "ExposedPorts",
    "labels": "Labels",
}
"""Members of an answer, and those of an image's `config` that they show (OCI image spec)."""


def repositories(registry: Registry, request: Request) -> Response:
    """GET: a page of the repositories that the caller may see, those that begin with `prefix`."""
    prefix = (request.parameter("prefix") or "")[: _LONGEST_PREFIX + 1]
    filters = {"prefix": prefix} if prefix else {}
    rows, headers = visible_repositories(registry, request, "/v2/_moorage/repositories", filters)
    return to_json({"repositories": [_repository(request, row) for row in rows]}, headers)


def usage(registry: Registry, request: Request, name: str) -> Response:
    """GET: the same of one repository."""
    return to_json(_repository(request, registry.catalog.of(name)), {})


def tags(registry: Registry, request: Request, name: str) -> Response:
    """GET: a page of tags, each with the image that it names."""
    limit, last = page_of(request, MAX_TAG_LENGTH)
    prefix = (request.parameter("prefix") or "")[: MAX_TAG_LENGTH + 1]
    page = registry.overviews.tags(name, last, _rows(limit), prefix)
    headers = {}
    if page.more and page.items:
        path, last = f"/v2/{name}/_moorage/tags", page.items[-1].tag
        headers = next_link(path, prefix=prefix or None, n=limit, last=last)
    rows = _shown(request, [_tag(item) for item in page.items])
    may_delete = request.caller.may_delete(name)
    return to_json({"name": name, "may_delete": may_delete, "tags": rows}, headers)


def images(registry: Registry, request: Request, name: str) -> Response:
    """GET: a page of all manifests of a repository, tagged or not, by digest."""
    limit, _ = page_of(request, 0)
    last = request.parameter("last")
    page = registry.overviews.images(name, parse_digest(last) if last else None, _rows(limit))
    headers = {}
    if page.rest_after is not None:
        headers = next_link(f"/v2/{name}/_moorage/images", n=limit, last=str(page.rest_after))
    rows = _shown(request, [_manifest(item) for item in page.items])
    return to_json({"name": name, "images": rows}, headers)


def image(registry: Registry, request: Request, name: str, digest: str) -> Response:
    """GET: all about one manifest."""
    found = _shown(request, _image(request, registry.overviews.image(name, parse_digest(digest))))
    return to_json({**found, "may_delete": request.caller.may_delete(name)}, {})


def deletion(registry: Registry, request: Request, name: str) -> Response:
    """GET: what a deletion of some manifests would do, each given by a `digest`."""
    chosen = request.query.get("digest", ())
    if not 0 < len(chosen) <= MOST_CHOSEN:
        raise RequestInvalidError(f"say which manifests: ?digest=DIGEST, up to {MOST_CHOSEN}")
    digests = [parse_digest(digest) for digest in chosen]
    with_alone = request.parameter("alone") == "1"
    found = registry.deletions.preview(name, digests, with_alone=with_alone)
    answer = {
        "name": name,
        "images": [_chosen(image) for image in found.images],
        "alone": None if found.alone is None else list(map(str, found.alone)),
        "unused_bytes": found.unused,
        "freed_bytes": found.freed if request.caller.sees_all else None,
        "until": _time(found.until),
    }
    return to_json(answer, {})


def _shown(request: Request, value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return an answer without what is for logins alone, for somebody who has none."""
    if request.principal != ANONYMOUS.id:
        return value
    if isinstance(value, list):
        return [_shown(request, each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: None if name in _OF_LOGINS else each if name in _WRITTEN else _shown(request, each)
        for name, each in value.items()
    }


def _repository(request: Request, row: CatalogRow) -> dict[str, Any]:
    """Return a repository's facts; what it shares with others only if the caller may see that.

    The price is of its part, or of all that it links to where the parts may not be seen.
    """
    facts = row.facts
    if facts is None:
        return {"name": row.name, "facts": None}
    sees_all = request.caller.sees_all
    own = facts.own_bytes if sees_all else None
    billed = facts.billed_bytes if sees_all else facts.linked_bytes
    shown = {
        "as_of": _time(facts.noted_at),
        "tags": facts.tags,
        "images": facts.images,
        "trashed": facts.trashed,
        "linked_bytes": facts.linked_bytes,
        "shared_bytes": None if own is None else facts.linked_bytes - own,
        "unused_bytes": facts.unused_bytes,
        "usd_month": None if billed is None else round(stored_for_a_month(billed), 4),
        "pushed_at": _time(facts.pushed_at),
        "pulled_at": _time(facts.pulled_at),
    }
    return {"name": row.name, "facts": shown}


def _rows(limit: int | None) -> int:
    return ROWS if limit is None else max(1, min(limit, ROWS))


def _tag(item: TaggedImage) -> dict[str, Any]:
    row = item.row
    return {
        "tag": item.tag,
        "digest": str(row.digest),
        "tagged_at": _time(row.tagged_at),
        "tagged_by": row.tagged_by,
        "previous": _text(row.previous),
        "image": None if item.manifest is None else _manifest(item.manifest),
        "runs": [_run(each) for each in item.runs],
        "kept_by": _kept_by(item.kept_by),
    }


def _kept_by(rules: Sequence[KeepingRule] | None) -> list[dict[str, Any]] | None:
    if rules is None:
        return None
    return [{"rule": rule.name, "kind": rule.kind, "last": rule.last} for rule in rules]


def _run(runs: Runs) -> dict[str, Any]:
    return {
        "source": runs.source,
        "from": runs.origin,
        "what": runs.what,
        "until": _time(runs.until),
    }


def _manifest(manifest: Manifest) -> dict[str, Any]:
    return {
        "digest": str(manifest.digest),
        "media_type": manifest.media_type,
        "artifact_type": manifest.artifact_type,
        "size": manifest.size,
        "total_bytes": manifest.total_bytes,
        "platforms": None if manifest.platforms is None else list(manifest.platforms),
        "subject": _text(manifest.subject),
        "pushed_at": _time(manifest.pushed_at),
        "pushed_by": manifest.pushed_by,
        "pulled_at": _time(manifest.pulled_at),
    }


def _chosen(image: ChosenImage) -> dict[str, Any]:
    return {
        "digest": str(image.manifest.digest),
        "tags": list(image.tags),
        "runs": [_run(each) for each in image.runs],
        "referrers": image.referrers,
        "named_by": None if image.named_by is None else list(map(str, image.named_by)),
    }


def _image(request: Request, found: Image) -> dict[str, Any]:
    return {
        **_manifest(found.manifest),
        "runs": [_run(each) for each in found.runs],
        "kept_by": _kept_by(found.kept_by),
        "annotations": dict(found.annotations),
        "tags": list(found.tags),
        "referrers": [_referrer(item) for item in found.referrers],
        "more_referrers": found.more_referrers,
        "manifests": [_child(item) for item in found.children],
        "config": None if found.config is None else _config(found.config),
        "layers": [_layer(item, counted=request.caller.sees_all) for item in found.layers],
    }


def _descriptor(item: Descriptor) -> dict[str, Any]:
    return {"digest": str(item.digest), "media_type": item.media_type, "size": item.size}


def _child(item: NamedManifest) -> dict[str, Any]:
    stored = None if item.manifest is None else _manifest(item.manifest)
    return {
        **_descriptor(item.descriptor),
        "platform": item.descriptor.platform,
        "attests": _text(item.descriptor.attests),
        "image": stored,
    }


def _layer(item: Layer, *, counted: bool) -> dict[str, Any]:
    return {
        **_descriptor(item.descriptor),
        "command": item.command,
        "repositories": item.repositories if counted else None,
    }


def _referrer(item: Referrer) -> dict[str, Any]:
    return {
        "digest": str(item.digest),
        "media_type": item.media_type,
        "artifact_type": item.artifact_type,
        "size": item.size,
        "annotations": dict(item.annotations),
    }


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    running = config.get("config")
    of_running = running if isinstance(running, dict) else {}
    return {
        **{name: config.get(name) for name in _OF_CONFIG},
        **{name: of_running.get(member) for name, member in _OF_RUNNING.items()},
    }


def _text(digest: Digest | None) -> str | None:
    return None if digest is None else str(digest)


def _time(at: float | None) -> str | None:
    """Write a time as RFC 3339 has it, in UTC, to the second."""
    if at is None:
        return None
    return datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")
