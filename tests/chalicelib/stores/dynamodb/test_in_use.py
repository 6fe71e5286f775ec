"""What runs, as sources say: each refresh takes the place of the last one, or nothing happens."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from chalicelib.errors import RegistryError
from chalicelib.registry.model import InUse, UseSource
from chalicelib.stores.dynamodb.in_use import (
    DynamoInUseStore,
    InUseTooLargeError,
    UseSourceMovedError,
)
from chalicelib.stores.dynamodb.keys import use_source_key
from tests.support.values import NOW, fresh_digest, fresh_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chalicelib.digest import Digest
    from tests.chalicelib.stores.conftest import Stores

    Named = Mapping[str, Mapping[Digest, str]]


@pytest.fixture
def source() -> str:
    """The name of a source that no other test has."""
    return f"source-{uuid.uuid4().hex}"


@pytest.fixture
def writer(stores: Stores) -> DynamoInUseStore:
    """The store of whoever refreshes sources."""
    return DynamoInUseStore(stores.client, stores.registry_table, sleep=stores.waits.append)


def refresh(writer: DynamoInUseStore, source: str, named: Named, now: float = NOW) -> list[InUse]:
    """Let a source name these digests; return its leases."""
    until = now + 3600
    leases = [InUse(name, source, "file", found, now, until) for name, found in named.items()]
    count = sum(map(len, named.values()))
    writer.refresh(UseSource(source, "file", tuple(named), count, now, until, ""), leases)
    return leases


def shown(writer: DynamoInUseStore, source: str) -> UseSource | None:
    """Return a source as the list has it."""
    return next((each for each in writer.sources() if each.name == source), None)


def test_a_refresh_replaces_the_last_one(
    stores: Stores, writer: DynamoInUseStore, source: str
) -> None:
    """Repositories that it does not name lose their lease; other sources keep theirs."""
    kept, left = sorted([fresh_name(), fresh_name()])
    assert stores.metadata.in_use(kept) == []
    first = {kept: {fresh_digest(): "ecs prod/web", fresh_digest(): ""}, left: {fresh_digest(): ""}}
    leases = refresh(writer, source, first)
    assert [stores.metadata.in_use(name) for name in first] == [[lease] for lease in leases]
    [other] = refresh(writer, f"other-{source}", {left: {fresh_digest(): "k8s prod/db"}})
    assert stores.metadata.in_use(left) == [other, leases[1]]
    [new] = refresh(writer, source, {kept: {fresh_digest(): "näme"}}, NOW + 60)
    assert (stores.metadata.in_use(kept), stores.metadata.in_use(left)) == ([new], [other])
    listed = shown(writer, source)
    assert listed is not None
    assert (listed.repositories, listed.count) == ((kept,), 1)
    assert (listed.refreshed_at, listed.until) == (NOW + 60, NOW + 3660)


def test_a_source_that_is_removed_leaves_nothing(
    stores: Stores, writer: DynamoInUseStore, source: str
) -> None:
    """It loses its leases in all repositories; a second removal finds none."""
    named: Named = {fresh_name(): {fresh_digest(): ""} for _ in range(3)}
    refresh(writer, source, named)
    removed = writer.remove(source)
    assert removed is not None
    assert removed.repositories == tuple(named)
    assert [lease for name in named for lease in stores.metadata.in_use(name)] == []
    assert shown(writer, source) is None
    assert writer.remove(source) is None


@pytest.mark.parametrize("removed", [False, True])
def test_of_two_refreshes_the_one_that_began_last_counts(
    fresh_stores: Stores, source: str, *, removed: bool
) -> None:
    """The earlier one gets an error, and removes none of the later one's leases."""
    repository, writes = fresh_name(), 0
    last = DynamoInUseStore(fresh_stores.client, fresh_stores.registry_table)

    class Overtaken:
        """A client before whose second transaction another refresh, or removal, comes."""

        def __getattr__(self, name: str) -> object:
            nonlocal writes
            writes += name == "transact_write_items"
            if name == "transact_write_items" and writes == 2:
                if removed:
                    last.remove(source)
                else:
                    leases.extend(refresh(last, source, {repository: {fresh_digest(): "new"}}))
            return getattr(fresh_stores.client, name)

    leases: list[InUse] = []
    early = DynamoInUseStore(Overtaken(), fresh_stores.registry_table)  # type: ignore[arg-type]
    with pytest.raises(UseSourceMovedError):
        refresh(early, source, {fresh_name(): {fresh_digest(): ""}, repository: {}})
    assert fresh_stores.metadata.in_use(repository) == leases
    found = shown(last, source)
    assert (found is None) if removed else (found and found.repositories == (repository,))


def test_a_lease_too_long_for_an_item_loses_its_words_or_is_refused(
    stores: Stores, writer: DynamoInUseStore, source: str
) -> None:
    """First it loses what runs the images; with too many digests nothing changes."""
    name = fresh_name()
    many = {fresh_digest(): "x" * 200 for _ in range(2000)}
    refresh(writer, source, {name: many})
    [lease] = stores.metadata.in_use(name)
    assert lease.digests == dict.fromkeys(many, "")
    more = {name: {fresh_digest(): "" for _ in range(5200)}}
    one = {fresh_digest(): ""}
    for too_large in (more, {f"team/{number:0250}": one for number in range(900)}):
        with pytest.raises(InUseTooLargeError, match="divide it into several sources"):
            refresh(writer, source, too_large, NOW + 60)
    assert stores.metadata.in_use(name) == [lease]


def test_a_failed_read_is_not_an_empty_list(fresh_stores: Stores) -> None:
    """If the table can't be read, no answer says that nothing runs."""
    missing = ClientError({"Error": {"Code": "InternalServerError"}}, "Query")

    class Failing:
        def query(self, **_: object) -> None:
            raise missing

    fresh_stores.metadata._dynamo._client = Failing()  # type: ignore[assignment]  # noqa: SLF001 - the way to every request
    with pytest.raises(RegistryError):
        fresh_stores.metadata.in_use(fresh_name())


def test_a_source_is_an_item(stores: Stores, writer: DynamoInUseStore, source: str) -> None:
    """Under its own name, so that it is found without its repositories."""
    refresh(writer, source, {fresh_name(): {fresh_digest(): ""}})
    assert stores.item(use_source_key(source)) is not None
