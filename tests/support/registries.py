"""A whole registry in this process, over a backend: what the API's tests speak to.

It must never be shared between tests that write: take one for each.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chalicelib.api.dispatch import Api
from chalicelib.api.messages import Request, Response
from chalicelib.registry.registry import Registry
from chalicelib.registry.service import Limits, Ports
from chalicelib.settings import ApiOptions, HeadStrategy
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from chalicelib.stores.s3.objects import S3ObjectStore
from tests.support.memory_metadata import MemoryMetadataStore
from tests.support.memory_objects import MemoryObjectStore
from tests.support.memory_sessions import MemorySessionStore

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from tests.emulators.backends import Backend


class TestClock:
    """A clock that a test can move; sleeping moves it and takes no time."""

    __test__ = False

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        """Seconds since the epoch, and what the test added."""
        return time.time() + self.offset

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.offset += seconds

    def new_id(self) -> str:
        """Return a random UUID."""
        return str(uuid.uuid4())


@dataclass
class RecordedWorkers:
    """Remembers what it was asked for."""

    asked: list[str] = field(default_factory=list)

    def commit(self, session_id: str) -> None:
        """Remember."""
        self.asked.append(session_id)


@dataclass
class RegistryUnderTest:
    """The API, the registry below it, and the clients it stands on."""

    api: Api
    registry: Registry
    ports: Ports
    s3: S3Client
    dynamodb: DynamoDBClient
    bucket: str
    registry_table: str
    uploads_table: str
    clock: TestClock

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Response:
        """Send a request; `target` is the path after /v2/ with its query."""
        path, _, query = target.removeprefix("/v2/").partition("?")
        parameters: dict[str, list[str]] = {}
        for part in filter(None, query.split("&")):
            name, _, value = part.partition("=")
            parameters.setdefault(name, []).append(value)
        return self.api(
            Request(
                method=method,
                path=path.rstrip("/"),
                query=parameters,
                headers={name.lower().replace("_", "-"): v for name, v in headers.items()},
                body=body,
                deadline=self.clock.now() + 29,
                request_id="test",
            )
        )

    def stored(self) -> list[str]:
        """Every object key in the bucket."""
        answer = self.s3.list_objects_v2(Bucket=self.bucket)
        return [item["Key"] for item in answer.get("Contents", [])]


@dataclass
class MemoryRegistry:
    """A registry over stores in memory, and those stores."""

    registry: Registry
    objects: MemoryObjectStore
    sessions: MemorySessionStore
    metadata: MemoryMetadataStore
    workers: RecordedWorkers
    clock: TestClock


def registry_in_memory(limits: Limits) -> MemoryRegistry:
    """Build a registry over empty stores in memory, whose parts are as small as `limits` says."""
    objects, sessions = MemoryObjectStore(part_minimum=limits.part_minimum), MemorySessionStore()
    metadata, workers, clock = MemoryMetadataStore(sessions), RecordedWorkers(), TestClock()
    ports = Ports(objects, sessions, metadata, workers, clock)
    return MemoryRegistry(Registry(ports, limits), objects, sessions, metadata, workers, clock)


def registry_over(
    backend: Backend,
    limits: Limits | None = None,
    head: HeadStrategy = HeadStrategy.BODY,
    inline_limit: int = 1024 * 1024,
) -> RegistryUnderTest:
    """Build a registry on a backend's bucket and tables."""
    s3, dynamodb, clock = backend.s3(), backend.dynamodb(), TestClock()
    ports = Ports(
        objects=S3ObjectStore(s3, backend.bucket),
        sessions=DynamoSessionStore(dynamodb, backend.uploads_table),
        metadata=DynamoMetadataStore(dynamodb, backend.registry_table, backend.uploads_table),
        workers=RecordedWorkers(),
        clock=clock,
    )
    registry = Registry(ports, limits or Limits())
    api = Api(lambda: registry, ApiOptions(inline_limit, head, manifest_limit=4_500_000))
    names = (backend.bucket, backend.registry_table, backend.uploads_table)
    return RegistryUnderTest(api, registry, ports, s3, dynamodb, *names, clock)
