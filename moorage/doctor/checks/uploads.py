"""Checks of uploads: whole, in chunks, streamed, with a wrong digest, over a broken connection.

This module must never leave a session that the visit doesn't know of.
"""

import os
import time

from moorage.common.http import HttpResponse
from moorage.doctor.answers import (
    error_code,
    kept,
    require,
    require_bytes,
    require_kept,
    unexpected,
)
from moorage.doctor.findings import FailedError, Finding, ok
from moorage.doctor.visit import BYTES, Blob, Visit, digest_of, with_digest
from moorage.doctor.wire import BROKEN, quoted

_PIECES = (100_000, 1, 70_000)
_FIRST, _SECOND, _SENT = 70_000, 100_000, 50_000
_WAITS = 8
_WAIT_SECONDS = 1.0


def scratch(visit: Visit) -> Finding:
    """Check that the repository is unused: the doctor would replace and delete its tags."""
    for name in (visit.repository, visit.second):
        answer = visit.ask("GET", visit.v2("tags/list", name))
        if answer.status != 404:  # noqa: PLR2004 - nothing is there
            tags = require(answer, 200, "GET of tags").json().get("tags")
            if tags:
                raise FailedError(f"{name} is in use: it has tags, and nothing was pushed to it")
    return ok(f"nothing is in {visit.repository}")


def location(visit: Visit) -> Finding:
    """Check each Location of an upload."""
    blob = Blob(os.urandom(64))
    opened = require(
        visit.ask("POST", visit.v2("blobs/uploads/"), BYTES, b""), 202, "POST to begin an upload"
    )
    target = visit.place(opened, "POST")
    visit.begun(target)
    appended = require(visit.ask("PATCH", target, BYTES, blob.data), 202, "PATCH")
    target = visit.place(appended, "PATCH")
    visit.place(visit.close(target, blob), "the closing PUT")
    absolute = "absolute" if "://" in opened.headers["Location"] else "relative"
    return ok(f"{absolute}, and on this host")


def upload(visit: Visit) -> Finding:
    """Push a blob as containerd and oras do."""
    visit.push(visit.sample)
    return ok(f"POST and PUT of {len(visit.sample.data)} bytes: 201, with the digest")


def chunks(visit: Visit) -> Finding:
    """Push a blob in chunks, and send one of them twice."""
    pieces = [os.urandom(size) for size in _PIECES]
    blob, target, size = Blob(b"".join(pieces)), visit.open(), 0
    for piece in pieces:
        answer = require(_chunk(visit, target, piece, size), 202, "PATCH with a Content-Range")
        size += len(piece)
        require_kept(answer, size, "PATCH")
        target = visit.place(answer, "PATCH")
    again = require(_chunk(visit, target, pieces[0], 0), 416, "a chunk that is sent twice")
    require_kept(again, size, "the 416")
    status = require(visit.ask("GET", target), 204, "GET of an upload's status")
    require_kept(status, size, "the status")
    visit.facts["content_length_of_204"] = status.headers.get("Content-Length", "none")
    _finish(visit, target, blob)
    return ok(f"{len(pieces)} chunks, each Range exact; a repeated one is 416")


def streamed(visit: Visit) -> Finding:
    """Push a blob as docker and podman do: by one PATCH of unknown length."""
    pieces = [os.urandom(1 + 9_000 * number) for number in range(8)]
    blob = Blob(b"".join(pieces))
    answer = visit.ask("PATCH", visit.open(), BYTES, pieces)
    require(answer, 202, "PATCH in chunked transfer coding, without Content-Length")
    require_kept(answer, len(blob.data), "PATCH in chunked transfer coding")
    _finish(visit, visit.place(answer, "PATCH"), blob)
    return ok(f"{len(blob.data)} bytes in {len(pieces)} pieces, without Content-Length")


def untyped(visit: Visit) -> Finding:
    """Push a blob by a PATCH and a closing PUT without Content-Type, as docker does."""
    blob = Blob(bytes(range(256)) + os.urandom(8_000))
    answer = require(visit.ask("PATCH", visit.open(), body=blob.data), 202, "PATCH")
    require_kept(answer, len(blob.data), "PATCH without Content-Type")
    target = with_digest(visit.place(answer, "PATCH"), blob.digest)
    visit.closed(target, visit.ask("PUT", target, body=b""), blob)
    _require_back(visit, blob)
    return ok(f"{len(blob.data)} bytes, without Content-Type")


def wrong_digest(visit: Visit) -> Finding:
    """Close an upload with a wrong digest, then with the right one."""
    blob = Blob(os.urandom(3_000))
    answer = require(visit.ask("PATCH", visit.open(), BYTES, blob.data), 202, "PATCH")
    target = visit.place(answer, "PATCH")
    wrong = digest_of(b"something else")
    refused = visit.ask("PUT", with_digest(target, wrong), BYTES, b"")
    if refused.status == 201:  # noqa: PLR2004 - accepted
        visit.remember(visit.repository, "blobs", wrong)
        raise FailedError(
            "a closing PUT with a wrong digest must be 400: status 201",
            "a registry that takes any digest must not be used: tell its maintainers",
        )
    require(refused, 400, "a closing PUT with a wrong digest")
    if error_code(refused) != "DIGEST_INVALID":
        raise FailedError(f"400 without the code DIGEST_INVALID: {quoted(refused)}")
    _finish(visit, target, blob)
    return ok("400 DIGEST_INVALID; the right digest may follow")


def resume(visit: Visit) -> Finding:
    """Break the connection in the middle of a chunk, and go on where the status says."""
    blob = Blob(os.urandom(_FIRST + _SECOND))
    first = _chunk(visit, visit.open(), blob.data[:_FIRST], 0)
    target = visit.place(require(first, 202, "PATCH"), "PATCH")
    span = {"Content-Range": f"{_FIRST}-{len(blob.data) - 1}"}
    headers = {**visit.authorization, **BYTES, **span}
    visit.wire.cut("PATCH", target, headers, blob.data[_FIRST:], _SENT)
    size, target = _settled(visit, target)
    if not _FIRST <= size <= _FIRST + _SENT:
        raise FailedError(
            f"{_FIRST} bytes were acknowledged and {_SENT} sent of the next chunk, but the status"
            f" says that {size} are kept"
        )
    answer = _chunk(visit, target, blob.data[size:], size)
    require(answer, 202, f"going on at {size}, which the status said")
    _finish(visit, visit.place(answer, "PATCH"), blob)
    visit.facts["bytes_kept_of_cut_chunk"] = size - _FIRST
    return ok(f"{size - _FIRST} of {_SENT} bytes of the cut chunk are kept; going on works")


def _settled(visit: Visit, target: str) -> tuple[int, str]:
    """Return how many bytes are kept and the target to go on at, once no request is appending."""
    for _ in range(_WAITS):
        status = visit.ask("GET", target)
        if status.status == 204:  # noqa: PLR2004 - the status that ends the waiting
            return kept(status, "the status after the cut"), visit.place(status, "the status")
        time.sleep(_WAIT_SECONDS)
    raise FailedError(
        f"no status of the upload after the connection broke: {quoted(status)}", unexpected(status)
    )


def _chunk(visit: Visit, target: str, piece: bytes, begin: int) -> HttpResponse:
    span = {"Content-Range": f"{begin}-{begin + len(piece) - 1}"}
    return visit.ask("PATCH", target, {**BYTES, **span}, piece)


def _finish(visit: Visit, target: str, blob: Blob) -> None:
    """Close an upload, and check that the registry has the bytes that were sent."""
    visit.close(target, blob)
    _require_back(visit, blob)


def _require_back(visit: Visit, blob: Blob) -> None:
    try:
        answer = visit.fetch(blob)
    except BROKEN as error:
        raise FailedError(f"what was pushed doesn't come back: {error}") from None
    require_bytes(require(answer, 200, "GET of the blob").body, blob.data, "GET of the blob")
