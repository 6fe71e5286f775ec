"""The access store on DynamoDB alone: writes that are sent twice, and what stands in the table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.stores.dynamodb.codec import CorruptItemError
from chalicelib.stores.dynamodb.keys import credential_key, failures_key, secret_key, trust_key
from tests.chalicelib.access.values import NOW, a_credential, a_full_credential
from tests.chalicelib.stores.conftest import BACKENDS
from tests.chalicelib.stores.dynamodb.access_tables import (
    DynamoAccess,
    a_hash,
    dynamo,
    fresh_store,
    over_a_table,
    shared,
    store,
)
from tests.chalicelib.stores.dynamodb.test_access_contract import a_trust
from tests.emulators.lost_answers import answer_lost, meanwhile

if TYPE_CHECKING:
    from tests.chalicelib.stores.conftest import Running


__all__ = ["dynamo", "fresh_store", "shared", "store"]  # fixtures


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_pages_are_read(running: Running, backend: str) -> None:
    """Trusts that fill more than one answer of DynamoDB (1 MB) are listed whole."""
    dynamo = over_a_table(running.stores(backend))
    made = [a_trust(name=f"t{number}") for number in range(5)]
    for one in made:
        dynamo.store.put_trust(one)
        dynamo.set(trust_key(one.name), "ballast", {"S": "x" * 350_000})
    assert list(dynamo.store.list_trusts()) == made


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("subject", {"S": "*"}),
        ("subject", {"S": ""}),
        ("subject", {"L": [{"S": "somebody"}]}),
        ("issuer", {"S": "http://token.actions.example.com"}),
        ("audience", {"N": "1"}),
        ("grants", {"L": [{"S": "**:all"}]}),
    ],
    ids=range(6),
)
def test_a_corrupt_trust_is_a_fault(
    running: Running, attribute: str, value: dict[str, Any]
) -> None:
    """A trust that can't be read lets nobody in, is not taken for absent, and can be replaced."""
    dynamo, made = over_a_table(running.stores("moto")), a_trust()
    dynamo.store.put_trust(made)
    dynamo.set(trust_key(made.name), attribute, value)
    with pytest.raises(CorruptItemError):
        dynamo.store.get_trust(made.name)
    with pytest.raises(CorruptItemError):
        dynamo.store.list_trusts()
    dynamo.store.put_trust(made)
    assert dynamo.store.list_trusts() == [made]


__all__ = ["dynamo", "shared"]  # fixtures


def test_writes_that_are_sent_twice(dynamo: DynamoAccess) -> None:
    """Creating, replacing, counting and trusting know their own repeats."""
    store, credential, new, key = dynamo.store, a_credential(), a_hash(), a_hash()
    with answer_lost(dynamo.client, "TransactWriteItems"):
        store.create(credential)
    assert store.get(credential.id) == credential
    with answer_lost(dynamo.client, "TransactWriteItems"):
        rotated = store.rotate(credential, new, NOW)
    assert (rotated.version, rotated.secret_hash) == (2, new)
    with answer_lost(dynamo.client, "PutItem"):
        assert store.add_failure(key, 1, "a", NOW) == 1
    with answer_lost(dynamo.client, "UpdateItem"):
        assert store.add_failure(key, 1, "b", NOW) == 2
    with answer_lost(dynamo.client, "UpdateItem"):
        store.revoke(credential.id)
    assert store.get(credential.id) == replace(rotated, revoked=True)
    trust = a_trust()
    with answer_lost(dynamo.client, "PutItem"):
        store.put_trust(trust)
    assert store.get_trust(trust.name) == trust
    with answer_lost(dynamo.client, "DeleteItem"):
        store.delete_trust(trust.name)
    assert store.get_trust(trust.name) is None


def test_a_use_that_is_sent_twice(dynamo: DynamoAccess) -> None:
    """A day whose note was answered in vain is noted."""
    credential = a_credential()
    dynamo.store.create(credential)
    with answer_lost(dynamo.client, "UpdateItem"):
        dynamo.store.touch(credential.id, "2026-11-24")
    assert dynamo.store.get(credential.id) == replace(credential, last_used_day="2026-11-24")


def test_a_replacement_between_two_reads(dynamo: DynamoAccess) -> None:
    """A secret is not found that is replaced twice while it is looked for."""
    store, credential = dynamo.store, a_credential()
    store.create(credential)

    def replace_twice() -> None:
        store.rotate(store.rotate(credential, a_hash(), None), a_hash(), None)

    with meanwhile(dynamo.client, "GetItem", replace_twice):
        assert store.find(credential.secret_hash) is None


def test_no_way_is_left_of_an_old_secret(dynamo: DynamoAccess) -> None:
    """A secret before the last leaves nothing in the table, nor does it matter if it is gone."""
    store, first = dynamo.store, a_credential()
    store.create(first)
    second = store.rotate(first, a_hash(), None)
    third = store.rotate(second, a_hash(), None)
    ways = [
        dynamo.client.get_item(
            TableName=dynamo.table,
            Key={name: {"S": text} for name, text in secret_key(one.secret_hash).items()},
        )
        for one in (first, second, third)
    ]
    assert ["Item" in way for way in ways] == [False, True, True]
    fourth = store.rotate(replace(third, previous_hash=a_hash()), a_hash(), None)
    assert (fourth.version, fourth.previous_hash) == (4, third.secret_hash)


@pytest.mark.parametrize("name", BACKENDS)
def test_only_counters_expire(running: Running, name: str) -> None:
    """A counter says when it may be dropped; a credential with an end does not."""
    dynamo = over_a_table(running.stores(name))
    store, credential, key = dynamo.store, a_full_credential(), a_hash()
    store.create(credential)
    store.set_public("a", public=True)
    store.add_failure(key, 1, "a", NOW + 0.5)
    items = dynamo.client.scan(TableName=dynamo.table)["Items"]
    expiring = [item for item in items if "drop_at" in item]
    assert len(items) == 4
    assert [(item["pk"], item["drop_at"]) for item in expiring] == [
        ({"S": f"FAILURES#{key}"}, {"N": "1764000001"})
    ]
    assert failures_key(key, 1) == {"pk": f"FAILURES#{key}", "sk": "1"}


@pytest.mark.parametrize("grants", [["admin", "a"], ["**:all"], [""], ["-*:pull"]])
def test_grants_that_can_not_be_read_are_no_grants(dynamo: DynamoAccess, grants: list[str]) -> None:
    """A credential whose grants are corrupt is a fault, and neither absent nor without grants."""
    credential = a_credential()
    dynamo.store.create(credential)
    corrupt = {"L": [{"S": text} for text in grants]}
    dynamo.set(credential_key(credential.id), "grants", corrupt)
    with pytest.raises(CorruptItemError):
        dynamo.store.get(credential.id)
    with pytest.raises(CorruptItemError):
        dynamo.store.find(credential.secret_hash)
