"""What S3 refuses and moto lets pass: one function for each, which says what moto does.

None may ever refuse what S3 accepts. They look into moto's own objects, so they run in its
process: see tests.emulators.strict_moto.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeKey, FakeMultipart, S3Backend, s3_backends

from tests.emulators import signed_headers

if TYPE_CHECKING:
    from moorage.local.moto_server import Environ, StartResponse

COPY_LIMIT = 5 * 1024**3
"""The largest source of one CopyObject or UploadPartCopy, in bytes."""
_RANGE_COPY_MINIMUM = 5 * 1024**2


@dataclass(frozen=True)
class Refusal:
    """An error as S3 words it."""

    status: str
    code: str
    message: str

    def answer(self, start_response: StartResponse) -> list[bytes]:
        """Answer with it."""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message></Error>"
        ).encode()
        start_response(self.status, [("Content-Type", "application/xml")])
        return [body]


NO_SUCH_UPLOAD = Refusal("404 Not Found", "NoSuchUpload", "The specified upload does not exist.")
NO_SUCH_KEY = Refusal("404 Not Found", "NoSuchKey", "The specified key does not exist.")
PRECONDITION_FAILED = Refusal(
    "412 Precondition Failed",
    "PreconditionFailed",
    "At least one of the pre-conditions you specified did not hold",
)
HEADERS_NOT_SIGNED = Refusal("403 Forbidden", "AccessDenied", signed_headers.MESSAGE)
INVALID_PART_ORDER = Refusal(
    "400 Bad Request", "InvalidPartOrder", "The list of parts was not in ascending order."
)


def bad_request(code: str, message: str) -> Refusal:
    """Return a refusal with status 400."""
    return Refusal("400 Bad Request", code, message)


@dataclass(frozen=True)
class ObjectRequest:
    """A request for one object: /bucket/key."""

    environ: Environ
    bucket: str
    key: str
    query: dict[str, str]

    @property
    def method(self) -> str:
        """The HTTP method."""
        return str(self.environ["REQUEST_METHOD"])

    @property
    def body(self) -> bytes:
        """All of the body, as it came."""
        return bytes(self.environ["wsgi.input"].getvalue())

    def header(self, name: str) -> str:
        """Return a header's value, empty if there is none."""
        if name == "content-md5":
            return str(self.environ.get("HTTP_CONTENT_MD5", ""))
        return str(self.environ.get("HTTP_" + name.upper().replace("-", "_"), ""))

    def upload(self) -> FakeMultipart | None:
        """Return the open multipart upload that the request names, if it is this key's."""
        try:
            uploads = _store().get_bucket(self.bucket).multiparts
        except S3ClientError:
            return None
        upload = uploads.get(self.query["uploadId"])
        return upload if upload is not None and upload.key_name == self.key else None

    def copy_source(self) -> FakeKey | None:
        """Return the object to copy from."""
        parts = urlsplit(self.header("x-amz-copy-source"))
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        return _object(bucket, key)


def _store() -> S3Backend:
    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]


def _object(bucket: str, key: str) -> FakeKey | None:
    try:
        return _store().get_object(bucket, key)
    except S3ClientError:
        return None


def _same_etag(wanted: str, key: FakeKey) -> bool:
    return wanted.strip('"') == key.etag.strip('"')


def object_request(environ: Environ) -> ObjectRequest | None:
    """Return the request that a WSGI environment holds; None if it is for no object."""
    path = str(environ.get("PATH_INFO", "")).encode("latin-1").decode(errors="replace")
    bucket, _, key = path.lstrip("/").partition("/")
    if "HTTP_X_AMZ_TARGET" in environ or bucket == "moto-api" or not key:
        return None
    query = parse_qs(str(environ.get("QUERY_STRING", "")), keep_blank_values=True)
    return ObjectRequest(environ, bucket, key, {name: values[0] for name, values in query.items()})


Check = Callable[[ObjectRequest, int], Refusal | None]


def known_upload(request: ObjectRequest, _limit: int) -> Refusal | None:
    """Refuse an upload id that is unknown, ended, or another key's.

    moto, as corrected: another key's upload is used; Complete may be repeated.
    """
    if "uploadId" in request.query and request.upload() is None:
        return NO_SUCH_UPLOAD
    return None


def all_signed(request: ObjectRequest, _limit: int) -> Refusal | None:
    """Refuse a signed URL with an `x-amz-` header that is not signed. moto: takes it."""
    query = str(request.environ.get("QUERY_STRING", ""))
    names = (name[5:].replace("_", "-") for name in request.environ if name.startswith("HTTP_"))
    return HEADERS_NOT_SIGNED if signed_headers.unsigned(query, names) else None


def checksums(request: ObjectRequest, _limit: int) -> Refusal | None:
    """Refuse bytes that differ from the checksum sent with them. moto: stores them.

    Only PutObject and UploadPart carry the bytes they check; aws-chunked bodies, whose checksum
    comes in a trailer, are left to moto, and so is a SHA-256: moorage/local/moto_corrections.py.
    """
    chunked = "aws-chunked" in request.header("content-encoding")
    sub_resource = set(request.query) & {"acl", "tagging", "retention", "legal-hold"}
    if request.method != "PUT" or chunked or sub_resource or request.header("x-amz-copy-source"):
        return None
    for name, compute in _CHECKSUMS.items():
        claimed = request.header(name)
        if claimed and claimed != base64.b64encode(compute(request.body)).decode():
            kind = name.rpartition("-")[2].upper()
            return bad_request(
                "BadDigest", f"The {kind} you specified did not match the calculated checksum."
            )
    return None


_CHECKSUMS: dict[str, Callable[[bytes], bytes]] = {
    "content-md5": lambda body: hashlib.md5(body, usedforsecurity=False).digest(),
    "x-amz-checksum-crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "x-amz-checksum-sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
}


def copy_source(request: ObjectRequest, limit: int) -> Refusal | None:
    """Refuse a source that is missing, has another ETag, or is too large for one copy.

    moto: a missing source of UploadPartCopy is a 404 without a code; the ETag is ignored; any
    size is copied.
    """
    if not request.header("x-amz-copy-source"):
        return None
    source = request.copy_source()
    if source is None:
        return NO_SUCH_KEY
    wanted = request.header("x-amz-copy-source-if-match")
    if wanted and not _same_etag(wanted, source):
        return PRECONDITION_FAILED
    if not request.header("x-amz-copy-source-range") and source.size > limit:
        return bad_request(
            "InvalidRequest",
            "The specified copy source is larger than the maximum allowable size for a copy "
            f"source: {limit}",
        )
    return None


def copy_range(request: ObjectRequest, limit: int) -> Refusal | None:
    """Refuse a range that isn't all inside the source, or of a source of 5 MiB or less.

    moto: copies what there is, even nothing.
    """
    text = request.header("x-amz-copy-source-range")
    source = request.copy_source() if text else None
    if source is None:
        return None
    first, dash, last = text.removeprefix("bytes=").partition("-")
    if not (text.startswith("bytes=") and dash and first.isdecimal() and last.isdecimal()):
        return bad_request(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
        )
    if not int(first) <= int(last) < source.size:
        return bad_request(
            "InvalidArgument",
            f"Range specified is not valid for source object of size: {source.size}",
        )
    if source.size <= _RANGE_COPY_MINIMUM or int(last) - int(first) + 1 > limit:
        return bad_request(
            "InvalidRequest",
            "The specified copy source is not supported as a byte-range copy source",
        )
    return None


def destination(request: ObjectRequest, _limit: int) -> Refusal | None:
    """Refuse to write over an object against If-None-Match or If-Match.

    moto: CopyObject ignores both, CompleteMultipartUpload ignores If-Match.
    """
    writes = request.method == "PUT" and "partNumber" not in request.query
    completes = request.method == "POST" and "uploadId" in request.query
    if not (writes or completes):
        return None
    existing = _object(request.bucket, request.key)
    if request.header("if-none-match") == "*" and existing is not None:
        return PRECONDITION_FAILED
    wanted = request.header("if-match")
    if wanted and existing is None:
        return NO_SUCH_KEY
    if wanted and existing is not None and not _same_etag(wanted, existing):
        return PRECONDITION_FAILED
    return None


def complete(request: ObjectRequest, _limit: int) -> Refusal | None:
    """Refuse parts out of order, or whose sizes don't sum to the size announced.

    moto: takes any order, and ignores x-amz-mp-object-size.
    """
    if request.method != "POST" or "uploadId" not in request.query:
        return None
    numbers = list(_part_numbers(request.body))
    if any(second <= first for first, second in itertools.pairwise(numbers)):
        return INVALID_PART_ORDER
    announced = request.header("x-amz-mp-object-size")
    upload = request.upload()
    if not announced or upload is None or not set(numbers) <= set(upload.parts):
        return None
    if int(announced) != sum(upload.parts[number].size for number in numbers):
        return bad_request(
            "InvalidRequest",
            "The provided 'x-amz-mp-object-size' header does not match the size of the object",
        )
    return None


def _part_numbers(body: bytes) -> Iterator[int]:
    try:
        root = ET.fromstring(body)  # noqa: S314 - from this repository's own tests
    except ET.ParseError:
        return
    for element in root.iter():
        if element.tag.rpartition("}")[2] == "PartNumber" and element.text:
            yield int(element.text)


CHECKS: tuple[Check, ...] = (
    all_signed,
    known_upload,
    checksums,
    copy_source,
    copy_range,
    destination,
    complete,
)
