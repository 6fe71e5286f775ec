"""What a deletion would do, over the API: what depends on the images, and what bytes are freed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Digest
from chalicelib.registry import deletions
from chalicelib.registry.model import InUse
from chalicelib.registry.service import Limits
from chalicelib.stores.dynamodb import keys
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import IN_USE
from tests.chalicelib.api.pushing import (
    INDEX,
    NAME,
    blob,
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

CONFIG = 2
"""Bytes of the config that all images here share."""


def push(registry: RegistryUnderTest, tag: str | None, *layers: bytes, **extra: object) -> str:
    """Push an image, by its digest where it has no tag; returns its digest."""
    body = image(registry, *layers, **extra)
    digest = str(Digest.of(body))
    assert put(registry, tag or digest, body).status == 201
    return digest


def push_index(registry: RegistryUnderTest, tag: str, *digests: str, **extra: object) -> str:
    """Push an index of images under a tag; returns its digest."""
    answers = [registry.ask("GET", f"{NAME}/manifests/{digest}") for digest in digests]
    named = [described(each.body, str(each.headers["Content-Type"])) for each in answers]
    body = index(*named, **extra)
    assert put(registry, tag, body, INDEX).status == 201
    return str(Digest.of(body))


def preview(registry: RegistryUnderTest, *digests: str, alone: bool = False) -> Any:  # noqa: ANN401 - JSON
    """Ask what it would do to delete some manifests."""
    query = "&".join(f"digest={digest}" for digest in digests) + "&alone=1" * alone
    answer = registry.ask("GET", f"{NAME}/_moorage/deletion?{query}")
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def freed(answer: Any) -> tuple[int | None, int | None]:  # noqa: ANN401 - JSON
    """Return the bytes that the repository no longer uses, and those that go."""
    return answer["unused_bytes"], answer["freed_bytes"]


def test_only_blobs_of_no_other_image_and_repository_are_freed(
    registry: RegistryUnderTest,
) -> None:
    """The last image with a shared layer frees its bytes; a mounted layer frees none."""
    one = push(registry, "one", b"base", b"only one")
    two = push(registry, "two", b"base", b"elsewhere, too")
    blob(registry, b"elsewhere, too", "other/app")
    assert freed(preview(registry, one)) == (8, 8)
    assert freed(preview(registry, two)) == (14, 0)
    assert freed(preview(registry, one, two)) == (CONFIG + 4 + 8 + 14, CONFIG + 4 + 8)


def test_the_preview_frees_what_the_deletion_frees(registry: RegistryUnderTest) -> None:
    """Images in the trash keep no bytes: they are gone before what is deleted now."""
    one, two = push(registry, "one", b"base", b"1"), push(registry, "two", b"base", b"22")
    assert registry.ask("DELETE", f"{NAME}/manifests/{two}").status == 202
    assert freed(preview(registry, one)) == (CONFIG + 4 + 1, CONFIG + 4 + 1)
    answer = registry.ask("GET", f"{NAME}/_moorage/deletion?digest={two}")
    assert (answer.status, code(answer)) == (404, "MANIFEST_UNKNOWN")


def test_the_deletion_preview_names_what_depends_on_the_images(registry: RegistryUnderTest) -> None:
    """Tags, indexes that would lack an image, signatures, and until when it can be undone."""
    child = push(registry, "child", b"c")
    put(registry, "latest", registry.ask("GET", f"{NAME}/manifests/child").body)
    outer = push_index(registry, "all", child)
    subject = described(registry.ask("GET", f"{NAME}/manifests/child").body)
    push(registry, None, b"s", subject=subject, artifactType="application/x-sig")
    answer = preview(registry, child, child)
    (shown,) = answer["images"]
    assert shown == {
        "digest": child,
        "tags": ["child", "latest"],
        "runs": [],
        "referrers": 1,
        "named_by": [outer],
    }
    assert answer["until"].startswith("20")
    assert preview(registry, child, outer)["images"][0]["named_by"] == []


def test_manifests_that_nothing_else_names_are_found(registry: RegistryUnderTest) -> None:
    """Images of an index without a tag and in no other index, and their referrers."""
    alone, tagged, shared = push(registry, None, b"1"), push(registry, "t", b"22"), ""
    shared = push(registry, None, b"333")
    inner = push_index(registry, "inner", alone, tagged, shared)
    push_index(registry, "other", shared, annotations={"a": "b"})
    subject = described(registry.ask("GET", f"{NAME}/manifests/{alone}").body)
    signature = push(registry, None, b"4444", subject=subject, artifactType="application/x-sig")
    apart = push(registry, None, b"untagged, and nobody's")

    answer = preview(registry, inner)
    assert answer["alone"] == sorted([alone, signature])
    assert freed(answer) == (0, 0)
    assert freed(preview(registry, inner, alone=True)) == (5, 5)
    assert apart not in answer["alone"]
    # What was chosen itself is not among them, but what it leads to is.
    assert preview(registry, alone)["alone"] == [signature]
    assert preview(registry, inner, alone)["alone"] == [signature]
    # An index of an index, both gone: all below them.
    outermost = push_index(registry, "outermost", inner)
    registry.ask("DELETE", f"{NAME}/manifests/inner")
    assert preview(registry, outermost)["alone"] == sorted([inner, alone, signature])


def test_the_body_of_a_large_manifest_is_freed_with_it(registry: RegistryUnderTest) -> None:
    """If another repository has a blob of the same bytes, that stays."""
    padding = {"padding": "x" * 120_000}
    digest = push(registry, "large", b"layer", annotations=padding)
    body = registry.ask("GET", f"{NAME}/manifests/large").body
    whole = len(body) + CONFIG + 5
    assert freed(preview(registry, digest)) == (whole, whole)
    blob(registry, body)  # as a blob of this repository, too: as 0.1 stored it
    assert freed(preview(registry, digest)) == (whole, whole)
    blob(registry, body, "other/app")
    assert freed(preview(registry, digest)) == (whole, CONFIG + 5)


def test_references_too_many_for_an_item_are_read(
    strict_moto: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there are too many such manifests, the bytes are unknown."""
    registry = registry_over(strict_moto.fresh(), Limits(references_inline=9))
    body = image(registry, *(str(number).encode() for number in range(10)))
    large = str(Digest.of(body))
    assert put(registry, "large", body).status == 201
    small = push(registry, "small", b"7", b"of small alone")
    assert freed(preview(registry, small)) == (14, 14)
    monkeypatch.setattr(deletions, "MOST_BODIES", 0)
    answer = preview(registry, small)
    assert freed(answer) == (None, None)
    assert answer["alone"] is None
    assert answer["images"] == [
        {"digest": small, "tags": ["small"], "runs": [], "referrers": None, "named_by": None}
    ]
    assert preview(registry, large)["images"][0]["tags"] == ["large"]


@pytest.mark.parametrize("reads", [0, 1])
def test_the_bytes_of_a_too_large_repository_are_unknown(
    registry: RegistryUnderTest, monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    """Its digests and tags are still shown, in a few requests."""
    digests = [push(registry, f"v{number}", str(number).encode()) for number in range(3)]
    monkeypatch.setattr(deletions, "MOST_READS", reads)
    monkeypatch.setattr(deletions, "_PAGE", 2)
    with record_calls(registry.dynamodb) as calls:
        answer = preview(registry, digests[0])
    assert freed(answer) == (None, None)
    assert answer["images"][0]["tags"] == ["v0"]
    assert len(calls.calls) <= 5
    answer = registry.ask("GET", f"{NAME}/_moorage/deletion?digest={Digest.of(b'none')}")
    assert (answer.status, code(answer)) == (404, "MANIFEST_UNKNOWN")


def test_nothing_is_written_and_few_requests_are_made(registry: RegistryUnderTest) -> None:
    """One range of manifests, one of tags, links and records: whatever the number chosen."""
    digests = [push(registry, f"v{number}", str(number).encode()) for number in range(9)]
    with record_calls(registry.dynamodb) as calls:
        preview(registry, *digests)
    assert [call.operation for call in calls.calls] == ["Query"] * 3 + ["BatchGetItem"] * 2


def test_an_image_in_use_is_named_and_not_deleted_with_others(registry: RegistryUnderTest) -> None:
    """A chosen image shows where it runs; a manifest that only belongs to it stays."""
    children = [push(registry, None, each) for each in (b"1", b"22")]
    outer = push_index(registry, "all", *children)

    def run(digest: str) -> None:
        lease = InUse(NAME, "prod", "ecs", {Digest.parse(digest): "web"}, 1.5e9, 1.6e9)
        key = key_attributes(keys.in_use_key(NAME, "prod"))
        fill(registry, [{**key, **IN_USE.encode(lease)}])

    run(children[0])
    answer = preview(registry, outer)
    assert (answer["alone"], answer["images"][0]["runs"]) == ([children[1]], [])
    run(outer)
    answer = preview(registry, outer)
    assert answer["alone"] == sorted(children)
    (runs,) = answer["images"][0]["runs"]
    assert (runs["source"], runs["what"]) == ("prod", "web")


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("", "REQUEST_INVALID"),
        ("&".join(["digest=x"] * 101), "REQUEST_INVALID"),
        ("digest=x", "DIGEST_INVALID"),
    ],
)
def test_a_wrong_choice_is_refused(registry: RegistryUnderTest, query: str, error: str) -> None:
    """The error says what to write instead."""
    answer = registry.ask("GET", f"{NAME}/_moorage/deletion?{query}")
    assert (answer.status, code(answer)) == (400, error)
