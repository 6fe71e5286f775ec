"""`moorage usage` at a real mixture of all that a bucket can hold, on moto and on MiniStack."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Digest
from chalicelib.prices import S3_GB_MONTH
from chalicelib.registry.model import Garbage, bodies_of
from chalicelib.registry.service import Limits
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import GARBAGE
from chalicelib.stores.dynamodb.keys import garbage_key, manifest_key, record_key
from moorage.usage import run
from moorage.usage.sums import NOWHERE, Kind
from tests.support.registries import RegistryUnderTest, registry_over

if TYPE_CHECKING:
    from tests.emulators.backends import Backend
    from tests.support.moorage_command import Command

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PART = 5 * 1024 * 1024
KINDS = ("own", "shared", "trash", "unused", "uploads")


@dataclass
class Mixture:
    """Fills a registry, and remembers what it should come to."""

    registry: RegistryUnderTest
    expected: dict[str, dict[str, int]] = field(default_factory=dict)

    def expect(self, name: str, kind: str, size: int) -> None:
        """Remember bytes of a repository."""
        kinds = self.expected.setdefault(name, dict.fromkeys(KINDS, 0))
        kinds[kind] += size

    def blob(self, name: str, data: bytes) -> dict[str, Any]:
        """Push a blob."""
        digest = Digest.of(data)
        answer = self.registry.ask("POST", f"{name}/blobs/uploads?digest={digest}", data)
        assert answer.status == 201
        return {"mediaType": "application/x", "digest": str(digest), "size": len(data)}

    def image(self, name: str, tag: str, config: bytes, *layers: bytes, **extra: object) -> str:
        """Push an image."""
        document = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": self.blob(name, config),
            "layers": [self.blob(name, layer) for layer in layers],
            **extra,
        }
        return self.manifest(name, tag, document)

    def manifest(self, name: str, tag: str, document: dict[str, Any]) -> str:
        """Push a manifest."""
        body, kind = json.dumps(document).encode(), document["mediaType"]
        answer = self.registry.ask("PUT", f"{name}/manifests/{tag}", body, content_type=kind)
        assert answer.status == 201, answer.body
        return str(Digest.of(body))

    def ask(self, method: str, target: str, body: bytes = b"", status: int = 202) -> Any:  # noqa: ANN401 - a Response
        """Send a request that succeeds."""
        answer = self.registry.ask(method, target, body)
        assert answer.status == status, answer.body
        return answer

    def stored(self) -> int:
        """Return the bytes in the bucket, counted by themselves."""
        s3, bucket = self.registry.s3, self.registry.bucket
        total = 0
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            total += sum(each["Size"] for each in page.get("Contents", ()))
        for each in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
            parts = s3.list_parts(Bucket=bucket, Key=each["Key"], UploadId=each["UploadId"])
            total += sum(part["Size"] for part in parts.get("Parts", ()))
        return total


def fill(mixture: Mixture) -> None:
    """Put all kinds of bytes into the bucket."""
    ask, expect = mixture.ask, mixture.expect
    # A layer of three repositories, 100 bytes, which three can't divide evenly; others of one.
    base = b"b" * 100
    for name, own in (("team/a", 11), ("team/b", 13), ("team/c", 17)):
        mixture.image(name, "v1", name.encode(), base, os.urandom(own))
        expect(name, "own", len(name) + own)
    # In the trash: an image's own layer, and not what a live one names, too.
    trashed = mixture.image("team/a", "old", b"team/a", os.urandom(19))
    ask("DELETE", f"team/a/manifests/{trashed}")
    expect("team/a", "trash", 19)
    # In the trash of one, live in another.
    common = os.urandom(20)
    gone = mixture.image("team/b", "gone", b"team/b", common)
    mixture.image("team/c", "kept", b"team/c", common)
    ask("DELETE", f"team/b/manifests/{gone}")
    expect("team/b", "trash", 10)
    expect("team/c", "shared", 10)
    # Pushed, and no manifest names it.
    mixture.blob("team/a", os.urandom(23))
    expect("team/a", "unused", 23)
    # Manifests with a body of their own in the bucket: live, with more references than an item
    # takes, and in the trash.
    padding = {"annotations": {"padding": "x" * 120_000}}
    for tag, kind in (("large", "own"), ("large-gone", "trash")):
        config = os.urandom(29)
        digest = mixture.image("team/d", tag, config, **padding)
        body = mixture.registry.ask("GET", f"team/d/manifests/{tag}").body
        expect("team/d", kind, len(body) + len(config))
        if kind == "trash":
            ask("DELETE", f"team/d/manifests/{digest}")
    # An upload whose bytes are in parts and a tail, and one that was not begun.
    at = ask("POST", "team/e/blobs/uploads").headers["Location"]
    ask("PATCH", str(at).removeprefix("/v2/"), os.urandom(PART + 31))
    expect("team/e", "uploads", PART + 31)
    ask("POST", "team/f/blobs/uploads")
    # No repository links to it any more.
    left = mixture.blob("team/a", os.urandom(37))
    ask("DELETE", f"team/a/blobs/{left['digest']}")


def find_garbage(mixture: Mixture) -> None:
    """Put there what the collector is about to delete, and what nothing names."""
    registry = mixture.registry
    key = f"blobs/sha256/00/{'0' * 64}/00000000-0000-4000-8000-000000000000"
    registry.s3.put_object(Bucket=registry.bucket, Key=key, Body=b"g" * 41)
    row = GARBAGE.encode(Garbage(key, Digest.of(b"x"), 41, 1.0))
    registry.dynamodb.put_item(
        TableName=registry.registry_table, Item={**key_attributes(garbage_key(key)), **row}
    )
    registry.s3.put_object(Bucket=registry.bucket, Key="direct/stray/0", Body=b"s" * 43)


def told(moorage: Command, registry: RegistryUnderTest, endpoint: str, more: str = "") -> Any:  # noqa: ANN401 - JSON
    """Run the command."""
    done = moorage(
        f"usage --bucket {registry.bucket} --table {registry.registry_table}"
        f" --uploads-table {registry.uploads_table} --aws-endpoint {endpoint} --json {more}"
    )
    assert done.status == 0, done.err
    return json.loads(done.out)


@pytest.fixture
def mixture(backend: Backend) -> Mixture:
    """A registry with all kinds of bytes."""
    limits = Limits(references_inline=3)
    made = Mixture(registry_over(backend, limits))
    fill(made)
    find_garbage(made)
    return made


def check(mixture: Mixture, shown: Any) -> None:  # noqa: ANN401 - JSON
    """Compare each number with what was put there, and their sum with the bucket."""
    repositories = {row["name"]: row for row in shown["repositories"]}
    thirds = sorted(repositories[name]["shared"] for name in ("team/a", "team/b"))
    thirds.append(repositories["team/c"]["shared"] - 10)
    assert sorted(thirds) == [33, 33, 34]
    for name, kinds in mixture.expected.items():
        for kind, size in kinds.items():
            if kind != "shared":
                assert repositories[name][kind] == size, (name, kind)
        assert repositories[name]["bytes"] == sum(repositories[name][kind] for kind in KINDS)
    assert (shown["garbage"], shown["unreferenced"], shown["uploads"]) == (37 + 41, 43, 0)
    outside = shown["garbage"] + shown["unreferenced"] + shown["uploads"]
    assert sum(row["bytes"] for row in shown["repositories"]) + outside == shown["bytes"]
    assert shown["bytes"] == mixture.stored()
    assert (shown["lost"], shown["unread"]) == ([], [])


def test_everything_sums_to_the_bytes_in_the_bucket(
    moorage: Command, mixture: Mixture, backend: Backend
) -> None:
    """To the byte, in each place that it belongs to."""
    check(mixture, told(moorage, mixture.registry, backend.endpoint_url))


@pytest.mark.slow
def test_it_sums_on_ministack_too(moorage: Command, ministack: Backend) -> None:
    """Whose listings are its own."""
    made = Mixture(registry_over(ministack.fresh(), Limits(references_inline=3)))
    fill(made)
    find_garbage(made)
    check(made, told(moorage, made.registry, ministack.endpoint_url))


def test_a_table_for_people_ends_with_the_sum(
    moorage: Command, mixture: Mixture, backend: Backend
) -> None:
    """The largest first; with --cost in USD, at the price that docs/cost.md has."""
    registry = mixture.registry
    names = (
        f"--bucket {registry.bucket} --table {registry.registry_table}"
        f" --uploads-table {registry.uploads_table} --aws-endpoint {backend.endpoint_url}"
    )
    lines = moorage(f"usage {names}").out.splitlines()
    assert lines[0].split()[0] == "REPOSITORY"
    assert lines[1].split()[0] == "team/e"
    assert [line.split()[0] for line in lines[-3:]] == ["(garbage)", "(unreferenced)", "all"]
    done = moorage(f"usage --cost {names}")
    assert done.out.splitlines()[0].split()[-1] == "USD/MONTH"
    assert f"at {S3_GB_MONTH} USD for a GB and month" in done.err
    shown = told(moorage, registry, backend.endpoint_url, "--cost")
    assert shown["usd_month"] == pytest.approx(shown["bytes"] / 1e9 * S3_GB_MONTH)
    parts = sum(row["usd_month"] for row in shown["repositories"])
    assert 0 < parts <= shown["usd_month"]


def test_lost_and_unreadable_content_is_reported(mixture: Mixture, backend: Backend) -> None:
    """A lost object, an unreadable row or body; then nothing is called unused.

    The sums are still those of the bucket.
    """
    registry = mixture.registry
    metadata = registry.ports.metadata
    digest = Digest.of(b"b" * 100)
    record = metadata.get_record(digest)
    assert record is not None
    registry.s3.delete_object(Bucket=registry.bucket, Key=record.key)
    (large,) = (
        each for each in metadata.list_manifests("team/d", None, 10).items if each.state == "live"
    )
    body = metadata.get_link(bodies_of("team/d"), large.digest)
    assert body is not None
    registry.s3.delete_object(Bucket=registry.bucket, Key=body.key)
    registry.dynamodb.update_item(
        TableName=registry.registry_table,
        Key=key_attributes(manifest_key("team/d", large.digest)),
        UpdateExpression="REMOVE #references",
        ExpressionAttributeNames={"#references": "references"},
    )
    unread = metadata.get_link("team/a", Digest.of(b"team/a"))
    assert unread is not None
    registry.dynamodb.put_item(
        TableName=registry.registry_table,
        Item={**key_attributes(record_key(unread.digest)), "digest": {"S": "?"}},
    )
    names = (registry.bucket, registry.registry_table, registry.uploads_table)
    usage = run.OwnedRegistry("", *names, backend.endpoint_url).usage()
    assert usage.sums.lost == sorted([record.key, body.key])
    said = run.messages(usage, cost=False)
    assert any(str(large.digest) in line for line in said)
    assert any("can't be read: Record item" in line for line in said)
    assert "2 blobs have no object" in said[-1]
    assert usage.sums.of("team/d", Kind.UNUSED) == 0
    assert usage.sums.of(NOWHERE, Kind.UNREFERENCED) == 43 + len(b"team/a")
    assert usage.sums.total == mixture.stored()


def test_an_empty_registry_has_0_bytes(moorage: Command, backend: Backend) -> None:
    """A missing bucket is an error of one line."""
    registry = registry_over(backend)
    shown = told(moorage, registry, backend.endpoint_url)
    assert (shown["bytes"], shown["objects"], shown["repositories"]) == (0, 0, [])
    refused = moorage(
        f"usage --bucket nowhere-{registry.bucket} --table {registry.registry_table}"
        f" --uploads-table {registry.uploads_table} --aws-endpoint {backend.endpoint_url}"
    )
    assert (refused.status, "NoSuchBucket" in refused.err) == (1, True)
