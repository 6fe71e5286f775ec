"""The object store on S3.

This module must never take an error for an absent object: only S3's own "no such key" (or upload)
means that. Its callers have named every key in an item of DynamoDB already.
"""

# ruff: noqa: D102 - registry.ports says what each method of the store does

import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import UnavailableError
from chalicelib.limits import S3_KEYS
from chalicelib.registry.outcomes import (
    CheckedObject,
    ListedObject,
    MultipartBusyError,
    MultipartMissingError,
    MultipartUpload,
    ObjectChangedError,
    ObjectMissingError,
    ObjectStat,
    Part,
    PartsChangedError,
    PartTooSmallError,
    PresignedPut,
    WrittenObject,
)
from chalicelib.registry.session import StoredObject
from chalicelib.stores.aws.failures import failures, status_of
from chalicelib.stores.s3.copies import CopyPlan, copy_in_parts

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import (
        CompletedPartTypeDef,
        CopySourceTypeDef,
        ObjectTypeDef,
        ResponseMetadataTypeDef,
    )

_PURGE_ROUNDS = 4
_OF_AN_OBJECT = {"NoSuchKey": ObjectMissingError, "PreconditionFailed": ObjectChangedError}
"""The meaning of S3's codes where an object is read; a status without a code has none."""

_OF_AN_UPLOAD: Mapping[str, type[Exception]] = {"NoSuchUpload": MultipartMissingError}

_OF_ITS_PARTS: Mapping[str, type[Exception]] = {
    **_OF_AN_UPLOAD,
    "InvalidPart": PartsChangedError,
    "EntityTooSmall": PartTooSmallError,
}

_BYTES = "application/octet-stream"
_SHA256_BYTES = 32

_WRITERS_HEADERS = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "Expires",
)
"""What a PUT may carry beside what its URL binds: S3 refuses each `x-amz-` header not signed."""

REQUEST_PATIENCE = 20
"""Seconds that the API waits for S3: a handler has 29. It copies 256 MiB at most in one request."""

WORKER_PATIENCE = 60
"""Seconds that a worker waits for S3: three attempts fit into what its function has to spare."""


REQUEST_CONNECTIONS = 16
"""Connections of the API, which copies nothing in parts."""


def s3_config(
    *,
    emulated: bool = False,
    patience: int = REQUEST_PATIENCE,
    connections: int = REQUEST_CONNECTIONS,
) -> Config:
    """Return how the client is to behave, each value on purpose.

    `patience` is how long it waits, in seconds, for the next bytes of an answer. While S3 completes
    a multipart upload it sends spaces, so that this may last for minutes.

    A presigned URL has to name the region's own host. By default botocore signs for the one that
    all regions share, which sends a young bucket's clients elsewhere, with a signature that is
    wrong there, and knows nothing of the regions since 2019. An emulator has one host for all.
    """
    return Config(
        signature_version="s3v4",  # boto3's default for presigning is the older one
        retries={"mode": "standard", "total_max_attempts": 3},
        connect_timeout=3,
        read_timeout=patience,
        max_pool_connections=connections,
        tcp_keepalive=True,
        # The digest of the whole is checked; a CRC of each part would only cost time.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            "addressing_style": "auto" if emulated else "virtual",
            "us_east_1_regional_endpoint": "regional",
        },
    )


class S3ObjectStore:
    """`ObjectStore` over one bucket."""

    def __init__(self, client: "S3Client", bucket: str, copies: CopyPlan | None = None) -> None:
        self._client = client
        self._bucket = bucket
        self._copies = copies or CopyPlan()

    def put(self, key: str, data: bytes) -> WrittenObject:
        with failures():
            answer = self._client.put_object(
                Bucket=self._bucket, Key=key, Body=data, ContentType=_BYTES
            )
        return WrittenObject(answer["ETag"], repeated=_was_repeated(answer["ResponseMetadata"]))

    def get(
        self, key: str, *, etag: str | None = None, span: tuple[int, int] | None = None
    ) -> bytes:
        wanted = f"bytes={span[0]}-{span[1]}" if span else None
        return b"".join(self._stream(key, etag, wanted, None))

    def read(
        self, key: str, *, etag: str, chunk_size: int, first: int = 0, last: int | None = None
    ) -> Iterator[bytes]:
        end = "" if last is None else last
        whole = first == 0 and last is None
        return self._stream(key, etag, None if whole else f"bytes={first}-{end}", chunk_size)

    def _stream(
        self, key: str, etag: str | None, span: str | None, chunk_size: int | None
    ) -> Iterator[bytes]:
        conditions = {"IfMatch": etag} if etag else {}
        wanted = {"Range": span} if span else {}
        with failures(_OF_AN_OBJECT):
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **conditions, **wanted)  # type: ignore[arg-type]
        rest = answer["ContentLength"]
        with closing(answer["Body"]) as body:
            while rest:
                with failures():
                    chunk = body.read(chunk_size)
                rest -= len(chunk)
                if not chunk or rest < 0:
                    raise UnavailableError(f"S3 sent {key} short by {rest} bytes")
                yield chunk

    def stat(self, key: str) -> ObjectStat | None:
        answer = self._head(key)
        return None if answer is None else ObjectStat(answer["ContentLength"], answer["ETag"])

    def check(self, key: str) -> CheckedObject | None:
        answer = self._head(key, ChecksumMode="ENABLED")
        if answer is None:
            return None
        chosen = tuple(name for name in _WRITERS_HEADERS if answer.get(name))
        return CheckedObject(answer["ContentLength"], _compared(answer), chosen)

    def _head(self, key: str, **wanted: str) -> Mapping[str, Any] | None:
        # A HEAD's answer has no body, and so no code: the status is all that S3 says.
        with suppress(ObjectMissingError), failures({"404": ObjectMissingError}):
            return self._client.head_object(Bucket=self._bucket, Key=key, **wanted)  # type: ignore[arg-type]
        return None

    def delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), S3_KEYS):
            self._delete_batch(keys[start : start + S3_KEYS])

    def _delete_batch(self, keys: Sequence[str]) -> None:
        with failures():
            answer = self._client.delete_objects(
                Bucket=self._bucket,
                Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
            )
        errors = [e for e in answer.get("Errors", []) if e.get("Code") != "NoSuchKey"]
        if errors:
            raise UnavailableError(f"S3 did not delete {len(errors)} of {len(keys)} keys")

    def list_between(self, first: str, last: str, limit: int) -> Sequence[ListedObject]:
        found: list[ListedObject] = []
        # S3 may send fewer keys than were asked for, though more are to come.
        for page in self._list({"StartAfter": first, "MaxKeys": limit}):
            found += [ListedObject(item["Key"], item["Size"]) for item in page]
            if len(found) >= limit or (found and found[-1].key >= last):
                break
        return [each for each in found[:limit] if each.key < last]

    def copy(self, source: str, etag: str, size: int, target: str, *, until: float) -> None:
        if size >= self._copies.whole:
            copy_in_parts(self, StoredObject(source, size, etag), target, self._copies, until)
            return
        with failures(_OF_AN_OBJECT):
            self._client.copy_object(
                Bucket=self._bucket,
                Key=target,
                CopySource=self._source(source),
                CopySourceIfMatch=etag,
            )

    def begin_multipart(self, key: str) -> MultipartUpload:
        with failures():
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, ContentType=_BYTES
            )
        return MultipartUpload(
            answer["UploadId"], repeated=_was_repeated(answer["ResponseMetadata"])
        )

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> None:
        with failures(_OF_AN_UPLOAD):
            self._client.upload_part(
                Bucket=self._bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data
            )

    def copy_part(  # noqa: PLR0913 - see the port
        self,
        key: str,
        upload_id: str,
        number: int,
        source: str,
        etag: str,
        span: tuple[int, int] | None = None,
    ) -> str:
        wanted = {"CopySourceRange": f"bytes={span[0]}-{span[1]}"} if span else {}
        with failures({**_OF_AN_OBJECT, **_OF_AN_UPLOAD}):
            answer = self._client.upload_part_copy(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                CopySource=self._source(source),
                CopySourceIfMatch=etag,
                **wanted,  # type: ignore[arg-type]
            )
        return answer["CopyPartResult"]["ETag"]

    def open_multiparts(self, key: str) -> Sequence[str]:
        return [upload_id for found, upload_id in self._uploads(key) if found == key]

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        request = {"Key": key, "UploadId": upload_id, "MaxParts": S3_KEYS}
        # The marker is a part number, not a count: the numbers may have gaps.
        markers = {"NextPartNumberMarker": "PartNumberMarker"}
        parts = [
            Part(item["PartNumber"], item["Size"], item["ETag"])
            for answer in self._pages(self._client.list_parts, request, markers)
            for item in answer.get("Parts", [])
        ]
        return sorted(parts, key=lambda part: part.number)

    def complete_multipart(self, key: str, upload_id: str, parts: Sequence[Part]) -> str:
        listed: list[CompletedPartTypeDef] = [
            {"PartNumber": part.number, "ETag": part.etag} for part in parts
        ]
        try:
            with failures(_OF_ITS_PARTS):
                answer = self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=key,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": listed},
                )
        except UnavailableError as error:
            if error.__cause__ is not None and status_of(error.__cause__) == HTTPStatus.CONFLICT:
                raise MultipartBusyError("S3 is still putting the upload together") from error
            raise
        return answer["ETag"]

    def abort_multipart(self, key: str, upload_id: str) -> None:
        with suppress(MultipartMissingError), failures(_OF_AN_UPLOAD):
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)

    def abort_all(self, key: str) -> None:
        for upload_id in self.open_multiparts(key):
            self.abort_multipart(key, upload_id)

    def purge(self, prefix: str) -> None:
        for _ in range(_PURGE_ROUNDS):
            uploads = self._uploads(prefix)
            for key, upload_id in uploads:
                self.abort_multipart(key, upload_id)
            keys = self._keys(prefix)
            self.delete(keys)
            if not uploads and not keys:
                return
        raise UnavailableError(f"{prefix} keeps being written to")

    def presign(self, key: str, *, method: str, seconds: int) -> str:
        operation = {"GET": "get_object", "HEAD": "head_object"}[method]
        return self._client.generate_presigned_url(
            operation, Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=seconds
        )

    def presign_put(self, key: str, digest: Digest, size: int, *, seconds: int) -> PresignedPut:
        checksum = binascii.b2a_base64(bytes.fromhex(digest.hex), newline=False).decode()
        bound = {
            "ChecksumSHA256": ("x-amz-checksum-sha256", checksum),
            "ContentLength": ("Content-Length", str(size)),
            "ContentType": ("Content-Type", _BYTES),
            # The headers that a PUT chooses besides are looked at once: no later one may change it.
            "IfNoneMatch": ("If-None-Match", "*"),
        }
        given = {name: value for name, (_, value) in bound.items()} | {"ContentLength": size}
        url = self._client.generate_presigned_url(
            "put_object", Params={"Bucket": self._bucket, "Key": key, **given}, ExpiresIn=seconds
        )
        return PresignedPut(url, dict(bound.values()))

    def presign_part(
        self, key: str, upload_id: str, number: int, size: int, *, seconds: int
    ) -> PresignedPut:
        part = {"Key": key, "UploadId": upload_id, "PartNumber": number, "ContentLength": size}
        url = self._client.generate_presigned_url(
            "upload_part", Params={"Bucket": self._bucket, **part}, ExpiresIn=seconds
        )
        return PresignedPut(url, {"Content-Length": str(size)})

    def _uploads(self, prefix: str) -> list[tuple[str, str]]:
        """Key and id of every open multipart upload below a prefix."""
        request = {"Prefix": prefix, "MaxUploads": S3_KEYS}
        markers = {"NextKeyMarker": "KeyMarker", "NextUploadIdMarker": "UploadIdMarker"}
        pages = self._pages(self._client.list_multipart_uploads, request, markers)
        return [
            (item["Key"], item["UploadId"]) for page in pages for item in page.get("Uploads", [])
        ]

    def _keys(self, prefix: str) -> list[str]:
        """The key of every object below a prefix."""
        pages = self._list({"Prefix": prefix, "MaxKeys": S3_KEYS})
        return [item["Key"] for page in pages for item in page]

    def _list(self, request: dict[str, Any]) -> "Iterator[Sequence[ObjectTypeDef]]":
        """Yield the objects of each page of a list, to its last one."""
        markers = {"NextContinuationToken": "ContinuationToken"}
        for answer in self._pages(self._client.list_objects_v2, request, markers):
            yield answer.get("Contents", ())

    def _pages(
        self, operation: Callable[..., Any], request: dict[str, Any], markers: Mapping[str, str]
    ) -> Iterator[Mapping[str, Any]]:
        """Follow a list of S3 to its last page; `markers`: the fields that name the next one.

        Never less than all: raises UnavailableError for a list that is cut short without a marker.
        """
        while True:
            with failures(_OF_AN_UPLOAD):
                answer = operation(Bucket=self._bucket, **request)
            yield answer
            if not answer.get("IsTruncated"):
                return
            following = {to: answer.get(at) or "" for at, to in markers.items()}
            if not any(following.values()) or following.items() <= request.items():
                raise UnavailableError("S3 cut a list short and did not say where")
            request = {**request, **following}

    def _source(self, key: str) -> "CopySourceTypeDef":
        return {"Bucket": self._bucket, "Key": key}


def _was_repeated(metadata: "ResponseMetadataTypeDef") -> bool:
    return metadata["RetryAttempts"] > 0


def _compared(answer: Mapping[str, Any]) -> Digest | None:
    """Return the SHA-256 of a whole object; one that was made of parts has that of its parts'."""
    if answer.get("ChecksumType") == "COMPOSITE":
        return None
    try:
        compared = binascii.a2b_base64(answer.get("ChecksumSHA256", ""), strict_mode=True)
    except binascii.Error:  # such as "...-3", of three parts
        return None
    return Digest(Algorithm.SHA256, compared.hex()) if len(compared) == _SHA256_BYTES else None
