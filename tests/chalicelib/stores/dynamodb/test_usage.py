"""What a repository holds that a quota covers: added with what is added, or refused with it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.errors import UnavailableError
from chalicelib.registry.model import Covered, TagRow
from chalicelib.registry.outcomes import ManifestMovedError, OverQuotaError
from chalicelib.rules.document import StoredRules
from chalicelib.rules.quotas import Allowance, Limit
from chalicelib.stores.dynamodb.keys import usage_key
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.dynamodb.rules import DynamoRulesStore
from tests.support.calls import record_calls
from tests.support.values import (
    NOW,
    SIZE,
    STAMP,
    a_manifest,
    always,
    begin,
    fresh_digest,
    fresh_name,
    key_of,
    push_manifest,
)

if TYPE_CHECKING:
    from chalicelib.digest import Digest
    from chalicelib.registry.model import Holding
    from chalicelib.registry.session import Session
    from tests.chalicelib.stores.conftest import Stores

RULES = 7
AGE = 60.0


def covered(size: int = 3 * SIZE, tags: int = 2, since: float = 0.0, rules: int = RULES) -> Covered:
    """Return what a repository may hold."""
    return Covered(Allowance(Limit(size, "q"), Limit(tags, "q")), rules, since)


def publish(
    stores: Stores, repository: str, digest: Digest, limits: Covered | None = None
) -> Session:
    """Publish a blob of SIZE bytes through a session of its own."""
    before, after = begin(stores.sessions, repository, digest)
    return stores.metadata.publish(
        before, after, key_of(before), NOW, is_there=always, covered=limits or covered()
    )


def counted(stores: Stores, repository: str) -> Holding:
    """Count what a repository holds."""
    return stores.metadata.count_holding(repository, RULES, NOW)


def held(stores: Stores, repository: str) -> tuple[int, int]:
    """Return the bytes and tags that a repository holds, as counted."""
    found = stores.metadata.get_holding(repository)
    assert found is not None
    return found.bytes, found.tags


def test_an_uncounted_repository_accepts_nothing(stores: Stores, repository: str) -> None:
    """Also if it was counted under other rules, or too early: nothing is written."""
    digest = fresh_digest()
    with pytest.raises(OverQuotaError) as over:
        publish(stores, repository, digest)
    assert (over.value.size, over.value.tags) == (SIZE, 0)
    assert stores.metadata.get_holding(repository) is None
    counted(stores, repository)
    for other in (covered(rules=RULES + 1), covered(since=NOW + 1)):
        with pytest.raises(OverQuotaError):
            publish(stores, repository, digest, other)
    assert stores.metadata.get_link(repository, digest) is None
    assert stores.metadata.get_record(digest) is None
    publish(stores, repository, digest, covered(since=NOW))
    assert held(stores, repository) == (SIZE, 0)


def test_a_new_link_is_counted_and_none_beyond_the_limit(stores: Stores, repository: str) -> None:
    """What is there already needs no room, by a push or by a mount; what is new needs it."""
    counted(stores, repository)
    first, elsewhere = fresh_digest(), stores.pushed()
    publish(stores, repository, first)
    publish(stores, repository, first)
    assert stores.metadata.add_link(repository, elsewhere, NOW, covered=covered())
    assert stores.metadata.add_link(repository, elsewhere, NOW, covered=covered())
    assert held(stores, repository) == (2 * SIZE, 0)
    full, other = covered(2 * SIZE), stores.pushed()
    for digest in (fresh_digest(), other):
        with pytest.raises(OverQuotaError):
            publish(stores, repository, digest, full)
    with pytest.raises(OverQuotaError):
        stores.metadata.add_link(repository, other, NOW, covered=full)
    assert stores.record(other).links == 1
    publish(stores, repository, first, full)
    publish(stores, repository, elsewhere, full)
    assert held(stores, repository) == (2 * SIZE, 0)
    publish(stores, repository, other)
    assert held(stores, repository) == (3 * SIZE, 0)


def test_a_lost_object_is_healed_with_room_and_without(stores: Stores, repository: str) -> None:
    """A new link to it is counted; an existing one is not."""
    digest, mine = stores.pushed(), stores.pushed(repository)
    counted(stores, repository)

    def heal(limits: Covered, found: Digest) -> None:
        before, after = begin(stores.sessions, repository, found)
        stores.metadata.publish(
            before, after, key_of(before), NOW, is_there=lambda _: False, covered=limits
        )

    with pytest.raises(OverQuotaError):
        heal(covered(SIZE), digest)
    heal(covered(SIZE), mine)
    heal(covered(2 * SIZE), digest)
    assert held(stores, repository) == (2 * SIZE, 0)


def test_new_tags_are_counted(stores: Stores, repository: str) -> None:
    """A tag that moves or stays needs no room; without room none of several is set."""
    old = push_manifest(stores.metadata, a_manifest(repository=repository), "v1")
    assert counted(stores, repository).tags == 1
    new = a_manifest(repository=repository)
    stores.metadata.put_pending(new)
    moved = {"v1": TagRow(old.digest)}
    with pytest.raises(OverQuotaError) as over:
        stores.metadata.make_live(
            new, {**moved, "v2": None, "v3": None}, None, STAMP, covered=covered()
        )
    assert over.value.tags == 2
    assert stores.metadata.get_tags(repository, ["v1", "v2"]).keys() == {"v1"}
    with suppress(ManifestMovedError):  # moto takes a request that is sent twice for two
        stores.metadata.make_live(new, {**moved, "v2": None}, None, STAMP, covered=covered())
    assert held(stores, repository) == (0, 2)
    again = {tag: TagRow(new.digest) for tag in ("v1", "v2")}
    stores.metadata.make_live(new, again, None, STAMP, covered=covered())
    with pytest.raises(ManifestMovedError):  # a repeat: it is there, and not counted again
        stores.metadata.make_live(new, {"v2": None}, None, STAMP, covered=covered(tags=9))
    assert held(stores, repository) == (0, 2)


def test_all_is_counted_anew(stores: Stores, repository: str) -> None:
    """Whatever was counted before; deleted links and those of others do not count."""
    digests = [stores.pushed(repository) for _ in range(3)]
    stores.pushed(f"{repository}#bodies")
    push_manifest(stores.metadata, a_manifest(repository=repository), "v1", "v2")
    first = counted(stores, repository)
    assert (first.bytes, first.tags, first.rules, first.counted_at) == (3 * SIZE, 2, RULES, NOW)
    stores.metadata.delete_link(repository, digests[0])
    stores.metadata.delete_tag(repository, "v1", STAMP)
    assert held(stores, repository) == (3 * SIZE, 2)
    second = stores.metadata.count_holding(repository, RULES + 1, NOW + 9)
    assert (second.bytes, second.tags, second.rules) == (2 * SIZE, 1, RULES + 1)
    assert stores.metadata.get_holding(repository) == second


def test_content_added_during_the_count_is_not_missed(stores: Stores, repository: str) -> None:
    """It is counted again; if others keep adding, that is an error."""
    counted(stores, repository)
    query, added = DynamoMetadataStore.get_holding, 0

    class Busy(DynamoMetadataStore):
        most = 2

        def get_holding(self, repository: str) -> Holding | None:
            nonlocal added
            found = query(self, repository)
            if added < self.most:
                added += 1
                publish(stores, repository, fresh_digest(), covered(99 * SIZE))
            return found

    tables = stores.registry_table, stores.uploads_table
    busy = Busy(stores.client, *tables, sleep=stores.waits.append)
    assert busy.count_holding(repository, RULES, NOW).bytes == 2 * SIZE
    Busy.most = 99
    with pytest.raises(UnavailableError):
        busy.count_holding(repository, RULES, NOW)
    assert held(stores, repository) == (added * SIZE, 0)


def test_the_rules_are_read_once_a_minute(fresh_stores: Stores) -> None:
    """Or with the tags; new rules are known after a minute at most."""
    metadata, rules = (
        fresh_stores.metadata,
        DynamoRulesStore(fresh_stores.client, fresh_stores.registry_table),
    )
    assert metadata.known_rules(NOW, AGE) is None
    first = StoredRules(1, "{}", NOW, "me")
    rules.replace(None, first)
    assert metadata.known_rules(NOW + 60, AGE) is None
    assert metadata.known_rules(NOW + 61, AGE) == first
    second = replace(first, version=2)
    rules.replace(first, second)
    assert metadata.known_rules(NOW + 61, AGE) == first
    assert metadata.known_rules(NOW - 1, AGE) == second  # the clock was set back
    third = replace(first, version=3)
    rules.replace(second, third)
    metadata.get_for_push(fresh_name(), [], ["v1"], NOW)
    assert metadata.known_rules(NOW + 1, AGE) == third


def test_a_quota_costs_no_further_request(dynamo: Stores) -> None:
    """For a blob, a mount and a manifest."""
    repository, elsewhere = fresh_name(), dynamo.pushed()
    counted(dynamo, repository)
    before, after = begin(dynamo.sessions, repository, fresh_digest())
    manifest = a_manifest(repository=repository)
    dynamo.metadata.put_pending(manifest)
    key, limits = key_of(before), covered()
    calls: list[tuple[Any, dict[str, int]]] = [
        (
            lambda: dynamo.metadata.publish(
                before, after, key, NOW, is_there=always, covered=limits
            ),
            {"TransactWriteItems": 1},
        ),
        (
            lambda: dynamo.metadata.add_link(repository, elsewhere, NOW, covered=limits),
            {"BatchGetItem": 1, "TransactWriteItems": 1},
        ),
        (
            lambda: dynamo.metadata.make_live(manifest, {"v1": None}, None, STAMP, covered=limits),
            {"TransactWriteItems": 1},
        ),
    ]
    for call, wanted in calls:
        with record_calls(dynamo.client) as recorded:
            call()
        assert dict(recorded.operations("dynamodb")) == wanted
    assert held(dynamo, repository) == (2 * SIZE, 1)
    assert dynamo.item(usage_key(repository))
