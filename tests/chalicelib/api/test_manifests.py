"""Manifests, tags, referrers and the catalog over the API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Algorithm, Digest
from chalicelib.registry.service import Limits
from tests.chalicelib.api.pushing import DOCKER, IMAGE, INDEX, NAME, code, described, image, put
from tests.support.registries import RegistryUnderTest, registry_over

if TYPE_CHECKING:
    from tests.emulators.backends import Backend


def test_docker_types_and_sha512_round_trip(shared: RegistryUnderTest) -> None:
    """A Docker manifest put by its sha512 digest is answered under that digest."""
    body = image(shared, b"layer").replace(IMAGE.encode(), DOCKER.encode())
    digest = Digest.of(body, Algorithm.SHA512)
    assert put(shared, digest, body, DOCKER).status == 201
    assert shared.ask("GET", f"{NAME}/manifests/{digest}").body == body


@pytest.mark.parametrize(
    ("change", "status", "expected"),
    [
        (
            {"layers": [{"mediaType": "a/b", "digest": "sha256:" + "0" * 64, "size": 1}]},
            404,
            "MANIFEST_BLOB_UNKNOWN",
        ),
        (
            {"layers": [{"mediaType": "a/b", "digest": "sha256:bad", "size": 1}]},
            400,
            "DIGEST_INVALID",
        ),
        ({"layers": [{"mediaType": "a/b", "size": 1}]}, 400, "MANIFEST_INVALID"),
        ({"layers": {}}, 400, "MANIFEST_INVALID"),
        ({"config": None}, 400, "MANIFEST_INVALID"),
        ({"schemaVersion": 1}, 400, "MANIFEST_INVALID"),
        ({"mediaType": DOCKER}, 400, "MANIFEST_INVALID"),
        ({"annotations": {"a": 1}}, 400, "MANIFEST_INVALID"),
        ({"subject": 5}, 400, "MANIFEST_INVALID"),
    ],
)
def test_a_manifest_that_can_not_be_stored(
    registry: RegistryUnderTest, change: dict[str, Any], status: int, expected: str
) -> None:
    """What is malformed or refers to what is not there is refused, and is not there afterwards."""
    body = json.dumps(json.loads(image(registry, b"layer")) | change).encode()
    response = put(registry, "v1", body)
    assert (response.status, code(response)) == (status, expected)
    assert registry.ask("GET", f"{NAME}/manifests/v1").status == 404
    assert registry.ports.metadata.get_manifest(NAME, Digest.of(body)) is None


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_manifest_is_refused(shared: RegistryUnderTest, body: bytes) -> None:
    """Bytes that are no JSON object are 400."""
    response = put(shared, "v1", body)
    assert (response.status, code(response)) == (400, "MANIFEST_INVALID")


def test_a_size_and_a_digest_must_be_the_bytes_own(shared: RegistryUnderTest) -> None:
    """A descriptor with another size than the blob has is 400, and a PUT by another digest."""
    body = image(shared, b"layer")
    document = json.loads(body)
    document["layers"][0]["size"] = 0
    response = put(shared, "v1", json.dumps(document).encode())
    assert (response.status, code(response)) == (400, "MANIFEST_INVALID")
    response = put(shared, Digest.of(b"other"), body)
    assert (response.status, code(response)) == (400, "DIGEST_INVALID")


def test_foreign_layers_need_not_be_here(registry: RegistryUnderTest) -> None:
    """A layer with URLs is accepted though its blob is elsewhere."""
    document = json.loads(image(registry))
    document["layers"] = [
        {"mediaType": "a/b", "digest": f"sha256:{'1' * 64}", "size": 9, "urls": ["http://h/x"]}
    ]
    assert put(registry, "v1", json.dumps(document).encode()).status == 201


def test_an_index_needs_its_manifests_unless_sparse(strict_moto: Backend) -> None:
    """A missing child is refused by default and accepted where sparse indexes are on."""
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [{"mediaType": IMAGE, "digest": f"sha256:{'2' * 64}", "size": 3}],
        }
    ).encode()
    strict = registry_over(strict_moto.fresh())
    assert code(put(strict, "v1", index, INDEX)) == "MANIFEST_BLOB_UNKNOWN"
    sparse = registry_over(strict_moto.fresh(), Limits(sparse_index=True))
    assert put(sparse, "v1", index, INDEX).status == 201


def test_an_index_of_two_platforms(registry: RegistryUnderTest) -> None:
    """An index of manifests that are there is stored, and they go on being answered."""
    children = [image(registry, layer) for layer in (b"amd64", b"arm64")]
    for child in children:
        assert put(registry, Digest.of(child), child).status == 201
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [described(c) for c in children]}
    ).encode()
    assert put(registry, "multi", index, INDEX).status == 201
    assert registry.ask("GET", f"{NAME}/manifests/multi").body == index


def test_a_tag_moves_and_the_way_back_with_it(registry: RegistryUnderTest) -> None:
    """Deleting a manifest drops the tags that name it and no other."""
    first, second = image(registry, b"1"), image(registry, b"2")
    put(registry, "kept", first)
    put(registry, "moved", first)
    put(registry, "moved", second)
    put(registry, "also", second)
    assert registry.ask("DELETE", f"{NAME}/manifests/{Digest.of(second)}").status == 202
    tags = json.loads(registry.ask("GET", f"{NAME}/tags/list").body)
    assert tags == {"name": NAME, "tags": ["kept"]}
    for reference in ("moved", "also", Digest.of(second)):
        assert registry.ask("GET", f"{NAME}/manifests/{reference}").status == 404
    assert registry.ask("DELETE", f"{NAME}/manifests/{Digest.of(second)}").status == 404
    assert put(registry, "again", second).status == 201


def test_deleting_a_tag_leaves_the_manifest(registry: RegistryUnderTest) -> None:
    """A deleted tag is gone at once; its manifest is not."""
    body = image(registry, b"1")
    put(registry, "v1", body)
    assert registry.ask("DELETE", f"{NAME}/manifests/v1").status == 202
    assert registry.ask("DELETE", f"{NAME}/manifests/v1").status == 404
    assert registry.ask("GET", f"{NAME}/manifests/{Digest.of(body)}").status == 200


def test_a_manifest_by_digest_takes_many_tags(registry: RegistryUnderTest) -> None:
    """`?tag=` beside a digest sets each tag, and OCI-Tag names them; 40 need two transactions."""
    body = image(registry, b"1")
    tags = [f"t{number:02}" for number in range(40)]
    query = "&".join(f"tag={tag}" for tag in tags)
    target = f"{NAME}/manifests/{Digest.of(body)}?{query}"
    response = registry.ask("PUT", target, body, content_type=IMAGE)
    assert (response.status, response.headers["OCI-Tag"]) == (201, tags)
    assert json.loads(registry.ask("GET", f"{NAME}/tags/list").body)["tags"] == tags


@pytest.fixture(scope="module")
def tagged(strict_moto: Backend) -> RegistryUnderTest:
    """A registry with one manifest under four tags."""
    registry = registry_over(strict_moto.fresh())
    body = image(registry, b"1")
    for tag in "dbca":
        put(registry, tag, body)
    return registry


@pytest.mark.parametrize(
    ("query", "expected", "link"),
    [
        ("", ["a", "b", "c", "d"], None),
        ("?n=2", ["a", "b"], f'</v2/{NAME}/tags/list?n=2&last=b>; rel="next"'),
        ("?n=2&last=b", ["c", "d"], None),
        ("?last=bb", ["c", "d"], None),
        ("?n=0", [], None),
        ("?n=99", ["a", "b", "c", "d"], None),
        ("?n=" + "9" * 5000, ["a", "b", "c", "d"], None),
        ("?n=0000000002&last=b", ["c", "d"], None),
        ("?n=000", [], None),
        ("?last=b" + "x" * 3000, ["c", "d"], None),
        ("?last=", ["a", "b", "c", "d"], None),
    ],
)
def test_tags_come_in_pages(
    tagged: RegistryUnderTest, query: str, expected: list[str], link: str | None
) -> None:
    """Tags are sorted; `n` and `last` bound the page, and Link names the next."""
    response = tagged.ask("GET", f"{NAME}/tags/list{query}")
    assert json.loads(response.body)["tags"] == expected
    assert response.headers.get("Link") == link


def test_the_catalog_names_repositories(registry: RegistryUnderTest) -> None:
    """A repository is listed once it holds a manifest; tags of an unknown one are 404."""
    assert json.loads(registry.ask("GET", "_catalog").body) == {"repositories": []}
    assert code(registry.ask("GET", f"{NAME}/tags/list")) == "NAME_UNKNOWN"
    put(registry, "v1", image(registry, b"1"))
    assert json.loads(registry.ask("GET", "_catalog?n=5").body) == {"repositories": [NAME]}
    assert code(registry.ask("GET", "_catalog?n=x")) == "PAGINATION_NUMBER_INVALID"


def test_referrers_are_listed_filtered_and_deleted(registry: RegistryUnderTest) -> None:
    """Referrers of a subject, present or not, are an index; a deleted referrer leaves it."""
    subject = image(registry, b"subject")
    pushed = [
        image(
            registry, b"sig", subject=described(subject), artifactType=kind, annotations={"k": kind}
        )
        for kind in ("a/sig", "a/sbom")
    ]
    for body in pushed:
        response = put(registry, Digest.of(body), body)
        assert response.headers["OCI-Subject"] == str(Digest.of(subject))
    target = f"{NAME}/referrers/{Digest.of(subject)}"
    listed = registry.ask("GET", target)
    assert listed.headers["Content-Type"] == INDEX
    found = {item["artifactType"]: item for item in json.loads(listed.body)["manifests"]}
    assert found["a/sig"]["digest"] == str(Digest.of(pushed[0]))
    assert found["a/sbom"]["annotations"] == {"k": "a/sbom"}
    filtered = registry.ask("GET", f"{target}?artifactType=a/sig")
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert len(json.loads(filtered.body)["manifests"]) == 1
    registry.ask("DELETE", f"{NAME}/manifests/{Digest.of(pushed[0])}")
    assert len(json.loads(registry.ask("GET", target).body)["manifests"]) == 1
    empty = registry.ask("GET", f"nobody/knows/referrers/{Digest.of(b'x')}")
    assert (empty.status, json.loads(empty.body)["manifests"]) == (200, [])
