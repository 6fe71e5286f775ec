"""What every access store does with trusts.

No test of the contract may know which store it has; those of DynamoDB alone say so.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.access.grants import Grants
from chalicelib.access.ports import TooManyTrustsError
from chalicelib.access.trusts import AWS, MAX_TRUSTS, Trust
from chalicelib.stores.dynamodb.codec import CorruptItemError
from chalicelib.stores.dynamodb.keys import trust_key
from tests.chalicelib.stores.conftest import BACKENDS
from tests.chalicelib.stores.dynamodb.access_tables import (
    AccessTable,
    dynamo,
    fresh_store,
    over_a_table,
    shared,
    store,
)
from tests.emulators.lost_answers import answer_lost

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.access.ports import AccessStore
    from tests.chalicelib.stores.conftest import Running

__all__ = ["dynamo", "fresh_store", "shared", "store"]  # fixtures


def a_trust(**changes: Any) -> Trust:  # noqa: ANN401 - any field of a trust
    """Return a trust under a name that no other has, with `changes`."""
    trust = Trust.parse(
        f"ci-{uuid.uuid4().hex}",
        issuer="https://token.actions.example.com",
        audience="registry.example.com",
        subject="repo:org/app:environment:Über all/*",
        grants=["team/**:pull,push", "**:pull"],
    )
    return replace(trust, **changes)


def an_aws_trust() -> Trust:
    """Return a trust in a role of AWS."""
    return a_trust(issuer=AWS, audience="", subject="arn:aws:sts::123456789012:assumed-role/ci/*")


@pytest.mark.parametrize("make", [a_trust, an_aws_trust])
def test_a_trust_is_read_as_it_was_put(store: AccessStore, make: Callable[[], Trust]) -> None:
    """Every field of a trust is kept, and putting it again changes nothing."""
    made = make()
    for _ in range(2):
        store.put_trust(made)
        assert store.get_trust(made.name) == made


def test_a_trust_is_replaced(store: AccessStore) -> None:
    """Putting another trust under the same name leaves nothing of the first."""
    made = a_trust()
    store.put_trust(made)
    other = replace(an_aws_trust(), name=made.name, grants=Grants(admin=True))
    store.put_trust(other)
    assert store.get_trust(made.name) == other


@pytest.mark.parametrize("name", ["", "nobody", "a" * 63, "x" * 3000, "Ä\0", "CI"])
def test_what_is_not_there(store: AccessStore, name: str) -> None:
    """A name that no trust has, or could have, is absent and can be deleted."""
    assert store.get_trust(name) is None
    store.delete_trust(name)


def test_a_trust_is_deleted(store: AccessStore) -> None:
    """A deleted trust is gone, however often it is deleted; others stay."""
    made, other = a_trust(), a_trust()
    store.put_trust(made)
    store.put_trust(other)
    for _ in range(2):
        store.delete_trust(made.name)
        assert store.get_trust(made.name) is None
    assert store.get_trust(other.name) == other


def test_lists(fresh_store: AccessStore) -> None:
    """All trusts are listed, by name in byte order."""
    assert list(fresh_store.list_trusts()) == []
    made = [a_trust(name=name) for name in ("b", "a_b", "a-b", "a.b", "0", "a@b", "z" * 63)]
    for one in made:
        fresh_store.put_trust(one)
    assert list(fresh_store.list_trusts()) == sorted(made, key=lambda one: one.name)


def test_there_is_an_end_to_trusts(fresh_store: AccessStore) -> None:
    """No trust comes beyond the last that fits, but one that is there is still replaced."""
    made = [a_trust(name=f"t{number:03}") for number in range(MAX_TRUSTS)]
    for one in made:
        fresh_store.put_trust(one)
    with pytest.raises(TooManyTrustsError):
        fresh_store.put_trust(a_trust(name="t-more"))
    assert list(fresh_store.list_trusts()) == made
    replaced = a_trust(name="t007", subject="somebody")
    fresh_store.put_trust(replaced)
    assert fresh_store.get_trust("t007") == replaced
    fresh_store.delete_trust("t000")
    fresh_store.put_trust(a_trust(name="t-more"))
    assert len(fresh_store.list_trusts()) == MAX_TRUSTS


# DynamoDB alone


def test_writes_that_are_sent_twice(dynamo: AccessTable) -> None:
    """Putting and deleting a trust take no harm from a lost answer."""
    made = a_trust()
    with answer_lost(dynamo.client, "PutItem"):
        dynamo.store.put_trust(made)
    assert dynamo.store.get_trust(made.name) == made
    with answer_lost(dynamo.client, "DeleteItem"):
        dynamo.store.delete_trust(made.name)
    assert dynamo.store.get_trust(made.name) is None


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
