"""The rules in the table: versions that are kept, and no document that nobody has seen replaced."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb import keys
from chalicelib.stores.dynamodb.items import STORED_RULES
from chalicelib.stores.dynamodb.rules import DynamoRulesStore, RulesMovedError
from tests.support.calls import record_calls
from tests.support.values import NOW, STAMP, a_manifest, fresh_name, push_manifest

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


def test_tags_and_rules_are_one_request(fresh_stores: Stores) -> None:
    """A push reads the rules with the tags that it is to move."""
    metadata, name = fresh_stores.metadata, fresh_name()
    live = push_manifest(metadata, a_manifest(repository=name), "v1")
    assert metadata.get_tags_and_rules(name, ["v1", "v2"], NOW)[1] is None
    rules = DynamoRulesStore(fresh_stores.client, fresh_stores.registry_table)
    rules.replace(None, FIRST)
    rows, stored = metadata.get_tags_and_rules(name, ["v1", "v2"], NOW)
    assert {tag: row.digest for tag, row in rows.items()} == {"v1": live.digest}
    assert (rows["v1"].tagged_at, stored) == (STAMP.at, FIRST)
    assert metadata.get_tags_and_rules(name, [], NOW) == ({}, FIRST)
    assert rules.repositories() == []
    metadata.add_repository(name)
    assert rules.repositories() == [name]


def test_tags_and_rules_are_one_request_over_the_wire(dynamo: Stores) -> None:
    """However many tags, up to the size of a batch."""
    with record_calls(dynamo.client) as calls:
        dynamo.metadata.get_tags_and_rules(fresh_name(), [f"v{n}" for n in range(99)], NOW)
    assert dict(calls.operations("dynamodb")) == {"BatchGetItem": 1}
