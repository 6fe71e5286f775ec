"""What the page is shown: repositories as people have them, and hostile words in every place."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.registry.model import CatalogFacts, InUse, Manifest, ManifestState, TagRow
from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb import keys
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import (
    CATALOG_FACTS,
    IN_USE,
    STORED_RULES,
    TAG,
    manifest_item,
)
from moorage.common.aws import Aws
from moorage.common.data import DataNames
from tests.support.servers import request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
BASE = b"the same base layer" * 4_000


@dataclass(frozen=True)
class Seeder:
    """Pushes to a registry at `url`; `headers` has the login."""

    url: str
    headers: Mapping[str, str]

    def blob(self, name: str, data: bytes, media_type: str = LAYER) -> dict[str, Any]:
        """Push a blob and return its descriptor."""
        digest = Digest.of(data)
        self._send("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", data)
        return {"mediaType": media_type, "digest": str(digest), "size": len(data)}

    def manifest(
        self, name: str, reference: str | None, document: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Push a manifest, by its digest where it has no tag, and return its descriptor."""
        body = json.dumps(document).encode()
        digest = Digest.of(body)
        kind = document["mediaType"]
        self._send("PUT", f"/v2/{name}/manifests/{reference or digest}", body, kind)
        return {"mediaType": kind, "digest": str(digest), "size": len(body)}

    def image(
        self, name: str, tag: str | None, own: bytes, *, arch: str = "amd64", **extra: object
    ) -> dict[str, Any]:
        """Push an image of two layers, the first of which all images share."""
        config = {
            "os": "linux",
            "architecture": arch,
            "created": "2026-11-29T10:00:00Z",
            "config": {"Cmd": ["serve"], "Env": ["LANG=C.UTF-8"], "Labels": {"evil": HOSTILE}},
            "history": [{"created_by": "ADD rootfs"}, {"created_by": f"COPY {HOSTILE}"}],
        }
        layers = [self.blob(name, BASE), self.blob(name, own)]
        document = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": self.blob(name, json.dumps(config).encode(), CONFIG),
            "layers": layers,
            **extra,
        }
        return self.manifest(name, tag, document)

    def platforms(self, name: str, *tags: str) -> dict[str, Any]:
        """Push an image for two platforms under some tags."""
        named = [
            {
                **self.image(name, None, f"{tags} {arch}".encode() * 1_000, arch=arch),
                "platform": {"os": "linux", "architecture": arch},
            }
            for arch in ("amd64", "arm64")
        ]
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": named}
        return [self.manifest(name, tag, document) for tag in tags][-1]

    def attach(self, name: str, subject: Mapping[str, Any], kind: str) -> None:
        """Push a signature or the like of another manifest."""
        document = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "artifactType": kind,
            "config": self.blob(name, b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [self.blob(name, kind.encode() * 30)],
            "subject": dict(subject),
        }
        self.manifest(name, None, document)

    def _send(self, method: str, target: str, body: bytes, kind: str = "") -> None:
        headers = {**self.headers, "Content-Type": kind or "application/octet-stream"}
        status, _, answer = request(self.url, method, target, body, headers)
        assert status == 201, (status, answer)


@dataclass(frozen=True)
class Rows:
    """Writes rows straight into the tables of a local registry, as years of use leave them."""

    aws: str

    def put(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Put items into the table `registry`, many at once."""
        client = Aws(self.aws).client("dynamodb")
        puts = [{"PutRequest": {"Item": item}} for item in items]
        table = DataNames().registry_table
        batches = [puts[start : start + 25] for start in range(0, len(puts), 25)]
        with ThreadPoolExecutor(4) as pool:
            list(
                pool.map(lambda each: client.batch_write_item(RequestItems={table: each}), batches)
            )

    def facts(self, name: str, facts: CatalogFacts) -> None:
        """Let the catalog know a repository, and these facts of it."""
        self.put([_in(keys.catalog_key(name), CATALOG_FACTS.encode(facts))])

    def runs(self, name: str, digest: str, what: str) -> None:
        """Let an image run somewhere."""
        running = {Digest.parse(digest): what}
        lease = InUse(name, "prod", "ecs", running, time.time(), time.time() + 1e6)
        self.put([_in(keys.in_use_key(name, "prod"), IN_USE.encode(lease))])

    def rules(self, document: Mapping[str, Any]) -> None:
        """Put rules in force."""
        stored = StoredRules(1, json.dumps(document), time.time(), "somebody")
        self.put([_in(keys.rules_key(), STORED_RULES.encode(stored))])

    def query_seconds(self, spans: Sequence[keys.KeyRange]) -> float:
        """Return how long the emulator takes for these queries of a page."""
        client = Aws(self.aws).client("dynamodb")
        began = time.monotonic()
        for span in spans:
            client.query(
                TableName=DataNames().registry_table,
                KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
                ExpressionAttributeValues={
                    ":pk": {"S": span.partition},
                    ":first": {"S": span.first},
                    ":last": {"S": span.last},
                },
                Limit=101,
            )
        return time.monotonic() - began

    def many(self, repositories: int, tags: int, name: str) -> None:
        """Fill the catalog, and one repository of it with tags of a hundred images."""
        now = time.time()
        images = [a_manifest(name, number, now) for number in range(100)]
        self.put(_in(keys.manifest_key(name, each.digest), manifest_item(each)) for each in images)
        rows = (TagRow(images[number % 100].digest, now - number) for number in range(tags))
        self.put(
            _in(keys.tag_key(name, f"build-{number:05}"), TAG.encode(row))
            for number, row in enumerate(rows)
        )
        self.put(
            _in(
                keys.catalog_key(f"team-{number:04}/service"),
                CATALOG_FACTS.encode(some_facts(number)),
            )
            for number in range(repositories)
        )


def _in(key: keys.Key, item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**item, **key_attributes(key)}


def a_manifest(name: str, number: int, now: float) -> Manifest:
    """Return a live image."""
    return Manifest(
        name,
        Digest.of(str(number).encode()),
        IMAGE,
        700,
        (),
        None,
        b"{}",
        now - number * 3600,
        "version",
        ManifestState.LIVE,
        pushed_by="credential:ci",
        total_bytes=10_000_000 * number,
    )


def some_facts(number: int) -> CatalogFacts:
    """Return facts that differ from one repository to the next."""
    now, linked = time.time(), 1_234_567_890 * (number % 50 + 1)
    return CatalogFacts(
        noted_at=now - 3600,
        tags=number * 7 % 400,
        images=number * 9 % 900,
        trashed=number % 5,
        linked_bytes=linked,
        pushed_at=now - 86_400 * (number % 300),
        pulled_at=now - 3600 * (number % 900) if number % 4 else None,
        unused_bytes=41_000_000_000 if number % 10 == 3 else 0,
        own_bytes=linked * 2 // 3,
        billed_bytes=linked * 3 // 4,
    )


def seed_odd(seeder: Seeder, name: str) -> None:
    """Push artifacts of all kinds, names as long as they may be, and what can't be read."""
    empty = seeder.blob(name, b"{}", "application/vnd.oci.empty.v1+json")
    long = {
        "Labels": {"l" * 90: "v" * 400},
        "Env": ["PATH=" + "/usr/bin:" * 40],
        "Cmd": ["x" * 200],
    }
    config = {"os": "linux", "config": long, "history": [{"created_by": "RUN " + "y" * 300}]}
    for tag, kind, body in (
        ("t" * 128, CONFIG, json.dumps(config).encode()),
        ("helm", "application/vnd.cncf.helm.config.v1+json", b"{}"),
        ("wasm", "application/vnd.wasm.config.v0+json", b"{}"),
        ("unreadable", CONFIG, b"no JSON"),
        ("typed", f"application/vnd.{'x' * 90}", b"{}"),
    ):
        document = {"schemaVersion": 2, "mediaType": IMAGE, "layers": [empty]}
        seeder.manifest(name, tag, {**document, "config": seeder.blob(name, body, kind)})
    image = seeder.image(name, None, b"attested")
    attests = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image["digest"],
    }
    platform = {"os": "linux", "architecture": "amd64"}
    nowhere = {"os": "unknown", "architecture": "unknown"}
    attestation = seeder.image(name, None, b"in-toto", arch="unknown")
    index = {"schemaVersion": 2, "mediaType": INDEX}
    many = [
        {**image, "platform": platform},
        {**attestation, "platform": nowhere, "annotations": attests},
    ]
    whole = seeder.manifest(name, "many", {**index, "manifests": many})
    inner = [{**whole, "platform": platform}]
    seeder.manifest(name, "nested", {**index, "manifests": inner})
    seeder.manifest(name, "empty", {**index, "manifests": []})


def seed(seeder: Seeder) -> str:
    """Push what the tests look at; returns the digest of what runs."""
    shop = "shop/checkout"
    seeder.platforms(shop, "v1.4.0", "latest")
    current = seeder.platforms(shop, "v1.5.0", "latest")
    seeder.attach(shop, current, "application/vnd.dev.sigstore.bundle.v0.3+json")
    seeder.attach(shop, current, "application/spdx+json")
    hostile = {HOSTILE: HOSTILE}
    feature = seeder.image(shop, "feature", b"feature" * 999, annotations=hostile)
    seeder.image(shop, f"sha256-{feature['digest'].removeprefix('sha256:')}.sig", b"cosign 2")
    for name in ("shop/cart", "infra/proxy"):
        seeder.image(name, "latest", name.encode())
    for number in range(130):
        seeder.image("shop/cart", f"build-{number:04}", b"the same")
    return str(current["digest"])
