"""A registry's table of any size, of which only what was changed is held: the rest is made anew.

Every repository has as many blobs, images and tags as the others, and every blob is named by one
image. Of a registry of a million blobs the rows would fill gigabytes, and hide how much memory the
collector needs itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.cost_meter import SCANNED, size_of
from chalicelib.digest import Algorithm, Digest
from chalicelib.registry.model import Link, Manifest, ManifestState, Record, TagRow
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import LINK, RECORD, TAG, manifest_item, tagged_item
from chalicelib.stores.dynamodb.keys import (
    catalog_key,
    link_key,
    manifest_key,
    record_key,
    tag_key,
    tagged_key,
)
from tests.emulators.dynamodb import MemoryTables
from tests.support.registries import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from chalicelib.stores.dynamodb.codec import Item
    from chalicelib.stores.dynamodb.keys import Key

BLOBS_OF_AN_IMAGE = 10
"""Nine layers and a config."""
BODY_BYTES = 1_900
"""Of an image with so many layers, as docker writes it."""
BLOB_BYTES = 10_000_000
_PAGE_BYTES = 1024 * 1024
_CATALOG, _HOME = "CATALOG", "REPO#team/service-"
_SESSIONS = "01933a2f-6c1b-7000-8000-"
_BODY = bytes(BODY_BYTES)
_MANIFESTS = 1 << 62
"""What sets the digests of manifests apart from those of blobs."""
_VERSION = "5d4c1f0a-8a3b-4a55-9c58-1c9e5f3d2b7a"
_COUNT = "5d4c1f0a8a3b"


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a registry is, and when all of it was pushed, in seconds since the epoch."""

    repositories: int
    blobs: int
    """Of each repository; so the next."""
    images: int
    pushed_at: float
    unneeded: int = 0
    """How many blobs of each repository no image names."""

    @property
    def all_blobs(self) -> int:
        """The blobs of the whole registry."""
        return self.repositories * self.blobs


def repository_name(number: int) -> str:
    """Return the name of a repository."""
    return f"team/service-{number:05d}"


def blob_digest(number: int) -> Digest:
    """Return the digest of a blob: its number comes first, by which a blob's day is drawn."""
    return Digest(Algorithm.SHA256, f"{number:08x}".ljust(64, "0"))


def image_digest(number: int) -> Digest:
    """Return the digest of an image."""
    return Digest(Algorithm.SHA256, f"{_MANIFESTS + number:064x}")


class PlannedTables(MemoryTables):
    """The table `registry` of a plan, and empty others; it answers a Scan, too."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.changed: dict[str, dict[str, Item | None]] = {}
        """By partition and sort key what was written; None: deleted."""
        self._going_on: tuple[object, Iterator[Item]] = (None, iter(()))
        """The key of the last item of a scan, and those behind it."""

    def describe_table(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - botocore's parameters
        """Say what the keys are; indexes hold nothing that the collector changes."""
        names = ("session",) if request["TableName"] != REGISTRY else ("pk", "sk")
        return {"Table": {"KeySchema": [{"AttributeName": name} for name in names]}}

    def scan(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
        """Read a page of items, partition by partition."""
        start = request.get("ExclusiveStartKey")
        last, rows = self._going_on
        if start is None or start != last:
            rows = self._rows_behind(start)
        page = _page(rows, request)
        self._going_on = (page.get("LastEvaluatedKey"), rows)
        return page

    def query(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
        """Read a page of a range of a partition."""
        if request["TableName"] != REGISTRY:
            return super().query(**request)
        values = request["ExpressionAttributeValues"]
        partition, first, last = (values[name]["S"] for name in (":pk", ":first", ":last"))
        start = request.get("ExclusiveStartKey")
        after = "" if start is None else start["sk"]["S"]
        rows = self.rows_of(partition)
        return _page((row for sort, row in rows if first <= sort <= last and sort > after), request)

    def batch_get_item(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
        """Read all items that are asked for."""
        ((table, wanted),) = request["RequestItems"].items()
        found = [self._item(table, key) for key in wanted["Keys"]]
        return {"Responses": {table: [each for each in found if each]}, "UnprocessedKeys": {}}

    def forget_image(self, repository: int, number: int) -> None:
        """Take an image away with its tag, as the end of its time in the trash does."""
        name, digest, tag = _image_of(repository, number, self.plan)
        for key in (manifest_key(name, digest), tag_key(name, tag), tagged_key(name, digest, tag)):
            self.write(key["pk"], key["sk"], None)

    def rows_of(self, partition: str) -> Iterator[tuple[str, Item]]:
        """The rows of a partition as they are when they are read, in their order."""
        planned = set()
        for sort, item in _planned(partition, self.plan):
            changed = self.changed.get(partition, {})
            if sort in changed:
                planned.add(sort)
            found = changed.get(sort, item)
            if found is not None:
                yield sort, found
        for sort, added in sorted(self.changed.get(partition, {}).items()):
            if added is not None and sort not in planned:
                yield sort, added

    def row(self, partition: str, sort: str) -> Item | None:
        """One row, if it is there."""
        changed = self.changed.get(partition, {})
        if sort in changed:
            return changed[sort]
        return _planned_row(partition, sort, self.plan)

    def write(self, partition: str, sort: str, item: Item | None) -> None:
        """Put a row, or delete it (None)."""
        self.changed.setdefault(partition, {})[sort] = item

    def _rows_behind(self, start: Any) -> Iterator[Item]:  # noqa: ANN401 - likewise
        begun, last = (None, "") if start is None else (start["pk"]["S"], start["sk"]["S"])
        for partition in self._partitions(begun):
            for sort, row in self.rows_of(partition):
                if partition != begun or sort > last:
                    yield row

    def _partitions(self, first: str | None) -> Iterator[str]:
        """All partitions in their order, from one of them on: new ones come at the end."""
        passed = first is None
        for partition in (*map(_home, range(self.plan.repositories)), _CATALOG):
            passed = passed or partition == first
            if passed:
                yield partition
        number = 0 if passed else _number_of(first)
        if number is not None:
            passed = True
            for each in range(number, self.plan.all_blobs):
                yield record_key(blob_digest(each))["pk"]
        for partition in tuple(self.changed):
            passed = passed or partition == first
            if passed and next(_planned(partition, self.plan), None) is None:
                yield partition

    def _partition(self, table: str, partition: str) -> Any:  # noqa: ANN401 - what is used as a dictionary
        if table != REGISTRY:
            return super()._partition(table, partition)
        return _Partition(self, partition)

    def _item(self, table: str, key: Any) -> Any:  # noqa: ANN401 - as the tables have it
        if table != REGISTRY:
            return super()._item(table, key)
        return self.row(key["pk"]["S"], key["sk"]["S"])


@dataclass(frozen=True, slots=True)
class _Partition:
    """The rows of a partition, as the tables in memory read and write them."""

    tables: PlannedTables
    name: str

    def get(self, sort: str, otherwise: Any = None) -> Any:  # noqa: ANN401 - as a dictionary's
        """Read a row."""
        return self.tables.row(self.name, sort) or otherwise

    def pop(self, sort: str, _: object = None) -> None:
        """Delete a row."""
        self.tables.write(self.name, sort, None)

    def __setitem__(self, sort: str, item: Item) -> None:
        self.tables.write(self.name, sort, item)


def _page(rows: Iterator[Item], request: Mapping[str, Any]) -> dict[str, Any]:
    """Read items up to the limit, or up to 1 MB; the last page has no key to go on from."""
    wanted = request.get("ProjectionExpression", "").split(", ")
    names = [request["ExpressionAttributeNames"][name] for name in wanted if name]
    items: list[Item] = []
    read = 0
    for item in rows:
        items.append({name: item[name] for name in names if name in item} if names else item)
        read += size_of(item)
        if read >= _PAGE_BYTES or len(items) == request.get("Limit"):
            last = {name: item[name] for name in ("pk", "sk")}
            return {"Items": items, "LastEvaluatedKey": last, SCANNED: read}
    return {"Items": items, SCANNED: read}


def _planned(partition: str, plan: Plan) -> Iterator[tuple[str, Item]]:
    """The rows that a plan has in a partition, in their order."""
    if partition == _CATALOG:
        for each in range(plan.repositories):
            key = catalog_key(repository_name(each))
            yield key["sk"], key_attributes(key)
    elif (number := _repository_of(partition)) is not None:
        for each in range(number * plan.blobs, (number + 1) * plan.blobs):
            yield _link_row(number, each, plan)
        for kind in range(3):
            for image in range(plan.images):
                yield _image_rows(number, image, plan)[kind]
    elif (blob := _number_of(partition)) is not None and blob < plan.all_blobs:
        yield _record_row(blob)


def _planned_row(partition: str, sort: str, plan: Plan) -> Item | None:
    """One row of a plan, made without the others."""
    repository, blob = _repository_of(partition), _number_of(partition)
    found: Iterable[tuple[str, Item]] = ()
    if blob is not None and blob < plan.all_blobs:
        found = [_record_row(blob)]
    elif repository is not None and (number := _number_of(sort)) is not None:
        if number // plan.blobs == repository:
            found = [_link_row(repository, number, plan)]
    elif repository is not None and sort.startswith("MANIFEST#"):
        image = int(sort.rpartition(":")[2], 16) - _MANIFESTS - repository * plan.images
        if 0 <= image < plan.images:
            found = _image_rows(repository, image, plan)
    elif partition == _CATALOG or repository is not None:
        found = _planned(partition, plan)
    return next((item for name, item in found if name == sort), None)


def _home(number: int) -> str:
    return f"REPO#{repository_name(number)}"


def _repository_of(partition: str) -> int | None:
    """Return the number of the repository that has a partition; None of any other partition."""
    text = partition.removeprefix(_HOME)
    return int(text) if text != partition and text.isdecimal() else None


def _number_of(text: str | None) -> int | None:
    """Return which blob's record has a partition, or link a sort key; None of any other."""
    digits = (text or "").removeprefix("BLOB#sha256:")
    return int(digits[:8], 16) if digits and digits != text else None


def _row(key: Key, item: Item) -> tuple[str, Item]:
    return key["sk"], {**key_attributes(key), **item}


def _record_row(number: int) -> tuple[str, Item]:
    digest = blob_digest(number)
    record = Record(digest, key_of(number), BLOB_BYTES, links=1, count_id=_COUNT)
    return _row(record_key(digest), RECORD.encode(record))


def key_of(number: int) -> str:
    """Return the key of a blob's object."""
    return f"direct/{_SESSIONS}{number:012x}/{blob_digest(number).hex}"


def number_behind(key: str) -> int:
    """Return the number of the first blob whose key comes behind this one."""
    session, _, number = key.removeprefix("direct/").rpartition("/")
    if session.startswith(_SESSIONS):
        return int(number[:8], 16) + 1
    return 0 if key < f"direct/{_SESSIONS}" else 1 << 62


def _link_row(repository: int, number: int, plan: Plan) -> tuple[str, Item]:
    name, digest = repository_name(repository), blob_digest(number)
    key = key_of(number)
    link = Link(name, digest, BLOB_BYTES, key, plan.pushed_at, _VERSION, count_id=_COUNT)
    return _row(link_key(name, digest), LINK.encode(link))


def _image_of(repository: int, number: int, plan: Plan) -> tuple[str, Digest, str]:
    digest = image_digest(repository * plan.images + number)
    return repository_name(repository), digest, f"v1.{number:06d}"


def _image_rows(repository: int, number: int, plan: Plan) -> tuple[tuple[str, Item], ...]:
    """Return a manifest, its tag, and the row that leads back to that."""
    name, digest, tag = _image_of(repository, number, plan)
    named, first = plan.blobs - plan.unneeded, repository * plan.blobs
    mine = range(named * number // plan.images, named * (number + 1) // plan.images)
    manifest = Manifest(
        name,
        digest,
        "application/vnd.oci.image.manifest.v1+json",
        BODY_BYTES,
        tuple(blob_digest(first + each) for each in mine),
        None,
        _BODY,
        plan.pushed_at,
        _VERSION,
        ManifestState.LIVE,
        pushed_by="credential:9b1c7c1e-9c58-4a55-8a3b-5d4c1f0a2b7a",
        total_bytes=len(mine) * BLOB_BYTES,
    )
    row = TagRow(digest, plan.pushed_at, manifest.pushed_by)
    return (
        _row(manifest_key(name, digest), manifest_item(manifest)),
        _row(tag_key(name, tag), TAG.encode(row)),
        _row(tagged_key(name, digest, tag), tagged_item(row)),
    )
