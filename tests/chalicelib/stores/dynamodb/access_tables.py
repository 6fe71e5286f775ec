"""Access stores of every kind; those of DynamoDB over tables of their own, on every backend."""

from __future__ import annotations

import functools
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.access.credentials import generate, hash_of
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from chalicelib.stores.dynamodb.expressions import key_attributes
from moorage.common.data import DataNames
from moorage.local.backend import aws_environment, create_data
from tests.chalicelib.stores.conftest import BACKENDS
from tests.support.memory_access import MemoryAccessStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_dynamodb import DynamoDBClient

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
