"""Manifests, tags and referrers over the API: which are stored, where, and how they are answered.

What is refused stands in the table of test_dispatch.py, and lists page by page in test_lists.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import TooManyRequestsError
from chalicelib.registry.model import InUse, Link, Manifest, TagRow, UseSource, bodies_of
from chalicelib.registry.service import Limits
from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.in_use import DynamoInUseStore
from chalicelib.stores.dynamodb.items import LINK, manifest_item
from chalicelib.stores.dynamodb.keys import link_key, manifest_key, tag_key, tagged_key
from chalicelib.stores.dynamodb.rules import DynamoRulesStore
from tests.chalicelib.api.pushing import (
    DOCKER,
    IMAGE,
    INDEX,
    LIST,
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
from tests.support.values import begin_delete

if TYPE_CHECKING:
    from tests.emulators.backends import Backend

LIMITS = Limits()
PLATFORM = {"os": "linux", "architecture": "arm64", "variant": "v8"}


def empty_trash(registry: RegistryUnderTest) -> None:
    """Let the time of all in the trash pass, and the sweeper come."""
    registry.clock.sleep(LIMITS.trash + 1)
    registry.registry.sweeper.sweep(registry.clock.now() + 600)


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
    """A pull by tag reads DynamoDB twice, and S3 only for a manifest too long for an item.

    The first pull of a day is a write as well.
    """
    body = padded(registry, size, media_type)
    digest = Digest.of(body, algorithm)
    target = f"{NAME}/manifests/{digest}"
    answer = registry.ask("PUT", f"{target}?tag=v1", body, content_type=media_type)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, str(digest))
    with record_calls(registry.dynamodb) as first:
        registry.ask("GET", f"{NAME}/manifests/v1")
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
    assert first.count("dynamodb") == calls.count("dynamodb") + 1
    assert first.operations("dynamodb")["UpdateItem"] == 1
    assert calls.operations("s3") == ({} if in_item else {"GetObject": 1})
    assert registry.ask("DELETE", target).status == 202
    assert registry.ask("GET", f"{NAME}/manifests/v1").status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("{tag}", 304),
        ("W/{tag}", 304),
        ('"other", {tag}', 304),
        ("*", 304),
        ('"other"', 200),
        ("{digest}", 200),
        ("", 200),
    ],
)
def test_if_none_match_with_the_current_digest_is_304(
    registry: RegistryUnderTest, method: str, condition: str, status: int
) -> None:
    """A manifest by tag and digest, and a blob, whatever range is asked for beside."""
    body = image(registry, b"layer")
    stored = str(put(registry, "v1", body).headers["Docker-Content-Digest"])
    layer = Digest.of(b"layer")
    for path in ("manifests/v1", f"manifests/{stored}", f"blobs/{layer}"):
        whole = registry.ask(method, f"{NAME}/{path}")
        tag = str(whole.headers["ETag"])
        asked = condition.format(tag=tag, digest=tag.strip('"'))
        answer = registry.ask(method, f"{NAME}/{path}", if_none_match=asked)
        assert (answer.status, answer.headers) == (status, whole.headers)
        assert answer.body == (b"" if status == 304 else whole.body)
        if path.startswith("blobs") and method == "GET":
            ranged = registry.ask(method, f"{NAME}/{path}", if_none_match=asked, range="bytes=0-1")
            assert ranged.status == (304 if status == 304 else 206)
            assert ("Content-Range" in ranged.headers) is (status != 304)


def test_a_push_records_its_facts(registry: RegistryUnderTest) -> None:
    """Who pushed it and when, its blobs' bytes, its type; for an index its platforms."""
    one, other = (image(registry, layer, b"shared") for layer in (b"one", b"other!"))
    for body in (one, other):
        assert put(registry, str(Digest.of(body)), body).status == 201
    config = len(b"{}")
    sizes = [config + len(layer) + len(b"shared") for layer in (b"one", b"other!")]
    platforms = [{"os": "linux", "architecture": "amd64"}, PLATFORM, PLATFORM]
    children = [
        {**described(body, IMAGE), "platform": platform}
        for body, platform in zip((one, other, other), platforms, strict=True)
    ]
    whole = index(*children)
    assert put(registry, "all", whole, INDEX).status == 201
    metadata, now = registry.ports.metadata, registry.ports.clock.now()

    def known(body: bytes) -> Manifest:
        found = metadata.get_manifest(NAME, Digest.of(body))
        assert found is not None
        assert now - 60 < found.pushed_at <= now
        assert (found.pushed_by, found.pulled_at) == ("", None)
        return found

    assert [known(body).total_bytes for body in (one, other)] == sizes
    assert known(one).platforms is None
    assert known(one).artifact_type == json.loads(one)["config"]["mediaType"]
    assert known(whole).platforms == ("linux/amd64", "linux/arm64/v8")
    assert known(whole).total_bytes == sum(sizes)
    tag = metadata.get_tags(NAME, ["all"])["all"]
    assert (tag.digest, tag.tagged_by, tag.previous) == (Digest.of(whole), "", None)


def test_a_manifest_pushed_by_version_0_1_has_unknown_facts(registry: RegistryUnderTest) -> None:
    """Tag and manifest are read; a push adds the facts, and a move adds the time."""
    body = image(registry, b"layer")
    digest, moved = Digest.of(body), index()
    assert put(registry, "v1", body).status == 201
    metadata = registry.ports.metadata
    manifest = metadata.get_manifest(NAME, digest)
    assert manifest is not None
    bare = replace(manifest, pushed_by=None, total_bytes=None, artifact_type=None)
    for key, attributes in (
        (manifest_key(NAME, digest), manifest_item(bare)),
        (tag_key(NAME, "v1"), {"digest": {"S": str(digest)}}),
        (tagged_key(NAME, digest, "v1"), {}),
    ):
        item = {**attributes, **key_attributes(key)}
        registry.dynamodb.put_item(TableName=registry.registry_table, Item=item)
    assert metadata.get_tags(NAME, ["v1"]) == {"v1": TagRow(digest)}
    assert metadata.tags_of(NAME, digest) == {"v1": None}
    # An index over what is not known of it is not known either.
    assert put(registry, "all", index(described(body, IMAGE)), INDEX).status == 201
    over = metadata.get_tags(NAME, ["all"])["all"].digest
    assert [metadata.get_manifest(NAME, each).total_bytes for each in (digest, over)] == [None] * 2  # type: ignore[union-attr]
    assert put(registry, "v1", body).status == 201
    assert metadata.get_manifest(NAME, digest).total_bytes == manifest.total_bytes  # type: ignore[union-attr]
    assert put(registry, "v1", moved, INDEX).status == 201
    (row,) = metadata.list_history(NAME, "v1", None, 9).items
    assert (row.was, row.now, row.since) == (digest, Digest.of(moved), None)


@pytest.mark.parametrize(
    ("method", "agent", "noted"),
    [
        ("GET", "containerd/1.7.0", True),
        ("GET", "", True),
        ("HEAD", "containerd/1.7.0", False),
        ("GET", "trivy/0.56.2", False),
        ("GET", "Harbor-Registry-Client", False),
        ("GET", "regclient/regsync (v0.8)", False),
    ],
)
def test_a_head_or_a_scanner_is_no_pull(
    registry: RegistryUnderTest, method: str, agent: str, *, noted: bool
) -> None:
    """A GET of a scanner or replicator that names itself is not noted either."""
    body = image(registry, b"layer")
    assert put(registry, "v1", body).status == 201
    assert registry.ask(method, f"{NAME}/manifests/v1", user_agent=agent).status == 200
    found = registry.ports.metadata.get_manifest(NAME, Digest.of(body))
    assert found is not None
    assert (found.pulled_at is not None) is noted


def test_a_pull_that_can_not_be_noted_is_answered(registry: RegistryUnderTest) -> None:
    """Throttled writes prevent no pull, and the next pull is noted."""
    body = image(registry, b"layer")
    assert put(registry, "v1", body).status == 201
    throttled = mock.patch.object(
        registry.ports.metadata, "note_pull", side_effect=TooManyRequestsError
    )
    with throttled:
        assert registry.ask("GET", f"{NAME}/manifests/v1").body == body
    assert registry.ask("GET", f"{NAME}/manifests/v1").body == body
    found = registry.ports.metadata.get_manifest(NAME, Digest.of(body))
    assert found is not None
    assert found.pulled_at is not None


def set_rules(registry: RegistryUnderTest, *tags: str) -> None:
    """Let tags of these patterns be immutable in the repository."""
    rule = {"name": "releases", "repositories": [NAME], "tags": tags, "except": ["*-dev"]}
    store = DynamoRulesStore(registry.dynamodb, registry.registry_table)
    before = store.current()
    version = before.version + 1 if before else 1
    store.replace(before, StoredRules(version, json.dumps({"immutable": [rule]}), 0.0, "me"))


def test_an_immutable_tag_does_not_move(registry: RegistryUnderTest) -> None:
    """It is set once; a push of the same digest is 201, another one is 403 with the rule.

    All tags of the push stay where they were, and nothing of it is left.
    """
    one, two = image(registry, b"one"), image(registry, b"two")
    set_rules(registry, "v*")
    for _ in range(2):
        assert put(registry, "v1", one).status == 201
    assert put(registry, "v1-dev", one).status == 201
    assert put(registry, "latest", one).status == 201
    with record_calls(registry.dynamodb, registry.s3) as calls:
        refused = put(registry, f"{Digest.of(two)}?tag=latest&tag=v1", two)
    assert calls.count("s3") == 0
    assert (refused.status, code(refused)) == (403, "DENIED")
    (error,) = json.loads(refused.body)["errors"]
    assert "immutable by the rule 'releases'" in error["message"]
    assert error["detail"] == {"rule": "releases", "tag": "v1", "digest": str(Digest.of(one))}
    assert put(registry, "v1", two).status == 403
    for tag in ("v1", "latest"):
        assert registry.ask("GET", f"{NAME}/manifests/{tag}").body == one
    assert registry.ports.metadata.get_manifest(NAME, Digest.of(two)) is None
    for tag in ("v1-dev", "latest", "v2"):
        assert put(registry, tag, two).status == 201
    set_rules(registry, "nothing")
    assert put(registry, "v1", two).status == 201


def test_a_restoration_does_not_move_an_immutable_tag(registry: RegistryUnderTest) -> None:
    """`force` does not move it either; if the tag is free, it is restored."""
    one, two = image(registry, b"one"), image(registry, b"two")
    restore = f"{NAME}/_moorage/restore?digest={Digest.of(one)}&tag=v1"
    assert put(registry, "v1", one).status == 201
    assert put(registry, "v1", two).status == 201
    set_rules(registry, "v*")
    assert code(registry.ask("POST", f"{restore}&force=1")) == "DENIED"
    assert registry.ask("GET", f"{NAME}/manifests/v1").body == two
    assert registry.ask("DELETE", f"{NAME}/manifests/v1").status == 202
    assert registry.ask("POST", restore).status == 200
    assert registry.ask("GET", f"{NAME}/manifests/v1").body == one


def test_rules_of_another_version_let_no_tag_move(registry: RegistryUnderTest) -> None:
    """What can't be read is 503, and no rule is taken for none; a push by digest needs none."""
    body = image(registry, b"one")
    store = DynamoRulesStore(registry.dynamodb, registry.registry_table)
    store.replace(None, StoredRules(1, '{"of a later version": []}', 0.0, "me"))
    assert put(registry, "v1", body).status == 503
    assert put(registry, str(Digest.of(body)), body).status == 201


def let_run(registry: RegistryUnderTest, until: float, **running: str) -> None:
    """Let a source name digests, by their hexadecimal, of the repository."""
    now = registry.clock.now()
    digests = {Digest(Algorithm.SHA256, name): text for name, text in running.items()}
    source = UseSource("prod", "ecs", (NAME,), len(digests), now, until, "")
    store = DynamoInUseStore(registry.dynamodb, registry.registry_table)
    store.refresh(source, [InUse(NAME, "prod", "ecs", digests, now, until)])


@pytest.mark.parametrize("overdue", [False, True])
def test_a_manifest_in_use_is_deleted_only_by_force(
    registry: RegistryUnderTest, *, overdue: bool
) -> None:
    """Otherwise it is 403 with the source. A tag can be deleted, and the manifest stays."""
    one, two = image(registry, b"one"), image(registry, b"two")
    digest = Digest.of(one)
    for tag, body in (("v1", one), ("v2", one), ("other", two)):
        assert put(registry, tag, body).status == 201
    registry.clock.sleep(1)
    until = registry.clock.now() + (-60 if overdue else 60)
    let_run(registry, until, **{digest.hex: "ecs prod/web"})
    at = f"{NAME}/manifests/{digest}"
    for query in ("", "?force=false", "?force="):
        refused = registry.ask("DELETE", at + query)
        assert (refused.status, code(refused)) == (403, "DENIED")
    (error,) = json.loads(refused.body)["errors"]
    assert "in use, as the source 'prod' says (ecs prod/web)" in error["message"]
    assert "?force=true" in error["message"]
    assert ("should have been looked at again" in error["message"]) == overdue
    assert error["detail"] == {"source": "prod", "running": "ecs prod/web"}
    assert code(registry.ask("DELETE", f"{at}?force=maybe")) == "REQUEST_INVALID"
    assert registry.ask("DELETE", f"{NAME}/manifests/v1").status == 202
    assert registry.ask("GET", f"{NAME}/manifests/v2").body == one
    assert registry.ask("DELETE", f"{NAME}/manifests/{Digest.of(two)}").status == 202
    assert registry.ask("DELETE", f"{at}?force=true").status == 202
    assert registry.ask("GET", f"{NAME}/manifests/v2").status == 404


def test_a_deletion_that_was_begun_is_ended_though_the_manifest_runs_by_now(
    registry: RegistryUnderTest,
) -> None:
    """It can't be pulled any more, and half of its tags may be gone."""
    body = image(registry, b"one")
    digest = Digest.of(body)
    assert put(registry, "v1", body).status == 201
    begin_delete(registry.ports.metadata, NAME, digest, registry.clock.now() + 60)
    let_run(registry, registry.clock.now() + 60, **{digest.hex: ""})
    assert registry.ask("DELETE", f"{NAME}/manifests/{digest}").status == 202
    assert json.loads(registry.ask("GET", f"{NAME}/tags/list").body)["tags"] == []


def test_a_large_manifests_body_is_no_blob_of_the_repository(registry: RegistryUnderTest) -> None:
    """No blob route finds it, also after a push of the same bytes as a blob.

    A blob of the same digest comes and goes, and the manifest stays.
    """
    body = padded(registry, LIMITS.body_inline + 1, IMAGE)
    digest = Digest.of(body)
    at, as_blob = f"{NAME}/manifests/{digest}", f"{NAME}/blobs/{digest}"
    assert put(registry, "v1", body).status == 201
    for _ in range(2):
        for method in ("GET", "HEAD", "DELETE"):
            assert registry.ask(method, as_blob).status == 404
        mount = f"other/app/blobs/uploads?mount={digest}&from={NAME}"
        assert registry.ask("POST", mount).status == 202
        assert registry.ask("GET", at).body == body
        blob(registry, body)
        assert registry.ask("GET", as_blob).status == 200
        assert registry.ask("DELETE", as_blob).status == 202
        assert registry.ask("GET", at).body == body
    blob(registry, body)
    assert registry.ask("DELETE", at).status == 202
    assert registry.ask("GET", as_blob).status == 200
    assert registry.ask("DELETE", as_blob).status == 202
    empty_trash(registry)
    record = registry.ports.metadata.get_record(digest)
    assert record is not None
    assert record.links == 0


def test_a_large_manifest_that_is_refused_leaves_nothing(registry: RegistryUnderTest) -> None:
    """Neither bytes, nor an item, nor a session."""
    body = index(described(b"absent"), annotations={"a": "x" * LIMITS.body_inline})

    def rows() -> list[int]:
        tables = (registry.registry_table, registry.uploads_table)
        return [registry.dynamodb.scan(TableName=table)["Count"] for table in tables]

    before = rows(), registry.stored()
    for _ in range(2):
        assert put(registry, "v1", body, INDEX).status == 404
        assert (rows(), registry.stored()) == before


@pytest.mark.parametrize("deleted", ["blob", "manifest", "blob, by 0.1"])
def test_a_large_manifest_of_an_older_version(registry: RegistryUnderTest, deleted: str) -> None:
    """0.1 stored its body as a blob of the repository: it is answered, and no DELETE takes it.

    Where 0.1 itself let a DELETE take it, the manifest is unknown until it is pushed again.
    """
    body = padded(registry, LIMITS.body_inline + 1, IMAGE)
    digest = Digest.of(body)
    at = f"{NAME}/manifests/v1"
    assert put(registry, "v1", body).status == 201
    metadata = registry.ports.metadata
    live = metadata.get_manifest(NAME, digest)
    assert live is not None
    assert live.references is not None
    # What 0.1 wrote: the link in the repository itself, and the manifest among its references.
    blob(registry, body)
    assert metadata.delete_link(bodies_of(NAME), digest)
    older = replace(live, references=(*live.references, digest))
    fill(registry, [{**key_attributes(manifest_key(NAME, digest)), **manifest_item(older)}])
    assert registry.ask("GET", at).body == body
    if deleted == "blob, by 0.1":
        assert metadata.delete_link(NAME, digest)
        answer = registry.ask("GET", at)
        assert (answer.status, code(answer)) == (404, "MANIFEST_UNKNOWN")
        assert put(registry, "v1", body).status == 201
    elif deleted == "blob":
        for status in (202, 404):
            assert registry.ask("DELETE", f"{NAME}/blobs/{digest}").status == status
    assert registry.ask("GET", at).body == body
    assert registry.ask("DELETE", f"{NAME}/manifests/{digest}").status == 202
    assert registry.ask("GET", at).status == 404
    empty_trash(registry)
    assert metadata.get_link(bodies_of(NAME), digest) is None


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


def test_a_referrer_that_says_too_much_is_413(registry: RegistryUnderTest) -> None:
    """What no referrers list could show is refused with its limit, and only where it is listed."""
    extra = {"annotations": {"a": "x" * (LIMITS.referrer_row + 1)}}
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


CACHE = ("application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.buildkit.cacheconfig.v0")


@pytest.mark.parametrize("media_type", [INDEX, LIST])
def test_an_index_may_name_blobs(registry: RegistryUnderTest, media_type: str) -> None:
    """A build cache in the form of an index is stored, and refers to its layers as an image does.

    What is absent, or of another size, is refused: also a manifest that is named as a blob, a blob
    that is named as a manifest, and a manifest under another type than its own.
    """
    layer, config = (
        blob(registry, data) | {"mediaType": kind}
        for data, kind in zip((b"l", b"c"), CACHE, strict=True)
    )
    child = image(registry, b"layer")
    assert put(registry, Digest.of(child), child).status == 201
    body = index(layer, described(child), config, mediaType=media_type)
    assert put(registry, "cache", body, media_type).status == 201
    assert registry.ask("GET", f"{NAME}/manifests/cache").body == body
    stored = registry.ports.metadata.get_manifest(NAME, Digest.of(body))
    assert stored is not None
    named = {str(digest) for digest in stored.references or ()}
    assert named == {layer["digest"], config["digest"], str(Digest.of(child))}
    for status, wrong in (
        (400, layer | {"size": 2}),
        (404, layer | {"digest": str(Digest.of(b"absent"))}),
        (404, layer | {"digest": str(Digest.of(child)), "size": len(child)}),
        (404, layer | {"mediaType": IMAGE}),
    ):
        refused = index(layer, wrong, mediaType=media_type)
        assert put(registry, "wrong", refused, media_type).status == status
    other = LIST if media_type == INDEX else INDEX
    assert put(registry, "wrong", index(described(body, other)), INDEX).status == 400
    above = index(described(body, media_type), layer)
    assert put(registry, "above", above, INDEX).status == 201


def test_a_digest_has_one_type(registry: RegistryUnderTest) -> None:
    """A manifest that is live under one type is refused under another, which changes nothing."""
    subject = described(b"a subject that is not there")
    body = image(registry, b"layer", subject=subject)
    digest = Digest.of(body)
    assert put(registry, "v1", body).status == 201
    metadata = registry.ports.metadata
    live = metadata.get_manifest(NAME, digest)
    assert live is not None
    # As an older version stored it, which took an undeclared manifest under any type.
    before = replace(live, media_type=DOCKER)
    fill(registry, [{**key_attributes(manifest_key(NAME, digest)), **manifest_item(before)}])
    answer = put(registry, "v2", body)
    assert (answer.status, code(answer)) == (400, "MANIFEST_INVALID")
    assert DOCKER in answer.body.decode()
    assert metadata.get_manifest(NAME, digest) == before
    assert registry.ask("GET", f"{NAME}/manifests/v2").status == 404
    assert registry.ask("GET", f"{NAME}/manifests/v1").headers["Content-Type"] == DOCKER


def test_a_subject_of_size_0_is_accepted(registry: RegistryUnderTest) -> None:
    """A client that got length 0 from HEAD can attach; any other wrong size is 400."""
    subject = image(registry, b"subject")
    assert put(registry, "v1", subject).status == 201
    for size, status in ((0, 201), (len(subject), 201), (1, 400), (len(subject) + 1, 400)):
        body = image(registry, subject=described(subject) | {"size": size})
        assert put(registry, Digest.of(body), body).status == status


def test_a_manifest_is_three_requests_and_an_index_one_more(registry: RegistryUnderTest) -> None:
    """Pending, what it goes by, live; an index reads its manifests. A push again is the same."""
    body = image(registry, b"layer")
    document = index(described(body))
    assert put(registry, "first", body).status == 201  # the catalog takes the repository's name
    for pushed, media_type, reads in ((body, IMAGE, 1), (document, INDEX, 2)) * 2:
        with record_calls(registry.s3, registry.dynamodb) as calls:
            assert put(registry, "v1", pushed, media_type).status == 201
        operations = {"PutItem": 1, "BatchGetItem": reads, "TransactWriteItems": 1}
        assert (dict(calls.operations("dynamodb")), calls.count("s3")) == (operations, 0)


def test_an_index_of_two_platforms(registry: RegistryUnderTest) -> None:
    """An index of manifests that are there is stored, and they go on being answered."""
    children = [image(registry, layer) for layer in (b"amd64", b"arm64")]
    for child in children:
        assert put(registry, Digest.of(child), child).status == 201
    body = index(*map(described, children))
    assert put(registry, "multi", body, INDEX).status == 201
    assert registry.ask("GET", f"{NAME}/manifests/multi").body == body


def test_a_tag_moves_and_a_deleted_manifest_loses_its_tags(registry: RegistryUnderTest) -> None:
    """Only the tags that name it are deleted; deleting a tag leaves the manifest."""
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

    Annotations are kept escaped, so any text may stand in one: a control character, too.
    """
    subject = described(b"a subject that is not there")
    target = f"{NAME}/referrers/{subject['digest']}"
    pushed = {}
    for kind in ("a/sig", "a/sbom"):
        annotations = {"k": kind, "\u007f": "\0", "": "\U0001f600", "\u2028": ""}
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
