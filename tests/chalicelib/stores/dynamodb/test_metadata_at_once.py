"""What every store does when many requests come at once.

Only where the backend can judge it: moto answers one request after another.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from chalicelib.errors import UploadBusyError
from chalicelib.registry.session import Session, UploadState
from tests.support.values import NOW, always, begin, fresh_digest, fresh_name, key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chalicelib.stores.conftest import Stores

T = TypeVar("T")

pytestmark = pytest.mark.parametrize("stores", ["memory", "ministack"], indirect=True)


def race(racers: int, run: Callable[[int], T]) -> list[T]:
    """Run numbered racers at once, and return what each returned."""
    start = Barrier(racers)

    def one(number: int) -> T:
        start.wait(30)
        return run(number)

    with ThreadPoolExecutor(racers) as pool:
        return list(pool.map(one, range(racers)))


@pytest.mark.parametrize(
    ("dead", "fence", "burned"),
    [({}, 1, ()), ({"holder": "dead", "lease_until": NOW, "fence": 1}, 2, (1,))],
    ids=["free", "dead"],
)
def test_only_one_of_many_racers_gets_the_lease(
    stores: Stores, dead: dict[str, Any], fence: int, burned: tuple[int, ...]
) -> None:
    """Of requests that come at once, one gets the lease, free or dead, and the others are busy."""
    session = stores.stored(**dead)

    def run(number: int) -> Session | None:
        try:
            return stores.lease(session, holder=f"racer-{number}")
        except UploadBusyError:
            return None

    (winner,) = filter(None, race(8, run))
    assert stores.sessions.get(session.id) == winner
    assert (winner.fence, winner.burned, winner.next_part) == (fence, burned, len(burned) + 1)


@pytest.mark.parametrize("same_repository", ["one repository", "many repositories"])
def test_racing_publications_count_every_link_once(stores: Stores, same_repository: str) -> None:
    """Pushes of one digest at once all succeed, name the same bytes, and are counted exactly."""
    digest, shared = fresh_digest(), fresh_name()
    repositories = [
        shared if same_repository == "one repository" else fresh_name() for _ in range(6)
    ]
    begun = [begin(stores.sessions, name, digest) for name in repositories]

    def run(number: int) -> str | None:
        before, after = begun[number]
        published = stores.metadata.publish(before, after, key_of(before), NOW, is_there=always)
        assert published.state is UploadState.COMMITTED
        return published.published_key

    keys = set(race(6, run))
    record = stores.record(digest)
    assert keys == {record.key}
    assert record.links == len(set(repositories))
    for name in repositories:
        assert stores.link(name, digest).key == record.key


def test_racing_links_and_unlinks_are_counted_exactly(stores: Stores) -> None:
    """Mounts and deletions at once leave a record that counts the links that are left."""
    digest, rooms = stores.pushed(), [fresh_name() for _ in range(3)]

    def run(number: int) -> None:
        for room in rooms:
            if number % 2:
                stores.metadata.add_link(room, digest, NOW + number)
            else:
                stores.metadata.delete_link(room, digest)

    race(6, run)
    left = [room for room in rooms if stores.metadata.get_link(room, digest)]
    assert stores.record(digest).links == 1 + len(left)
