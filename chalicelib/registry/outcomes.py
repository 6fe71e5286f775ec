"""What the ports answer: values of the object store, and the errors that a rule can act on.

This module must never name S3, DynamoDB or an SDK.
"""

from collections.abc import Mapping
from enum import StrEnum

from chalicelib.dataclass import dataclass
from chalicelib.digest import Digest
from chalicelib.errors import UnavailableError
from chalicelib.registry.session import Session


class ObjectMissingError(Exception):
    """The key holds no object."""


class ObjectChangedError(Exception):
    """The key holds another object than the ETag given says."""


class MultipartMissingError(Exception):
    """The multipart upload is over: completed, aborted, or never begun."""


class MultipartBusyError(UnavailableError):
    """Another request is completing the multipart upload, and its outcome is not known yet.

    A caller that can't find the outcome lets the client try again.
    """


class PartsChangedError(UnavailableError):
    """A part is no longer the one that was listed: a client has put it again."""


class PartTooSmallError(UnavailableError):
    """A part that is not the last one has fewer bytes than the store's smallest part."""


class UnfinishedError(UnavailableError):
    """The step did not end in its time; a repeat continues where it stopped."""


BYTES_LOST = (MultipartMissingError, ObjectMissingError, ObjectChangedError)
"""What a store raises when the bytes that a session names are not there."""


class SessionMovedError(Exception):
    """The session has changed since it was read; nothing was written. `current`: its item."""

    def __init__(self, current: Session | None) -> None:
        super().__init__("the session has moved on")
        self.current = current


class RecordMissingError(Exception):
    """No blob of this digest is live."""


class OverQuotaError(Exception):
    """There is no room for the added bytes and tags, or nobody has counted the repository yet."""

    def __init__(self, *, size: int = 0, tags: int = 0) -> None:
        super().__init__(f"no room for {size} bytes and {tags} tags")
        self.size = size
        self.tags = tags


class ManifestMovedError(Exception):
    """A manifest or tag changed between reading and writing: read again and retry."""


class CollectorMovedError(Exception):
    """Another collector has gone on meanwhile: this one stops."""


class Sweep(StrEnum):
    """What became of a link that the collector meant to delete."""

    SWEPT = "swept"
    """It is deleted, and its record counts one less; or it was gone already."""
    UNCOUNTED = "uncounted"
    """It is deleted alone: there is no record, or it counts none."""
    USED = "used"
    """It stays: somebody has touched it."""


@dataclass(frozen=True)
class ObjectStat:
    """An object's size in bytes and ETag."""

    size: int
    etag: str


@dataclass(frozen=True)
class ListedObject:
    """An object of a list: its key, and its size in bytes."""

    key: str
    size: int


@dataclass(frozen=True)
class CheckedObject:
    """An object, and what the store has compared before it kept the bytes."""

    size: int
    digest: Digest | None
    """The SHA-256 of the whole, in one piece; None if the store has compared none."""
    headers: tuple[str, ...] = ()
    """Names of headers that its writer chose: downloads carry them."""


@dataclass(frozen=True)
class PresignedPut:
    """A URL to which anyone may put one object, or one part, with exactly these headers."""

    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """A stored part of an open multipart upload."""

    number: int
    size: int
    etag: str


@dataclass(frozen=True)
class WrittenObject:
    """An object that was written.

    `repeated`: the request was sent again because no answer came, so that the first one may still
    arrive.
    """

    etag: str
    repeated: bool = False


@dataclass(frozen=True)
class MultipartUpload:
    """A multipart upload that was opened.

    `repeated`: the request was sent again because no answer came, so that there may be another
    upload whose id nobody knows.
    """

    id: str
    repeated: bool = False
