"""The checks of the edge: large PUTs and downloads that a function at CloudFront sends to S3.

docs/edge.md lists what only a registry on AWS can prove of it: each is looked at here. This module
must never send a token along with a download.
"""

import hashlib
import os
import re
import time
from http import HTTPStatus

from chalicelib.limits import LAMBDA_BODY
from moorage.common.http import HttpResponse
from moorage.doctor.answers import error_code, require, require_bytes, unexpected
from moorage.doctor.findings import FailedError, Finding, ok, skip, warn
from moorage.doctor.visit import BYTES, Blob, Visit, with_digest
from moorage.doctor.wire import quoted

_NO_TICKET = f"sha256:{'0' * 64}~1~direct~{'0' * 8}-0000-4000-8000-{'0' * 12}~{'0' * 43}"
_PIECE = 1024 * 1024
_MOST_HOPS = 9
"""Redirects that clients follow from one request: Go's follow ten answers."""

WITHOUT = "; until then `moorage deploy --edge no`: the registry works without an edge"
_FUNCTION = (
    "see that the distribution's default behaviour has the function for viewer-request and"
    f" viewer-response, and that the function is published: run `moorage deploy` again{WITHOUT}"
)
_ACCESS = (
    "the bucket refuses what the edge signs: see that its policy names this distribution, and that"
    " the origin `bucket` has the origin access control, which always signs: run `moorage deploy`"
    f" again. If it stays, CloudFront signs no origin that a function chooses{WITHOUT}"
)
_HASHES = (
    "S3 does not take the two headers with the digest that the edge sets beside a body: CloudFront"
    f" changes or drops one of them{WITHOUT}"
)
_ANSWER = (
    "CloudFront shows the function neither what it set on the request nor the client's own, or"
    f" lets it not turn 200 into 303{WITHOUT}"
)
_KEYS = (
    "the edge knows no upload that the registry has let in: see that its function's store holds"
    " the keys (`moorage deploy` stores them, and `moorage key rotate` does). If it stays,"
    f" CloudFront's runtime computes another MAC from a key of bytes{WITHOUT}"
)
_LARGE = (
    "CloudFront itself takes no body of that size, or not in that time: raise OriginReadTimeout of"
    " the origin `bucket` in infra/edge.yaml, and see that no firewall limits bodies there; push"
    f" larger layers by `moorage push`{WITHOUT}"
)
_GIVEN_UP = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})
_NOT_COMPARED = (
    "no bytes are lost or wrong, but each commit has S3 compute the digest by a copy, which takes"
    " longer and costs a request: CloudFront drops `x-amz-checksum-sha256` and"
    " `x-amz-content-sha256`; report it"
)


def has_edge(visit: Visit) -> bool:
    """Ask for a download by a ticket that nobody made: only an edge knows that it is one."""
    if "edge" not in visit.facts:
        answer = visit.ask("GET", visit.v2(f"blobs/{_NO_TICKET}"), who={})
        denied = (answer.status, error_code(answer)) == (HTTPStatus.FORBIDDEN, "DENIED")
        visit.facts["edge"] = denied
    return bool(visit.facts["edge"])


def put(visit: Visit) -> Finding:
    """Push a blob that Lambda can't take by one PUT, after other bytes under its digest."""
    if not has_edge(visit) and not visit.edge_size:
        return skip("no edge stands before this registry; with --edge-size there must be one")
    blob = Blob(os.urandom(LAMBDA_BODY + 1))
    target = visit.open()
    wrong = _send(visit, target, blob, blob.data[::-1])
    compared = wrong.status == HTTPStatus.BAD_REQUEST
    if not compared:
        _require_taken(wrong)
        _, refused = _commit(visit, wrong)
        if refused.status != HTTPStatus.BAD_REQUEST:
            raise FailedError(
                f"other bytes were taken, and their commit is no 400: {quoted(refused)}",
                f"take the edge away at once: `moorage deploy --edge no`. {_HASHES}",
            )
        target = visit.open()
    taken = _send(visit, target, blob, blob.data)
    _require_taken(taken)
    began = time.monotonic()
    place, committed = _commit(visit, taken)
    visit.facts["edge_commit_seconds"] = round(time.monotonic() - began, 2)
    require(committed, HTTPStatus.CREATED, f"GET of {place.partition('?')[2]}, which commits")
    visit.closed(target, committed, blob)
    visit.edge_blob = blob.digest
    if visit.edge_size > LAMBDA_BODY:
        _put_long(visit)
    size = f"{len(blob.data) / 1e6:.1f} MB"
    if not compared:
        return warn(f"{size} by one PUT, but S3 took other bytes at first", _NOT_COMPARED)
    return ok(f"{size} by one PUT: 400 for other bytes, then 303, and 201 by GET")


def get(visit: Visit) -> Finding:
    """Pull that blob through the edge: whole, by HEAD and by range, and by an altered address."""
    digest = visit.edge_blob
    if digest is None:
        return skip("no blob was pushed through an edge")
    answer = visit.ask("GET", visit.v2(f"blobs/{digest}"))
    require(answer, HTTPStatus.TEMPORARY_REDIRECT, "GET of a blob")
    location = answer.headers.get("Location", "")
    if not location.startswith("/"):
        return warn(
            "a blob's redirect leads to S3 itself, past the cache of the edge",
            "that is right for the networks that DIRECT_FROM names; elsewhere, something between"
            " the edge and the registry loses the header `x-moorage-edge`",
        )
    whole = visit.ask("GET", location, who={})
    require(whole, HTTPStatus.OK, "GET there, with no Authorization")
    if Blob(whole.body).digest != digest:
        raise FailedError("other bytes came back through the edge")
    head = visit.ask("HEAD", location, who={})
    require(head, HTTPStatus.OK, "HEAD there")
    if head.headers.get("Content-Length") != str(len(whole.body)):
        raise FailedError(
            f"HEAD there says {head.headers.get('Content-Length')} bytes of {len(whole.body)}"
        )
    part = visit.ask("GET", location, {"Range": "bytes=1000-1999"}, who={})
    require(part, HTTPStatus.PARTIAL_CONTENT, "GET there, of a range")
    require_bytes(part.body, whole.body[1000:2000], "GET there, of a range")
    altered = visit.ask("GET", re.sub(r".$", _other, location), who={})
    if altered.status != HTTPStatus.FORBIDDEN:
        raise FailedError(f"an altered address of a blob is no 403: {quoted(altered)}")
    return ok("200, 206 and HEAD's length there; 403 where the address is altered")


def _put_long(visit: Visit) -> None:
    """PUT and commit a blob of the size that was asked for, and note how long each part took."""
    piece, whole = os.urandom(_PIECE), hashlib.sha256()
    pieces = [piece] * (visit.edge_size // _PIECE) + [piece[: visit.edge_size % _PIECE]]
    for each in pieces:
        whole.update(each)
    digest, target = f"sha256:{whole.hexdigest()}", visit.open()
    headers = {**BYTES, **visit.authorization}
    taken, sending, waiting = visit.wire.send_long(
        "PUT", with_digest(target, digest), headers, pieces
    )
    # An edge that takes all bytes before it passes any on answers long after the last one.
    visit.facts["edge_long_put"] = {
        "bytes": visit.edge_size,
        "seconds_of_sending": round(sending, 1),
        "seconds_until_the_answer": round(waiting, 1),
    }
    _require_taken(taken, visit.edge_size)
    began = time.monotonic()
    place, committed = _commit(visit, taken)
    visit.facts["edge_long_put"]["seconds_of_the_commit"] = round(time.monotonic() - began, 1)
    require(committed, HTTPStatus.CREATED, f"GET of {place.partition('?')[2]}, which commits")
    visit.remember(visit.repository, "blobs", digest)


def _send(visit: Visit, target: str, blob: Blob, body: bytes) -> HttpResponse:
    return visit.ask("PUT", with_digest(target, blob.digest), BYTES, body)


def _other(last: re.Match[str]) -> str:
    return "A" if last[0] != "A" else "B"


def _require_taken(answer: HttpResponse, size: int = LAMBDA_BODY + 1) -> None:
    """Raise FailedError, with what to set, unless the answer to a large PUT is 303."""
    if answer.status == HTTPStatus.SEE_OTHER and answer.headers.get("Location"):
        return
    seen = f"a PUT of {size} bytes must be 303: {quoted(answer)}"
    from_s3 = b"<Error>" in answer.body
    if answer.status == HTTPStatus.OK:
        raise FailedError(seen, _ANSWER)
    if error_code(answer) == "BLOB_UPLOAD_UNKNOWN":
        raise FailedError(seen, _KEYS)
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        passed = size > LAMBDA_BODY + 1  # a smaller one did, so the function is there
        raise FailedError(seen, _LARGE if passed else _FUNCTION)
    if answer.status in _GIVEN_UP and not error_code(answer):
        raise FailedError(seen, _LARGE)
    if from_s3 and answer.status == HTTPStatus.FORBIDDEN:
        mismatch = b"SignatureDoesNotMatch" in answer.body
        raise FailedError(seen, _HASHES if mismatch else _ACCESS)
    if from_s3:
        raise FailedError(seen, _HASHES)
    raise FailedError(seen, unexpected(answer) or _FUNCTION)


def _commit(visit: Visit, taken: HttpResponse) -> tuple[str, HttpResponse]:
    """Follow a 303 as clients do: by GET, with the token; return the last place and answer."""
    answer, place = taken, ""
    for _ in range(_MOST_HOPS):
        place = visit.place(answer, "the answer to a large PUT")
        answer = visit.ask("GET", place)
        if answer.status != HTTPStatus.TEMPORARY_REDIRECT:
            break
    return place, answer
