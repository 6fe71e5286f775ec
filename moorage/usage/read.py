"""Reads a registry's tables and its bucket, for `moorage usage`: everything, once.

It reads the tables first and the bucket last, and assigns each object by the tables. Objects that
are pushed or deleted meanwhile may be assigned wrongly. This module must never write anything, nor
treat what can't be read as absent.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chalicelib.descriptor import parse_manifest
from chalicelib.digest import Digest
from chalicelib.errors import RegistryError
from chalicelib.registry.model import (
    Damaged,
    Garbage,
    Link,
    Manifest,
    ManifestState,
    Record,
    ScannedRow,
    bodies_of,
)
from chalicelib.registry.outcomes import ObjectMissingError
from chalicelib.registry.session import TERMINAL
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.s3.objects import S3ObjectStore
from moorage.usage.sums import Ledger, Sums, Use

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_s3.client import S3Client

_BODIES = bodies_of("")
_LARGE = 16 * 1024
"""No manifest of fewer bytes has its body in the bucket."""

_GOING = frozenset({ManifestState.DELETING, ManifestState.TRASHED})


@dataclass(frozen=True, slots=True)
class Data:
    """Where a registry keeps all that it has."""

    s3: "S3Client"
    dynamodb: "DynamoDBClient"
    bucket: str
    registry_table: str
    uploads_table: str


@dataclass(frozen=True, slots=True)
class Usage:
    """The sums, when the reading began (epoch seconds), and what could not be read."""

    sums: Sums
    at: float
    unread: Sequence[str]


def usage(data: Data) -> Usage:
    """Read it all; raises RegistryError, or what the SDK raises."""
    at = time.time()
    reading = _Reading(data)
    reading.tables()
    reading.sessions()
    reading.objects()
    return Usage(reading.ledger.sums(), at, reading.unread)


@dataclass
class _Reading:
    data: Data
    ledger: Ledger = field(default_factory=Ledger)
    unread: list[str] = field(default_factory=list)
    _large: dict[tuple[str, Digest], Use] = field(default_factory=dict)
    """The large manifests, by repository and digest: their bodies are in the bucket."""
    _bodies: list[tuple[str, Digest]] = field(default_factory=list)

    def __post_init__(self) -> None:
        data = self.data
        self.metadata = DynamoMetadataStore(data.dynamodb, data.registry_table, data.uploads_table)
        self.store = S3ObjectStore(data.s3, data.bucket)

    def tables(self) -> None:
        """Read the table `registry`."""
        rows = self.metadata.scan(None)
        for home, of_home in itertools.groupby(rows, key=lambda row: row.home):
            if home is None:
                for row in of_home:
                    self._learn(row)
            elif home.endswith(_BODIES):
                name = home.removesuffix(_BODIES)
                links = self._values(of_home, Link)
                self._bodies += [(name, link.digest) for link in links]
            else:
                self._repository(home, of_home)
        for name, digest in self._bodies:
            self.ledger.link(name, digest, self._large.get((name, digest), Use.NOTHING))

    def _learn(self, row: ScannedRow) -> None:
        match row.value:
            case Record(digest=digest, key=key, size=size):
                self.ledger.record(digest, key, size)
            case Garbage(key=key):
                self.ledger.garbage(key)
            case Damaged(why=why):
                self.unread.append(why)

    def _repository(self, name: str, rows: Iterable[ScannedRow]) -> None:
        links: list[Digest] = []
        uses: dict[Digest, Use] = {}
        otherwise = Use.NOTHING
        for row in rows:
            match row.value:
                case Link(digest=digest):
                    links.append(digest)
                case Manifest() as manifest:
                    use = Use.TRASH if manifest.state in _GOING else Use.IMAGES
                    if manifest.size >= _LARGE:
                        self._large[name, manifest.digest] = use
                    references = self._references(manifest)
                    if references is None:
                        # What it names is unknown: nothing of this repository is called unused.
                        otherwise = Use.IMAGES
                    for digest in references or ():
                        uses[digest] = min(use, uses.get(digest, use))
                case Damaged(why=why):
                    self.unread.append(why)
                    otherwise = Use.IMAGES
        for digest in links:
            use = uses.get(digest, self._large.get((name, digest), otherwise))
            self.ledger.link(name, digest, use)

    def _values(self, rows: Iterable[ScannedRow], kind: type[Any]) -> Iterator[Any]:
        for row in rows:
            if isinstance(row.value, Damaged):
                self.unread.append(row.value.why)
            elif isinstance(row.value, kind):
                yield row.value

    def _references(self, manifest: Manifest) -> Sequence[Digest] | None:
        """Return what a manifest names; None if its body can't be read, which is noted."""
        if manifest.references is not None:
            return manifest.references
        try:
            parsed = parse_manifest(self._body(manifest), manifest.media_type)
        except (RegistryError, ObjectMissingError) as error:
            self.unread.append(f"manifest {manifest.digest} of {manifest.repository}: {error}")
            return None
        return [item.digest for item in (*parsed.blobs, *parsed.manifests)]

    def _body(self, manifest: Manifest) -> bytes:
        whole = self.metadata.get_manifest(manifest.repository, manifest.digest)
        if whole is not None and whole.body is not None:
            return whole.body
        for home in (bodies_of(manifest.repository), manifest.repository):
            link = self.metadata.get_link(home, manifest.digest)
            if link is not None:
                return self.store.get(link.key)
        raise ObjectMissingError(str(manifest.digest))

    def sessions(self) -> None:
        """Read the table `uploads`."""
        names = {"#session": "session", "#repository": "repository"}
        names |= {"#state": "state", "#sweep": "sweep_at"}
        pages = self.data.dynamodb.get_paginator("scan").paginate(
            TableName=self.data.uploads_table,
            ProjectionExpression=", ".join(names),
            ExpressionAttributeNames=names,
        )
        for item in itertools.chain.from_iterable(page["Items"] for page in pages):
            is_over = item.get("state", {}).get("S") in TERMINAL and "sweep_at" not in item
            if "repository" in item and not is_over:
                repository = item["repository"]["S"].removesuffix(_BODIES)
                self.ledger.session(item["session"]["S"], repository)

    def objects(self) -> None:
        """List the bucket, and the parts of its multipart uploads."""
        s3, bucket = self.data.s3, self.data.bucket
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for found in page.get("Contents", ()):
                self.ledger.book(found["Key"], found["Size"])
        for uploads in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
            for upload in uploads.get("Uploads", ()):
                key, upload_id = upload["Key"], upload["UploadId"]
                for size in self._parts(key, upload_id):
                    self.ledger.book_part(key, size)

    def _parts(self, key: str, upload_id: str) -> Iterator[int]:
        s3, bucket = self.data.s3, self.data.bucket
        pages = s3.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload_id)
        try:
            for page in pages:
                yield from (part["Size"] for part in page.get("Parts", ()))
        except s3.exceptions.NoSuchUpload:
            return  # it is over by now
