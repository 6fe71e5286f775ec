"""Blobs over HTTP. This module must never answer a length that is not the blob's.

Source: OCI distribution spec, "Pulling blobs" (end-2, 10); RFC 9110, "Range Requests".
"""

from chalicelib.api.headers import VIEWER, parse_range
from chalicelib.api.messages import Request, Response
from chalicelib.content_range import content_range
from chalicelib.reference import parse_digest
from chalicelib.registry.model import Link
from chalicelib.registry.registry import Registry
from chalicelib.settings import ApiOptions, HeadStrategy, is_within

_SIZE = "Moorage-Blob-Size"
"""What the push proxy answers a HEAD from, and cuts a large blob's GET by."""
_ONE_YEAR = "max-age=31536000, immutable"


def get(
    registry: Registry, options: ApiOptions, request: Request, digest: str, name: str
) -> Response:
    """GET: the bytes, or above the inline limit a URL of them."""
    link = registry.blobs.find(name, parse_digest(digest))
    if link.size > options.inline_limit:
        return _redirect(registry, options, request, link)
    headers = _headers(link)
    # A resumed pull may be of something else than what it began with: then it gets the whole.
    resumes = request.headers.get("if-range", headers["ETag"]).strip() == headers["ETag"]
    span = parse_range(request.headers.get("range"), link.size) if resumes else None
    body = registry.blobs.read(link, span)
    if span is None:
        return Response(200, headers, body)
    return Response(206, {**headers, "Content-Range": content_range(span, link.size)}, body)


def head(
    registry: Registry, options: ApiOptions, request: Request, digest: str, name: str
) -> Response:
    """HEAD: the length, carried by as many zero bytes, which the gateway counts and drops.

    `Cache-Control: no-cache` asks for a look at S3 itself (RFC 9111, 5.2.1.4).
    """
    look = "no-cache" in request.headers.get("cache-control", "").lower()
    link = registry.blobs.stat(name, parse_digest(digest), look=look)
    if link.size > options.inline_limit or options.head_strategy is HeadStrategy.REDIRECT:
        return _redirect(registry, options, request, link)
    return Response(200, _headers(link), bytes(link.size))


def delete(registry: Registry, request: Request, digest: str, name: str) -> Response:
    """DELETE: take the blob out of this repository."""
    del request
    registry.blobs.delete(name, parse_digest(digest))
    return Response(202)


def _redirect(registry: Registry, options: ApiOptions, request: Request, link: Link) -> Response:
    url = _edge_path(registry, options, request, link)
    headers = {
        "Location": url or registry.blobs.url(link, request.method),
        "Docker-Content-Digest": str(link.digest),
        "Content-Type": "application/octet-stream",
        "Cache-Control": "no-store",  # the URL ends long before the blob does
        _SIZE: str(link.size),
    }
    return Response(307, headers)


def _edge_path(registry: Registry, options: ApiOptions, request: Request, link: Link) -> str | None:
    """Return where the edge serves a blob; None for a client that is to have S3's own URL.

    So is a page of another site: S3 answers it as CORS has it, and the edge does not.
    """
    if options.cors_origins and "origin" in request.headers:
        return None
    said = request.headers.get(VIEWER)
    viewer = registry.blobs.viewer(said) if said else None
    if viewer is None or is_within(viewer, options.direct_from):
        return None
    return registry.blobs.edge_path(link)


def _headers(link: Link) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": str(link.digest),
        "Accept-Ranges": "bytes",
        "ETag": f'"{link.digest}"',
        "Cache-Control": _ONE_YEAR,
    }
