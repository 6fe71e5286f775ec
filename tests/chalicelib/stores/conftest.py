"""The stores under test, over tables in this process, over moto and over MiniStack.

One process of each backend and one pair of tables serve all tests, which take fresh names instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.stores.dynamodb.client import Dynamo
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from chalicelib.stores.s3.objects import S3ObjectStore, s3_config
from tests.emulators.dynamodb import MemoryTables
from tests.emulators.lost_answers import first_answers_lost
from tests.support.registries import REGISTRY, UPLOADS
from tests.support.values import a_session, fresh_digest, fresh_name, push, take_lease

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mypy_boto3_dynamodb import DynamoDBClient

    from chalicelib.digest import Digest
    from chalicelib.registry.model import Link, Record
    from chalicelib.registry.session import Session
    from chalicelib.stores.dynamodb.keys import Key
    from tests.emulators.backends import Backend

BACKENDS = ("moto", "ministack")
REPEATING = {f"{name}, sent twice": name for name in BACKENDS}
"""Over these every request is sent again, as the SDK does when an answer is lost.

moto ignores the token of a transaction: there the item shows a repeat, and on MiniStack the token.
"""


@dataclass(frozen=True)
class Stores:
    """A session store and a metadata store over the same tables, with a way past them."""

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

    def stored(self, **changes: Any) -> Session:  # noqa: ANN401 - any field of a session
        """Create a session with `changes`."""
        session = a_session(**changes)
        self.sessions.create(session)
        return session

    def lease(self, session: Session, **changes: Any) -> Session:  # noqa: ANN401 - any argument of take_lease
        """Take a lease of 30 seconds as `holder`, with `changes`."""
        return take_lease(self.sessions, session, **changes)

    def pushed(self, repository: str | None = None) -> Digest:
        """Publish a new blob in a repository (None: one of its own); returns its digest."""
        digest = fresh_digest()
        push(self.sessions, self.metadata, repository or fresh_name(), digest)
        return digest

    def link(self, repository: str, digest: Digest) -> Link:
        """Return a link that must be there."""
        link = self.metadata.get_link(repository, digest)
        assert link is not None
        return link

    def record(self, digest: Digest) -> Record:
        """Return a record that must be there."""
        record = self.metadata.get_record(digest)
        assert record is not None
        return record


class Script:
    """A client whose every call takes the next answer, or raises it; the last one for ever."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.requests: list[Mapping[str, Any]] = []
        self.waits: list[float] = []

    def __getattr__(self, operation: str) -> Callable[..., object]:
        def call(**request: object) -> object:
            self.requests.append(dict(request))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    @property
    def dynamo(self) -> Dynamo:
        """The wrapper of this client."""
        return Dynamo(cast("Any", self), self.waits.append)


def error(code: str, **response: object) -> ClientError:
    """Return what botocore raises for an error code."""
    answer: Any = {"Error": {"Code": code, "Message": "no"}, **response}
    return ClientError(answer, "AnyOperation")


class Running:
    """The session's moto, and MiniStack, which is started when first asked for."""

    def __init__(self, strict_moto: Backend, start_ministack: Callable[[], Backend]) -> None:
        self._strict_moto, self._start_ministack = strict_moto, start_ministack
        self._stores: dict[str, tuple[Backend, Stores]] = {}
        self._repeating: dict[str, DynamoDBClient] = {}

    def backend(self, name: str) -> Backend:
        """Return the backend that all tests share."""
        return self._started(name)[0]

    def stores(self, name: str) -> Stores:
        """Return stores over the tables that all tests share."""
        return self._started(name)[1]

    def fresh(self, name: str) -> Stores:
        """Return stores over tables of their own."""
        return over_backend(self.backend(name).fresh())

    def _started(self, name: str) -> tuple[Backend, Stores]:
        if name not in self._stores:
            backend = self._start_ministack() if name == "ministack" else self._strict_moto
            self._stores[name] = backend, over_backend(backend)
        return self._stores[name]

    def repeating(self, name: str) -> Stores:
        """Return stores over the same tables, whose client sends every request twice."""
        if name not in self._repeating:
            self._repeating[name] = self.backend(name).dynamodb()
            first_answers_lost(self._repeating[name])
        stores = self.stores(name)
        return over(self._repeating[name], stores.registry_table, stores.uploads_table)


def over(client: DynamoDBClient, registry: str, uploads: str) -> Stores:
    """Return stores over a client's tables, which note how long they would sleep."""
    waits = list[float]()
    return Stores(
        DynamoSessionStore(client, uploads, sleep=waits.append),
        DynamoMetadataStore(client, registry, uploads, sleep=waits.append),
        client,
        registry,
        uploads,
        waits,
    )


def over_backend(backend: Backend) -> Stores:
    """Return stores over a backend's tables."""
    return over(backend.dynamodb(), backend.registry_table, backend.uploads_table)


def in_memory() -> Stores:
    """Return stores over new tables in this process."""
    return over(cast("Any", MemoryTables()), REGISTRY, UPLOADS)


@pytest.fixture(scope="session")
def running(strict_moto: Backend, start_ministack: Callable[[], Backend]) -> Running:
    """The backends that all tests share."""
    return Running(strict_moto, start_ministack)


@pytest.fixture(params=["memory", *BACKENDS, *REPEATING])
def stores(request: pytest.FixtureRequest, running: Running) -> Stores:
    """Stores of every kind, one after the other."""
    if request.param in REPEATING:
        return running.repeating(REPEATING[request.param])
    return in_memory() if request.param == "memory" else running.stores(request.param)


@pytest.fixture(params=["memory", *BACKENDS])
def fresh_stores(request: pytest.FixtureRequest, running: Running) -> Stores:
    """Stores of every kind with nothing in them."""
    return in_memory() if request.param == "memory" else running.fresh(request.param)


@pytest.fixture(params=BACKENDS)
def dynamo(request: pytest.FixtureRequest, running: Running) -> Stores:
    """The stores of DynamoDB over every backend, which have not slept yet."""
    stores = running.stores(request.param)
    stores.waits.clear()
    return stores


def signing_store(ministack: Backend) -> S3ObjectStore:
    """Return a store that signs with the one key pair that MiniStack knows."""
    client = boto3.client(
        "s3",
        endpoint_url=ministack.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - MiniStack's own
        config=s3_config(emulated=True),
    )
    return S3ObjectStore(client, ministack.bucket)


@pytest.fixture
def repository() -> str:
    """A repository name that no other test has."""
    return fresh_name()
