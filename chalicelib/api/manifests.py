"""Manifests over HTTP. This module must never change a byte of one.

Source: OCI distribution spec, "Pulling manifests", "Pushing manifests" (end-3, 7a, 7b, 9).
"""

from chalicelib.api.heads import without_length
from chalicelib.api.messages import Request, Response
from chalicelib.api.options import ApiOptions, HeadStrategy
from chalicelib.digest import Digest
from chalicelib.errors import ManifestUnknownError, SizeTooLargeError, TagInvalidError
from chalicelib.reference import parse_reference, parse_tag
from chalicelib.registry.manifests import ManifestPush, StoredBody
from chalicelib.registry.registry import Registry


def get(registry: Registry, request: Request, name: str, reference: str) -> Response:
    """GET: the manifest as it was pushed. A text that can be no tag names none: 404."""
    del request
    try:
        named = parse_reference(reference)
    except TagInvalidError as error:
        raise ManifestUnknownError(error.message) from None
    stored = registry.manifests.get(name, named)
    return Response(200, _headers(stored), stored.body)


def head(
    registry: Registry, options: ApiOptions, request: Request, name: str, reference: str
) -> Response:
    """HEAD: as GET, and the gateway drops the body, unless its length can't be relied on."""
    response = get(registry, request, name, reference)
    if options.head_strategy is HeadStrategy.BODY:
        return response
    by_digest = isinstance(parse_reference(reference), Digest)
    return without_length(response, request, by_digest=by_digest)


def put(
    registry: Registry, options: ApiOptions, request: Request, name: str, reference: str
) -> Response:
    """PUT: store a manifest and move its tags."""
    if len(request.body) > options.manifest_limit:
        raise SizeTooLargeError(f"a manifest can have {options.manifest_limit} bytes at most")
    tags = [parse_tag(tag).name for tag in request.query.get("tag", ())]
    stored = registry.manifests.put(
        ManifestPush(
            repository=name,
            reference=parse_reference(reference),
            media_type=request.headers.get("content-type", ""),
            body=request.body,
            tags=tags,
            principal=request.principal,
            deadline=request.deadline,
        )
    )
    headers: dict[str, str | list[str]] = {
        "Location": f"/v2/{name}/manifests/{stored.digest}",
        "Docker-Content-Digest": str(stored.digest),
    }
    if stored.subject is not None:
        headers["OCI-Subject"] = str(stored.subject)
    if tags:
        headers["OCI-Tag"] = list(dict.fromkeys(tags))
    return Response(201, headers)


def delete(registry: Registry, request: Request, name: str, reference: str) -> Response:
    """DELETE: a tag, or a manifest with its tags."""
    del request
    registry.manifests.delete(name, parse_reference(reference))
    return Response(202)


def _headers(stored: StoredBody) -> dict[str, str]:
    return {
        "Content-Type": stored.media_type,
        "Docker-Content-Digest": str(stored.digest),
        "ETag": f'"{stored.digest}"',
    }
