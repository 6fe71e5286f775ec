"""Checks of pulls: bytes, ranges, redirects, missing content, and encoded paths.

This module must never send a token where a redirect leads.
"""

import gzip
import os
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, urlsplit

from chalicelib.limits import MIB, PART_MINIMUM
from moorage.common.http import HttpResponse, is_loopback
from moorage.doctor.answers import error_code, fault, require, require_bytes
from moorage.doctor.findings import FailedError, Finding, ok, skip
from moorage.doctor.visit import BYTES, Blob, Visit, digest_of
from moorage.doctor.wire import quoted

_PIECE = 4 * MIB
_LARGE = PART_MINIMUM + 1
_GZIP: Mapping[str, str] = {"Accept-Encoding": "gzip"}
_Getter = Callable[[Mapping[str, str]], HttpResponse]
_ACCEPTS = (None, "application/json", "text/html, */*;q=0.8", "application/octet-stream, */*")


def same_bytes(visit: Visit) -> Finding:
    """Push and pull content that a gateway might take for text, or decompress."""
    packed = visit.push(Blob(gzip.compress(os.urandom(600) + b"a" * 4_000)))
    text = visit.push(Blob(b'{"looks": "like JSON"}' + os.urandom(16).hex().encode() + b"\r\n\n"))
    for name, blob in (("all byte values", visit.sample), ("gzip", packed), ("text", text)):
        for headers in ({}, _GZIP):
            answer = require(visit.fetch(blob, headers), 200, f"GET of a blob ({name})")
            require_bytes(answer.body, blob.data, f"GET of a blob ({name})")
            encoding = answer.headers.get("Content-Encoding", "identity")
            if encoding != "identity":
                raise FailedError(f"GET of a blob ({name}): Content-Encoding {encoding[:20]}")
            length = answer.headers.get("Content-Length")
            if length != str(len(blob.data)):
                raise FailedError(
                    f"GET of a blob ({name}): Content-Length {length} for {len(blob.data)} bytes"
                )
    return ok("all byte values, gzip and text, with Accept-Encoding: gzip too; lengths kept")


def accept(visit: Visit) -> Finding:
    """Pull with no Accept, as Go programs do, and with several."""
    for value in _ACCEPTS:
        headers = {} if value is None else {"Accept": value}
        what = f"GET of a blob with {'no Accept' if value is None else f'Accept: {value}'}"
        answer = require(visit.fetch(visit.sample, headers), 200, what)
        require_bytes(answer.body, visit.sample.data, what)
    return ok("none, JSON, HTML and bytes: the same blob")


def byte_range(visit: Visit) -> Finding:
    """Pull parts of a blob."""
    size = len(visit.sample.data)
    spans = {"bytes=3-9": (3, 9), "bytes=-5": (size - 5, size - 1), "bytes=900-": (900, size - 1)}
    _require_ranges(lambda headers: visit.fetch(visit.sample, headers), visit.sample, spans)
    beyond = visit.fetch(visit.sample, {"Range": f"bytes={size}-"})
    require(beyond, 416, "a range that begins after the end")
    return ok("first, last and middle bytes: 206; beyond the end 416")


def redirect(visit: Visit) -> Finding:
    """Check the URL of a blob's redirect: it must work without a token, and for one method."""
    if visit.large:
        blob, method = _push_large(visit), "GET"
    else:
        blob, method = visit.sample, "HEAD"
    answer = visit.ask(method, visit.v2(f"blobs/{blob.digest}"))
    if answer.status == 200 and not visit.large:  # noqa: PLR2004 - answered directly
        return skip("a blob up to the inline limit isn't redirected; --large looks at a larger one")
    require(answer, 307, f"{method} of a blob of {len(blob.data)} bytes")
    there = require(visit.follow(answer, method), 200, f"{method} there, with no Authorization")
    wire, target = visit.redirected(answer)
    if method == "GET":
        require_bytes(there.body, blob.data, "GET there")
        spans = {"bytes=3-9": (3, 9), "bytes=5000000-": (5_000_000, len(blob.data) - 1)}
        _require_ranges(lambda headers: wire.ask("GET", target, headers), blob, spans)
    if wire == visit.wire:
        return ok(f"307 to the edge; {method} works there")
    signed = parse_qs(urlsplit(target).query)
    visit.facts["redirect_seconds"] = signed.get("X-Amz-Expires", ["?"])[0]
    other = "GET" if method == "HEAD" else "HEAD"
    status = wire.ask(other, target).status
    if status < 300:  # noqa: PLR2004 - success
        if not is_loopback(wire.url):
            raise FailedError(f"a URL signed for {method} is good for {other} too")
        return ok(f"307, {method} works there; an emulator, which looks at no signature")
    return ok(f"307; there {method} is 200 and {other} {status}")


def missing(visit: Visit) -> Finding:
    """Pull what isn't there."""
    nowhere = digest_of(os.urandom(32))
    cases = (
        ("GET", f"blobs/{nowhere}", "BLOB_UNKNOWN"),
        ("GET", f"manifests/{nowhere}", "MANIFEST_UNKNOWN"),
        ("GET", "manifests/no-such-tag", "MANIFEST_UNKNOWN"),
        ("HEAD", f"blobs/{nowhere}", ""),
        ("HEAD", "manifests/no-such-tag", ""),
    )
    for method, rest, code in cases:
        answer = visit.ask(method, visit.v2(rest))
        what = f"{method} of {rest.partition('/')[0]} that aren't there"
        require(answer, 404, what)
        if code and error_code(answer) != code:
            raise FailedError(f"{what}: 404 without the code {code}: {quoted(answer)}")
    return ok("404 with the spec's codes, and for HEAD too")


def paths(visit: Visit) -> Finding:
    """Use a name with several slashes, a slash at the end, and percent-encoded characters."""
    name, digest = visit.second, visit.sample.digest
    visit.push(visit.sample, name)
    opened = visit.ask("POST", f"/v2/{name}/blobs/uploads", BYTES, b"")
    require(opened, 202, "POST without a slash at the end")
    visit.begun(visit.place(opened, "POST without a slash at the end"))
    cases = {
        "a name with slashes": f"/v2/{name}/blobs/{digest}",
        "a slash at the end": f"/v2/{name}/blobs/{digest}/",
        "%5F for _": f"/v2/{name.replace('_', '%5F')}/blobs/{digest}",
        "%3A for :": f"/v2/{name}/blobs/{digest.replace(':', '%3A')}",
    }
    for what, target in cases.items():
        answer = require(visit.follow(visit.ask("GET", target), "GET"), 200, what)
        require_bytes(answer.body, visit.sample.data, what)
    encoded = visit.ask("GET", f"/v2/{name.replace('/', '%2F')}/blobs/{digest}")
    visit.facts["status_of_encoded_slash"] = encoded.status
    if encoded.status >= 500:  # noqa: PLR2004 - a fault
        raise FailedError(f"%2F in a name is {encoded.status}", fault(encoded))
    return ok(f"slashes, %5F and %3A are read as they must be; %2F in a name is {encoded.status}")


def _push_large(visit: Visit) -> Blob:
    """Push a blob that is larger than any answer of Lambda's."""
    blob = Blob(os.urandom(_LARGE))
    answer = visit.ask("PATCH", visit.open(), BYTES, blob.data[:_PIECE])
    require(answer, 202, f"PATCH of {_PIECE} bytes")
    visit.close(visit.place(answer, "PATCH"), blob, blob.data[_PIECE:])
    return blob


def _require_ranges(get: _Getter, blob: Blob, spans: Mapping[str, tuple[int, int]]) -> None:
    size = len(blob.data)
    for header, (first, last) in spans.items():
        answer = require(get({"Range": header}), 206, f"Range: {header}")
        require_bytes(answer.body, blob.data[first : last + 1], f"Range: {header}")
        span = answer.headers.get("Content-Range", "")
        if span != f"bytes {first}-{last}/{size}":
            raise FailedError(f"Range: {header}: Content-Range is {span[:60]!r}")
