"""AWS in simulated time: every request lasts as long as `bench.cloud` says, and nobody waits.

The registry's own code runs over it: its stores, its driver, its verifier. What it does at once is
played one after the other, each on a line of its own, and the time goes on to the end of the last.
Bytes of blobs are nowhere: an object is a size and an ETag.
"""

from __future__ import annotations

import heapq
import uuid
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from bench import cloud
from chalicelib.limits import S3_KEYS
from chalicelib.registry.registry import Registry
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.tickets import FixedKeys
from chalicelib.registry.upload.verification import Verifier
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from chalicelib.stores.s3.copies import CopyPlan
from chalicelib.stores.s3.objects import S3ObjectStore
from tests.emulators.dynamodb import MemoryTables
from tests.support.registries import REGISTRY, UPLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chalicelib.digest import Digest
    from chalicelib.registry.proof import Segment, Stretch, Verdict

T = TypeVar("T")

NO_WAIT = Limits(commit_wait=0.0)
"""A request hands a commit over, and does not wait for it."""

_REPEATED = {"ResponseMetadata": {"RetryAttempts": 0}}


@lru_cache(maxsize=4)
def _zeros(size: int) -> bytes:
    return bytes(size)


class SimulatedClock:
    """Time that passes only where something is charged."""

    def __init__(self) -> None:
        self.time = 1_764_000_000.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.time += seconds

    def new_id(self) -> str:
        """Return an identifier that nobody had."""
        return str(uuid.uuid4())

    def at_once(self, most: int, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Play calls that are made at once: see `chalicelib.at_once.AtOnce`."""
        lines, answers = [self.time] * min(most, len(calls)), []
        for call in calls:
            self.time = heapq.heappop(lines)
            answers.append(call())
            heapq.heappush(lines, self.time)
        self.time = max([self.time, *lines])
        return answers


@dataclass
class Function:
    """A process of the verify function: when it is free again, and what it may receive fast."""

    free_at: float
    burst: float = cloud.FUNCTION_BURST_BYTES

    received: int = 0
    """Bytes that this invocation has received."""

    def seconds(self, size: int, streams: int) -> float:
        """Return how long one of so many streams takes, as long as the network is not held back."""
        self.received += size
        hashed = cloud.FUNCTION_HASH_BYTES_PER_SECOND / streams
        return size / min(cloud.STREAM_BYTES_PER_SECOND, hashed)

    def held_back(self, streams: int) -> float:
        """Return how much longer the invocation took, since all streams share the network."""
        fast = min(self.received, self.burst)
        slow, self.burst, self.received = self.received - fast, self.burst - fast, 0
        rate = min(streams * cloud.STREAM_BYTES_PER_SECOND, cloud.FUNCTION_HASH_BYTES_PER_SECOND)
        return max(0.0, slow / cloud.FUNCTION_BYTES_PER_SECOND - slow / rate)


@dataclass
class SimulatedS3:
    """A client of S3 with objects that have no bytes. It counts what it is asked.

    `uploads` are the parts of multipart uploads, by key and id: number, size and ETag.
    """

    clock: SimulatedClock
    objects: dict[str, tuple[int, str, bytes | None]] = field(default_factory=dict)
    uploads: dict[tuple[str, str], dict[int, tuple[int, str]]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    function: Function | None = None
    """Where the reader runs, whose network is shared by `streams`."""
    streams: int = 1

    def _request(self, operation: str, size: int = 0) -> None:
        self.requests[operation] += 1
        self.clock.sleep(cloud.s3_seconds(size))

    def put_object(self, *, Key: str, Body: bytes, **_: object) -> Any:  # noqa: ANN401, N803 - botocore's
        """Store an object."""
        self._request("PutObject", len(Body))
        self.objects[Key] = (len(Body), '"put"', bytes(Body))
        return {"ETag": '"put"', **_REPEATED}

    def head_object(self, *, Key: str, **_: object) -> Any:  # noqa: ANN401, N803 - likewise
        """Look at an object."""
        self._request("HeadObject")
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "404"}}, "HeadObject")
        size, etag, _data = self.objects[Key]
        return {"ContentLength": size, "ETag": etag}

    def get_object(self, *, Key: str, Range: str | None = None, **_: object) -> Any:  # noqa: ANN401, N803 - likewise
        """Read an object, or a span of it."""
        self._request("GetObject")
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        size, _etag, data = self.objects[Key]
        if data is not None:
            return {"ContentLength": size, "Body": _Body(self, size, data)}
        first, _dash, last = (Range or "bytes=0-").removeprefix("bytes=").partition("-")
        size = min(int(last or size - 1), size - 1) - int(first) + 1
        return {"ContentLength": size, "Body": _Body(self, size)}

    def create_multipart_upload(self, *, Key: str, **_: object) -> Any:  # noqa: ANN401, N803 - likewise
        """Open an upload."""
        self._request("CreateMultipartUpload")
        upload_id = str(len(self.uploads))
        self.uploads[Key, upload_id] = {}
        return {"UploadId": upload_id, **_REPEATED}

    def upload_part_copy(self, *, Key: str, UploadId: str, PartNumber: int, **more: Any) -> Any:  # noqa: ANN401, N803 - likewise
        """Copy a part, inside S3."""
        first, last = more["CopySourceRange"].removeprefix("bytes=").split("-")
        size = int(last) - int(first) + 1
        self.requests["UploadPartCopy"] += 1
        self.clock.sleep(cloud.copy_seconds(size))
        self.uploads[Key, UploadId][PartNumber] = (size, '"part"')
        return {"CopyPartResult": {"ETag": '"part"'}}

    def list_multipart_uploads(self, *, Prefix: str, **_: object) -> Any:  # noqa: ANN401, N803 - likewise
        """List open uploads."""
        self._request("ListMultipartUploads")
        found = [{"Key": key, "UploadId": i} for key, i in self.uploads if key.startswith(Prefix)]
        return {"Uploads": found}

    def list_parts(self, *, Key: str, UploadId: str, PartNumberMarker: int = 0, **_: object) -> Any:  # noqa: ANN401, N803 - likewise
        """List a page of parts."""
        self._request("ListParts")
        parts = self.uploads[Key, UploadId]
        rest = sorted(number for number in parts if number > PartNumberMarker)
        page = [{"PartNumber": n, "Size": parts[n][0], "ETag": parts[n][1]} for n in rest[:S3_KEYS]]
        if len(rest) <= S3_KEYS:
            return {"Parts": page}
        return {"Parts": page, "IsTruncated": True, "NextPartNumberMarker": page[-1]["PartNumber"]}

    def complete_multipart_upload(
        self,
        *,
        Key: str,  # noqa: N803 - likewise
        UploadId: str,  # noqa: N803 - likewise
        MultipartUpload: Any,  # noqa: ANN401, N803 - likewise
        **_: object,
    ) -> Any:  # noqa: ANN401 - likewise
        """Put an object together."""
        self._request("CompleteMultipartUpload")
        parts = self.uploads.pop((Key, UploadId))
        listed = [part["PartNumber"] for part in MultipartUpload["Parts"]]
        self.clock.sleep(cloud.COMPLETE_SECONDS_PER_PART * len(listed))
        self.objects[Key] = (sum(parts[number][0] for number in listed), '"whole"', None)
        return {"ETag": '"whole"'}

    def delete_objects(self, *, Delete: Any, **_: object) -> Any:  # noqa: ANN401, N803 - likewise
        """Delete objects."""
        self._request("DeleteObjects")
        for each in Delete["Objects"]:
            self.objects.pop(each["Key"], None)
        return {}

    def receive(self, size: int) -> None:
        """Charge the bytes of an answer."""
        if self.function is None:
            self.clock.sleep(size / cloud.STREAM_BYTES_PER_SECOND)
        else:
            self.clock.sleep(self.function.seconds(size, self.streams))


@dataclass
class _Body:
    """An answer's body: zeros, or what was put."""

    s3: SimulatedS3
    rest: int
    data: bytes | None = None

    def read(self, size: int | None = None) -> bytes:
        """Receive some of it."""
        size = min(size or self.rest, self.rest)
        self.rest -= size
        self.s3.receive(size)
        if self.data is not None:
            found, self.data = self.data[:size], self.data[size:]
            return found
        return _zeros(size)

    def close(self) -> None:
        """Read no more."""


class Charged:
    """A client of DynamoDB each call of which takes its time."""

    def __init__(self, client: Any, clock: SimulatedClock) -> None:  # noqa: ANN401 - any client
        self._client, self._clock, self.requests = client, clock, 0

    def __getattr__(self, operation: str) -> Any:  # noqa: ANN401 - likewise
        def call(**request: object) -> object:
            self.requests += 1
            self._clock.sleep(cloud.DYNAMODB_REQUEST_SECONDS)
            return getattr(self._client, operation)(**request)

        return call


@dataclass
class SimulatedWorkers:
    """The commit function, of which a test says when it runs, and the verify function."""

    clock: SimulatedClock
    s3: SimulatedS3
    limits: Limits
    start: float
    """Seconds until a new process runs."""
    verifier: Verifier | None = None
    places: list[Function] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    calls: int = 0

    def commit(self, session_id: str) -> None:
        """Queue."""
        self.clock.sleep(cloud.INVOKE_SECONDS)
        self.asked.append(session_id)

    def verify(self, stretch: Stretch) -> Verdict:
        """Run in a place that is free, or in a new one, which has to start."""
        self.calls += 1
        self.clock.sleep(cloud.INVOKE_SECONDS)
        now = self.clock.now()
        place = next((each for each in self.places if each.free_at <= now), None)
        if place is None:
            place = Function(now)
            self.places.append(place)
            self.clock.sleep(self.start)
        self.s3.function = place
        self.s3.streams = min(self.limits.verify_streams, len(stretch.segments))
        if self.verifier is None:
            raise ValueError("there is no verifier")
        verdict = self.verifier.verdict(stretch)
        self.clock.sleep(place.held_back(self.s3.streams))
        self.s3.function, self.s3.streams = None, 1
        place.free_at = self.clock.now()
        return verdict


def arrives_unhashed(
    segment: Segment, chunks: Iterable[bytes], _total: int, _digest: Digest
) -> bool:
    """Receive a segment's bytes, and believe them: the time of hashing is in that of receiving."""
    return sum(map(len, chunks)) == segment.size


class SimulatedRegistry:
    """A registry over all of these."""

    def __init__(self, start: float, limits: Limits = NO_WAIT) -> None:
        self.clock = SimulatedClock()
        self.s3 = SimulatedS3(self.clock)
        client: Any = self.s3
        self.dynamodb = Charged(MemoryTables(), self.clock)
        dynamodb: Any = self.dynamodb
        self.workers = SimulatedWorkers(self.clock, self.s3, limits, start)
        plan = CopyPlan(now=self.clock.now, at_once=self.clock.at_once)
        self.ports = Ports(
            S3ObjectStore(client, "bucket", plan),
            DynamoSessionStore(dynamodb, UPLOADS),
            DynamoMetadataStore(dynamodb, REGISTRY, UPLOADS),
            self.workers,
            self.clock,
            FixedKeys.of("simulated"),
            self.clock.at_once,
            lambda _every, _call: nullcontext(),  # a write each ten seconds is not charged
        )
        self.registry = Registry(self.ports, limits)
        self.workers.verifier = Verifier(self.ports, limits, arrives_unhashed)
