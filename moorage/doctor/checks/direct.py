"""The checks of direct uploads: blobs that go to S3 by presigned URLs, and not through Lambda.

This module must never send a token to S3.
"""

import json
import os
from http import HTTPStatus
from typing import Any

from moorage.common.http import HttpResponse, is_loopback
from moorage.doctor.answers import at_s3, require, require_bytes
from moorage.doctor.findings import FailedError, Finding, ok, skip
from moorage.doctor.visit import BYTES, Blob, Visit, with_digest
from moorage.doctor.wire import Wire, quoted

_CONDITION = "If-None-Match"
_JSON = {"Content-Type": "application/json"}


def direct(visit: Visit) -> Finding:
    """Put a blob to S3, after what S3 must refuse: other bytes, fewer headers, a second PUT."""
    if not _offered(visit, "{name}/_moorage/uploads/"):
        return skip("this registry offers no direct uploads")
    blob = Blob(os.urandom(1_000))
    query = f"?digest={blob.digest}&size={len(blob.data)}"
    opened = visit.ask("POST", visit.v2(f"_moorage/uploads/{query}"))
    require(opened, 201, "POST to begin a direct upload")
    session = visit.place(opened, "POST to begin a direct upload")
    visit.begun(session)
    seen = _put(visit, opened, blob)
    committed = visit.ask("PUT", session, body=b"")
    require(committed, 201, "the PUT that commits a direct upload")
    visit.remember(visit.repository, "blobs", blob.digest)
    back = require(visit.fetch(blob), 200, "GET of the blob")
    require_bytes(back.body, blob.data, "GET of the blob")
    return ok(seen)


def parts(visit: Visit) -> Finding:
    """Put blobs to S3 as parts: one is what its digest says, and one is another."""
    if not _offered(visit, "{name}/_moorage/uploads/{session}/parts"):
        return skip("this registry offers no direct uploads in parts")
    blob, other = Blob(os.urandom(1_000)), Blob(os.urandom(1_000))
    refused, _ = _put_part(visit, other, blob)
    if refused.status != HTTPStatus.BAD_REQUEST:
        raise FailedError(f"the commit of another blob's bytes must be 400: {quoted(refused)}")
    committed, signed = _put_part(visit, blob, blob)
    require(committed, 201, "the PUT that commits a direct upload in parts")
    visit.remember(visit.repository, "blobs", blob.digest)
    back = require(visit.fetch(blob), 200, "GET of the blob")
    require_bytes(back.body, blob.data, "GET of the blob")
    return ok(f"200 at S3; the commit is 400 for other bytes; {signed}")


def _put_part(visit: Visit, blob: Blob, claimed: Blob) -> tuple[HttpResponse, str]:
    """Put a blob as the one part of an upload, and commit it with a digest.

    Returns the answer, and what was seen of the URL.
    """
    opened = visit.ask("POST", visit.v2("_moorage/uploads/?parts=true"))
    require(opened, 201, "POST to begin a direct upload in parts")
    session = visit.place(opened, "POST to begin a direct upload in parts")
    visit.begun(session)
    # The last part has no state: so this asks for a URL, and is the report, too.
    part = json.dumps({"parts": [{"number": 1, "size": len(blob.data)}]}).encode()
    issued = require(visit.ask("POST", f"{session}/parts", _JSON, part), 200, "POST for a URL")
    given = issued.json().get("parts")
    url = str(_object(given[0] if isinstance(given, list) and given else None).get("url", ""))
    wire, target = visit.at_s3(url, "a direct upload in parts")

    def send(body: bytes) -> HttpResponse:
        return visit.ask_s3(wire, "PUT", target, BYTES, body, what="a direct upload in parts: ")

    signed = "an emulator, which looks at no signature"
    if not is_loopback(wire.url):
        _require(wire, send(blob.data[1:]), HTTPStatus.FORBIDDEN, "a part of another length")
        signed = "403 for another length"
    _require(wire, send(blob.data), HTTPStatus.OK, "the PUT of a part")
    return visit.ask("PUT", with_digest(session, claimed.digest), _JSON, part), signed


def _offered(visit: Visit, endpoint: str) -> bool:
    listed = visit.ask("GET", "/v2/_oci/ext/discover").json().get("extensions")
    found = [_object(each) for each in listed] if isinstance(listed, list) else []
    return any(
        each.get("name") == "_moorage" and endpoint in str(each.get("endpoints")) for each in found
    )


def _object(found: object) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _put(visit: Visit, opened: HttpResponse, blob: Blob) -> str:
    """Send what S3 must refuse, and the blob; return what was seen."""
    put = _object(opened.json().get("put"))
    wire, target = visit.at_s3(str(put.get("url", "")), "a direct upload")
    # The wire writes the length itself, from the body.
    headers = {
        name: str(value)
        for name, value in _object(put.get("headers")).items()
        if name.lower() != "content-length"
    }

    def send(body: bytes, without: str = "") -> HttpResponse:
        sent = {name: value for name, value in headers.items() if name != without}
        return visit.ask_s3(wire, "PUT", target, sent, body, what="a direct upload: ")

    _require(wire, send(blob.data[::-1]), HTTPStatus.BAD_REQUEST, "other bytes")
    signed = "an emulator, which looks at no signature"
    if not is_loopback(wire.url):
        unlike = send(blob.data, without=_CONDITION)
        _require(wire, unlike, HTTPStatus.FORBIDDEN, f"a PUT without the signed {_CONDITION}")
        signed = "403 where a signed header is missing"
    _require(wire, send(blob.data), HTTPStatus.OK, "a PUT with all signed headers")
    _require(wire, send(blob.data), HTTPStatus.PRECONDITION_FAILED, "a second PUT")
    return f"200 at S3, 400 for other bytes, 412 the second time; {signed}"


def _require(wire: Wire, answer: HttpResponse, status: HTTPStatus, what: str) -> None:
    if answer.status == status:
        return
    # Where S3 takes what it must refuse, the check's own advice is right.
    todo = None if answer.status == HTTPStatus.OK else at_s3(wire.url.netloc)
    raise FailedError(f"a direct upload: {what} must be {status.value}: {quoted(answer)}", todo)
