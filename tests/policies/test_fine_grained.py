"""Nobody but an owner writes credentials, secrets, trusts and public repositories, says IAM.

What owners' commands ask of AWS, and requests that nobody makes, are put to the policies of the
functions that have anything to do with the table `access`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.access.credentials import generate, hash_of
from chalicelib.access.grants import Grants
from chalicelib.access.trusts import Trust
from chalicelib.stores.dynamodb import keys
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from chalicelib.stores.dynamodb.expressions import key_attributes
from tests.chalicelib.access.values import NOW, a_credential
from tests.infra.templates import DATA
from tests.policies.aws_calls import OWNERS_METHODS, AwsCall, each_call
from tests.policies.function_policies import DeployedNames, Function, document, policy
from tests.policies.iam_actions import needs
from tests.policies.policy import ATTRIBUTES, LEADING_KEYS, UnsupportedPolicyError, Verdict
from tests.support.memory_access import put_as_version_0_1

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from chalicelib.stores.dynamodb.keys import Key
    from tests.emulators.backends import Backend
    from tests.policies.iam_actions import Need

NAMES = DeployedNames("b", "registry", "uploads", "access")
READS = {f"dynamodb:{each}" for each in ("BatchGetItem", "GetItem", "Query")}
AT_THE_DOOR = (Function.API, Function.AUTHORIZER)
CREDENTIAL = keys.credential_key("c0ffee")
OWNERS = {
    "credential": CREDENTIAL,
    "secret": keys.secret_key("5ec4e7"),
    "trust": keys.trust_key("ci"),
    "public": keys.public_key("team/app"),
    "list of credentials": keys.listed_credential("c0ffee"),
    "list of trusts": keys.listed_trust("ci"),
    "list of public": keys.listed_public("team/app"),
}
ELSEWHERE = {
    **OWNERS,
    "no kind": {"pk": "FAILURES", "sk": "1"},
    "another kind": {"pk": "failures#x", "sk": "1"},
    "a kind behind": {"pk": "SECRET#FAILURES#x", "sk": "1"},
    "credentials by another name": {"pk": "CREDENTIALS#x", "sk": "1"},
}
COUNTER = keys.failures_key("192.0.2.1 somebody", 7)


def decisions(
    function: Function, asked: Iterable[Need], names: DeployedNames = NAMES
) -> list[Verdict]:
    """Return what a function's policy says of what a call needs."""
    granted = policy(function, names)
    return [granted.decide(each.action, each.resource, each.context) for each in asked]


def request(key: Key, text: str = "", **more: object) -> dict[str, Any]:
    """Return an update's parameters."""
    expression = {"UpdateExpression": text} if text else {}
    return {"TableName": "access", "Key": key_attributes(key), **expression, **more}


def put(key: Key) -> dict[str, Any]:
    """Return a put's parameters."""
    return {"TableName": "access", "Item": {**key_attributes(key), "count": {"N": "1"}}}


def writes(key: Key) -> list[Need]:
    """Return what each way of writing an item needs."""
    day = request(key, "SET last_used_day = :day")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("PutItem", put(key)),
        ("UpdateItem", request(key, "SET grants = :g")),
        ("DeleteItem", request(key)),
    ]
    parts = [{"Put": put(key)}, {"Update": request(key, "SET a = :a")}, {"Delete": request(key)}]
    calls += [("TransactWriteItems", {"TransactItems": [part]}) for part in parts]
    if not key["pk"].startswith("CREDENTIAL#"):
        calls += [("UpdateItem", day), ("TransactWriteItems", {"TransactItems": [{"Update": day}]})]
    return [need for name, each in calls for need in needs("dynamodb", name, each)]


@pytest.mark.parametrize("function", AT_THE_DOOR)
@pytest.mark.parametrize("kind", ELSEWHERE)
def test_writes_that_only_owners_may_make_are_refused(function: Function, kind: str) -> None:
    """No put, update or delete of such an item is allowed, nor one in a transaction."""
    assert set(decisions(function, writes(ELSEWHERE[kind]))) == {Verdict.NOT_ALLOWED}


@pytest.mark.parametrize("function", AT_THE_DOOR)
@pytest.mark.parametrize(
    "text",
    [
        "SET grants = :g",
        "SET revoked = :no",
        "SET secret_hash = :h",
        "SET previous_hash = :h, previous_until = :t",
        "SET last_used_day = :day, grants = :g",
        "SET last_used_day = grants",
        "SET last_used_day = :day REMOVE expires_at",
        "SET grants[0] = :g",
        "ADD version :one",
        "REMOVE #last_used_day",
        "SET last_used_day = :day IF secret_hash = :hash",
    ],
)
def test_other_attributes_of_a_credential_are_refused(function: Function, text: str) -> None:
    """A request that names anything but the day of use is refused: it may not be asked for either.

    What stands behind IF is the condition of the write.
    """
    update, _, condition = text.partition(" IF ")
    more: dict[str, object] = {"ExpressionAttributeNames": {"#last_used_day": "expires_at"}}
    if condition:
        more["ConditionExpression"] = condition
    asked = needs("dynamodb", "UpdateItem", request(CREDENTIAL, update, **more))
    assert decisions(function, asked) == [Verdict.NOT_ALLOWED]


@pytest.mark.parametrize("function", AT_THE_DOOR)
def test_the_day_of_use_is_allowed(function: Function) -> None:
    """That attribute alone may be written, and no more be asked for in return."""
    asked = request(CREDENTIAL, "SET last_used_day = :day")
    assert decisions(function, needs("dynamodb", "UpdateItem", asked)) == [Verdict.ALLOWED]
    for values in ("ALL_OLD", "ALL_NEW", "UPDATED_NEW"):
        more = needs("dynamodb", "UpdateItem", {**asked, "ReturnValues": values})
        assert decisions(function, more) == [Verdict.NOT_ALLOWED]
    met = {**asked, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    with pytest.raises(UnsupportedPolicyError):
        decisions(function, needs("dynamodb", "UpdateItem", met))


def test_only_the_api_may_write_counters() -> None:
    """It puts and raises them, and deletes none; the authorizer does not touch them."""
    calls = [("PutItem", put(COUNTER)), ("UpdateItem", request(COUNTER, "SET a = :a"))]
    asked = [need for name, each in calls for need in needs("dynamodb", name, each)]
    assert decisions(Function.API, asked) == [Verdict.ALLOWED] * 2
    assert decisions(Function.AUTHORIZER, asked) == [Verdict.NOT_ALLOWED] * 2
    deleted = needs("dynamodb", "DeleteItem", request(COUNTER))
    assert decisions(Function.API, deleted) == [Verdict.NOT_ALLOWED]


@pytest.mark.parametrize("function", Function)
def test_writes_that_name_no_item_are_refused(function: Function) -> None:
    """A request without the keys that conditions ask for is not allowed, nor another way to write.

    The commit and the sweep function have nothing to do with the table.
    """
    granted = policy(function, NAMES)
    (table,) = {need.resource for need in writes(CREDENTIAL)}
    others = ("BatchWriteItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete", "UpdateTable")
    for action in ("PutItem", "UpdateItem", "DeleteItem", *others):
        assert granted.decide(f"dynamodb:{action}", table) is Verdict.NOT_ALLOWED


def owners_writes(backend: Backend) -> dict[str, list[Need]]:
    """Return what each of the owners' methods needs to write, by what it sends."""
    store = DynamoAccessStore(backend.dynamodb(), backend.access_table)
    hashes = [hash_of(generate()) for _ in range(3)]
    one = a_credential(secret_hash=hashes[0])
    trust = Trust.parse(
        "ci", issuer="https://i.example", audience="a", subject="s", grants=["a/*:pull"]
    )
    steps: dict[str, Callable[[], object]] = {
        "create": lambda: store.create(one),
        "rotate": lambda: store.rotate(store.rotate(one, hashes[1], NOW), hashes[2], None),
        "regrant": lambda: store.regrant(one.id, Grants.parse(["admin"])),
        "revoke": lambda: store.revoke(one.id),
        "put_trust": lambda: store.put_trust(trust),
        "delete_trust": lambda: store.delete_trust("ci"),
        "set_public": lambda: store.set_public("a", public=True),
        "set_public, no longer": lambda: store.set_public("a", public=False),
        "move": store.move,
    }
    put_as_version_0_1(store, a_credential(), replace(trust, name="old"), "old")
    found = {}
    for name, step in steps.items():
        calls: list[AwsCall] = []
        with each_call(calls.append):
            step()
        asked = {need for call in calls for need in call.needs()}
        found[name] = [need for need in asked if need.action not in READS]
    return found


@pytest.mark.parametrize("function", Function)
def test_the_owners_own_requests_are_refused(function: Function, strict_moto: Backend) -> None:
    """Each write that a command of the owner sends would be refused if a function sent it."""
    backend = strict_moto.fresh()
    names, found = DeployedNames.of(backend), owners_writes(backend)
    assert OWNERS_METHODS - found.keys() == {"list_credentials", "list_public"}
    for asked in found.values():
        assert asked
        assert set(decisions(function, asked, names)) == {Verdict.NOT_ALLOWED}


@pytest.mark.parametrize("function", AT_THE_DOOR)
def test_attributes_are_listed_with_the_keys(function: Function) -> None:
    """Where attributes are limited, AWS wants all key attributes of the table and its indexes."""
    table = DATA["Resources"]["AccessTable"]["Properties"]
    assert not [name for name in table if name.endswith("SecondaryIndexes")]
    named = {key["AttributeName"] for key in table["KeySchema"]}
    (day,) = [each for each in document(function)["Statement"] if each["Sid"] == "DayOfUse"]
    listed = {*day["Condition"]["ForAllValues:StringEquals"][ATTRIBUTES]}
    assert listed == named | {"last_used_day"}
    assert day["Condition"].pop("ForAllValues:StringLike") == {LEADING_KEYS: ["CREDENTIAL#*"]}
    assert "StringLike" not in json.dumps(day)
