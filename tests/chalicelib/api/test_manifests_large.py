"""Manifests of every size: where their bytes stand, what a pull of them costs, what is too much."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest

from chalicelib.api.dispatch import Api
from chalicelib.api.messages import Request
from chalicelib.digest import Algorithm, Digest
from chalicelib.registry.model import Link
from chalicelib.registry.service import Limits
from chalicelib.settings import ApiOptions, HeadStrategy
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import LINK
from chalicelib.stores.dynamodb.keys import link_key
from tests.chalicelib.api.pushing import IMAGE, NAME, code, described, image, put
from tests.support.calls import record_calls
from tests.support.registries import registry_over

if TYPE_CHECKING:
    from chalicelib.registry.registry import Registry
    from tests.emulators.backends import Backend
    from tests.support.registries import RegistryUnderTest


LIMITS = Limits()


def padded(registry: RegistryUnderTest, size: int, **extra: object) -> bytes:
    """Push an image's blobs and return its manifest, of exactly `size` bytes."""
    short = image(registry, b"layer", annotations={"padding": ""}, **extra)
    body = image(registry, b"layer", annotations={"padding": "x" * (size - len(short))}, **extra)
    assert len(body) == size
    return body


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize(
    ("size", "stored"),
    [
        (LIMITS.body_inline, "in its item"),
        (LIMITS.body_inline + 1, "in S3"),
        (4_500_000, "in S3"),
    ],
)
def test_a_manifest_of_any_size_is_answered_byte_for_byte(
    registry: RegistryUnderTest, size: int, stored: str, algorithm: Algorithm
) -> None:
    """A pull by tag reads DynamoDB twice, and S3 only for a manifest too long for an item."""
    body = padded(registry, size)
    digest = Digest.of(body, algorithm)
    answer = registry.ask("PUT", f"{NAME}/manifests/{digest}?tag=v1", body, content_type=IMAGE)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, str(digest))
    with record_calls(registry.dynamodb, registry.s3) as calls:
        pulled = registry.ask("GET", f"{NAME}/manifests/v1")
    assert (pulled.status, pulled.body) == (200, body)
    for reference in ("v1", digest):
        for method in ("GET", "HEAD"):
            got = registry.ask(method, f"{NAME}/manifests/{reference}")
            assert (got.status, got.body, got.headers["Content-Type"]) == (200, body, IMAGE)
            assert got.headers["Docker-Content-Digest"] == str(digest)
    in_item = stored == "in its item"
    assert calls.count("dynamodb") == (2 if in_item else 3)
    assert calls.operations("s3") == ({} if in_item else {"GetObject": 1})
    assert registry.ask("DELETE", f"{NAME}/manifests/{digest}").status == 202
    assert registry.ask("GET", f"{NAME}/manifests/v1").status == 404


def test_more_is_413_and_leaves_nothing(registry: RegistryUnderTest) -> None:
    """A manifest above the limit is refused before anything of it is stored."""
    body = padded(registry, 4_500_001)
    before = registry.stored()
    answer = put(registry, "v1", body)
    assert (answer.status, code(answer)) == (413, "SIZE_INVALID")
    assert registry.stored() == before
    assert registry.ask("GET", f"{NAME}/manifests/v1").status == 404


FILES = [Digest.of(str(number).encode()) for number in range(LIMITS.references_inline + 100)]
"""More than a manifest's item names."""


def test_a_manifest_of_more_layers_than_its_item_names(registry: RegistryUnderTest) -> None:
    """It is stored whole, and needs every one of its layers."""
    puts: list[Any] = []
    for digest in FILES:
        link = LINK.encode(Link(NAME, digest, 1, "key", registry.clock.now(), "version"))
        item = {**key_attributes(link_key(NAME, digest)), **link}
        puts.append({"PutRequest": {"Item": item}})
    for start in range(0, len(puts), 25):
        batch = puts[start : start + 25]
        registry.dynamodb.batch_write_item(RequestItems={registry.registry_table: batch})
    body = many_layers(FILES)
    assert put(registry, "v1", body).status == 201
    assert registry.ask("GET", f"{NAME}/manifests/v1").body == body
    stored = registry.ports.metadata.get_manifest(NAME, Digest.of(body))
    assert stored is not None
    assert stored.references is None
    answer = put(registry, "v2", many_layers([*FILES[:200], Digest.of(b"not there")]))
    assert (answer.status, code(answer)) == (404, "MANIFEST_BLOB_UNKNOWN")


def many_layers(digests: list[Digest]) -> bytes:
    """Return a manifest with a layer of one byte for each digest."""
    layers = [{"mediaType": "a/b", "digest": str(digest), "size": 1} for digest in digests]
    document = {"schemaVersion": 2, "config": layers[0], "layers": layers}
    return json.dumps(document, separators=(",", ":")).encode()


@pytest.mark.parametrize("field", ["annotations", "artifactType"])
def test_a_referrer_that_says_too_much_is_413(registry: RegistryUnderTest, field: str) -> None:
    """What no referrers list could show is refused with its limit, and only where it is listed."""
    text = "x" * (LIMITS.referrer_row + 1)
    extra: dict[str, object] = {"annotations": {"a": text}, "artifactType": text}
    body = image(registry, b"layer", **{field: extra[field]})
    assert put(registry, "plain", body).status == 201
    referrer = image(registry, b"layer", subject=described(body), **{field: extra[field]})
    answer = put(registry, "referrer", referrer)
    assert (answer.status, code(answer)) == (413, "SIZE_INVALID")
    assert str(LIMITS.referrer_row) in answer.body.decode()


def test_an_image_needs_its_blobs_unless_sparse(strict_moto: Backend) -> None:
    """A missing layer is refused by default and accepted where sparse images are on."""
    there = {"mediaType": "a/b", "digest": str(Digest.of(b"{}")), "size": 2}
    missing = {"mediaType": "a/b", "digest": str(Digest.of(b"missing")), "size": 7}
    wrong = {**there, "size": 3}
    strict = registry_over(strict_moto.fresh())
    sparse = registry_over(strict_moto.fresh(), Limits(sparse_image=True))
    for registry, layer, status in (
        (strict, there, 201),
        (strict, missing, 404),
        (sparse, missing, 201),
        (sparse, wrong, 400),
    ):
        body = image(registry, layers=[layer])
        assert put(registry, Digest.of(body), body).status == status


HALF = "\ud83d"
SUBJECT = described(b"a subject")


class Untouched:
    """A registry that must not be asked."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(name)


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("session", ["x" * 65, "x" * 2049, "%F0%9F%98%80" * 65])
def test_an_id_that_no_session_has_asks_no_store(method: str, session: str) -> None:
    """An id longer than ours is unknown at once: DynamoDB takes no key above 2,048 bytes."""
    api = Api(lambda: cast("Registry", Untouched()), ApiOptions(1024, HeadStrategy.BODY, 1024))
    path = f"team/app/blobs/uploads/{session}"
    response = api(Request(method, path, {}, {}, b"x", 0.0, "test"))
    assert (response.status, code(response)) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("field", ["artifactType", "config", "subject", "layers"])
def test_half_a_surrogate_pair_is_no_media_type(registry: RegistryUnderTest, field: str) -> None:
    """JSON can escape what is no text; no store takes it, so no manifest may name a type so."""
    document = json.loads(image(registry, b"a layer", subject=SUBJECT))
    if field == "artifactType":
        document[field] = HALF
    else:
        place = document[field][0] if field == "layers" else document[field]
        place["mediaType"] = f"a/{HALF}"
    response = put(registry, "v1", json.dumps(document).encode(), IMAGE)
    assert (response.status, code(response)) == (400, "MANIFEST_INVALID")
    assert registry.ask("GET", "team/app/manifests/v1").status == 404


def test_any_text_may_stand_in_an_annotation(registry: RegistryUnderTest) -> None:
    """Annotations are kept escaped: the referrers list gives back what was pushed."""
    annotations = {HALF: "\0", "": "\U0001f600", "\u2028": ""}
    body = image(registry, b"a layer", subject=SUBJECT, annotations=annotations)
    assert put(registry, "v1", body).status == 201
    listed = registry.ask("GET", f"team/app/referrers/{SUBJECT['digest']}")
    (shown,) = json.loads(listed.body)["manifests"]
    assert shown["annotations"] == annotations
