"""The rules in the table: versions that are kept, and no document that nobody has seen replaced."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.registry.model import FoundByPush
from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb import keys
from chalicelib.stores.dynamodb.items import STORED_RULES
from chalicelib.stores.dynamodb.rules import DynamoRulesStore, RulesMovedError
from tests.support.calls import record_calls
from tests.support.values import NOW, STAMP, a_manifest, fresh_digest, fresh_name, push_manifest

if TYPE_CHECKING:
    from tests.chalicelib.stores.conftest import Stores

FIRST = StoredRules(1, '{"immutable": []}', NOW, "me@here")
SECOND = replace(FIRST, version=2, text="{}", set_by="you@there")


def test_each_version_is_kept(fresh_stores: Stores) -> None:
    """The last one is in force, and earlier ones can be looked up."""
    rules = DynamoRulesStore(fresh_stores.client, fresh_stores.registry_table)
    assert rules.current() is None
    for before, after in ((None, FIRST), (FIRST, SECOND)):
        for _ in range(2):
            rules.replace(before, after)  # the second time it finds its own
        assert rules.current() == after
    for stored in (FIRST, SECOND):
        item = fresh_stores.item(keys.rules_version(stored.version))
        assert STORED_RULES.decode_found(item) == stored


def test_rules_are_replaced_only_by_who_has_read_them(fresh_stores: Stores) -> None:
    """Of two owners at once, one gets an error, and its rules are not stored."""
    rules = DynamoRulesStore(fresh_stores.client, fresh_stores.registry_table)
    rules.replace(None, FIRST)
    rules.replace(FIRST, SECOND)
    for before, version in ((None, 1), (FIRST, 2), (FIRST, 3)):
        with pytest.raises(RulesMovedError):
            rules.replace(before, replace(FIRST, version=version, text="theirs"))
    assert rules.current() == SECOND
    assert fresh_stores.item(keys.rules_version(3)) is None


def test_a_push_reads_links_tags_rules_and_the_catalog(fresh_stores: Stores) -> None:
    """Each that is there; without tags no rules, which only tags have."""
    metadata, name = fresh_stores.metadata, fresh_name()
    live = push_manifest(metadata, a_manifest(repository=name), "v1")
    absent = fresh_digest()
    found = metadata.get_for_push(name, [absent], ["v1", "v2"], NOW)
    assert (found.links, found.rules, found.is_listed) == ({}, None, False)
    rules = DynamoRulesStore(fresh_stores.client, fresh_stores.registry_table)
    rules.replace(None, FIRST)
    there = fresh_stores.pushed(name)
    found = metadata.get_for_push(name, [there, absent], ["v1", "v2"], NOW)
    assert list(found.links) == [there]
    assert found.links == metadata.get_links(name, [there, absent])
    assert {tag: row.digest for tag, row in found.tags.items()} == {"v1": live.digest}
    assert (found.tags["v1"].tagged_at, found.rules) == (STAMP.at, FIRST)
    assert metadata.get_for_push(name, [], [], NOW) == FoundByPush({}, {}, None, is_listed=False)
    assert rules.repositories() == []
    metadata.add_repository(name)
    assert rules.repositories() == [name]
    assert metadata.get_for_push(name, [], [], NOW).is_listed


def test_all_that_a_push_reads_is_one_request(dynamo: Stores) -> None:
    """However many blobs and tags, up to the size of a batch."""
    blobs = [fresh_digest() for _ in range(49)]
    with record_calls(dynamo.client) as calls:
        dynamo.metadata.get_for_push(fresh_name(), blobs, [f"v{n}" for n in range(49)], NOW)
    assert dict(calls.operations("dynamodb")) == {"BatchGetItem": 1}
