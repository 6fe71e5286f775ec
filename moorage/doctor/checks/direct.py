"""The check of direct uploads: a blob that goes to S3 by a presigned URL, and not through Lambda.

This module must never send a token to S3.
"""

import os
from http import HTTPStatus
from typing import Any

from moorage.common.http import HttpResponse, is_loopback
from moorage.doctor.answers import at_s3, require, require_bytes
from moorage.doctor.findings import FailedError, Finding, ok, skip
from moorage.doctor.visit import Blob, Visit
from moorage.doctor.wire import Wire, quoted

_CONDITION = "If-None-Match"


def direct(visit: Visit) -> Finding:
    """Put a blob to S3, after what S3 must refuse: other bytes, fewer headers, a second PUT."""
    if not _offered(visit.ask("GET", "/v2/_oci/ext/discover")):
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


def _offered(extensions: HttpResponse) -> bool:
    listed = extensions.json().get("extensions")
    if not isinstance(listed, list):
        return False
    return any(isinstance(each, dict) and each.get("name") == "_moorage" for each in listed)


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
