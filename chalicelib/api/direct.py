"""Direct uploads over HTTP, and what tells clients that there are any. docs/direct-uploads.md.

This module must never read or write a blob's bytes: they pass between client and S3.
Source: OCI distribution spec, extensions/_oci.md ("discover").
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from chalicelib.api.headers import blob_location, direct_location
from chalicelib.api.messages import Request, Response
from chalicelib.digest import Algorithm, UnsupportedAlgorithmError, parse_algorithm
from chalicelib.errors import DigestInvalidError, RequestInvalidError, quoted
from chalicelib.limits import PART_COUNT
from chalicelib.reference import parse_digest
from chalicelib.registry.outcomes import PresignedPut
from chalicelib.registry.registry import Registry
from chalicelib.registry.session import Owner, UploadState
from chalicelib.registry.upload.direct import DirectStatus
from chalicelib.registry.upload.direct_parts import URL_BATCH, WantedPart
from chalicelib.registry.upload.segments import PART_MAXIMUM
from chalicelib.strict_json import JsonInvalidError, is_whole, read_object

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
            "endpoints": [
                "{name}/_moorage/uploads/",
                "{name}/_moorage/uploads/{session}",
                "{name}/_moorage/uploads/{session}/parts",
            ],
        },
    ]
}


def discover(request: Request) -> Response:
    """GET: the extensions that this registry has."""
    del request
    return _json(200, _EXTENSIONS, {})


def start(registry: Registry, request: Request, name: str) -> Response:
    """POST: open a session for a digest and size, with the URL for the bytes; or for parts."""
    parts = request.parameter("parts")
    if parts is not None:
        if parts != "true":
            raise RequestInvalidError(f"?parts={quoted(parts)}: parts are asked for by parts=true")
        opened = registry.direct.start_parts(name, request.principal, _algorithm(request))
        return _described(201, registry, opened)
    digest = parse_digest(request.parameter("digest") or "")
    size = request.parameter("size") or ""
    if not _SIZE.fullmatch(size):
        raise RequestInvalidError(f"?size={quoted(size)} is no number of bytes")
    return _described(
        201, registry, registry.direct.start(name, request.principal, digest, int(size))
    )


def _algorithm(request: Request) -> Algorithm:
    try:
        return parse_algorithm(request.parameter("algorithm") or Algorithm.SHA256)
    except UnsupportedAlgorithmError as error:
        raise DigestInvalidError(str(error)) from None


def part_urls(registry: Registry, request: Request, name: str, session: str) -> Response:
    """POST: URLs for some parts."""
    wanted = _wanted(request.body)
    puts = registry.direct.part_urls(_owner(request, name), session, wanted)
    parts = [
        {"number": part.number, **_put(registry, put)}
        for part, put in zip(wanted, puts, strict=True)
    ]
    return _json(200, {"parts": parts}, _session_headers(name, session))


def _wanted(body: bytes) -> list[WantedPart]:
    """Read `{"parts": [{"number": 1, "size": 5242880}, ...]}`."""
    try:
        document = read_object(body)
    except JsonInvalidError as error:
        raise RequestInvalidError(f"the body can't be read: {error}") from None
    parts = document.get("parts")
    if document.keys() != {"parts"} or not isinstance(parts, list):
        raise RequestInvalidError('the body is {"parts": [...]}, and nothing else')
    return [_wanted_part(part) for part in parts[: URL_BATCH + 1]]


def _wanted_part(part: Any) -> WantedPart:  # noqa: ANN401 - whatever a client sends
    if (
        not isinstance(part, dict)
        or part.keys() != {"number", "size"}
        or not all(map(is_whole, part.values()))
    ):
        raise RequestInvalidError("a part has a number and a size, and nothing else")
    return WantedPart(part["number"], part["size"])


def status(registry: Registry, request: Request, name: str, session: str) -> Response:
    """GET: how far an upload is, and what it still needs: a fresh URL, or the parts S3 lacks."""
    return _described(200, registry, registry.direct.status(_owner(request, name), session))


def commit(registry: Registry, request: Request, name: str, session: str) -> Response:
    """PUT: publish the bytes that were put."""
    named = request.parameter("digest")
    digest = None if named is None else parse_digest(named)
    owner = _owner(request, name)
    committed = registry.direct.commit(owner, session, digest, request.body, request.deadline)
    return Response(201, blob_location(name, committed.claimed_digest))


def cancel(registry: Registry, request: Request, name: str, session: str) -> Response:
    """DELETE: give the upload up."""
    registry.direct.cancel(_owner(request, name), session)
    return Response(204)


def _described(status: int, registry: Registry, found: DirectStatus) -> Response:
    session = found.session
    underway = session.state not in {UploadState.DIRECT, UploadState.COMMITTED}
    document: dict[str, object] = {
        "session": session.id,
        "state": "committing" if underway else session.state,
        "digest": None if session.claim is None else str(session.claim),
    }
    if session.by_parts:
        document["algorithm"] = session.algorithm
    else:
        document["size"] = session.direct_size
    if found.put is not None:
        document["put"] = _put(registry, found.put)
    if found.stored is not None:
        document["parts"] = {
            "minimum": registry.direct.part_minimum,
            "maximum": PART_MAXIMUM,
            "count": PART_COUNT,
            "multiple": session.algorithm.block_size,
            "batch": URL_BATCH,
            "stored": [{"number": part.number, "size": part.size} for part in found.stored],
        }
    return _json(status, document, _session_headers(session.repository, session.id))


def _put(registry: Registry, put: PresignedPut) -> dict[str, object]:
    return {
        "url": put.url,
        "headers": dict(put.headers),
        "expires_in": registry.direct.url_seconds,
    }


def _session_headers(name: str, session: str) -> dict[str, str]:
    # A URL is a key, and ends soon.
    return {**direct_location(name, session), "Cache-Control": "no-store"}


def _json(status: int, document: object, headers: Mapping[str, str]) -> Response:
    written = json.dumps(document).encode()
    return Response(status, {"Content-Type": "application/json", **headers}, written)


def _owner(request: Request, name: str) -> Owner:
    return Owner(name, request.principal)
