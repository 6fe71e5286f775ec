"""What the tests of the collector do to a registry in memory: they push, wait, and collect."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from unittest import mock

from chalicelib.digest import Digest
from chalicelib.reference import Tag
from chalicelib.registry.manifests.pushing import ManifestPush
from chalicelib.registry.model import Link, Record
from chalicelib.registry.service import Limits, Ports
from chalicelib.stores.dynamodb.expressions import key_attributes
from tests.support.registries import REGISTRY, TICKET_KEYS, registry_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.collector.collector import Collector
    from chalicelib.registry.collector.report import CollectReport
    from chalicelib.registry.registry import Registry
    from chalicelib.stores.dynamodb.keys import Key

HOUR = 3600.0
DAY = 24 * HOUR
LIMITS = Limits(body_inline=4096, references_inline=20)
NAME, OTHER = "team/app", "team/other"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def described(data: bytes, media_type: str = "application/octet-stream") -> dict[str, Any]:
    """Describe bytes."""
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def image(*layers: bytes, note: str = "") -> bytes:
    """Write an image; a long note makes it large."""
    document = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": described(b"{}"),
        "layers": [described(layer) for layer in layers],
        "annotations": {"note": note},
    }
    return json.dumps(document).encode()


def index(*bodies: bytes, blobs: tuple[bytes, ...] = ()) -> bytes:
    """Write an index of images, and of blobs, as a build cache is one."""
    named = [*(described(body, IMAGE) for body in bodies), *(described(blob) for blob in blobs)]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": named}).encode()


class Shop:
    """A registry in memory whose clock stands, but where a test moves it."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.memory = registry_in_memory(limits)
        self.time = 1_764_000_000.0
        self.memory.clock.now = lambda: self.time  # type: ignore[method-assign]
        self.metadata, self.objects = self.memory.metadata, self.memory.objects.objects

    @property
    def registry(self) -> Registry:
        """The registry."""
        return self.memory.registry

    @property
    def collector(self) -> Collector:
        """The collector."""
        return self.registry.collector

    @property
    def ports(self) -> Ports:
        """What the registry stands on."""
        memory = self.memory
        stores = memory.sessions, memory.metadata
        return Ports(memory.objects, *stores, memory.workers, memory.clock, TICKET_KEYS)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.time += seconds

    def blob(self, data: bytes, name: str = NAME) -> Digest:
        """Push a blob."""
        digest = Digest.of(data)
        self.registry.uploads.put_whole(name, "ann", digest, data)
        return digest

    def put(self, body: bytes, tag: str = "v1", name: str = NAME) -> Digest:
        """Put a manifest, without its blobs."""
        media_type = json.loads(body)["mediaType"]
        push = ManifestPush(name, Tag(tag), media_type, body, (), "ann")
        return self.registry.pushes.put(push).digest

    def push(self, *layers: bytes, name: str = NAME, note: str = "", tag: str = "v1") -> Digest:
        """Push an image with its blobs."""
        for data in (b"{}", *layers):
            self.blob(data, name)
        return self.put(image(*layers, note=note), tag, name)

    def collect(self, seconds: float = 600.0) -> CollectReport:
        """Make a pass from its beginning."""
        return self.collector.pass_now(self.time + seconds)

    def change(self, key: Key, /, **attributes: dict[str, Any] | None) -> None:
        """Set attributes of a row behind the registry's back; None removes one."""
        where = {"TableName": REGISTRY, "Key": key_attributes(key)}
        found = self.memory.tables.get_item(**where).get("Item", where["Key"])
        item = {**found, **attributes}
        kept = {name: value for name, value in item.items() if value is not None}
        self.memory.tables.put_item(TableName=REGISTRY, Item=kept)

    def drop(self, key: Key) -> None:
        """Delete a row behind the registry's back."""
        self.memory.tables.delete_item(TableName=REGISTRY, Key=key_attributes(key))

    def sweep(self) -> None:
        """Run the sweeper."""
        self.registry.sweeper.sweep(self.time + 600)

    def linked(self, name: str = NAME) -> set[Digest]:
        """Return the digests of all links of a repository."""
        rows = self.metadata.scan(None)
        values = (row.value for row in rows if row.home == name)
        return {value.digest for value in values if isinstance(value, Link)}

    def keys(self, *but: str) -> list[tuple[str, str]]:
        """Return the keys of all rows of the table, but for those of some partitions."""
        rows = self.memory.tables.rows(REGISTRY)
        keys = sorted((row["pk"]["S"], row["sk"]["S"]) for row in rows)
        return [key for key in keys if not key[0].startswith(but)] if but else keys


def record(shop: Shop, digest: Digest) -> Record:
    """Return a record that must be there."""
    found = shop.metadata.get_record(digest)
    assert found is not None
    return found


def before(shop: Shop, call: str, act: Callable[[], object]) -> mock._patch[object]:
    """Do something right before the store is asked for something."""
    original = getattr(shop.metadata, call)

    def acting(*arguments: object) -> object:
        act()
        return original(*arguments)

    return mock.patch.object(shop.metadata, call, acting)
