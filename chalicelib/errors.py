"""THE table of error codes, and one exception for each.

A code and its HTTP status stand together here and nowhere else. This module must never know of
HTTP headers, S3 or DynamoDB.
Source: OCI distribution spec, "Error Codes"; RANGE_INVALID, TAG_INVALID, UNAVAILABLE and
PAGINATION_NUMBER_INVALID follow the codes that clients already know from other registries;
REQUEST_INVALID and TAG_MOVED are Moorage's own, for the token endpoint and its extensions.
"""

import enum
from typing import ClassVar


class ErrorCode(enum.Enum):
    """An error code of the spec with its HTTP status and the message used when none is given."""

    BLOB_UNKNOWN = (404, "blob unknown to this repository: push it, or mount it from another")
    BLOB_UPLOAD_INVALID = (
        400,
        "the request does not continue the upload: get its status and resume",
    )
    BLOB_UPLOAD_UNKNOWN = (404, "no such upload session: start a new one")
    DENIED = (403, "access denied")
    DIGEST_INVALID = (400, "the digest does not match the bytes, or is no digest")
    MANIFEST_BLOB_UNKNOWN = (404, "the manifest refers to something this repository lacks")
    MANIFEST_INVALID = (400, "not a manifest this registry can store")
    MANIFEST_UNKNOWN = (404, "manifest unknown to this repository")
    NAME_INVALID = (400, "not a repository name")
    NAME_UNKNOWN = (404, "repository name not known to this registry")
    PAGINATION_NUMBER_INVALID = (400, "n must be a whole number, 0 or more")
    RANGE_INVALID = (416, "the range can't be satisfied")
    REQUEST_INVALID = (400, "the request can't be read: the message says what to change")
    SIZE_TOO_LARGE = (413, "the content is larger than this registry takes in one request")
    TAG_INVALID = (400, "not a tag")
    TAG_MOVED = (409, "the tag names another manifest by now")
    TOOMANYREQUESTS = (429, "too many requests: wait and retry")
    UNAUTHORIZED = (401, "authentication required: log in")
    UNAVAILABLE = (503, "try again after the time in Retry-After")
    UNSUPPORTED = (405, "this registry does not do that")

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message

    @property
    def code(self) -> str:
        """The code as clients see it: the spec's word for a length is SIZE_INVALID."""
        return "SIZE_INVALID" if self is ErrorCode.SIZE_TOO_LARGE else self.name


_QUOTED = 200
"""Most characters of a request that an error shows: errors are answers, which have a limit too."""


def quoted(value: object) -> str:
    """Return what a client sent as an error shows it: escaped, and cut if it is long."""
    text = repr(str(value)[:_QUOTED])
    return text if len(text) <= _QUOTED + 2 else f"{text[:_QUOTED]}..."


class RegistryError(Exception):
    """An error that a client is answered; each subclass is one code."""

    code: ClassVar[ErrorCode]

    def __init__(self, message: str = "", *, detail: object = None) -> None:
        super().__init__(message or self.code.message)
        self.message = message or self.code.message
        self.detail = detail


class BlobUnknownError(RegistryError):
    """The repository has no such blob."""

    code = ErrorCode.BLOB_UNKNOWN


class DeniedError(RegistryError):
    """The caller may not do this."""

    code = ErrorCode.DENIED


class DirectUploadInvalidError(RegistryError):
    """A direct upload whose bytes are not there, or not as they have to be."""

    code = ErrorCode.BLOB_UPLOAD_INVALID


class DigestInvalidError(RegistryError):
    """A malformed digest, or one that the bytes do not have."""

    code = ErrorCode.DIGEST_INVALID


class ManifestBlobUnknownError(RegistryError):
    """A manifest names something that its repository lacks."""

    code = ErrorCode.MANIFEST_BLOB_UNKNOWN


class ManifestInvalidError(RegistryError):
    """A manifest that can't be read, or that contradicts itself or the stored content."""

    code = ErrorCode.MANIFEST_INVALID


class ManifestContradictsError(ManifestInvalidError):
    """A manifest that says of something in its repository what is not so."""


class ManifestUnknownError(RegistryError):
    """The repository has no such manifest."""

    code = ErrorCode.MANIFEST_UNKNOWN


class NameInvalidError(RegistryError):
    """A repository name outside the grammar."""

    code = ErrorCode.NAME_INVALID


class NameUnknownError(RegistryError):
    """A repository that does not exist."""

    code = ErrorCode.NAME_UNKNOWN


class PaginationNumberInvalidError(RegistryError):
    """An `n` that is no number."""

    code = ErrorCode.PAGINATION_NUMBER_INVALID


class RangeInvalidError(RegistryError):
    """A range of a blob that can't be served; `size` is the blob's size in bytes."""

    code = ErrorCode.RANGE_INVALID

    def __init__(self, message: str = "", *, size: int) -> None:
        super().__init__(message)
        self.size = size


class RequestInvalidError(RegistryError):
    """A request whose parameters or body can't be read."""

    code = ErrorCode.REQUEST_INVALID


class SizeTooLargeError(RegistryError):
    """Content above a limit."""

    code = ErrorCode.SIZE_TOO_LARGE


class TagInvalidError(RegistryError):
    """A tag outside the grammar."""

    code = ErrorCode.TAG_INVALID


class TagMovedError(RegistryError):
    """A tag that was to be brought back, and names another manifest by now."""

    code = ErrorCode.TAG_MOVED


class TooManyRequestsError(RegistryError):
    """The caller, or the registry by AWS, is being throttled; `retry_after` in seconds."""

    code = ErrorCode.TOOMANYREQUESTS

    def __init__(self, message: str = "", *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnavailableError(RegistryError):
    """Could not be done now, and nothing was lost; `retry_after` in seconds."""

    code = ErrorCode.UNAVAILABLE

    def __init__(self, message: str = "", *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnauthorizedError(RegistryError):
    """The caller has no valid token, or one without the scopes; `scopes`: those it needs."""

    code = ErrorCode.UNAUTHORIZED

    def __init__(self, message: str = "", *, scopes: str = "") -> None:
        super().__init__(message)
        self.scopes = scopes


class UnsupportedError(RegistryError):
    """A method or an operation that does not exist here."""

    code = ErrorCode.UNSUPPORTED


class UploadError(RegistryError):
    """An error about a living session: `offset` is how many bytes of it are durable."""

    def __init__(self, message: str = "", *, offset: int, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset
        self.retry_after = retry_after


class UploadBusyError(UploadError):
    """Another request holds the session's lease."""

    code = ErrorCode.UNAVAILABLE


class CommitRunningError(UploadBusyError):
    """The session is closed, and its commit is not done yet; `driven`: somebody works at it."""

    def __init__(
        self,
        message: str = "",
        *,
        offset: int,
        retry_after: int | None = None,
        driven: bool = False,
    ) -> None:
        super().__init__(message, offset=offset, retry_after=retry_after)
        self.driven = driven


class UploadDigestInvalidError(UploadError):
    """The digest claimed is not the digest of the session's bytes; the right one may follow."""

    code = ErrorCode.DIGEST_INVALID


class UploadInvalidError(UploadError):
    """A chunk that contradicts its own headers; nothing of it was kept."""

    code = ErrorCode.BLOB_UPLOAD_INVALID


class UploadOffsetError(UploadError):
    """A chunk that does not begin where the session ends."""

    code = ErrorCode.RANGE_INVALID


class UploadUnknownError(RegistryError):
    """No such session, or one that is over."""

    code = ErrorCode.BLOB_UPLOAD_UNKNOWN
