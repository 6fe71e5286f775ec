"""What every store does when many requests come at once.

Only where the backend can judge it: moto serialises, and restores whole tables.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.errors import UploadBusyError
from chalicelib.registry.session import Session, UploadState
from tests.support.values import NOW, a_session, begin, fresh_digest, fresh_name, key_of, push

if TYPE_CHECKING:
    from chalicelib.digest import Digest
    from tests.chalicelib.stores.conftest import Stores


def stored(stores: Stores, **changes: Any) -> Session:  # noqa: ANN401 - any field of a session
    """Create a session with `changes`."""
    session = a_session(**changes)
    stores.sessions.create(session)
    return session


def lease(stores: Stores, session: Session, holder: str) -> Session:
    """Take a lease of 30 seconds."""
    return stores.sessions.take_lease(
        session.id,
        owner=session.owner,
        at=0,
        claim=None,
        holder=holder,
        now=NOW,
        until=NOW + 30,
    )


def key_named(stores: Stores, repository: str, digest: Digest) -> str | None:
    """Return the key that a link names; None if there is no link."""
    link = stores.metadata.get_link(repository, digest)
    return None if link is None else link.key


def counted(stores: Stores, digest: Digest) -> int:
    """Return how many links the record counts."""
    record = stores.metadata.get_record(digest)
    assert record is not None
    return record.links


def test_only_one_of_many_racers_gets_the_lease(racing_stores: Stores) -> None:
    """Of requests that come at once, one gets the lease and the others are told to wait."""
    session, racers = stored(racing_stores), 8
    start = Barrier(racers)

    def race(number: int) -> Session | UploadBusyError:
        start.wait(30)
        try:
            return lease(racing_stores, session, f"racer-{number}")
        except UploadBusyError as busy:
            return busy

    with ThreadPoolExecutor(racers) as pool:
        results = list(pool.map(race, range(racers)))
    winners = [result for result in results if isinstance(result, Session)]
    assert len(winners) == 1
    assert racing_stores.sessions.get(session.id) == winners[0]
    assert winners[0].fence == 1


def test_only_one_of_many_racers_takes_over_a_dead_lease(racing_stores: Stores) -> None:
    """Of requests that find a dead lease at once, one takes it over and one number is burned."""
    session, racers = stored(racing_stores, holder="dead", lease_until=NOW, fence=1), 8
    start = Barrier(racers)

    def race(number: int) -> bool:
        start.wait(30)
        try:
            lease(racing_stores, session, f"racer-{number}")
        except UploadBusyError:
            return False
        return True

    with ThreadPoolExecutor(racers) as pool:
        assert sum(pool.map(race, range(racers))) == 1
    now_there = racing_stores.sessions.get(session.id)
    assert now_there is not None
    assert (now_there.fence, now_there.burned, now_there.next_part) == (2, (1,), 2)


@pytest.mark.parametrize("same_repository", ["one repository", "many repositories"])
def test_racing_publications_count_every_link_once(
    racing_stores: Stores, same_repository: str
) -> None:
    """Pushes of one digest at once all succeed, name the same bytes, and are counted exactly."""
    digest, racers = fresh_digest(), 6
    shared = fresh_name()
    repositories = [
        shared if same_repository == "one repository" else fresh_name() for _ in range(racers)
    ]
    begun = [begin(racing_stores.sessions, name, digest) for name in repositories]
    start = Barrier(racers)

    def race(number: int) -> str | None:
        before, after = begun[number]
        start.wait(30)
        published = racing_stores.metadata.publish(before, after, key_of(before), NOW)
        assert published.state is UploadState.COMMITTED
        return published.published_key

    with ThreadPoolExecutor(racers) as pool:
        keys = set(pool.map(race, range(racers)))
    record = racing_stores.metadata.get_record(digest)
    assert record is not None
    assert keys == {record.key}
    assert record.links == len(set(repositories))
    for name in repositories:
        assert key_named(racing_stores, name, digest) == record.key


def test_racing_links_and_unlinks_are_counted_exactly(racing_stores: Stores) -> None:
    """Mounts and deletions at once leave a record that counts the links that are left."""
    digest, racers = fresh_digest(), 6
    home, rooms = fresh_name(), [fresh_name() for _ in range(3)]
    push(racing_stores.sessions, racing_stores.metadata, home, digest)
    start = Barrier(racers)

    def race(number: int) -> None:
        start.wait(30)
        for room in rooms:
            if number % 2:
                racing_stores.metadata.add_link(room, digest, NOW + number)
            else:
                racing_stores.metadata.delete_link(room, digest)

    with ThreadPoolExecutor(racers) as pool:
        list(pool.map(race, range(racers)))
    left = [room for room in rooms if racing_stores.metadata.get_link(room, digest)]
    assert counted(racing_stores, digest) == 1 + len(left)
