"""Manifests, tags and referrers over the API: which are stored, where, and how they are answered.

What is refused stands in the table of test_dispatch.py, and lists page by page in test_lists.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Algorithm, Digest
from chalicelib.registry.model import Link
from chalicelib.registry.service import Limits
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import LINK
from chalicelib.stores.dynamodb.keys import link_key
from tests.chalicelib.api.pushing import (
    DOCKER,
    IMAGE,
    INDEX,
    NAME,
    code,
    described,
    fill,
    image,
    index,
    put,
)
from tests.support.calls import record_calls
from tests.support.registries import RegistryUnderTest, registry_over

if TYPE_CHECKING:
    from tests.emulators.backends import Backend

LIMITS = Limits()


def padded(registry: RegistryUnderTest, size: int, media_type: str) -> bytes:
    """Push an image's blobs and return its manifest, of exactly `size` bytes."""
    short = image(registry, b"layer", annotations={"padding": ""}, mediaType=media_type)
    padding = {"padding": "x" * (size - len(short))}
    return image(registry, b"layer", annotations=padding, mediaType=media_type)


@pytest.mark.parametrize(
    ("algorithm", "media_type"), [(Algorithm.SHA256, IMAGE), (Algorithm.SHA512, DOCKER)]
)
@pytest.mark.parametrize("size", [LIMITS.body_inline, LIMITS.body_inline + 1, 4_500_000])
def test_a_manifest_of_any_size_is_answered_byte_for_byte(
    registry: RegistryUnderTest, size: int, algorithm: Algorithm, media_type: str
) -> None:
    """A pull by tag reads DynamoDB twice, and S3 only for a manifest too long for an item."""
    body = padded(registry, size, media_type)
    digest = Digest.of(body, algorithm)
    target = f"{NAME}/manifests/{digest}"
    answer = registry.ask("PUT", f"{target}?tag=v1", body, content_type=media_type)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, str(digest))
    with record_calls(registry.dynamodb, registry.s3) as calls:
        registry.ask("GET", f"{NAME}/manifests/v1")
    for reference in ("v1", digest):
        for method in ("GET", "HEAD"):
            got = registry.ask(method, f"{NAME}/manifests/{reference}")
            assert (got.status, got.body, len(body)) == (200, body, size)
            assert got.headers["Content-Type"] == media_type
            assert got.headers["Docker-Content-Digest"] == str(digest)
    in_item = size <= LIMITS.body_inline
    assert calls.count("dynamodb") == (2 if in_item else 3)
    assert calls.operations("s3") == ({} if in_item else {"GetObject": 1})
    assert registry.ask("DELETE", target).status == 202
    assert registry.ask("GET", f"{NAME}/manifests/v1").status == 404


FILES = [Digest.of(str(number).encode()) for number in range(LIMITS.references_inline + 100)]
"""More than a manifest's item names."""


def many_layers(digests: list[Digest]) -> bytes:
    """Return a manifest with a layer of one byte for each digest."""
    layers = [{"mediaType": "a/b", "digest": str(digest), "size": 1} for digest in digests]
    document = {"schemaVersion": 2, "config": layers[0], "layers": layers}
    return json.dumps(document, separators=(",", ":")).encode()


def test_a_manifest_of_more_layers_than_its_item_names(registry: RegistryUnderTest) -> None:
    """It is stored whole, and needs every one of its layers."""
    links = [Link(NAME, digest, 1, "key", registry.clock.now(), "version") for digest in FILES]
    keys = [key_attributes(link_key(NAME, digest)) for digest in FILES]
    fill(registry, [key | LINK.encode(link) for key, link in zip(keys, links, strict=True)])
    body = many_layers(FILES)
    assert put(registry, "v1", body).status == 201
    assert registry.ask("GET", f"{NAME}/manifests/v1").body == body
    stored = registry.ports.metadata.get_manifest(NAME, Digest.of(body))
    assert stored is not None
    assert stored.references is None
    answer = put(registry, "v2", many_layers([*FILES[:200], Digest.of(b"not there")]))
    assert (answer.status, code(answer)) == (404, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize("field", ["annotations", "artifactType"])
def test_a_referrer_that_says_too_much_is_413(registry: RegistryUnderTest, field: str) -> None:
    """What no referrers list could show is refused with its limit, and only where it is listed."""
    text = "x" * (LIMITS.referrer_row + 1)
    extra: dict[str, Any] = {field: {"a": text} if field == "annotations" else text}
    body = image(registry, b"layer", **extra)
    assert put(registry, "plain", body).status == 201
    answer = put(registry, "referrer", image(registry, subject=described(body), **extra))
    assert (answer.status, code(answer)) == (413, "SIZE_INVALID")
    assert str(LIMITS.referrer_row) in answer.body.decode()


def test_a_manifest_needs_what_it_names_unless_sparse(strict_moto: Backend) -> None:
    """A missing layer or child is accepted where sparse images or indexes are on, a wrong never.

    A layer with URLs is elsewhere.
    """
    there = {"mediaType": IMAGE, "digest": str(Digest.of(b"{}")), "size": 2}
    missing = {"mediaType": IMAGE, "digest": str(Digest.of(b"missing")), "size": 7}
    strict, sparse_image, sparse_index = (
        registry_over(strict_moto.fresh(), limits)
        for limits in (LIMITS, Limits(sparse_image=True), Limits(sparse_index=True))
    )
    for registry, layer, status in (
        (strict, there, 201),
        (strict, missing, 404),
        (strict, {**missing, "urls": ["http://h/x"]}, 201),
        (sparse_image, missing, 201),
        (sparse_image, {**there, "size": 3}, 400),
        (sparse_index, missing, 404),
    ):
        assert put(registry, "v1", image(registry, layers=[layer])).status == status
    for registry, status in ((strict, 404), (sparse_image, 404), (sparse_index, 201)):
        assert put(registry, "v2", index(missing), INDEX).status == status


def test_an_index_of_two_platforms(registry: RegistryUnderTest) -> None:
    """An index of manifests that are there is stored, and they go on being answered."""
    children = [image(registry, layer) for layer in (b"amd64", b"arm64")]
    for child in children:
        assert put(registry, Digest.of(child), child).status == 201
    body = index(*map(described, children))
    assert put(registry, "multi", body, INDEX).status == 201
    assert registry.ask("GET", f"{NAME}/manifests/multi").body == body


def test_a_tag_moves_and_the_way_back_with_it(registry: RegistryUnderTest) -> None:
    """Deleting a manifest drops the tags that name it and no other; a tag's leaves the manifest."""
    first, second = image(registry, b"1"), image(registry, b"2")
    assert json.loads(registry.ask("GET", "_catalog").body) == {"repositories": []}
    for tag, body in (("kept", first), ("moved", first), ("moved", second), ("also", second)):
        put(registry, tag, body)
    assert json.loads(registry.ask("GET", "_catalog?n=5").body) == {"repositories": [NAME]}
    for status in (202, 404):
        target = f"{NAME}/manifests/{Digest.of(second)}"
        assert registry.ask("DELETE", target).status == status
    tags = json.loads(registry.ask("GET", f"{NAME}/tags/list").body)
    assert tags == {"name": NAME, "tags": ["kept"]}
    for reference in ("moved", "also", Digest.of(second)):
        assert registry.ask("GET", f"{NAME}/manifests/{reference}").status == 404
    assert put(registry, "again", second).status == 201
    for status in (202, 404):
        assert registry.ask("DELETE", f"{NAME}/manifests/kept").status == status
    assert registry.ask("GET", f"{NAME}/manifests/{Digest.of(first)}").status == 200


def test_a_manifest_by_digest_takes_many_tags(registry: RegistryUnderTest) -> None:
    """`?tag=` beside a digest sets each tag, and OCI-Tag names them; 40 need two transactions."""
    body = image(registry, b"1")
    tags = [f"t{number:02}" for number in range(40)]
    query = "&".join(f"tag={tag}" for tag in tags)
    response = put(registry, f"{Digest.of(body)}?{query}", body)
    assert (response.status, response.headers["OCI-Tag"]) == (201, tags)
    assert json.loads(registry.ask("GET", f"{NAME}/tags/list").body)["tags"] == tags


def test_referrers_are_listed_filtered_and_deleted(registry: RegistryUnderTest) -> None:
    """Referrers of a subject, present or not, are an index; a deleted referrer leaves it.

    Annotations are kept escaped, so any text may stand in one: half a surrogate pair, too.
    """
    subject = described(b"a subject that is not there")
    target = f"{NAME}/referrers/{subject['digest']}"
    pushed = {}
    for kind in ("a/sig", "a/sbom"):
        annotations = {"k": kind, "\ud83d": "\0", "": "\U0001f600", "\u2028": ""}
        extra = {"subject": subject, "artifactType": kind, "annotations": annotations}
        body = image(registry, b"sig", **extra)
        assert put(registry, Digest.of(body), body).headers["OCI-Subject"] == subject["digest"]
        pushed[kind] = {**described(body), "artifactType": kind, "annotations": annotations}
    listed = registry.ask("GET", target)
    assert listed.headers["Content-Type"] == INDEX
    found = {item["artifactType"]: item for item in json.loads(listed.body)["manifests"]}
    assert found == pushed
    filtered = registry.ask("GET", f"{target}?artifactType=a/sig")
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert json.loads(filtered.body)["manifests"] == [pushed["a/sig"]]
    registry.ask("DELETE", f"{NAME}/manifests/{pushed['a/sig']['digest']}")
    assert json.loads(registry.ask("GET", target).body)["manifests"] == [pushed["a/sbom"]]
    empty = registry.ask("GET", f"nobody/knows/referrers/{Digest.of(b'x')}")
    assert (empty.status, json.loads(empty.body)["manifests"]) == (200, [])
