"""What the ports answer: values of the object store, and what stopped a call that lost nothing.

This module must never name S3, DynamoDB or an SDK.
"""

from dataclasses import dataclass

from chalicelib.errors import UnavailableError
from chalicelib.registry.session import Session


class ObjectMissingError(Exception):
    """The key holds no object."""


class ObjectChangedError(Exception):
    """The key holds another object than the ETag given says."""


class MultipartMissingError(Exception):
    """The multipart upload is over: completed, aborted, or never begun."""


class MultipartBusyError(UnavailableError):
    """Another request is completing the multipart upload: what comes of it is not known yet.

    Whoever can't find out tells the client to try again.
    """


class SessionMovedError(Exception):
    """A conditional write met another session than the caller had; `current` is what is there."""

    def __init__(self, current: Session | None) -> None:
        super().__init__("the session has moved on")
        self.current = current


class RecordMissingError(Exception):
    """No blob of this digest is live."""


class ManifestMovedError(Exception):
    """A manifest or tag changed between reading and writing: read again and retry."""


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """An object's size in bytes and ETag."""

    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Part:
    """A stored part of an open multipart upload."""

    number: int
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Written:
    """An object that was written; `repeated`: an earlier sending may still arrive.

    That is so where the request was sent again, because its first answer did not come.
    """

    etag: str
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """A multipart upload that was opened; `repeated`: another one may have been, with an id lost.

    That is so where the request was sent again, because its first answer did not come.
    """

    id: str
    repeated: bool = False
