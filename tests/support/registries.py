"""A whole registry in this process, over a backend: what the API's tests speak to.

It must never be shared between tests that write: take one for each.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from chalicelib.api.dispatch import Api
from chalicelib.api.messages import Request, Response
from chalicelib.registry.proof import Verdict
from chalicelib.registry.registry import Registry
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.tickets import FixedKeys
from chalicelib.settings import ApiOptions, HeadStrategy
from chalicelib.stores.dynamodb.items import session_item
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from chalicelib.stores.s3.copies import CopyPlan
from chalicelib.stores.s3.objects import S3ObjectStore
from tests.emulators.dynamodb import MemoryTables
from tests.support.memory_objects import MemoryObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from chalicelib.registry.proof import Stretch
    from chalicelib.registry.session import Session
    from chalicelib.registry.upload.verification import Verifier
    from tests.emulators.backends import Backend

REGISTRY: Final = "registry"
UPLOADS: Final = "uploads"
TICKET_KEYS: Final = FixedKeys.of("tests")


@dataclass(eq=False)
class Beat:
    """A call that is made every so many seconds; `at` is when it comes next."""

    every: float
    call: Callable[[], bool]
    at: float


class Beats:
    """`Meanwhile` by a clock that tests move: the calls are made when its time has passed.

    In the thread whose block it is, and only there: a task that is held up makes none.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._running: dict[int, list[Beat]] = {}

    @contextmanager
    def meanwhile(self, every: float, call: Callable[[], bool]) -> Iterator[None]:
        """See chalicelib.at_once.Meanwhile."""
        running = self._running.setdefault(threading.get_ident(), [])
        beat = Beat(every, call, self._now() + every)
        running.append(beat)
        try:
            yield
        finally:
            running.remove(beat)

    def passed(self) -> None:
        """Make the calls whose time has come."""
        for beat in list(self._running.get(threading.get_ident(), ())):
            if self._now() >= beat.at:
                beat.at = math.inf
                if beat.call():
                    beat.at = self._now() + beat.every


class TestClock:
    """A clock that a test can move; sleeping moves it and takes no time.

    A test that moves `offset` itself holds the process up: nothing is done meanwhile.
    """

    __test__ = False

    def __init__(self) -> None:
        self.offset = 0.0
        self.beats = Beats(self.now)

    def now(self) -> float:
        """Seconds since the epoch, and what the test added."""
        return time.time() + self.offset

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.offset += seconds
        self.beats.passed()

    def new_id(self) -> str:
        """Return a random UUID."""
        return str(uuid.uuid4())


def request_to(
    method: str, target: str, body: bytes, headers: Mapping[str, str], deadline: float
) -> Request:
    """Return a request; `target` is the path after /v2/ with its query, `_` in a header is `-`."""
    path, _, query = target.removeprefix("/v2/").partition("?")
    parameters: dict[str, list[str]] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        parameters.setdefault(name, []).append(value)
    written = {name.lower().replace("_", "-"): value for name, value in headers.items()}
    return Request(method, path.rstrip("/"), parameters, written, body, deadline, "test")


@dataclass
class RecordedWorkers:
    """Remembers what it was asked for."""

    asked: list[str] = field(default_factory=list)
    verifier: Verifier | None = None
    """What verifies for this process, as a worker would."""
    stretches: list[Stretch] = field(default_factory=list)

    def commit(self, session_id: str) -> None:
        """Remember."""
        self.asked.append(session_id)

    def verify(self, stretch: Stretch) -> Verdict:
        """Remember, and verify."""
        self.stretches.append(stretch)
        return self.verifier.verdict(stretch) if self.verifier else Verdict()


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
        return self.api(request_to(method, target, body, headers, self.clock.now() + 29))

    def stored(self) -> list[str]:
        """Every object key in the bucket."""
        answer = self.s3.list_objects_v2(Bucket=self.bucket)
        return [item["Key"] for item in answer.get("Contents", [])]


@dataclass
class MemoryRegistry:
    """A registry over tables and an object store in this process, and what it stands on."""

    registry: Registry
    objects: MemoryObjectStore
    tables: MemoryTables
    sessions: DynamoSessionStore
    metadata: DynamoMetadataStore
    workers: RecordedWorkers
    clock: TestClock

    def session(self, session_id: str) -> Session:
        """Return a session that is stored."""
        session = self.sessions.get(session_id)
        assert session is not None
        return session

    def replace(self, session: Session) -> None:
        """Replace a session behind the registry's back."""
        self.tables.put_item(TableName=UPLOADS, Item=session_item(session))

    def rows(self, *kinds: str) -> list[str]:
        """Return the sort keys in the table `registry` of some kinds: MANIFEST, TAG, REFERRER."""
        keys = [item["sk"]["S"] for item in self.tables.rows(REGISTRY)]
        return [sort for sort in keys if sort.partition("#")[0] in kinds]


def registry_in_memory(limits: Limits) -> MemoryRegistry:
    """Build an empty registry in this process, whose parts are as small as `limits` says."""
    workers, clock, tables = RecordedWorkers(), TestClock(), MemoryTables()
    objects = MemoryObjectStore(
        part_minimum=limits.part_minimum,
        copy_whole=limits.copy_whole,
        copy_part_size=2 * limits.part_minimum,
        now=clock.now,
    )
    sessions, metadata = stores_over(tables)
    ports = Ports(objects, sessions, metadata, workers, clock, TICKET_KEYS)
    ports = ports._replace(meanwhile=clock.beats.meanwhile)
    registry = Registry(ports, limits)
    workers.verifier = registry.verifier
    return MemoryRegistry(registry, objects, tables, sessions, metadata, workers, clock)


def stores_over(tables: MemoryTables) -> tuple[DynamoSessionStore, DynamoMetadataStore]:
    """Return the stores of a registry over tables in this process; they never sleep."""
    client: Any = tables
    return (
        DynamoSessionStore(client, UPLOADS, sleep=lambda _: None),
        DynamoMetadataStore(client, REGISTRY, UPLOADS, sleep=lambda _: None),
    )


def registry_over(
    backend: Backend,
    limits: Limits | None = None,
    head: HeadStrategy = HeadStrategy.BODY,
    inline_limit: int = 1024 * 1024,
) -> RegistryUnderTest:
    """Build a registry on a backend's bucket and tables."""
    s3, dynamodb = backend.shared_clients()
    clock, workers = TestClock(), RecordedWorkers()
    ports = Ports(
        objects=S3ObjectStore(s3, backend.bucket, CopyPlan(now=clock.now)),
        sessions=DynamoSessionStore(dynamodb, backend.uploads_table),
        metadata=DynamoMetadataStore(dynamodb, backend.registry_table, backend.uploads_table),
        workers=workers,
        clock=clock,
        ticket_keys=TICKET_KEYS,
    )
    ports.metadata.known_rules(clock.now(), 0.0)  # once a minute, and so in no count of requests
    registry = Registry(ports, limits or Limits())
    workers.verifier = registry.verifier
    api = Api(lambda: registry, ApiOptions(inline_limit, head, manifest_limit=4_500_000))
    names = (backend.bucket, backend.registry_table, backend.uploads_table)
    return RegistryUnderTest(api, registry, ports, s3, dynamodb, *names, clock)
