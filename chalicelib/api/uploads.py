"""Upload sessions over HTTP. This module must never decide what a chunk may do: the registry does.

Source: OCI distribution spec, "Pushing blobs" (end-4a, 4b, 4c, 5, 6, 11, 13, 14).
"""

from chalicelib.api.headers import blob_location, parse_offset, session_headers
from chalicelib.api.messages import Request, Response
from chalicelib.content_range import parse_content_range
from chalicelib.digest import Algorithm, Digest, UnsupportedAlgorithmError, parse_algorithm
from chalicelib.errors import (
    CommitRunningError,
    DigestInvalidError,
    NameInvalidError,
    UploadInvalidError,
    quoted,
)
from chalicelib.reference import parse_digest, parse_name
from chalicelib.registry.registry import Registry
from chalicelib.registry.session import Owner

_MOST_HOPS = 8
"""Redirects of a commit to itself. Go's client follows nine, of which the edge's own is one."""


def start(registry: Registry, request: Request, name: str) -> Response:
    """POST: mount, take a whole blob, or open a session."""
    mount, whole = request.parameter("mount"), request.parameter("digest")
    if mount is not None:
        mounted = _mount(registry, request, name, mount)
        if mounted is not None:
            return Response(201, blob_location(name, mounted))
    elif whole is not None:
        digest = parse_digest(whole)
        if request.body or digest == Digest.of(b"", digest.algorithm):
            registry.uploads.put_whole(name, request.principal, digest, request.body)
            return Response(201, blob_location(name, digest))
    algorithm = _algorithm(request) or _algorithm_of(mount or whole)
    session = registry.uploads.start(name, request.principal, algorithm)
    return Response(202, session_headers(session))


def _mount(registry: Registry, request: Request, name: str, mount: str) -> Digest | None:
    """Mount a blob; None where it can't be done, whatever the reason: the client uploads it."""
    source = request.parameter("from")
    try:
        digest, origin = parse_digest(mount), parse_name(source) if source else None
    except (DigestInvalidError, NameInvalidError):
        return None
    # Who may not see the source gets the same answer as where it lacks the blob.
    seen = origin is None or request.caller.may_pull(origin)
    if not seen or registry.blobs.mount(name, origin, digest) is None:
        return None
    return digest


def _algorithm_of(digest: str | None) -> Algorithm:
    """Return the algorithm of a digest whose bytes are still to come; the default for none."""
    named = (digest or "").partition(":")[0]
    return next((known for known in Algorithm if known.value == named), Algorithm.SHA256)


def _algorithm(request: Request) -> Algorithm | None:
    """Return the algorithm that the client has named for its upload."""
    named = request.parameter("digest-algorithm")
    if named is None:
        return None
    try:
        return parse_algorithm(named)
    except UnsupportedAlgorithmError as error:
        raise DigestInvalidError(str(error)) from None


def append(registry: Registry, request: Request, name: str, session: str) -> Response:
    """PATCH: a chunk."""
    algorithm, owner = _algorithm(request), _owner(request, name)
    at = _begin(registry, request, name, session)
    appended = registry.uploads.append(
        owner, session, request.body, at or 0, request.deadline, algorithm
    )
    return Response(202, session_headers(appended))


def commit(registry: Registry, request: Request, name: str, session: str) -> Response:
    """PUT: the end of an upload, perhaps with its last chunk."""
    named = request.parameter("digest")
    if named is None:
        raise DigestInvalidError("the closing PUT needs ?digest=")
    digest = parse_digest(named)
    at = _begin(registry, request, name, session)
    owner = _owner(request, name)
    registry.uploads.commit(owner, session, digest, request.body, at, request.deadline)
    return Response(201, blob_location(name, digest))


def status(registry: Registry, request: Request, name: str, session: str) -> Response:
    """GET: the offset at which to continue; with `?commit`, publish what the edge has put."""
    if request.parameter("commit") is not None:
        return _commit_put(registry, request, name, session)
    found = registry.uploads.status(_owner(request, name), session)
    return Response(204, session_headers(found))


def _commit_put(registry: Registry, request: Request, name: str, session: str) -> Response:
    """Answer the client that the edge has sent here, when S3 had taken its PUT.

    While the commit works, the answer is a redirect to itself: as many as clients follow.
    """
    digest = parse_digest(request.parameter("digest") or "")
    try:
        registry.direct.commit_put(_owner(request, name), session, digest, request.deadline)
    except CommitRunningError:
        hops = parse_offset(request.parameter("hop") or "0") or 0
        if hops >= _MOST_HOPS:
            raise
        at = f"/v2/{name}/blobs/uploads/{session}?commit&digest={digest}&hop={hops + 1}"
        return Response(307, {"Location": at, "Cache-Control": "no-store"})
    return Response(201, blob_location(name, digest))


def cancel(registry: Registry, request: Request, name: str, session: str) -> Response:
    """DELETE: give the upload up."""
    registry.uploads.cancel(_owner(request, name), session)
    return Response(204)


def _begin(registry: Registry, request: Request, name: str, session: str) -> int | None:
    """Find where a chunk begins: by its Content-Range, else by the offset in its Location.

    None if neither says. Raises UploadInvalidError, with nothing appended, for a range that is not
    the body's and for an offset that can't be read: a guess might append bytes twice.
    """
    header, at, size = (
        request.headers.get("content-range"),
        request.parameter("at"),
        len(request.body),
    )
    if header is not None:
        span = parse_content_range(header)
        if span is not None and span[1] - span[0] + 1 == size:
            return span[0]
        fault = f"Content-Range {quoted(header)} is not `first-last` of a body of {size} bytes"
    elif at is None:
        return None
    else:
        begin = parse_offset(at)
        if begin is not None:
            return begin
        fault = f"at={quoted(at)} is no offset: use the Location as it was given"
    found = registry.uploads.status(_owner(request, name), session)
    raise UploadInvalidError(f"{fault}: nothing was appended", offset=found.offset)


def _owner(request: Request, name: str) -> Owner:
    return Owner(name, request.principal)
