"""Overviews over the API: every fact that is known, null for what is not, one page at a time."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from chalicelib.digest import Digest
from chalicelib.registry import overviews
from chalicelib.registry.model import InUse, Manifest, ManifestState
from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb import codec, keys
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import IN_USE, STORED_RULES, manifest_item
from tests.chalicelib.api.pushing import IMAGE, INDEX, NAME, blob, described, fill, index, put
from tests.support.calls import record_calls

if TYPE_CHECKING:
    from tests.support.registries import RegistryUnderTest

CONFIG = {
    "os": "linux",
    "architecture": "arm64",
    "variant": "v8",
    "created": "2026-01-02T03:04:05Z",
    "config": {"User": "app", "Cmd": ["serve"], "Labels": {"a": "b"}, "Env": ["A=1"]},
    "history": [
        {"created_by": "ADD rootfs"},
        {"created_by": "ENV A=1", "empty_layer": True},
        {"created_by": "COPY app"},
    ],
}
TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def read(registry: RegistryUnderTest, target: str) -> Any:  # noqa: ANN401 - JSON
    """GET an overview."""
    answer = registry.ask("GET", target)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def push(
    registry: RegistryUnderTest, tag: str, *layers: bytes, config: object = CONFIG, **extra: object
) -> dict[str, Any]:
    """Push an image, and return its descriptor."""
    document = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {
            **blob(registry, json.dumps(config).encode()),
            "mediaType": "application/vnd.oci.image.config.v1+json",
        },
        "layers": [blob(registry, layer) for layer in layers],
        **extra,
    }
    body = json.dumps(document).encode()
    assert put(registry, tag, body).status == 201
    return described(body)


def all_pages(registry: RegistryUnderTest, target: str, member: str) -> list[list[Any]]:
    """Follow Link from page to page."""
    found: list[list[Any]] = []
    following: str | None = target
    while following is not None:
        answer = registry.ask("GET", following)
        assert answer.status == 200
        found.append(json.loads(answer.body)[member])
        link = re.fullmatch(r'</v2/(.*)>; rel="next"', str(answer.headers.get("Link", "")))
        following = unquote(link[1]) if link else None
    return found


def test_a_tag_has_the_facts_of_its_image(registry: RegistryUnderTest) -> None:
    """Who tagged and pushed it, and when; its size, platforms and last pull."""
    first = push(registry, "v1", b"one")
    again = push(registry, "v1", b"one", b"two")
    registry.ask("GET", f"{NAME}/manifests/v1")

    (row,) = read(registry, f"{NAME}/_moorage/tags")["tags"]

    config_size = len(json.dumps(CONFIG).encode())
    assert (row["tag"], row["digest"], row["previous"]) == ("v1", again["digest"], first["digest"])
    image = row["image"]
    assert all(map(TIME.fullmatch, (row["tagged_at"], image["pushed_at"], image["pulled_at"])))
    assert image["digest"] == again["digest"]
    assert image["size"] == again["size"]
    assert image["total_bytes"] == config_size + 6
    assert (image["platforms"], image["subject"]) == (None, None)
    assert image["artifact_type"] == "application/vnd.oci.image.config.v1+json"


def test_unknown_facts_are_null(registry: RegistryUnderTest) -> None:
    """Rows of an earlier version have no facts; a tag without a manifest has no image."""
    digest = Digest.of(b"of 0.1")
    manifest = Manifest(
        NAME, digest, IMAGE, 7, (), None, b"of 0.1!", 1.5e9, "v", ManifestState.LIVE
    )
    tag = {"digest": codec.DIGEST.encode(digest)}
    gone = {"digest": codec.DIGEST.encode(Digest.of(b"gone"))}
    fill(
        registry,
        [
            {**key_attributes(keys.manifest_key(NAME, digest)), **manifest_item(manifest)},
            {**key_attributes(keys.tag_key(NAME, "old")), **tag},
            {**key_attributes(keys.tag_key(NAME, "orphan")), **gone},
        ],
    )

    old, orphan = read(registry, f"{NAME}/_moorage/tags")["tags"]

    assert (old["tagged_at"], old["tagged_by"], old["previous"]) == (None, None, None)
    names = ("total_bytes", "platforms", "artifact_type", "pushed_by", "pulled_at")
    assert {name: old["image"][name] for name in names} == dict.fromkeys(names)
    assert old["image"]["pushed_at"] == "2017-07-14T02:40:00Z"
    assert orphan["image"] is None


def test_tags_come_in_pages_of_four_requests(registry: RegistryUnderTest) -> None:
    """However many tags there are: for them, what they name, what runs of it, and the rules."""
    image = push(registry, "t000", b"layer")
    row = {"digest": codec.DIGEST.encode(Digest.parse(image["digest"]))}
    names = [f"t{number:03}" for number in range(250)]
    fill(registry, ({**key_attributes(keys.tag_key(NAME, name)), **row} for name in names[1:]))

    found = all_pages(registry, f"{NAME}/_moorage/tags?n=9999", "tags")
    assert [len(page) for page in found] == [overviews.ROWS, overviews.ROWS, 50]
    assert [row["tag"] for page in found for row in page] == names
    assert all(row["image"]["digest"] == image["digest"] for page in found for row in page)

    few = all_pages(registry, f"{NAME}/_moorage/tags?n=2&last=t245", "tags")
    assert [[row["tag"] for row in page] for page in few] == [["t246", "t247"], ["t248", "t249"]]
    some = all_pages(registry, f"{NAME}/_moorage/tags?n=6&prefix=t01", "tags")
    assert [row["tag"] for page in some for row in page] == names[10:20]
    assert [len(page) for page in some] == [6, 4]
    assert all_pages(registry, f"{NAME}/_moorage/tags?prefix=x", "tags") == [[]]
    with record_calls(registry.dynamodb) as calls:
        read(registry, f"{NAME}/_moorage/tags")
    assert [call.operation for call in calls.calls] == ["Query", "BatchGetItem", "Query", "GetItem"]


def test_images_are_all_live_manifests(registry: RegistryUnderTest) -> None:
    """With tags or without, indexes and referrers too; pending and deleted ones are not."""
    one = push(registry, "one", b"1")
    two = push(registry, "two", b"2")
    both = index(one, two)
    assert put(registry, "both", both, INDEX).status == 201
    signed = push(registry, "signature", b"s", subject=one, artifactType="application/x-sig")
    leaving = push(registry, "leaving", b"l")
    row = keys.manifest_key(NAME, Digest.parse(leaving["digest"]))
    registry.dynamodb.update_item(
        TableName=registry.registry_table,
        Key=key_attributes(row),
        UpdateExpression="SET #s = :deleting",
        ExpressionAttributeNames={"#s": "state"},
        ExpressionAttributeValues={":deleting": {"S": "deleting"}},
    )

    found = all_pages(registry, f"{NAME}/_moorage/images?n=1", "images")

    digests = [image["digest"] for page in found for image in page]
    assert len(found) == 5
    assert digests == sorted({one["digest"], two["digest"], str(Digest.of(both)), signed["digest"]})
    subjects = {item["digest"]: item["subject"] for page in found for item in page}
    assert subjects[signed["digest"]] == one["digest"]
    with record_calls(registry.dynamodb) as calls:
        read(registry, f"{NAME}/_moorage/images")
    (query,) = calls.calls
    assert "body" not in query.params["ExpressionAttributeNames"].values()


def test_an_image_shows_its_layers_with_their_commands(registry: RegistryUnderTest) -> None:
    """It also has config, tags and referrers, and how many repositories have each layer."""
    image = push(registry, "v1", b"rootfs", b"app", annotations={"org.example": "<b>"})
    put(registry, "latest", registry.ask("GET", f"{NAME}/manifests/v1").body)
    push(registry, "sig", b"s", subject=image, artifactType="application/x-sig")
    blob(registry, b"rootfs", "other/app")

    found = read(registry, f"{NAME}/_moorage/images/{image['digest']}")

    assert found["tags"] == ["latest", "v1"]
    assert found["annotations"] == {"org.example": "<b>"}
    assert [(layer["command"], layer["repositories"]) for layer in found["layers"]] == [
        ("ADD rootfs", 2),
        ("COPY app", 1),
    ]
    assert [layer["size"] for layer in found["layers"]] == [6, 3]
    config = found["config"]
    assert (config["os"], config["architecture"], config["variant"]) == ("linux", "arm64", "v8")
    assert (config["user"], config["cmd"], config["labels"]) == ("app", ["serve"], {"a": "b"})
    assert config["entrypoint"] is None
    (referrer,) = found["referrers"]
    assert referrer["artifact_type"] == "application/x-sig"
    assert found["more_referrers"] is False
    assert found["manifests"] == []


def test_an_index_shows_its_manifests(registry: RegistryUnderTest) -> None:
    """Each has its platform, and whether the repository has it."""
    child = push(registry, "child", b"c")
    gone = push(registry, "gone", b"g")
    arm = {"os": "linux", "architecture": "arm64"}
    body = index({**child, "platform": arm}, {**gone, "platform": {**arm, "architecture": "arm"}})
    assert put(registry, "all", body, INDEX).status == 201
    assert registry.ask("DELETE", f"{NAME}/manifests/{gone['digest']}").status == 202

    found = read(registry, f"{NAME}/_moorage/images/{Digest.of(body)}")

    here, missing = found["manifests"]
    assert (here["platform"], missing["platform"]) == ("linux/arm64", "linux/arm")
    assert here["image"]["digest"] == child["digest"]
    assert missing["image"] is None
    assert (found["config"], found["layers"]) == (None, [])


@pytest.mark.parametrize("of_image", [True, False])
def test_an_attestation_names_its_image(registry: RegistryUnderTest, *, of_image: bool) -> None:
    """BuildKit writes it into an index; one without a digest belongs to no image."""
    child = push(registry, "child", b"c")
    other = push(registry, "other", b"in-toto")
    annotations = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": child["digest"] if of_image else "none",
    }
    nowhere = {"os": "unknown", "architecture": "unknown"}
    body = index(child, {**other, "platform": nowhere, "annotations": annotations})
    assert put(registry, "all", body, INDEX).status == 201
    named = read(registry, f"{NAME}/_moorage/images/{Digest.of(body)}")["manifests"]
    assert [each["attests"] for each in named] == [None, child["digest"] if of_image else None]


@pytest.mark.parametrize(
    "config",
    [
        [],
        {"config": [], "history": "none"},
        {"history": [{"created_by": "too few"}]},
        {"history": [{"created_by": 1}, 2, {"created_by": {}}]},
        {"history": [{"created_by": "RUN", "empty_layer": False}] * 3},
    ],
)
def test_a_config_of_any_shape_is_shown(registry: RegistryUnderTest, config: object) -> None:
    """Commands of other layers, and values that are no text, are left out."""
    image = push(registry, "odd", b"1", b"2", config=config)
    found = read(registry, f"{NAME}/_moorage/images/{image['digest']}")
    assert [layer["command"] for layer in found["layers"]] == [None, None]
    assert (found["config"] is None) is (config == [])


def test_repositories_are_found_by_a_prefix_of_their_names(registry: RegistryUnderTest) -> None:
    """Page by page; a prefix that no name has finds none."""
    names = ["a", "team", "team-b/x", "team/a", "team/b", "teams", "z"]
    for name in names:
        fill(registry, [key_attributes(keys.catalog_key(name))])

    def found(query: str) -> list[list[str]]:
        target = f"_moorage/repositories?{query}"
        return [
            [row["name"] for row in page] for page in all_pages(registry, target, "repositories")
        ]

    assert found("") == [names]
    assert found("prefix=team/") == [["team/a", "team/b"]]
    assert found("prefix=team&n=2") == [["team", "team-b/x"], ["team/a", "team/b"], ["teams"]]
    assert found("prefix=team&last=team/a") == [["team/b", "teams"]]
    assert found("prefix=a&last=team") == [[]]
    assert found("prefix=z&last=a") == [["z"]]
    assert found("prefix=é") == [[]]
    assert found("prefix=~") == [[]]
    assert found("prefix=" + "a" * 3000) == [[]]


@pytest.mark.parametrize(
    ("target", "status", "error"),
    [
        ("nowhere/_moorage/tags", 404, "NAME_UNKNOWN"),
        ("nowhere/_moorage/images", 404, "NAME_UNKNOWN"),
        ("nowhere/_moorage/usage", 404, "NAME_UNKNOWN"),
        (f"{NAME}/_moorage/tags?n=x", 400, "PAGINATION_NUMBER_INVALID"),
        (f"{NAME}/_moorage/images?n=-1", 400, "PAGINATION_NUMBER_INVALID"),
        (f"{NAME}/_moorage/images?last=x", 400, "DIGEST_INVALID"),
        (f"{NAME}/_moorage/images/x", 400, "DIGEST_INVALID"),
        (f"{NAME}/_moorage/images/{Digest.of(b'none')}", 404, "MANIFEST_UNKNOWN"),
        ("_moorage/repositories?n=x", 400, "PAGINATION_NUMBER_INVALID"),
    ],
)
def test_an_unknown_image_or_repository_is_an_error(
    registry: RegistryUnderTest, target: str, status: int, error: str
) -> None:
    """The error has the form of every other endpoint."""
    push(registry, "v1", b"one")
    answer = registry.ask("GET", target)
    assert answer.status == status
    assert json.loads(answer.body)["errors"][0]["code"] == error


def test_an_image_in_use_names_its_source(registry: RegistryUnderTest) -> None:
    """The row of its tag and its details have the source, and until when it is valid."""
    image = push(registry, "v1", b"one")
    push(registry, "v2", b"two")
    lease = InUse(NAME, "prod", "ecs", {Digest.parse(image["digest"]): "web"}, 1.5e9, 1.6e9)
    fill(
        registry,
        [{**key_attributes(keys.in_use_key(NAME, "prod")), **IN_USE.encode(lease)}],
    )
    expected = {"source": "prod", "from": "ecs", "what": "web", "until": "2020-09-13T12:26:40Z"}
    one, two = read(registry, f"{NAME}/_moorage/tags")["tags"]
    assert (one["runs"], two["runs"]) == ([expected], [])
    assert read(registry, f"{NAME}/_moorage/images/{image['digest']}")["runs"] == [expected]


def put_rules(registry: RegistryUnderTest, document: object) -> None:
    """Put rules in force."""
    stored = STORED_RULES.encode(StoredRules(1, json.dumps(document), 0, "somebody"))
    fill(registry, [{**key_attributes(keys.rules_key()), **stored}])


def test_rules_that_keep_an_image_are_named(registry: RegistryUnderTest) -> None:
    """In the row of each tag, and for all tags in the details; rules for others are not."""
    image = push(registry, "v1", b"one")
    put(registry, "stable", registry.ask("GET", f"{NAME}/manifests/v1").body)
    push(registry, "main-7", b"two")
    of_it = {"repositories": [NAME]}
    put_rules(
        registry,
        {
            "immutable": [
                {"name": "releases", **of_it, "tags": ["v*"]},
                {"name": "elsewhere", "repositories": ["elsewhere/*"], "tags": ["*"]},
            ],
            "retention": {
                "rules": [
                    {"name": "named", **of_it, "tags": ["*"], "except": ["m*"], "keep": "always"},
                    {"name": "ten", **of_it, "tags": ["main-*"], "keep": {"last": 10}},
                    {"name": "old", **of_it, "tags": ["*"], "expire": {"days_since_push": 9}},
                    {"name": "others", "repositories": ["b/*"], "tags": ["*"], "keep": "always"},
                ]
            },
        },
    )
    releases = {"rule": "releases", "kind": "immutable", "last": None}
    named = {"rule": "named", "kind": "always", "last": None}
    rows = read(registry, f"{NAME}/_moorage/tags")["tags"]
    assert {row["tag"]: row["kept_by"] for row in rows} == {
        "main-7": [{"rule": "ten", "kind": "last", "last": 10}],
        "stable": [named],
        "v1": [releases, named],
    }
    details = read(registry, f"{NAME}/_moorage/images/{image['digest']}")
    assert details["kept_by"] == [releases, named]


def test_rules_of_another_version_are_unknown_and_hide_no_tag(registry: RegistryUnderTest) -> None:
    """The field is null: an empty list would say that no rule keeps the image."""
    image = push(registry, "v1", b"one")
    put_rules(registry, {"of": "tomorrow"})
    (row,) = read(registry, f"{NAME}/_moorage/tags")["tags"]
    assert row["kept_by"] is None
    assert read(registry, f"{NAME}/_moorage/images/{image['digest']}")["kept_by"] is None


def test_an_overview_is_no_pull(registry: RegistryUnderTest) -> None:
    """No overview writes anything."""
    image = push(registry, "v1", b"one")
    with record_calls(registry.dynamodb) as calls:
        for target in ("tags", "images", f"images/{image['digest']}"):
            read(registry, f"{NAME}/_moorage/{target}")
        read(registry, "_moorage/repositories")
    assert {call.operation for call in calls.calls} <= {"Query", "GetItem", "BatchGetItem"}
