"""What every access store does: credentials, trusts, public repositories, failed logins.

Last, what the store of DynamoDB alone does: writes that are sent twice, and what is in the table.
"""

from __future__ import annotations

import functools
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.access.credentials import generate, hash_of
from chalicelib.access.grants import Grants
from chalicelib.access.ports import (
    CredentialExistsError,
    CredentialMissingError,
    CredentialMovedError,
    TooManyTrustsError,
)
from chalicelib.access.trusts import AWS, Trust
from chalicelib.errors import UnavailableError
from chalicelib.page import Page
from chalicelib.stores.dynamodb import access as dynamodb_access
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from chalicelib.stores.dynamodb.codec import CorruptItemError
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.keys import (
    credential_key,
    failures_key,
    listed_credential,
    listed_trust,
    secret_key,
    trust_key,
)
from moorage.common.data import DataNames
from moorage.local.backend import aws_environment, create_data
from tests.chalicelib.access.values import NOW, a_credential, a_full_credential
from tests.chalicelib.stores.conftest import BACKENDS
from tests.emulators.lost_answers import answer_lost, meanwhile
from tests.support import memory_access
from tests.support.calls import record_calls
from tests.support.memory_access import MemoryAccessStore, put_as_version_0_1
from tests.support.values import fresh_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_dynamodb import DynamoDBClient

    from chalicelib.access.credentials import Credential
    from chalicelib.access.ports import AccessStore
    from chalicelib.stores.dynamodb.keys import Key
    from tests.chalicelib.stores.conftest import Running, Stores


@dataclass(frozen=True)
class DynamoAccess:
    """The store of DynamoDB, with a way past it to the table."""

    store: DynamoAccessStore
    client: DynamoDBClient
    table: str

    def set(self, key: Key, attribute: str, value: dict[str, Any]) -> None:
        """Set an attribute of an item behind the store's back."""
        self.client.update_item(
            TableName=self.table,
            Key=key_attributes(key),
            UpdateExpression="SET #attribute = :value",
            ExpressionAttributeNames={"#attribute": attribute},
            ExpressionAttributeValues={":value": value},
        )


def over_a_table(stores: Stores) -> DynamoAccess:
    """Return a store over a new table, beside those that other stores have."""
    client = stores.client
    url, table = client.meta.endpoint_url, f"test-{uuid.uuid4().hex[:12]}-access"
    names = DataNames(table, stores.registry_table, stores.uploads_table, table)
    create_data(url, names, aws_environment({}, url, emulated=True))
    return DynamoAccess(DynamoAccessStore(client, table, sleep=lambda _: None), client, table)


@pytest.fixture(scope="module")
def shared(running: Running) -> Callable[[str], DynamoAccess]:
    """A store of each backend that most tests share: they take fresh ids, names and secrets."""
    return functools.cache(lambda name: over_a_table(running.stores(name)))


@pytest.fixture(params=["memory", *BACKENDS])
def store(request: pytest.FixtureRequest, shared: Callable[[str], DynamoAccess]) -> AccessStore:
    """Access stores of every kind."""
    return MemoryAccessStore() if request.param == "memory" else shared(request.param).store


@pytest.fixture(params=["memory", *BACKENDS])
def fresh_store(request: pytest.FixtureRequest, running: Running) -> AccessStore:
    """Access stores of every kind, with nothing in them."""
    if request.param == "memory":
        return MemoryAccessStore()
    return over_a_table(running.stores(request.param)).store


@pytest.fixture(params=BACKENDS)
def dynamo(request: pytest.FixtureRequest, shared: Callable[[str], DynamoAccess]) -> DynamoAccess:
    """The store of DynamoDB over every backend."""
    return shared(request.param)


def a_hash() -> str:
    """Return the hash of a new API token."""
    return hash_of(generate())


@pytest.fixture
def credential(store: AccessStore) -> Credential:
    """A credential that is in the store."""
    made = a_credential()
    store.create(made)
    return made


# credentials


@pytest.mark.parametrize("make", [a_credential, a_full_credential])
def test_a_credential_is_read_as_it_was_put(
    store: AccessStore, make: Callable[[], Credential]
) -> None:
    """Every field of a credential is kept, and found by its id and by its secret."""
    made = make()
    store.create(made)
    assert store.get(made.id) == made
    assert store.find(made.secret_hash) == made


def test_an_unknown_id_or_secret_has_no_credential(
    store: AccessStore, credential: Credential
) -> None:
    """There is no credential of another id, nor one with another secret."""
    for other in ("", uuid.uuid4().hex, credential.id[:-1], credential.secret_hash, "x" * 300):
        assert store.get(other) is None
    assert store.find(a_hash()) is None
    assert store.find(credential.id) is None


def test_a_repeated_creation_changes_nothing(store: AccessStore, credential: Credential) -> None:
    """It succeeds, and keeps what other writes changed in between."""
    assert store.touch(credential.id, "2026-11-24")
    store.create(credential)
    assert store.get(credential.id) == replace(credential, last_used_day="2026-11-24")


def test_an_id_or_secret_that_is_taken_is_refused(
    store: AccessStore, credential: Credential
) -> None:
    """The attempt leaves nothing."""
    same_id = a_credential(id=credential.id)
    same_secret = a_credential(secret_hash=credential.secret_hash)
    for other in (same_id, same_secret):
        with pytest.raises(CredentialExistsError):
            store.create(other)
    assert store.get(credential.id) == credential
    assert store.get(same_secret.id) is None
    assert store.find(same_id.secret_hash) is None


def test_credentials_are_listed_by_id(fresh_store: AccessStore) -> None:
    """Page by page, also those that can't be used any more."""
    store = fresh_store
    made = [a_credential(id=f"id-{number}", revoked=number == 2) for number in (3, 1, 4, 2)]
    for one in made:
        store.create(one)
    made.sort(key=lambda one: one.id)
    assert store.list_credentials(None, 4) == Page(made, more=False)
    assert store.list_credentials(None, 3) == Page(made[:3], more=True)
    assert store.list_credentials("id-2", 2) == Page(made[2:], more=False)
    assert store.list_credentials("id-11", 1) == Page([made[1]], more=True)
    assert store.list_credentials("id-4", 1) == Page([], more=False)
    assert store.list_credentials("é\0" * 900, 1) == Page([], more=False)


# replacing secrets


@pytest.mark.parametrize("until", [NOW + 3600.25, None])
def test_a_rotation_keeps_the_old_hash_for_its_grace(
    store: AccessStore, credential: Credential, until: float | None
) -> None:
    """The credential is found by both hashes."""
    new = a_hash()
    expected = replace(
        credential,
        secret_hash=new,
        version=2,
        previous_hash=credential.secret_hash,
        previous_until=until,
    )
    assert store.rotate(credential, new, until) == expected
    assert store.get(credential.id) == expected
    assert store.find(new) == store.find(credential.secret_hash) == expected


def test_a_repeated_rotation_counts_once(store: AccessStore, credential: Credential) -> None:
    """After the next rotation the secret before the last one is not found."""
    new = a_hash()
    first = store.rotate(credential, new, NOW + 9)
    assert store.rotate(credential, new, NOW + 9) == first
    second = store.rotate(first, a_hash(), None)
    assert (second.version, second.previous_until) == (3, None)
    assert store.find(credential.secret_hash) is None
    assert store.find(first.secret_hash) == store.find(second.secret_hash) == second
    third = store.rotate(second, a_hash(), None)
    assert store.find(third.secret_hash) == third


def test_a_credential_that_can_not_be_rotated_is_refused(
    store: AccessStore, credential: Credential
) -> None:
    """It is absent, revoked or rotated meanwhile, or two have the same secret."""
    other, absent = a_credential(), a_credential()
    store.create(other)
    with pytest.raises(CredentialMovedError):
        store.rotate(credential, other.secret_hash, None)
    assert store.find(other.secret_hash) == other

    def check_refused(before: Credential) -> None:
        new = a_hash()
        with pytest.raises(CredentialMovedError):
            store.rotate(before, new, None)
        assert store.find(new) is None

    rotated = store.rotate(credential, a_hash(), None)
    check_refused(credential)
    assert store.get(credential.id) == rotated
    store.revoke(credential.id)
    for before in (rotated, absent):
        check_refused(before)


# revoking, granting, noting use


def test_a_revoked_credential_says_so_at_the_next_read(
    store: AccessStore, credential: Credential
) -> None:
    """A second revocation changes nothing."""
    for _ in range(2):
        store.revoke(credential.id)
        assert store.get(credential.id) == replace(credential, revoked=True)
        assert store.find(credential.secret_hash) == replace(credential, revoked=True)


def test_grants_are_replaced_as_a_whole(store: AccessStore, credential: Credential) -> None:
    """The new grants may be none."""
    for grants in (Grants.parse(["a/*:delete"]), Grants()):
        store.regrant(credential.id, grants)
        assert store.get(credential.id) == replace(credential, grants=grants)


def test_changing_an_absent_credential_creates_nothing(store: AccessStore) -> None:
    """By revoking, granting or noting a use."""
    absent = uuid.uuid4().hex
    with pytest.raises(CredentialMissingError):
        store.revoke(absent)
    with pytest.raises(CredentialMissingError):
        store.regrant(absent, Grants(admin=True))
    assert not store.touch(absent, "2026-11-24")
    assert store.get(absent) is None


def test_a_day_of_use_is_noted_once(store: AccessStore, credential: Credential) -> None:
    """An earlier day never replaces a later one."""
    days = ["2026-11-24", "2026-11-24", "2026-11-23", "2026-11-25"]
    assert [store.touch(credential.id, day) for day in days] == [True, False, False, True]
    assert store.get(credential.id) == replace(credential, last_used_day="2026-11-25")


# trusts


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


def test_a_trust_is_read_as_it_was_put_last(store: AccessStore) -> None:
    """Every field is kept; the same trust again changes nothing, another one replaces all."""
    made = a_trust()
    role = "arn:aws:sts::123456789012:assumed-role/ci/*"
    other = replace(made, issuer=AWS, audience="", subject=role, grants=Grants(admin=True))
    for trust in (made, made, other, made):
        store.put_trust(trust)
        assert store.get_trust(made.name) == trust


@pytest.mark.parametrize("name", ["", "nobody", "a" * 63, "x" * 3000, "Ä\0", "CI"])
def test_reading_or_deleting_an_absent_trust(store: AccessStore, name: str) -> None:
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


def test_trusts_are_listed_by_name(fresh_store: AccessStore) -> None:
    """All trusts are listed, by name in byte order."""
    assert list(fresh_store.list_trusts()) == []
    made = [a_trust(name=name) for name in ("b", "a_b", "a-b", "a.b", "0", "a@b", "z" * 63)]
    for one in made:
        fresh_store.put_trust(one)
    assert list(fresh_store.list_trusts()) == sorted(made, key=lambda one: one.name)


def test_more_trusts_than_the_limit_are_refused(
    fresh_store: AccessStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An existing trust can still be replaced."""
    monkeypatch.setattr(dynamodb_access, "MAX_TRUSTS", 3)
    monkeypatch.setattr(memory_access, "MAX_TRUSTS", 3, raising=False)
    made = [a_trust(name=f"t{number:03}") for number in range(3)]
    for one in made:
        fresh_store.put_trust(one)
    with pytest.raises(TooManyTrustsError):
        fresh_store.put_trust(a_trust(name="t-more"))
    assert list(fresh_store.list_trusts()) == made
    replaced = a_trust(name="t001", subject="somebody")
    fresh_store.put_trust(replaced)
    assert fresh_store.get_trust("t001") == replaced
    fresh_store.delete_trust("t000")
    fresh_store.put_trust(a_trust(name="t-more"))
    assert len(fresh_store.list_trusts()) == 3


# public repositories


def test_a_repository_is_made_public_and_private_again(fresh_store: AccessStore) -> None:
    """Repeats change nothing."""
    store = fresh_store
    one, two, three = sorted(fresh_name() for _ in range(3))
    assert store.public_among([one]) == frozenset()
    for name in (one, two, two):
        store.set_public(name, public=True)
    assert store.public_among([one, one, two, three]) == {one, two}
    assert store.public_among([]) == frozenset()
    assert store.list_public(None, 2) == Page([one, two], more=False)
    assert store.list_public(None, 1) == Page([one], more=True)
    assert store.list_public(one, 1) == Page([two], more=False)
    spans = ((one, two), (two, three), (two, one), (three, "~"))
    assert [len(store.public_between(*span)) for span in spans] == [2, 1, 0, 0]
    for name in (one, one, three):
        store.set_public(name, public=False)
    assert store.list_public(None, 5) == Page([two], more=False)


# failed logins


def test_failed_logins_are_counted_by_key_and_window(store: AccessStore) -> None:
    """Each attempt counts once."""
    key, other = a_hash(), a_hash()
    assert store.failures(key, 7) == 0
    counted = [store.add_failure(key, 7, attempt, NOW) for attempt in ("a", "b", "b", "c")]
    assert counted == [1, 2, 2, 3]
    assert store.add_failure(other, 7, "c", NOW) == 1
    assert store.add_failure(key, 8, "c", NOW) == 1
    assert [store.failures(key, window) for window in (6, 7, 8)] == [0, 3, 1]


# races


JUDGES_RACES = pytest.mark.parametrize("store", ["memory", "ministack"], indirect=True)


@JUDGES_RACES
def test_of_many_rotations_at_once_one_wins(store: AccessStore) -> None:
    """The other secrets find no credential."""
    credential = a_credential()
    store.create(credential)
    hashes = [a_hash() for _ in range(8)]

    def rotate(new: str) -> str | None:
        try:
            return store.rotate(credential, new, None).secret_hash
        except (CredentialMovedError, UnavailableError):
            return None

    with ThreadPoolExecutor(8) as pool:
        won = [new for new in pool.map(rotate, hashes) if new]
    current = store.get(credential.id)
    assert current is not None
    assert (won, current.version) == ([current.secret_hash], 2)
    assert [new for new in hashes if store.find(new)] == won


@JUDGES_RACES
def test_failures_and_uses_at_once_are_all_counted(store: AccessStore) -> None:
    """A day of use is noted once."""
    credential, key = a_credential(), a_hash()
    store.create(credential)
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda n: store.add_failure(key, 1, f"{n}", NOW), range(24)))
        touched = list(pool.map(lambda _: store.touch(credential.id, "2026-11-24"), range(24)))
    assert (store.failures(key, 1), sorted(counts)) == (24, list(range(1, 25)))
    assert touched.count(True) == 1


# DynamoDB alone


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_pages_are_read(running: Running, backend: str) -> None:
    """Trusts that fill more than one answer of DynamoDB (1 MB) are listed whole."""
    dynamo = over_a_table(running.stores(backend))
    made = [a_trust(name=f"t{number}") for number in range(5)]
    for one in made:
        dynamo.store.put_trust(one)
        dynamo.set(listed_trust(one.name), "ballast", {"S": "x" * 350_000})
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
    """It lets nobody in, is not treated as absent, and can be replaced."""
    dynamo, made = over_a_table(running.stores("moto")), a_trust()
    dynamo.store.put_trust(made)
    for key in (trust_key(made.name), listed_trust(made.name)):
        dynamo.set(key, attribute, value)
    with pytest.raises(CorruptItemError):
        dynamo.store.get_trust(made.name)
    with pytest.raises(CorruptItemError):
        dynamo.store.list_trusts()
    dynamo.store.put_trust(made)
    assert dynamo.store.list_trusts() == [made]


def test_a_write_that_is_sent_twice_counts_once(dynamo: DynamoAccess) -> None:
    """Creating, rotating, counting, noting a use and adding a trust."""
    store, credential, new, key = dynamo.store, a_credential(), a_hash(), a_hash()
    with answer_lost(dynamo.client, "TransactWriteItems"):
        store.create(credential)
    assert store.get(credential.id) == credential
    with answer_lost(dynamo.client, "TransactWriteItems"):
        rotated = store.rotate(credential, new, NOW)
    assert (rotated.version, rotated.secret_hash) == (2, new)
    with answer_lost(dynamo.client, "UpdateItem"):
        store.touch(credential.id, "2026-11-24")
    rotated = replace(rotated, last_used_day="2026-11-24")
    assert store.get(credential.id) == rotated
    with answer_lost(dynamo.client, "PutItem"):
        assert store.add_failure(key, 1, "a", NOW) == 1
    with answer_lost(dynamo.client, "UpdateItem"):
        assert store.add_failure(key, 1, "b", NOW) == 2
    with answer_lost(dynamo.client, "UpdateItem"):
        store.revoke(credential.id)
    assert store.get(credential.id) == replace(rotated, revoked=True)
    trust = a_trust()
    with answer_lost(dynamo.client, "TransactWriteItems"):
        store.put_trust(trust)
    assert store.get_trust(trust.name) == trust
    with answer_lost(dynamo.client, "TransactWriteItems"):
        store.delete_trust(trust.name)
    assert store.get_trust(trust.name) is None
    with answer_lost(dynamo.client, "TransactWriteItems"):
        store.set_public("lost", public=True)
    assert store.public_among(["lost"]) == {"lost"}


def test_a_secret_that_is_rotated_twice_during_a_read_is_not_found(dynamo: DynamoAccess) -> None:
    """A secret is not found that is replaced twice while it is looked for."""
    store, credential = dynamo.store, a_credential()
    store.create(credential)

    def replace_twice() -> None:
        store.rotate(store.rotate(credential, a_hash(), None), a_hash(), None)

    with meanwhile(dynamo.client, "GetItem", replace_twice):
        assert store.find(credential.secret_hash) is None


def test_a_secret_before_the_last_leaves_no_row(dynamo: DynamoAccess) -> None:
    """It also works if that row is missing."""
    store, first = dynamo.store, a_credential()
    store.create(first)
    second = store.rotate(first, a_hash(), None)
    third = store.rotate(second, a_hash(), None)
    wanted = [key_attributes(secret_key(one.secret_hash)) for one in (first, second, third)]
    ways = [dynamo.client.get_item(TableName=dynamo.table, Key=key) for key in wanted]
    assert ["Item" in way for way in ways] == [False, True, True]
    fourth = store.rotate(replace(third, previous_hash=a_hash()), a_hash(), None)
    assert (fourth.version, fourth.previous_hash) == (4, third.secret_hash)


@pytest.mark.parametrize("name", BACKENDS)
def test_only_counters_expire(running: Running, name: str) -> None:
    """A counter has a time to live; a credential with an expiry has none."""
    dynamo = over_a_table(running.stores(name))
    store, credential, key = dynamo.store, a_full_credential(), a_hash()
    store.create(credential)
    store.set_public("a", public=True)
    store.add_failure(key, 1, "a", NOW + 0.5)
    items = dynamo.client.scan(TableName=dynamo.table)["Items"]
    expiring = [item for item in items if "drop_at" in item]
    assert len(items) == 6
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


# what version 0.1 stored


@pytest.fixture
def older(fresh_store: AccessStore) -> tuple[DynamoAccessStore, Credential, Trust]:
    """A store with one credential, one trust and one public repository, `a`, of version 0.1."""
    assert isinstance(fresh_store, DynamoAccessStore)
    credential, trust = a_full_credential(), a_trust()
    credential = replace(credential, revoked=False)
    put_as_version_0_1(fresh_store, credential, trust, "a")
    return fresh_store, credential, trust


Older = tuple[DynamoAccessStore, "Credential", Trust]


def check_read(older: Older) -> None:
    """Everything is found, by every way to it."""
    store, credential, trust = older
    assert store.get(credential.id) == store.find(credential.secret_hash) == credential
    assert store.list_credentials(None, 9) == Page([credential], more=False)
    assert store.get_trust(trust.name) == trust
    assert store.list_trusts() == [trust]
    assert store.public_among(["a", "b"]) == store.public_between("a", "b") == {"a"}
    assert store.list_public(None, 9) == Page(["a"], more=False)


def test_access_items_of_version_0_1_are_found_before_and_after_the_move(older: Older) -> None:
    """Moving twice is moving once, and today's items are not moved."""
    store, _, trust = older
    check_read(older)
    assert [store.move(), store.move()] == [3, 0]
    check_read(older)
    store.create(a_credential())
    store.put_trust(a_trust())
    store.set_public("b", public=True)
    assert store.move() == 0
    store.delete_trust(trust.name)
    store.set_public("a", public=False)
    assert (store.get_trust(trust.name), store.public_among(["a"])) == (None, frozenset())


@pytest.mark.parametrize("moved", [False, True])
def test_access_items_of_version_0_1_are_changed_in_place(older: Older, moved: bool) -> None:  # noqa: FBT001 - a parameter
    """The functions of 0.1 read them there, as long as they run."""
    store, credential, trust = older
    if moved:
        assert store.move() == 3
    store.regrant(credential.id, Grants.parse(["a:pull"]))
    new = a_hash()
    rotated = store.rotate(replace(credential, grants=Grants.parse(["a:pull"])), new, None)
    assert rotated == store.find(new)
    assert (rotated.secret_hash, rotated.grants) == (new, Grants.parse(["a:pull"]))
    store.revoke(credential.id)
    store.put_trust(replace(trust, grants=Grants.parse(["b:pull"])))
    for _ in range(2):
        assert store.get(credential.id) == replace(rotated, revoked=True)
        assert store.get_trust(trust.name) == replace(trust, grants=Grants.parse(["b:pull"]))
        store.move()
    with pytest.raises(CredentialExistsError):
        store.create(replace(credential, secret_hash=a_hash()))


def test_a_change_during_the_move_is_not_lost(dynamo: DynamoAccess) -> None:
    """The item is left for the next time."""
    store, credential, trust = dynamo.store, a_credential(), a_trust()
    put_as_version_0_1(store, credential, trust)

    def revoke() -> None:
        dynamo.set(listed_credential(credential.id), "revoked", {"BOOL": True})

    def replace_trust() -> None:
        dynamo.set(listed_trust(trust.name), "subject", {"S": "somebody"})

    with (
        meanwhile(dynamo.client, "Query", revoke, 1),
        meanwhile(dynamo.client, "Query", replace_trust, 2),
    ):
        store.move()
    revoked = replace(credential, revoked=True)
    assert store.get(credential.id) == revoked
    store.move()
    assert store.get(credential.id) == revoked
    assert store.get_trust(trust.name) == replace(trust, subject="somebody")


def test_a_credential_that_is_moved_while_it_is_revoked_is_revoked(dynamo: DynamoAccess) -> None:
    """The row in the list is not taken for the credential."""
    store, credential = dynamo.store, a_credential()
    put_as_version_0_1(store, credential)
    with meanwhile(dynamo.client, "GetItem", store.move, 2):
        store.revoke(credential.id)
    assert store.get(credential.id) == replace(credential, revoked=True)
    row = dynamo.client.get_item(
        TableName=dynamo.table, Key=key_attributes(listed_credential(credential.id))
    )
    assert row["Item"].keys() == {"pk", "sk"}


def test_a_credential_that_is_moved_while_it_is_looked_for_is_found(dynamo: DynamoAccess) -> None:
    """At each moment it is in one of the two places."""
    store, credential = dynamo.store, a_credential()
    put_as_version_0_1(store, credential)
    with meanwhile(dynamo.client, "GetItem", store.move):
        assert store.get(credential.id) == credential


# what is read


def test_each_request_reads_few_items_from_separate_partitions(dynamo: DynamoAccess) -> None:
    """Logins share no item, and a page of the catalog reads one range."""
    store, credential, trust = dynamo.store, a_credential(), a_trust()
    store.create(credential)
    store.put_trust(trust)
    names = [f"{fresh_name()}/{number}" for number in range(250)]
    store.set_public(names[0], public=True)
    reads: list[tuple[Callable[[], object], list[str]]] = [
        (lambda: store.get(credential.id), ["GetItem"]),
        (lambda: store.find(credential.secret_hash), ["GetItem", "GetItem"]),
        (lambda: store.get_trust(trust.name), ["GetItem"]),
        (lambda: store.public_among(names[:1]), ["BatchGetItem"]),
        (lambda: store.public_between(min(names), max(names)), ["Query"]),
    ]
    for read, budget in reads:
        with record_calls() as recorder:
            assert read()
        assert [call.operation for call in recorder.calls] == budget
        partitions = re.findall(r"'(CREDENTIAL|TRUST|PUBLIC)'", repr(recorder.calls))
        assert bool(partitions) == (budget == ["Query"])
