"""All that a registry's stores hold at one moment, whatever they are made of.

Taken past every gate, so that looking disturbs nothing. This module must never judge what it sees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.registry.outcomes import Part
from chalicelib.stores.dynamodb.items import (
    CHANGE,
    COLLECTOR_STATE,
    GARBAGE,
    HOLDING,
    IN_USE,
    LINK,
    MANIFEST,
    RECORD,
    REFERRER,
    RETENTION_STATE,
    SESSION,
    STORED_RULES,
    TAG,
    USE_SOURCE,
)
from chalicelib.stores.dynamodb.keys import searched_key
from tests.support.memory_objects import etag_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from chalicelib.registry.model import (
        CollectorState,
        Garbage,
        Holding,
        InUse,
        Link,
        Manifest,
        Record,
        Referrer,
        RetentionState,
        TagChange,
        TagRow,
        UseSource,
    )
    from chalicelib.registry.session import Session
    from chalicelib.rules.document import StoredRules
    from chalicelib.stores.dynamodb.codec import Item
    from tests.drills.support.moto import Wire
    from tests.support.memory_objects import MemoryObjectStore


@dataclass
class Snapshot:
    """Objects, open multipart uploads, and every item."""

    objects: dict[str, bytes] = field(default_factory=dict)
    multiparts: dict[tuple[str, str], dict[int, Part]] = field(default_factory=dict)
    """By key and upload id."""
    sessions: dict[str, Session] = field(default_factory=dict)
    links: dict[tuple[str, Digest], Link] = field(default_factory=dict)
    records: dict[Digest, Record] = field(default_factory=dict)
    garbage: dict[str, Garbage] = field(default_factory=dict)
    collector: CollectorState | None = None
    retention: RetentionState | None = None
    manifests: dict[tuple[str, Digest], Manifest] = field(default_factory=dict)
    tags: dict[tuple[str, str], TagRow] = field(default_factory=dict)
    tagged: set[tuple[str, Digest, str]] = field(default_factory=set)
    referrers: dict[tuple[str, Digest, Digest], Referrer] = field(default_factory=dict)
    history: list[TagChange] = field(default_factory=list)
    in_use: dict[tuple[str, str], InUse] = field(default_factory=dict)
    """By repository and source."""
    sources: dict[str, UseSource] = field(default_factory=dict)
    holdings: dict[str, Holding] = field(default_factory=dict)
    """What repositories hold, as counted."""
    rules: StoredRules | None = None
    searched: str = ""
    """Up to which key the sweeper has looked for strays."""


def add_objects(seen: Snapshot, objects: MemoryObjectStore) -> None:
    """Look at the object store in memory."""
    seen.objects = dict(objects.objects)
    seen.multiparts = {
        upload: {n: Part(n, len(data), etag_of(data)) for n, data in parts.items()}
        for upload, parts in objects.uploads.items()
    }


def of_aws(
    s3: S3Client, dynamodb: DynamoDBClient, bucket: str, registry: str, uploads: str
) -> Snapshot:
    """Look at a bucket and two tables."""
    seen = of_items(_scan(dynamodb, uploads), _scan(dynamodb, registry))
    for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        seen.objects[entry["Key"]] = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
    for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        place = upload["Key"], upload["UploadId"]
        listed = s3.list_parts(Bucket=bucket, Key=place[0], UploadId=place[1])
        seen.multiparts[place] = {
            part["PartNumber"]: Part(part["PartNumber"], part["Size"], part["ETag"])
            for part in listed.get("Parts", [])
        }
    return seen


def of_wire(wire: Wire, bucket: str, registry: str, uploads: str) -> Snapshot:
    """Look at a bucket and two tables of an emulator in this process: what `of_aws` sees."""
    seen = of_items(wire.items(uploads), wire.items(registry))
    seen.objects, seen.multiparts = wire.objects(bucket), wire.multiparts(bucket)
    return seen


def of_items(
    uploads: Iterable[Mapping[str, Any]], registry: Iterable[Mapping[str, Any]]
) -> Snapshot:
    """Look at the items of both tables."""
    seen = Snapshot()
    for item in uploads:
        if item["session"] == {"S": searched_key()["session"]}:
            seen.searched = item["until"]["S"]
            continue
        session = SESSION.decode(item)
        seen.sessions[session.id] = session
    for item in registry:
        _add(seen, item)
    return seen


def _scan(dynamodb: DynamoDBClient, table: str) -> Iterator[Item]:
    for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        yield from page["Items"]


def _add(seen: Snapshot, item: Item) -> None:
    """Put an item of the table `registry` where it belongs."""
    owner, row = item["pk"]["S"], item["sk"]["S"]
    repository = owner.removeprefix("REPO#")
    kind, _, rest = row.partition("#")
    if kind == "RECORD" and owner.startswith("BLOB#"):
        record = RECORD.decode(item)
        seen.records[record.digest] = record
    elif owner == "GARBAGE":
        seen.garbage[row] = GARBAGE.decode(item)
    elif row == "STATE":
        _add_state(seen, owner, item)
    elif kind == "BLOB":
        link = LINK.decode(item)
        seen.links[repository, link.digest] = link
    elif kind == "MANIFEST":
        manifest = MANIFEST.decode(item)
        seen.manifests[repository, manifest.digest] = manifest
    elif kind == "TAG":
        seen.tags[repository, rest] = TAG.decode(item)
    elif kind == "TAGGED":
        digest, _, tag = rest.partition("#")
        seen.tagged.add((repository, Digest.parse(digest), tag))
    elif kind == "REFERRER":
        row_of = REFERRER.decode(item)
        seen.referrers[repository, row_of.subject, row_of.digest] = row_of
    elif kind == "HISTORY":
        seen.history.append(CHANGE.decode(item))
    else:
        _add_use(seen, item)


def _add_use(seen: Snapshot, item: Item) -> None:
    """Put an item of what runs, or of quotas, where it belongs; any other one is nobody's."""
    owner, row = item["pk"]["S"], item["sk"]["S"]
    if row.startswith("INUSE#"):
        lease = IN_USE.decode(item)
        seen.in_use[lease.repository, lease.source] = lease
    elif owner == "INUSE":
        seen.sources[row] = USE_SOURCE.decode(item)
    elif row == "USAGE":
        seen.holdings[owner.removeprefix("REPO#")] = HOLDING.decode(item)
    elif owner == "RULES" and row == "CURRENT":
        seen.rules = STORED_RULES.decode(item)


def _add_state(seen: Snapshot, owner: str, item: Item) -> None:
    """Put how far a worker is where it belongs."""
    if owner == "COLLECTOR":
        seen.collector = COLLECTOR_STATE.decode(item)
    elif owner == "RETENTION":
        seen.retention = RETENTION_STATE.decode(item)
