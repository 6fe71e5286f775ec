"""Lists of S3, followed to their last page: parts of an upload, uploads and keys below a prefix.

This module must never write, and never answer with less than all: a page that can't be had is an
error.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from chalicelib.errors import UnavailableError
from chalicelib.limits import S3_KEYS
from chalicelib.registry.outcomes import MultipartMissingError, Part
from chalicelib.stores.aws.failures import failures

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import (
        ListMultipartUploadsRequestTypeDef,
        ListObjectsV2RequestTypeDef,
        ListPartsRequestTypeDef,
    )


class S3Lists:
    """The lists of one bucket; `page` entries a request."""

    def __init__(self, client: "S3Client", bucket: str, page: int = S3_KEYS) -> None:
        self._client = client
        self._bucket = bucket
        self._page = page

    def parts(self, key: str, upload_id: str) -> list[Part]:
        """All parts of an upload, ascending; raises MultipartMissingError."""
        request: ListPartsRequestTypeDef = {
            "Bucket": self._bucket,
            "Key": key,
            "UploadId": upload_id,
            "MaxParts": self._page,
        }
        parts: list[Part] = []
        while True:
            with failures({"NoSuchUpload": MultipartMissingError}):
                answer = self._client.list_parts(**request)
            parts += [
                Part(item["PartNumber"], item["Size"], item["ETag"])
                for item in answer.get("Parts", [])
            ]
            if not answer.get("IsTruncated"):
                return sorted(parts, key=lambda part: part.number)
            # A part number, not a count: the numbers may have gaps.
            marker = answer.get("NextPartNumberMarker", 0)
            _advanced(marker > request.get("PartNumberMarker", 0), "parts")
            request["PartNumberMarker"] = marker

    def uploads(self, prefix: str) -> list[tuple[str, str]]:
        """Key and id of every open multipart upload below a prefix."""
        request: ListMultipartUploadsRequestTypeDef = {
            "Bucket": self._bucket,
            "Prefix": prefix,
            "MaxUploads": self._page,
        }
        uploads: list[tuple[str, str]] = []
        while True:
            with failures():
                answer = self._client.list_multipart_uploads(**request)
            uploads += [(item["Key"], item["UploadId"]) for item in answer.get("Uploads", [])]
            if not answer.get("IsTruncated"):
                return uploads
            marker = _text(answer, "NextKeyMarker"), _text(answer, "NextUploadIdMarker")
            before = _text(request, "KeyMarker"), _text(request, "UploadIdMarker")
            _advanced(marker not in {before, ("", "")}, "uploads")
            request["KeyMarker"], request["UploadIdMarker"] = marker

    def keys(self, prefix: str) -> list[str]:
        """The key of every object below a prefix."""
        request: ListObjectsV2RequestTypeDef = {
            "Bucket": self._bucket,
            "Prefix": prefix,
            "MaxKeys": self._page,
        }
        keys: list[str] = []
        while True:
            with failures():
                answer = self._client.list_objects_v2(**request)
            keys += [item["Key"] for item in answer.get("Contents", [])]
            if not answer.get("IsTruncated"):
                return keys
            token = _text(answer, "NextContinuationToken")
            _advanced(token not in {"", _text(request, "ContinuationToken")}, "keys")
            request["ContinuationToken"] = token


def _text(fields: Mapping[str, object], name: str) -> str:
    return str(fields.get(name) or "")


def _advanced(advanced: bool, what: str) -> None:  # noqa: FBT001 - what was to be true
    """Refuse to ask for the same page for ever."""
    if not advanced:
        raise UnavailableError(f"S3 cut its list of {what} short and did not say where")
