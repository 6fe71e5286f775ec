"""Manifests over HTTP.

This module must never change a byte of one, nor let a client rely on a length that may be 0, where
it can be helped: a client that learns a digest from a HEAD believes the length beside it.
Source: OCI distribution spec, "Pulling manifests", "Pushing manifests" (end-3, 7a, 7b, 9).
"""

from chalicelib.api.messages import Request, Response
from chalicelib.descriptor import MediaType
from chalicelib.digest import Digest
from chalicelib.errors import ManifestUnknownError, SizeTooLargeError, TagInvalidError
from chalicelib.reference import parse_reference, parse_tag
from chalicelib.registry.manifests.reading import StoredBody
from chalicelib.registry.registry import Registry
from chalicelib.settings import ApiOptions, HeadStrategy

_DIGEST = "Docker-Content-Digest"
# crane, ko, kaniko, cosign: a push over a tag fails where the digest is missing. cosign 3 believes
# the length beside it, and writes it into what it attaches: the subject's size.
_NEEDS_DIGEST = "go-containerregistry"
# What containerd's resolver accepts (buildkit's and docker's too); its pusher names one type only.
_RESOLVER = frozenset({MediaType.OCI_MANIFEST, MediaType.OCI_INDEX, "*/*"})

_SCANNERS = frozenset(
    {"trivy", "clair", "grype", "syft", "stereoscope", "snyk", "docker-scout"}
    | {"harbor-registry-client", "harbor-replication", "regsync", "dregsy"}
)
"""Of the User-Agent of programs that scan or replicate images."""


def get(registry: Registry, request: Request, name: str, reference: str) -> Response:
    """GET: the manifest as it was pushed; 404 for a reference that can't be a tag."""
    return _found(registry, name, reference, is_use=not _only_looks(request))


def head(
    registry: Registry, options: ApiOptions, request: Request, name: str, reference: str
) -> Response:
    """HEAD: as GET, and the gateway drops the body; without a length where the gateway says 0."""
    response = _found(registry, name, reference, is_use=False)
    if options.head_strategy is HeadStrategy.BODY:
        return response
    by_digest = isinstance(parse_reference(reference), Digest)
    return _without_length(response, request, by_digest=by_digest)


def put(
    registry: Registry, options: ApiOptions, request: Request, name: str, reference: str
) -> Response:
    """PUT: store a manifest and move its tags."""
    from chalicelib.registry.manifests.pushing import ManifestPush  # noqa: PLC0415 - no pull needs it

    if len(request.body) > options.manifest_limit:
        raise SizeTooLargeError(f"a manifest can have {options.manifest_limit} bytes at most")
    tags = [parse_tag(tag).name for tag in request.query.get("tag", ())]
    stored = registry.pushes.put(
        ManifestPush(
            repository=name,
            reference=parse_reference(reference),
            media_type=request.headers.get("content-type", ""),
            body=request.body,
            tags=tags,
            principal=request.principal,
            may_pull=request.caller.may_pull(name),
        )
    )
    headers: dict[str, str | list[str]] = {
        "Location": f"/v2/{name}/manifests/{stored.digest}",
        _DIGEST: str(stored.digest),
    }
    if stored.subject is not None:
        headers["OCI-Subject"] = str(stored.subject)
    if tags:
        headers["OCI-Tag"] = list(dict.fromkeys(tags))
    return Response(201, headers)


def delete(registry: Registry, request: Request, name: str, reference: str) -> Response:
    """DELETE: a tag, or a manifest with its tags; one that is in use by `force` alone."""
    registry.removals.delete(
        name, parse_reference(reference), request.principal, force=request.flag("force")
    )
    return Response(202)


def _found(registry: Registry, name: str, reference: str, *, is_use: bool) -> Response:
    try:
        named = parse_reference(reference)
    except TagInvalidError as error:
        raise ManifestUnknownError(error.message) from None
    stored = registry.manifests.get(name, named, is_use=is_use)
    return Response(200, _headers(stored), stored.body)


def _only_looks(request: Request) -> bool:
    """Whether a program scans or replicates images, and says so: it would keep them all in use."""
    agent = request.headers.get("user-agent", "").lower()
    return any(name in agent for name in _SCANNERS)


def _without_length(response: Response, request: Request, *, by_digest: bool) -> Response:
    """Change the answer that a GET would have so that no client relies on its length.

    - Without a digest clients GET the manifest instead, or fail and say why.
    - containerd's resolver knows the digest it asks by and would believe 0: a 204 has no length
      (RFC 9110, 8.6), and it then counts what a GET brings.
    """
    if _NEEDS_DIGEST in request.headers.get("user-agent", ""):
        return response
    if by_digest and _accepted(request) >= _RESOLVER:
        return Response(204, response.headers)
    headers = {name: value for name, value in response.headers.items() if name != _DIGEST}
    return Response(response.status, headers, response.body)


def _accepted(request: Request) -> set[str]:
    types = request.headers.get("accept", "").split(",")
    return {part.partition(";")[0].strip() for part in types}


def _headers(stored: StoredBody) -> dict[str, str]:
    return {
        "Content-Type": stored.media_type,
        _DIGEST: str(stored.digest),
        "ETag": f'"{stored.digest}"',
    }
