"""The worlds of the drills: a registry's stores with every call behind a gate, and a clock.

A point is a request to DynamoDB or an API call of botocore's; a call of the port where the object
store is in memory. Nothing here may run on real time.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from copy import copy
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from botocore.exceptions import ClientError

from chalicelib.digest import Digest
from chalicelib.errors import UnavailableError
from chalicelib.registry.outcomes import CheckedObject
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.upload.verification import Verifier
from chalicelib.stores.aws.failures import status_of
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from chalicelib.stores.s3.copies import CopyPlan
from chalicelib.stores.s3.objects import S3ObjectStore
from moorage.common.project import DATA_TEMPLATE, load_template
from tests.drills.support import snapshot as drill_snapshot
from tests.drills.support.ministack import MiniStackWire
from tests.drills.support.moto import MotoWire, Wire
from tests.drills.support.points import Gate, Stopped, gated, under_way
from tests.emulators.dynamodb import MemoryTables
from tests.support.memory_objects import MemoryObjectStore
from tests.support.registries import REGISTRY, TICKET_KEYS, UPLOADS, Beats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mypy_boto3_dynamodb import DynamoDBClient

    from chalicelib.registry.outcomes import PresignedPut
    from chalicelib.registry.proof import Stretch, Verdict
    from chalicelib.stores.dynamodb.keys import Key
    from tests.drills.support.snapshot import Snapshot

T = TypeVar("T")

PART = 8
"""The smallest part of the drills, in bytes: a whole upload is a handful of letters."""

_UNDER_WAY = 45.0
"""How long a Complete or a copy in memory takes at most: longer than leases, and than callers live.

Others may act meanwhile.
"""
_COPY_PART = 3.0
"""How long a part is copied: a copy in parts takes longer than one step."""

SMALL = Limits(
    part_minimum=PART,
    blob_inline=10,
    copy_whole=5 * PART,
    drive_lease=20.0,
    drive_beat=5.0,
    drive_longest=40.0,
    drive_step=10.0,
    drive_piece=PART,
    verify_alone=100,
    alone_streams=4,
    alone_run=1,
    verify_workers=3,
    verify_streams=1,
    verify_run=1,
    verify_least=1,
    verify_most=1,
    verify_time=5.0,
    worker_start=20.0,
    assembling=60.0,
)
BY_WORKER = SMALL._replace(commit_inline=4, commit_wait=15.0)
"""Every commit but the smallest is a worker's."""
_START = 1_764_000_000.0
_TABLE = ("AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema")


class DrillClock:
    """Time that passes only when somebody sleeps, and identifiers in the order of asking."""

    def __init__(self) -> None:
        self.time = _START
        self.beats = Beats(self.now)
        self._ids = 0
        self._coming: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Let time pass, and happen what has come meanwhile."""
        self.time += seconds
        coming, self._coming = self._coming, []
        for at, effect in coming:
            if at <= self.time:
                effect()
            else:
                self._coming.append((at, effect))
        self.beats.passed()

    def within(self, seconds: float, effect: Callable[[], None]) -> Callable[[], None]:
        """Return an effect that happens once: when it is called, or when so much time is over."""
        happened: list[bool] = []

        def once() -> None:
            if not happened:
                happened.append(True)
                self._coming = [each for each in self._coming if each[1] is not once]
                effect()

        self._coming.append((self.time + seconds, once))
        return once

    def become(self, other: DrillClock) -> bool:
        """Take another's time and identifiers; False if effects are still to come there."""
        self.time, self._ids = other.time, other._ids
        return not other._coming

    def new_id(self) -> str:
        """Return an identifier that nobody had."""
        self._ids += 1
        return str(uuid.UUID(int=self._ids))


class DrillWorkers:
    """Does the commits that are asked for as `drive` says, which is nothing by itself."""

    drive: Callable[[str], object] | None = None

    def commit(self, session_id: str) -> None:
        """Do it."""
        if self.drive is not None:
            self.drive(session_id)


class GatedWorkers:
    """The workers as one task sees them. Each call of one that verifies is a point, too.

    Where it is stopped, it alone dies: the task that waits for it gets no answer.
    """

    def __init__(self, workers: DrillWorkers, verifier: Verifier, gate: Gate) -> None:
        self._workers, self._verifier, self._gate = workers, verifier, gate

    def commit(self, session_id: str) -> None:
        """Do it."""
        self._workers.commit(session_id)

    def verify(self, stretch: Stretch) -> Verdict:
        """Do it."""
        try:
            return self._verifier.verdict(stretch)
        except Stopped:
            self._gate.revive()
            raise UnavailableError("the worker died") from None


def last_first(most: int, calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make calls that are made at once, out of their order: see `chalicelib.at_once.AtOnce`."""
    del most
    return [call() for call in reversed(calls)][::-1]


def _ports(  # noqa: PLR0913 - whatever a world stands on
    objects: Any,  # noqa: ANN401 - any object store, behind the gate
    stores: tuple[DynamoSessionStore, DynamoMetadataStore],
    workers: DrillWorkers,
    clock: DrillClock,
    limits: Limits,
    gate: Gate,
) -> Ports:
    asked: Any = workers
    beats = clock.beats.meanwhile
    ports = Ports(objects, *stores, asked, clock, TICKET_KEYS, last_first, beats)
    seen = GatedWorkers(workers, Verifier(ports, limits), gate)
    return ports._replace(workers=gated(seen, "workers", gate))


def _stores(
    client: DynamoDBClient, registry: str, uploads: str, clock: DrillClock
) -> tuple[DynamoSessionStore, DynamoMetadataStore]:
    sessions = DynamoSessionStore(client, uploads, sleep=clock.sleep)
    return sessions, DynamoMetadataStore(client, registry, uploads, sleep=clock.sleep)


class TablesWorld:
    """The stores of DynamoDB over tables in this process, and the object store in memory.

    A point is a request to DynamoDB, or a call of the object store's port.
    """

    name = "tables"

    def __init__(self, limits: Limits = SMALL) -> None:
        self.limits, self.clock, self.workers = limits, DrillClock(), DrillWorkers()
        self._objects = MemoryObjectStore(
            part_minimum=limits.part_minimum,
            copy_whole=limits.copy_whole,
            copy_part_size=2 * PART,
            now=self.clock.now,
            under_way=self._under_way,
        )
        self._tables = MemoryTables()
        self.prepared: dict[object, tuple[Any, Any]] = {}
        """What Stage.prepared keeps, for worlds of this kind."""

    def _under_way(self, operation: str, effect: Callable[[], None]) -> None:
        if operation == "copy_part":
            self.clock.sleep(_COPY_PART)
        under_way(operation, self.clock.within(_UNDER_WAY, effect))

    def ports(self, gate: Gate) -> Ports:
        """Return the ports."""
        client: Any = gated(self._tables, "dynamodb", gate)
        objects = gated(self._objects, "objects", gate)
        stores = _stores(client, REGISTRY, UPLOADS, self.clock)
        return _ports(objects, stores, self.workers, self.clock, self.limits, gate)

    def put_by_url(self, put: PresignedPut, data: bytes, begun: float | None = None) -> int:
        """Do what a client does with a URL; returns S3's status. See MemoryObjectStore."""
        if put.url.startswith("memory:PART:"):
            return self._objects.put_part_by_url(put, data, begun=begun)
        return self._objects.put_by_url(put, data, begun=begun)

    def put_by_edge(self, key: str, data: bytes, *, compared: bool) -> None:
        """Put an object as the edge does, with a checksum that S3 compares, or without one."""
        self._objects.put(key, data)
        digest = Digest.of(data) if compared else None
        self._objects.checked[key] = CheckedObject(len(data), digest)

    def snapshot(self) -> Snapshot:
        """Look."""
        seen = drill_snapshot.of_items(self._tables.rows(UPLOADS), self._tables.rows(REGISTRY))
        drill_snapshot.add_objects(seen, self._objects)
        return seen

    def fresh(self, limits: Limits) -> TablesWorld:
        """Make another."""
        return TablesWorld(limits)

    def copy(self) -> TablesWorld | None:
        """Make one that is as this one is now; None if an effect or a worker is still to come."""
        other = TablesWorld(self.limits)
        other._objects.become(self._objects)
        other._tables.become(self._tables)
        return other if other.clock.become(self.clock) and not self.workers.drive else None

    def spoil(self, key: Key, /, **attributes: dict[str, str]) -> None:
        """Change an item of the table `registry` behind the stores' back."""
        where = {"TableName": REGISTRY, "Key": key_attributes(key)}
        item = self._tables.get_item(**where)["Item"]
        self._tables.put_item(TableName=REGISTRY, Item={**item, **attributes})


class AwsWorld:
    """The stores over AWS clients, in a bucket and two tables of its own of an emulator here."""

    def __init__(self, wire: Wire, limits: Limits = SMALL) -> None:
        self.name = wire.name
        self.limits, self.clock, self.workers = limits, DrillClock(), DrillWorkers()
        self.wire = wire
        self.prepared: dict[object, tuple[Any, Any]] = {}
        self._kept: bytes | None = None
        """What the emulator held when this world was first copied."""
        self._s3, self._dynamodb = wire.s3, wire.dynamodb
        tag = uuid.uuid4().hex[:12]
        self._bucket, self._registry, self._uploads = (
            f"drill-{tag}{end}" for end in ("", "-registry", "-uploads")
        )
        self._s3.create_bucket(Bucket=self._bucket)
        for table, resource in ((self._registry, "RegistryTable"), (self._uploads, "UploadsTable")):
            self._dynamodb.create_table(TableName=table, **_properties(resource))

    def ports(self, gate: Gate) -> Ports:
        """Return the ports, each API call below which is a point."""
        s3, dynamodb = gated(self._s3, "s3", gate), gated(self._dynamodb, "dynamodb", gate)
        copies = CopyPlan(self.limits.copy_whole, part=2 * PART, now=self.clock.now)
        objects = S3ObjectStore(s3, self._bucket, copies)
        stores = _stores(dynamodb, self._registry, self._uploads, self.clock)
        return _ports(objects, stores, self.workers, self.clock, self.limits, gate)

    def put_by_url(self, put: PresignedPut, data: bytes, _begun: float | None = None) -> int:
        """Do what a client does with a URL, but for the signature; returns S3's status."""
        url = urlsplit(put.url)
        target: Any = {"Bucket": self._bucket, "Key": url.path.removeprefix(f"/{self._bucket}/")}
        query = dict(parse_qsl(url.query))
        try:
            if "uploadId" in query:
                target |= {"UploadId": query["uploadId"], "PartNumber": int(query["partNumber"])}
                self._s3.upload_part(**target, Body=data)
            else:
                checksum = put.headers["x-amz-checksum-sha256"]
                self._s3.put_object(**target, Body=data, ChecksumSHA256=checksum, IfNoneMatch="*")
        except ClientError as refused:
            return status_of(refused) or 0
        return 200

    def put_by_edge(self, key: str, data: bytes, *, compared: bool) -> None:
        """Put an object as the edge does, with a checksum that S3 compares, or without one."""
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        given: Any = {"ChecksumSHA256": checksum} if compared else {}
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=data, **given)

    def snapshot(self) -> Snapshot:
        """Look at what the emulator holds."""
        return drill_snapshot.of_wire(self.wire, self._bucket, self._registry, self._uploads)

    def asked(self) -> Snapshot:
        """Look by asking."""
        return drill_snapshot.of_aws(
            self._s3, self._dynamodb, self._bucket, self._registry, self._uploads
        )

    def fresh(self, limits: Limits) -> AwsWorld:
        """Make another."""
        self.wire.forget()
        return AwsWorld(self.wire, limits)

    def copy(self) -> AwsWorld | None:
        """Make one that is as this one was when it was copied first, and have that emulated.

        None where TablesWorld has none.
        """
        self._kept = self._kept or self.wire.keep()
        self.wire.become(self._kept)
        other = copy(self)
        other.clock, other.workers = DrillClock(), DrillWorkers()
        return other if other.clock.become(self.clock) and not self.workers.drive else None


World = TablesWorld | AwsWorld
"""A registry's surroundings."""


def moto_world() -> AwsWorld:
    """Return a world over moto in this process."""
    return _world(MotoWire(PART))


def ministack_world() -> AwsWorld:
    """Return a world over MiniStack in this process."""
    return _world(MiniStackWire())


def _world(wire: Wire) -> AwsWorld:
    wire.forget()
    return AwsWorld(wire)


def _properties(resource: str) -> Mapping[str, Any]:
    """What of a table in infra/data.yaml an emulator takes."""
    if not _TEMPLATE:
        _TEMPLATE.update(load_template(DATA_TEMPLATE))
    properties = _TEMPLATE["Resources"][resource]["Properties"]
    return {name: properties[name] for name in _TABLE if name in properties}


_TEMPLATE: dict[str, Any] = {}
