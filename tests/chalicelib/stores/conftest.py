"""The stores under test: the ones in memory, and those of DynamoDB over moto and over MiniStack.

One process of each backend and one pair of tables serve all tests, which take fresh names instead.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from tests.emulators.backends import Backend, ministack_backend, moto_backend
from tests.support.memory_metadata import MemoryMetadataStore
from tests.support.memory_sessions import MemorySessionStore
from tests.support.values import fresh_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_dynamodb import DynamoDBClient

    from chalicelib.registry.ports import MetadataStore, SessionStore
    from chalicelib.stores.dynamodb.keys import Key

BACKENDS: dict[str, Callable[[], AbstractContextManager[Backend]]] = {
    "moto": moto_backend,
    "ministack": ministack_backend,
}


@dataclass(frozen=True)
class Stores:
    """A session store and a metadata store over the same world."""

    sessions: SessionStore
    metadata: MetadataStore


@dataclass(frozen=True)
class DynamoStores(Stores):
    """The stores of DynamoDB, with a way past them to the tables."""

    sessions: DynamoSessionStore
    metadata: DynamoMetadataStore
    client: DynamoDBClient
    registry_table: str
    uploads_table: str
    waits: list[float] = field(default_factory=list)
    """How long the stores would have slept."""

    def table(self, key: Key) -> str:
        """Return the table to which a key belongs."""
        return self.uploads_table if "session" in key else self.registry_table

    def item(self, key: Key) -> dict[str, Any] | None:
        """Read an item as it is."""
        answer = self.client.get_item(
            TableName=self.table(key), Key=key_attributes(key), ConsistentRead=True
        )
        return dict(answer["Item"]) if "Item" in answer else None

    def change(self, key: Key, /, **attributes: dict[str, Any] | None) -> None:
        """Set attributes behind the stores' back; None removes one."""
        item = {**(self.item(key) or key_attributes(key)), **attributes}
        kept = {name: value for name, value in item.items() if value is not None}
        self.client.put_item(TableName=self.table(key), Item=kept)

    def drop(self, key: Key) -> None:
        """Delete an item behind the stores' back."""
        self.client.delete_item(TableName=self.table(key), Key=key_attributes(key))


class Running:
    """Backends that are started when first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._stores: dict[str, tuple[Backend, DynamoStores]] = {}

    def stores(self, name: str) -> DynamoStores:
        """Return stores over the tables that all tests share."""
        return self._started(name)[1]

    def fresh(self, name: str) -> DynamoStores:
        """Return stores over tables of their own."""
        return over(self._started(name)[0].fresh())

    def _started(self, name: str) -> tuple[Backend, DynamoStores]:
        if name not in self._stores:
            backend = self._stack.enter_context(BACKENDS[name]())
            self._stores[name] = backend, over(backend)
        return self._stores[name]


def over(backend: Backend) -> DynamoStores:
    """Return the stores over a backend's tables, which note how long they would sleep."""
    client, waits = backend.dynamodb(), list[float]()
    registry, uploads = backend.registry_table, backend.uploads_table
    return DynamoStores(
        DynamoSessionStore(client, uploads, sleep=waits.append),
        DynamoMetadataStore(client, registry, uploads, sleep=waits.append),
        client,
        registry,
        uploads,
        waits,
    )


def in_memory() -> Stores:
    """Return new stores in memory."""
    sessions = MemorySessionStore()
    return Stores(sessions, MemoryMetadataStore(sessions))


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    """Backends, stopped when all tests are over."""
    with ExitStack() as stack:
        yield Running(stack)


@pytest.fixture(params=["memory", *BACKENDS])
def stores(request: pytest.FixtureRequest, running: Running) -> Stores:
    """Stores of every kind, one after the other."""
    return in_memory() if request.param == "memory" else running.stores(request.param)


@pytest.fixture(params=["memory", *BACKENDS])
def fresh_stores(request: pytest.FixtureRequest, running: Running) -> Stores:
    """Stores of every kind with nothing in them."""
    return in_memory() if request.param == "memory" else running.fresh(request.param)


@pytest.fixture(params=["memory", "ministack"])
def racing_stores(request: pytest.FixtureRequest, running: Running) -> Stores:
    """Stores whose backend can judge a race."""
    return in_memory() if request.param == "memory" else running.stores(request.param)


@pytest.fixture(params=BACKENDS)
def dynamo(request: pytest.FixtureRequest, running: Running) -> DynamoStores:
    """The stores of DynamoDB over every backend, which have not slept yet."""
    stores = running.stores(request.param)
    stores.waits.clear()
    return stores


@pytest.fixture
def repository() -> str:
    """A repository name that no other test has."""
    return fresh_name()
