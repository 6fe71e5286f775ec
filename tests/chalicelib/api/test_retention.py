"""What the rules decide, over the API: each manifest with its reason, page by page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from chalicelib.api import retention
from chalicelib.api.messages import UnrestrictedCaller
from chalicelib.digest import Digest
from chalicelib.registry.model import InUse, Manifest, ManifestState
from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import IN_USE, STORED_RULES, manifest_item
from chalicelib.stores.dynamodb.keys import catalog_key, in_use_key, manifest_key, rules_key
from tests.chalicelib.api.pushing import IMAGE, INDEX, NAME, code, described, image, index, put

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalicelib.stores.dynamodb.keys import Key
    from tests.support.registries import RegistryUnderTest

RULES = [
    {"name": "releases", "repositories": ["**"], "tags": ["v*"], "keep": "always"},
    {
        "name": "CI",
        "repositories": ["team/*"],
        "tags": ["pr-*"],
        "expire": {"days_since_push": 14},
        "brake": 50,
    },
]
WORDS = [
    {"name": "releases", "words": "keeps tags v*"},
    {"name": "CI", "words": "lets tags pr-* go 14 days after the last push"},
]
DAY = 24 * 3600


def write(registry: RegistryUnderTest, key: Key, item: Mapping[str, Any]) -> None:
    """Write an item past the registry."""
    registry.dynamodb.put_item(
        TableName=registry.registry_table, Item={**item, **key_attributes(key)}
    )


def filled(registry: RegistryUnderTest) -> tuple[Digest, Digest, Digest, Digest]:
    """Set rules; push a release and an index of one image 15 days ago, and an image today."""
    text = json.dumps({"retention": {"rules": RULES}})
    write(registry, rules_key(), STORED_RULES.encode(StoredRules(1, text, 0, "somebody")))
    bodies = [image(registry, b"layer", annotations={"n": str(n)}) for n in range(3)]
    bodies.append(index(described(bodies[1])))
    assert put(registry, "v1", bodies[0]).status == 201
    child = Digest.of(bodies[1])
    assert put(registry, child, bodies[1]).status == 201
    assert put(registry, "pr-1", bodies[3], INDEX).status == 201
    registry.clock.offset += 15 * DAY
    assert put(registry, "pr-2", bodies[2]).status == 201
    release, new, whole = (Digest.of(body) for body in (bodies[0], bodies[2], bodies[3]))
    return release, child, new, whole


def asked(registry: RegistryUnderTest) -> dict[str, Any]:
    """Ask what becomes of a repository."""
    answer = registry.ask("GET", f"{NAME}/_moorage/retention")
    assert answer.status == 200
    document: dict[str, Any] = json.loads(answer.body)
    return document


def test_each_manifest_has_its_reason(registry: RegistryUnderTest) -> None:
    """Manifests of one unit name its root; a run then removes those that expire."""
    release, child, new, whole = filled(registry)
    answer = asked(registry)
    rows = {row.pop("digest"): row for row in answer.pop("decisions")}
    assert answer == {
        "name": NAME,
        "rules": WORDS,
        "stopped": None,
        "images": 3,
        "going": 1,
    }
    due = rows[str(new)].pop("due")
    assert due is not None
    assert {row.pop("due") for digest, row in rows.items() if digest != str(new)} == {None}
    kept = {"goes": False, "reason": "kept", "by": "releases", "tag": "v1", "root": str(release)}
    going = {"goes": True, "reason": "expired", "by": "CI", "tag": "pr-1", "root": str(whole)}
    assert rows == {
        str(release): kept,
        str(child): going,
        str(whole): going,
        str(new): {"goes": False, "reason": "young", "by": "CI", "tag": "pr-2", "root": str(new)},
    }
    registry.registry.retention.run(registry.clock.now() + 60)
    assert {row["digest"] for row in asked(registry)["decisions"]} == {str(release), str(new)}


def test_pages_follow_one_another(registry: RegistryUnderTest) -> None:
    """They are in order of digests; the last one has no link."""
    digests = sorted(map(str, filled(registry)))
    target, seen = f"{NAME}/_moorage/retention?n=3", []
    while target:
        answer = registry.ask("GET", target)
        seen += [row["digest"] for row in json.loads(answer.body)["decisions"]]
        link = str(answer.headers.get("Link", "")).partition(">")[0]
        target = unquote(link.removeprefix("</v2/"))
    assert seen == digests


def test_more_than_a_thousand_come_in_pages_of_a_thousand(registry: RegistryUnderTest) -> None:
    """Each manifest once, and both pages say of all of them how many there are."""
    write(registry, catalog_key(NAME), {})
    digests = [Digest.of(str(number).encode()) for number in range(1_001)]
    for each in digests:
        manifest = Manifest(NAME, each, IMAGE, 2, (), None, b"{}", 1e9, "v", ManifestState.LIVE)
        write(registry, manifest_key(NAME, each), manifest_item(manifest))
    first = registry.ask("GET", f"{NAME}/_moorage/retention")
    link = str(first.headers["Link"]).partition(">")[0].removeprefix("</v2/")
    second = registry.ask("GET", unquote(link))
    assert "Link" not in second.headers
    pages = [json.loads(answer.body) for answer in (first, second)]
    assert [len(page["decisions"]) for page in pages] == [1_000, 1]
    assert [page["images"] for page in pages] == [1_001, 1_001]
    found = [row["digest"] for page in pages for row in page["decisions"]]
    assert found == sorted(map(str, digests))


@pytest.mark.parametrize("until", [60.0, -60.0])
def test_only_a_login_learns_where_an_image_runs(registry: RegistryUnderTest, until: float) -> None:
    """Without one, neither the decisions nor a stopped run name a source."""
    release, *_ = filled(registry)
    now = registry.clock.now()
    lease = InUse(NAME, "prod", "ecs", {release: "a task"}, now, now + until)
    write(registry, in_use_key(NAME, "prod"), IN_USE.encode(lease))
    assert "prod" in json.dumps(asked(registry))

    class Anybody:
        """Lets everybody in, without a login."""

        def admit(self, *_: object) -> UnrestrictedCaller:
            return UnrestrictedCaller("anonymous")

    registry.api._access_control = Anybody()  # noqa: SLF001 - who asks
    answer = asked(registry)
    assert "prod" not in json.dumps(answer)
    reasons = {row["digest"]: row["reason"] for row in answer["decisions"]}
    assert reasons[str(release)] == "in-use"
    assert (answer["stopped"] or {}).get("why") == (None if until > 0 else "overdue")
    assert answer["going"] == (1 if until > 0 else 0)


def test_a_repository_that_is_too_large_says_so(
    registry: RegistryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer has the rules."""
    filled(registry)
    monkeypatch.setattr(retention, "MOST", 3)
    answer = asked(registry)
    assert (answer["stopped"]["why"], answer["decisions"]) == ("too-many", [])
    assert (answer["images"], answer["going"], answer["rules"]) == (None, None, WORDS)


@pytest.mark.parametrize(
    ("target", "status", "error"),
    [
        ("team/nobody/_moorage/retention", 404, "NAME_UNKNOWN"),
        (f"{NAME}/_moorage/retention?last=v1", 400, "DIGEST_INVALID"),
        (f"{NAME}/_moorage/retention?n=x", 400, "PAGINATION_NUMBER_INVALID"),
    ],
)
def test_an_unknown_repository_or_page_is_an_error(
    registry: RegistryUnderTest, target: str, status: int, error: str
) -> None:
    """The repository does not exist, or the page is no page."""
    filled(registry)
    answer = registry.ask("GET", target)
    assert (answer.status, code(answer)) == (status, error)


def test_rules_of_a_later_version_are_unavailable(registry: RegistryUnderTest) -> None:
    """They are not treated as "no rules"."""
    filled(registry)
    stored = StoredRules(2, '{"of": "tomorrow"}', 0, "somebody")
    write(registry, rules_key(), STORED_RULES.encode(stored))
    assert registry.ask("GET", f"{NAME}/_moorage/retention").status == 503
