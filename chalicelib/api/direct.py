"""Direct uploads over HTTP, and what tells clients that there are any. docs/direct-uploads.md.

This module must never read or write a blob's bytes: they pass between client and S3.
Source: OCI distribution spec, extensions/_oci.md ("discover").
"""

import json
import re

from chalicelib.api.headers import blob_location
from chalicelib.api.messages import Request, Response
from chalicelib.errors import RequestInvalidError, quoted
from chalicelib.reference import parse_digest
from chalicelib.registry.registry import Registry
from chalicelib.registry.session import Owner
from chalicelib.registry.upload.direct import DirectStatus

# More digits are more bytes than anything can have; int() itself refuses 4,301 and more.
_SIZE = re.compile(r"\d{1,19}", re.ASCII)
_EXTENSIONS = {
    "extensions": [
        {
            "name": "_oci",
            "url": "https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md",
            "description": "which extensions there are",
            "endpoints": ["_oci/ext/discover"],
        },
        {
            "name": "_moorage",
            "url": "docs/direct-uploads.md",  # in the source of Moorage, which has no one home
            "description": "direct uploads: blobs that the client puts to S3 itself",
            "endpoints": ["{name}/_moorage/uploads/", "{name}/_moorage/uploads/{session}"],
        },
    ]
}


def discover(request: Request) -> Response:
    """GET: the extensions that this registry has."""
    del request
    return _json(200, _EXTENSIONS, {})


def start(registry: Registry, request: Request, name: str) -> Response:
    """POST: open a session for a digest and size; the answer has the URL for the bytes."""
    digest = parse_digest(request.parameter("digest") or "")
    size = request.parameter("size") or ""
    if not _SIZE.fullmatch(size):
        raise RequestInvalidError(f"?size={quoted(size)} is no number of bytes")
    return _described(
        201, registry, registry.direct.start(name, request.principal, digest, int(size))
    )


def status(registry: Registry, request: Request, name: str, session: str) -> Response:
    """GET: whether the session is committed; if not, a fresh URL."""
    return _described(200, registry, registry.direct.status(_owner(request, name), session))


def commit(registry: Registry, request: Request, name: str, session: str) -> Response:
    """PUT: publish the bytes that were put."""
    committed = registry.direct.commit(_owner(request, name), session)
    return Response(201, blob_location(name, committed.claimed_digest))


def cancel(registry: Registry, request: Request, name: str, session: str) -> Response:
    """DELETE: give the upload up."""
    registry.direct.cancel(_owner(request, name), session)
    return Response(204)


def _described(status: int, registry: Registry, found: DirectStatus) -> Response:
    session, put = found
    document: dict[str, object] = {
        "session": session.id,
        "digest": str(session.claim),
        "size": session.direct_size,
        "state": session.state,
    }
    if put is not None:
        document["put"] = {
            "url": put.url,
            "headers": dict(put.headers),
            "expires_in": registry.direct.url_seconds,
        }
    headers: dict[str, str | list[str]] = {
        "Location": f"/v2/{session.repository}/_moorage/uploads/{session.id}",
        "Docker-Upload-UUID": session.id,
        "Cache-Control": "no-store",  # the URL is a key, and ends soon
    }
    return _json(status, document, headers)


def _json(status: int, document: object, headers: dict[str, str | list[str]]) -> Response:
    written = json.dumps(document).encode()
    return Response(status, {"Content-Type": "application/json", **headers}, written)


def _owner(request: Request, name: str) -> Owner:
    return Owner(name, request.principal)
