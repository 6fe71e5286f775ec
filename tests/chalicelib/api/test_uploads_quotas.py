"""Quotas over the API: what is refused, in which words, and what it leaves and costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Digest
from chalicelib.registry.quotas import SETTLED
from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb.rules import DynamoRulesStore
from tests.chalicelib.api.pushing import NAME, blob, code, image, put
from tests.support.calls import record_calls
from tests.support.presigned_puts import send

if TYPE_CHECKING:
    from chalicelib.api.messages import Response
    from tests.support.registries import RegistryUnderTest

ONE, TWO = b"1" * 1000, b"2" * 1000
UPLOADS = f"{NAME}/blobs/uploads"


def allow(registry: RegistryUnderTest, **quota: object) -> None:
    """Let a repository hold so much, as every process knows by now."""
    rule = {"name": "teams", "repositories": ["team/*"], **quota}
    store = DynamoRulesStore(registry.dynamodb, registry.registry_table)
    before = store.current()
    version = before.version + 1 if before else 1
    text = json.dumps({"quotas": [rule]})
    store.replace(before, StoredRules(version, text, registry.clock.now(), "me"))
    registry.clock.sleep(SETTLED)
    registry.ports.metadata.known_rules(registry.clock.now(), 0.0)


def whole(registry: RegistryUnderTest, data: bytes) -> Response:
    """Push a blob in one request."""
    return registry.ask("POST", f"{UPLOADS}?digest={Digest.of(data)}", data)


def at_once(registry: RegistryUnderTest, data: bytes) -> Response:
    """Push a blob by a POST and a PUT."""
    at = registry.ask("POST", UPLOADS).headers["Location"]
    return registry.ask("PUT", f"{at}&digest={Digest.of(data)}", data)


def in_chunks(registry: RegistryUnderTest, data: bytes) -> Response:
    """Push a blob in a chunk, and the rest with the PUT."""
    at = registry.ask("POST", UPLOADS).headers["Location"]
    at = registry.ask("PATCH", str(at), data[:500]).headers["Location"]
    return registry.ask("PUT", f"{at}&digest={Digest.of(data)}", data[500:])


def mounted(registry: RegistryUnderTest, data: bytes) -> Response:
    """Mount a blob."""
    blob(registry, data, "other")
    return registry.ask("POST", f"{UPLOADS}?mount={Digest.of(data)}&from=other")


def direct(registry: RegistryUnderTest, data: bytes) -> Response:
    """Push a blob by one PUT to S3."""
    target = f"{NAME}/_moorage/uploads?digest={Digest.of(data)}&size={len(data)}"
    opened = registry.ask("POST", target)
    if opened.status != 201:
        return opened
    wanted = json.loads(opened.body)["put"]
    assert send(wanted["url"], wanted["headers"], data)[0] == 200
    return registry.ask("PUT", str(opened.headers["Location"]))


WAYS = {
    "whole": whole,
    "PUT": at_once,
    "chunks": in_chunks,
    "mount": mounted,
    "direct": direct,
}


def told(response: Response) -> dict[str, Any]:
    """Return what a refusal says."""
    assert (response.status, code(response)) == (403, "DENIED")
    (error,) = json.loads(response.body)["errors"]
    found: dict[str, Any] = error
    return found


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_blob_without_room_is_refused_and_leaves_nothing(
    registry: RegistryUnderTest,
    way: Any,  # noqa: ANN401 - a function of the table
) -> None:
    """403 with quota, used, asked and allowed; what is there already needs no room."""
    blob(registry, TWO, "other")
    allow(registry, bytes=1500)
    assert way(registry, ONE).status == 201
    before = registry.stored()
    error = told(way(registry, TWO))
    assert error["detail"] == {
        "quota": "teams",
        "of": "bytes",
        "used": 1000,
        "asked": 1000,
        "allowed": 1500,
    }
    for part in (f"{NAME} is full", "'teams' allows it 1500 bytes", "holds 1000 bytes", "has 1000"):
        assert part in error["message"]
    assert registry.stored() == before
    assert registry.ask("HEAD", f"{NAME}/blobs/{Digest.of(TWO)}").status == 404
    assert way(registry, ONE).status == 201
    other = registry.ask("POST", f"other/blobs/uploads?digest={Digest.of(ONE * 9)}", ONE * 9)
    assert other.status == 201


def test_a_refused_upload_is_refused_again_with_the_same_words(
    registry: RegistryUnderTest,
) -> None:
    """Its detail tells a quota from a missing right."""
    allow(registry, bytes=500)
    at = registry.ask("PATCH", str(registry.ask("POST", UPLOADS).headers["Location"]), ONE)
    target = f"{at.headers['Location']}&digest={Digest.of(ONE)}"
    first, second = (told(registry.ask("PUT", target)) for _ in range(2))
    assert second["message"] == first["message"]
    assert (first["detail"]["of"], second["detail"]) == ("bytes", {"of": "bytes"})


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_deletion_makes_room(registry: RegistryUnderTest, way: Any) -> None:  # noqa: ANN401 - likewise
    """The next push that needs it has it; also after a quota is raised or removed."""
    blob(registry, TWO, "other")
    allow(registry, bytes=1500)
    assert way(registry, ONE).status == 201
    told(way(registry, TWO))
    assert registry.ask("DELETE", f"{NAME}/blobs/{Digest.of(ONE)}").status == 202
    assert way(registry, TWO).status == 201
    told(way(registry, ONE))
    allow(registry, bytes="2 kB")
    assert way(registry, ONE).status == 201
    told(way(registry, b"3"))
    allow(registry, tags=3)
    assert way(registry, b"3").status == 201


def test_content_from_before_the_quota_is_counted(registry: RegistryUnderTest) -> None:
    """A repository above its quota accepts nothing, and can be pulled from."""
    blob(registry, ONE)
    allow(registry, bytes=10)
    assert told(whole(registry, b"x"))["detail"]["used"] == 1000
    assert registry.ask("GET", f"{NAME}/blobs/{Digest.of(ONE)}").body == ONE
    allow(registry, bytes=0)
    assert told(whole(registry, b"x"))["detail"]["allowed"] == 0
    assert whole(registry, b"").status == 201


def test_a_tag_too_many_is_refused(registry: RegistryUnderTest) -> None:
    """Nothing of its push is stored; a tag that moves, or stays, needs no room."""
    one, two = image(registry, b"one"), image(registry, b"two")
    allow(registry, tags=2)
    for tag in ("v1", "v2", "v1"):
        assert put(registry, tag, one).status == 201
    error = told(put(registry, "v3", two))
    assert error["detail"] == {"quota": "teams", "of": "tags", "used": 2, "asked": 1, "allowed": 2}
    assert "allows it 2 tags, it holds 2 tags, and this push adds 1 tags" in error["message"]
    assert registry.ports.metadata.get_manifest(NAME, Digest.of(two)) is None
    told(put(registry, f"{Digest.of(two)}?tag=v1&tag=v3", two))
    assert registry.ask("GET", f"{NAME}/manifests/v1").body == one
    assert put(registry, "v1", two).status == 201
    assert put(registry, str(Digest.of(one)), one).status == 201
    assert registry.ask("DELETE", f"{NAME}/manifests/v2").status == 202
    assert put(registry, "v3", two).status == 201
    restored = registry.ask("POST", f"{NAME}/_moorage/restore?digest={Digest.of(one)}&tag=v2")
    assert told(restored)["detail"]["of"] == "tags"


@pytest.mark.parametrize("how", ["push", "restore"])
def test_more_tags_than_a_transaction_takes_are_refused_as_a_whole(
    registry: RegistryUnderTest, how: str
) -> None:
    """40 tags need two transactions, and the first one asks for room for all of them."""
    body = image(registry, b"one")
    digest, tags = Digest.of(body), [f"t{number:02}" for number in range(40)]
    pushing = f"{digest}?{'&'.join(f'tag={tag}' for tag in tags)}"

    def way() -> Response:
        if how == "push":
            return put(registry, pushing, body)
        return registry.ask("POST", f"{NAME}/_moorage/restore?digest={digest}")

    if how == "restore":
        assert put(registry, pushing, body).status == 201
        assert registry.ask("DELETE", f"{NAME}/manifests/{digest}").status == 202
    allow(registry, tags=39)
    error = told(way())
    assert error["detail"] == {
        "quota": "teams",
        "of": "tags",
        "used": 0,
        "asked": 40,
        "allowed": 39,
    }
    assert registry.ask("GET", f"{NAME}/manifests/{digest}").status == 404
    assert registry.ports.metadata.list_tags(NAME, None, 100).items == []
    allow(registry, tags=40)
    assert way().status == (201 if how == "push" else 200)
    assert registry.ports.metadata.list_tags(NAME, None, 100).items == tags
    other = image(registry, b"two")
    assert told(put(registry, "one-more", other))["detail"]["used"] == 40


def test_a_large_manifest_whose_tag_is_refused_leaves_no_link(registry: RegistryUnderTest) -> None:
    """Neither the manifest nor its body, which the collector takes."""
    allow(registry, tags=0)
    large = image(registry, annotations={"padding": "x" * 120_000})
    told(put(registry, "v1", large))
    assert registry.ports.metadata.get_manifest(NAME, Digest.of(large)) is None
    assert registry.ports.metadata.get_link(f"{NAME}#bodies", Digest.of(large)) is None


def test_a_quota_costs_a_read_for_each_blob_and_none_elsewhere(registry: RegistryUnderTest) -> None:
    """The rules are read once a minute by each process. A refusal counts all that is there."""
    allow(registry, bytes=2500, tags=9)
    costs: list[dict[str, int]] = []
    for name, data in ((NAME, ONE), (NAME, TWO), (NAME, b"3" * 1000), ("other", ONE), ("x", ONE)):
        if name == "x":
            registry.clock.sleep(61)
        with record_calls(registry.dynamodb) as calls:
            registry.ask("POST", f"{name}/blobs/uploads?digest={Digest.of(data)}", data)
        costs.append(dict(calls.operations("dynamodb")))
    count = {"GetItem": 1, "Query": 2, "PutItem": 1}
    assert costs == [
        {**count, "GetItem": 2, "TransactWriteItems": 1},  # the first time all is counted
        {"GetItem": 1, "TransactWriteItems": 1},
        {**count, "GetItem": 2, "BatchGetItem": 1},  # is it there already?
        {"TransactWriteItems": 2},
        {"GetItem": 1, "TransactWriteItems": 2},
    ]
    body = image(registry)
    for tag in ("v1", "v2"):
        with record_calls(registry.dynamodb) as calls:
            assert put(registry, tag, body).status == 201
        found = calls.operations("dynamodb")
        assert (found["TransactWriteItems"], found["Query"]) == (1, 0)


def test_rules_of_another_version_make_a_push_503(registry: RegistryUnderTest) -> None:
    """Rules that can't be read may be a quota."""
    store = DynamoRulesStore(registry.dynamodb, registry.registry_table)
    store.replace(None, StoredRules(1, '{"of a later version": []}', 0.0, "me"))
    registry.clock.sleep(61)
    for way in (whole, at_once, in_chunks, direct):
        assert way(registry, ONE).status == 503
    assert registry.stored() in ([], [key for key in registry.stored() if "/tail-" in key])
