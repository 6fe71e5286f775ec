"""One pass of the collector over a registry that is made up: what it asks of AWS, and how long.

Requests take their time in `bench.cloud`, as one after the other, or at once where the collector
makes them at once. What the collector computes is measured here, on this machine.
"""

from __future__ import annotations

import json
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.session import get_session

from bench import cloud
from bench.collecting.table import BLOB_BYTES, PlannedTables, key_of, number_behind
from bench.cost_meter import SCANNED, CallMeter
from bench.simulation import SimulatedClock
from chalicelib.registry.model import CollectorState
from chalicelib.registry.registry import Registry
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.tickets import FixedKeys
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from chalicelib.stores.s3.objects import S3ObjectStore
from moorage.common.data import REGION
from tests.emulators.lost_answers import aws_answer
from tests.support.registries import REGISTRY, UPLOADS, RecordedWorkers

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.collecting.table import Plan

CALL_SECONDS = 0.0013
"""What botocore computes for a call on this machine (docs/observability.md), in seconds."""


def _camel(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))


@dataclass
class MeteredTables:
    """A client of DynamoDB over a plan's table: each call is counted, and takes its time."""

    tables: PlannedTables
    clock: SimulatedClock
    meter: CallMeter
    calls: Counter[str] = field(default_factory=Counter)
    inside: float = 0.0
    """Seconds that this machine needed to play DynamoDB."""
    page: dict[str, Any] = field(default_factory=dict)
    """The first page of the scan."""

    def __getattr__(self, operation: str) -> Any:  # noqa: ANN401 - any of a client's methods
        def call(**request: Any) -> Any:  # noqa: ANN401 - botocore's parameters
            began = time.process_time()
            name = _camel(operation)
            self.calls[name] += 1
            self.meter.asks(name, request)
            try:
                answer = getattr(self.tables, operation)(**request)
                self.meter.answered(name, answer)
                read = answer.get(SCANNED, 0)
                if name == "Scan" and not self.page:
                    self.page = {**answer, "Count": len(answer["Items"])}
                seconds = cloud.DYNAMODB_REQUEST_SECONDS
                self.clock.sleep(seconds + read / cloud.DYNAMODB_READ_BYTES_PER_SECOND)
                return answer
            finally:
                self.inside += time.process_time() - began

        return call


@dataclass
class PlannedBucket:
    """A client of S3 over a plan's objects, of which each is there until it is deleted."""

    plan: Plan
    clock: SimulatedClock
    meter: CallMeter
    calls: Counter[str] = field(default_factory=Counter)
    deleted: set[str] = field(default_factory=set)
    inside: float = 0.0

    def head_object(self, *, Key: str, **_: object) -> Any:  # noqa: ANN401, N803 - botocore's
        """Look at an object."""
        self._called("HeadObject")
        return {"ContentLength": BLOB_BYTES, "ETag": f'"{Key[-8:]}"'}

    def delete_objects(self, *, Delete: Any, **_: object) -> Any:  # noqa: ANN401, N803 - likewise
        """Delete objects."""
        self._called("DeleteObjects")
        self.deleted.update(each["Key"] for each in Delete["Objects"])
        return {}

    def list_objects_v2(
        self,
        *,
        MaxKeys: int,  # noqa: N803 - likewise
        StartAfter: str,  # noqa: N803 - likewise
        **_: object,
    ) -> Any:  # noqa: ANN401 - likewise
        """List the keys behind one, in order: all are below direct/."""
        self._called("ListObjectsV2")
        began = time.process_time()
        numbers = range(number_behind(StartAfter), self.plan.all_blobs)
        keys = (key for key in map(key_of, numbers) if key not in self.deleted)
        contents = [{"Key": key, "Size": BLOB_BYTES} for key in islice(keys, MaxKeys)]
        self.inside += time.process_time() - began
        return {"Contents": contents}

    def _called(self, name: str) -> None:
        self.calls[name] += 1
        self.meter.s3_called(name)
        self.clock.sleep(cloud.S3_REQUEST_SECONDS)


@dataclass(frozen=True)
class PassFigures:
    """A pass: what it asked, and what it took. Memory is bytes."""

    calls: dict[str, int]
    read_units: float
    write_units: int
    s3_writes: int
    s3_reads: int
    waited: float
    """Seconds in which AWS works, as `bench.cloud` has it."""
    computed: float
    """Seconds that the collector's own code needed on this machine."""
    page: float
    """More of these that botocore needs to read the answer of one page of the scan."""
    peak: int
    """How much more this process held at most than before the pass."""
    freed: int
    links: int
    records: int
    objects: int


class PlannedRegistry:
    """A registry over a plan, in simulated time."""

    def __init__(self, tables: PlannedTables, now: float) -> None:
        self.clock = SimulatedClock()
        self.clock.time = now
        looker: Any = tables
        self.meter = CallMeter(looker)
        self.meter.know(REGISTRY, UPLOADS)
        self.dynamodb = MeteredTables(tables, self.clock, self.meter)
        self.s3 = PlannedBucket(tables.plan, self.clock, self.meter)
        dynamodb: Any = self.dynamodb
        s3: Any = self.s3
        self.ports = Ports(
            S3ObjectStore(s3, "bucket"),
            DynamoSessionStore(dynamodb, UPLOADS),
            DynamoMetadataStore(dynamodb, REGISTRY, UPLOADS),
            RecordedWorkers(),
            self.clock,
            FixedKeys.of("planned"),
            self.clock.at_once,
        )
        self.registry = Registry(self.ports, Limits())

    def listed_yesterday(self) -> None:
        """Note that the bucket was listed a day ago: it is not the day for it."""
        metadata = self.ports.metadata
        day = self.clock.now() - 24 * 3600.0
        state = CollectorState("", began_at=day, finished_at=day, listed_at=day)
        metadata.save_collector_state(None, state)

    def measured(self, act: Callable[[Registry], Any]) -> PassFigures:
        """Do something, and return what it asked and took."""
        before, began, computed = _held(), self.clock.now(), time.process_time()
        report = act(self.registry)
        computed = time.process_time() - computed - self.dynamodb.inside - self.s3.inside
        peak = _held() - before
        return PassFigures(
            calls=dict(self.dynamodb.calls + self.s3.calls),
            read_units=self.meter.dynamodb_reads,
            write_units=self.meter.dynamodb_writes,
            s3_writes=self.meter.s3_writes,
            s3_reads=self.meter.s3_reads,
            waited=self.clock.now() - began,
            computed=computed,
            page=page_seconds(self.dynamodb.page),
            peak=peak,
            freed=report.freed,
            links=report.links,
            records=report.records,
            objects=report.objects,
        )


def page_seconds(page: dict[str, Any], times: int = 5) -> float:
    """Return how long botocore computes, on this machine, to read the answer of a page."""
    content = json.dumps(page).encode()
    client: Any = get_session().create_client(
        "dynamodb",
        region_name=REGION,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - nothing is sent
    )

    def answered(request: Any, **_: object) -> Any:  # noqa: ANN401 - botocore's own
        return aws_answer(request.url, 200, content)

    client.meta.events.register("before-send.dynamodb.Scan", answered)
    began = time.process_time()
    for _ in range(times):
        client.scan(TableName=REGISTRY)
    return (time.process_time() - began) / times


def _held() -> int:
    """Return the most memory that this process has ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
