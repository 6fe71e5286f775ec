"""History and restoration over the API: who is told what, and what comes back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import unquote

import pytest

from chalicelib.api.messages import UnrestrictedCaller
from chalicelib.digest import Digest
from chalicelib.errors import UnavailableError
from chalicelib.registry.service import Limits
from tests.chalicelib.api.pushing import IMAGE, INDEX, NAME, code, described, image, index, put
from tests.support.calls import record_calls

if TYPE_CHECKING:
    from chalicelib.api.messages import Response
    from tests.support.registries import RegistryUnderTest

LIMITS = Limits()
HISTORY, RESTORE = f"{NAME}/_moorage/history", f"{NAME}/_moorage/restore"


def pushed(registry: RegistryUnderTest, *texts: str, tag: str = "v1") -> list[Digest]:
    """Push images, one after the other, under one tag; a minute passes after each."""
    digests = []
    for text in texts:
        body = image(registry, b"layer", annotations={"text": text})
        assert put(registry, tag, body).status == 201
        digests.append(Digest.of(body))
        registry.clock.sleep(60)
    return digests


def deleted(registry: RegistryUnderTest, reference: object) -> None:
    """Delete a tag or a manifest; a minute passes."""
    assert registry.ask("DELETE", f"{NAME}/manifests/{reference}").status == 202
    registry.clock.sleep(60)


def changes(registry: RegistryUnderTest, query: str = "") -> list[dict[str, Any]]:
    """Return the rows of a page of history."""
    answer = registry.ask("GET", f"{HISTORY}?{query}")
    assert answer.status == 200
    document = json.loads(answer.body)
    assert document["name"] == NAME
    rows: list[dict[str, Any]] = document["history"]
    return rows


def restored(registry: RegistryUnderTest, query: str) -> dict[str, Any]:
    """Restore something; returns the answer."""
    answer = registry.ask("POST", f"{RESTORE}?{query}")
    assert answer.status == 200
    document: dict[str, Any] = json.loads(answer.body)
    assert answer.headers["Docker-Content-Digest"] == document["digest"]
    return document


def named(registry: RegistryUnderTest, tag: str) -> str | None:
    """Return the digest that a tag names; None if there is none."""
    answer = registry.ask("GET", f"{NAME}/manifests/{tag}")
    return str(answer.headers["Docker-Content-Digest"]) if answer.status == 200 else None


def test_history_says_what_tags_named_and_what_became_of_it(registry: RegistryUnderTest) -> None:
    """By name, the latest first: what can be restored, until when, and what is gone."""
    one, two = pushed(registry, "one", "two")
    (other,) = pushed(registry, "three", tag="other")
    deleted(registry, "v1")
    deleted(registry, one)
    deleted(registry, other)
    rows = changes(registry)
    seen = [(row["tag"], row["digest"], row["to"], row["state"]) for row in rows]
    manifests = sorted([str(one), str(other)])
    assert seen == [
        *((None, digest, None, "trash") for digest in manifests),
        ("other", str(other), None, "trash"),
        ("v1", str(two), None, "live"),
        ("v1", str(one), str(two), "trash"),
    ]
    assert all(row["since"] < row["at"] for row in rows)
    assert [row["until"] is not None for row in rows] == [True, True, True, False, True]
    assert changes(registry, "tag=v1") == rows[3:]
    assert changes(registry, f"digest={other}") == [rows[manifests.index(str(other))]]
    registry.clock.sleep(LIMITS.trash)
    registry.registry.sweeper.sweep(registry.clock.now() + 600)
    assert [row["state"] for row in changes(registry)] == ["gone"] * 3 + ["live", "gone"]


def test_history_page_by_page(registry: RegistryUnderTest) -> None:
    """A client that follows the links sees each change once; a page costs two requests."""
    pushed(registry, *(str(number) for number in range(8)))
    pushed(registry, "a", "b", tag="w1")
    seen: list[dict[str, Any]] = []
    following = f"{HISTORY}?n=3&tag=v1"
    while following:
        with record_calls(registry.dynamodb) as calls:
            answer = registry.ask("GET", following)
        assert dict(calls.operations("dynamodb")) == {"Query": 1, "BatchGetItem": 1}
        seen += json.loads(answer.body)["history"]
        link = str(answer.headers.get("Link", "")).partition(">")[0]
        following = unquote(link.removeprefix("</v2/"))
    assert seen == changes(registry, "tag=v1")
    assert len(seen) == 7
    assert len(changes(registry)) == 8
    assert changes(registry, "n=0") == []


def test_a_repository_without_changes_has_an_empty_history(registry: RegistryUnderTest) -> None:
    """A repository that does not exist is unknown."""
    pushed(registry, "one")
    assert changes(registry) == []
    assert code(registry.ask("GET", "no/where/_moorage/history")) == "NAME_UNKNOWN"


@pytest.mark.parametrize(
    ("caller", "shown"), [("credential:a", "credential:b"), ("anonymous", None)]
)
def test_without_a_login_history_names_no_principal(
    registry: RegistryUnderTest, caller: str, shown: str | None
) -> None:
    """The changes of a public repository are shown, and not who made them."""

    class As:
        """Lets everybody in under a name."""

        name = "credential:b"

        def admit(self, *_: object) -> UnrestrictedCaller:
            return UnrestrictedCaller(self.name)

    registry.api._access_control = control = As()  # noqa: SLF001 - who asks
    pushed(registry, "one", "two")
    control.name = caller
    assert [row["by"] for row in changes(registry)] == [shown]


def test_a_deleted_image_is_restored_with_its_tags(registry: RegistryUnderTest) -> None:
    """Byte for byte, with its referrer entry; a repeat changes nothing."""
    body = image(registry, b"layer", subject=described(b"{}", IMAGE))
    digest, subject = Digest.of(body), Digest.of(b"{}")
    for tag in ("v1", "v2"):
        assert put(registry, tag, body).status == 201
    deleted(registry, digest)
    assert [named(registry, tag) for tag in ("v1", str(digest))] == [None, None]
    listed = f"{NAME}/referrers/{subject}"
    assert json.loads(registry.ask("GET", listed).body)["manifests"] == []
    answer = {"name": NAME, "digest": str(digest), "tags": ["v1", "v2"], "moved_on": {}}
    assert restored(registry, f"digest={digest}") == answer
    assert restored(registry, f"digest={digest}") == {**answer, "tags": []}
    for reference in ("v1", "v2", digest):
        assert registry.ask("GET", f"{NAME}/manifests/{reference}").body == body
    (entry,) = json.loads(registry.ask("GET", listed).body)["manifests"]
    assert entry["digest"] == str(digest)
    registry.clock.sleep(LIMITS.trash * 2)
    registry.registry.sweeper.sweep(registry.clock.now() + 600)
    assert named(registry, "v1") == str(digest)


def test_an_index_is_restored_with_its_images(registry: RegistryUnderTest) -> None:
    """Deleted images are restored too, at any depth."""
    leaf = image(registry, b"layer")
    inner = index(described(leaf, IMAGE))
    outer = index(described(inner, INDEX))
    for body, media_type in ((leaf, IMAGE), (inner, INDEX), (outer, INDEX)):
        assert put(registry, str(Digest.of(body)), body, media_type).status == 201
    for body in (outer, inner, leaf):
        deleted(registry, Digest.of(body))
    restored(registry, f"digest={Digest.of(outer)}")
    for body in (leaf, inner, outer):
        assert registry.ask("GET", f"{NAME}/manifests/{Digest.of(body)}").body == body


def test_a_tag_that_moved_stays_unless_it_is_forced(registry: RegistryUnderTest) -> None:
    """The image is restored; `force` moves the tag back, and history has that too."""
    one, two = pushed(registry, "one", "two")
    (moved,) = pushed(registry, "three", tag="v2")
    deleted(registry, one)
    assert restored(registry, f"digest={one}")["tags"] == []
    refused: Response = registry.ask("POST", f"{RESTORE}?digest={one}&tag=v1")
    assert (refused.status, code(refused)) == (409, "TAG_MOVED")
    assert json.loads(refused.body)["errors"][0]["detail"] == {"tag": "v1", "digest": str(two)}
    assert named(registry, "v1") == str(two)
    assert restored(registry, f"digest={one}&tag=v1&force=1")["tags"] == ["v1"]
    assert named(registry, "v1") == str(one)
    assert changes(registry, "tag=v1")[0]["to"] == str(one)
    deleted(registry, moved)
    pushed(registry, "four", tag="v2")
    answer = restored(registry, f"digest={moved}")
    assert (answer["tags"], answer["moved_on"]) == ([], {"v2": named(registry, "v2")})
    assert restored(registry, f"digest={moved}&force=1")["tags"] == []
    deleted(registry, moved)
    assert restored(registry, f"digest={moved}&tag=new")["tags"] == ["new"]


def test_an_image_that_is_gone_can_not_be_restored(registry: RegistryUnderTest) -> None:
    """After its time, or without one of its layers, it is 404, which says what to do."""
    one, two = pushed(registry, "one", "two")
    deleted(registry, one)
    layer = Digest.of(b"layer")
    assert registry.ask("DELETE", f"{NAME}/blobs/{layer}").status == 202
    lacking = registry.ask("POST", f"{RESTORE}?digest={one}")
    assert (lacking.status, code(lacking)) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert str(layer) in lacking.body.decode()
    registry.clock.sleep(LIMITS.trash)
    registry.registry.sweeper.sweep(registry.clock.now() + 600)
    gone = registry.ask("POST", f"{RESTORE}?digest={one}")
    assert (gone.status, code(gone)) == (404, "MANIFEST_UNKNOWN")
    assert named(registry, "v1") == str(two)


def test_a_restoration_of_many_tags_that_is_stopped_is_ended_by_a_repeat(
    registry: RegistryUnderTest,
) -> None:
    """40 tags need two transactions: what the second one was to bring back is not forgotten."""
    body = image(registry, b"layer")
    digest, tags = Digest.of(body), [f"t{number:02}" for number in range(40)]
    query = "&".join(f"tag={tag}" for tag in tags)
    assert put(registry, f"{digest}?{query}", body).status == 201
    deleted(registry, digest)
    metadata = registry.ports.metadata
    second_fails = mock.Mock(wraps=metadata.make_live, side_effect=[mock.DEFAULT, UnavailableError])
    with mock.patch.object(metadata, "make_live", second_fails):
        assert registry.ask("POST", f"{RESTORE}?digest={digest}").status == 503
    assert [named(registry, tag) == str(digest) for tag in tags].count(True) == 24
    assert restored(registry, f"digest={digest}")["tags"] == tags[24:]
    assert json.loads(registry.ask("GET", f"{NAME}/tags/list").body)["tags"] == tags
    assert restored(registry, f"digest={digest}")["tags"] == []


def test_a_restoration_costs_as_few_requests_as_a_push(registry: RegistryUnderTest) -> None:
    """One transaction, after the manifest, its tags and what it refers to were read."""
    (digest,) = pushed(registry, "one")
    deleted(registry, digest)
    registry.ports.metadata.known_rules(registry.clock.now(), 0.0)  # once a minute
    with record_calls(registry.dynamodb, registry.s3) as calls:
        restored(registry, f"digest={digest}")
    wanted = {"GetItem": 1, "BatchGetItem": 2, "TransactWriteItems": 1}
    assert dict(calls.operations("dynamodb")) == wanted
    assert calls.count("s3") == 0
