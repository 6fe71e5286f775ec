"""What every session store does, whatever it is made of.

No test may know which store it has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.errors import UploadBusyError, UploadOffsetError, UploadUnknownError
from chalicelib.registry.outcomes import SessionMovedError
from chalicelib.registry.session import LAST_PART, MAX_CLAIMS, UploadState
from tests.support.values import NOW, a_full_session, a_session, fresh_digest

if TYPE_CHECKING:
    from chalicelib.digest import Digest
    from tests.chalicelib.stores.conftest import Stores


def test_a_created_session_reads_back_with_every_field(stores: Stores) -> None:
    """Every field of a session survives, to the microsecond; expires_at rounds up to seconds."""
    session = a_full_session()
    stores.sessions.create(session)
    assert session.expires_at == NOW + 0.877 - 0.000456
    assert stores.sessions.get(session.id) == replace(session, expires_at=1_764_000_001.0)


def test_creating_again_changes_nothing(stores: Stores) -> None:
    """With the same nonce it succeeds, even if the session moved; otherwise it is refused."""
    session = stores.stored()
    leased = stores.lease(session)
    stores.sessions.create(session)
    assert stores.sessions.get(session.id) == leased
    with pytest.raises(SessionMovedError) as caught:
        stores.sessions.create(replace(session, nonce="other", offset=9))
    assert caught.value.current == stores.sessions.get(session.id) == leased


@pytest.mark.parametrize("at", [3, None])
@pytest.mark.parametrize("claim", [fresh_digest(), None])
def test_a_lease_names_its_holder_and_raises_the_fence(
    stores: Stores, at: int | None, claim: Digest | None
) -> None:
    """A lease sets holder, end, fence and a given claim, at the right offset or at any."""
    session = stores.stored(offset=3, fence=4, claim=fresh_digest())
    leased = stores.lease(session, at=at, claim=claim)
    expected = replace(session, holder="holder", lease_until=NOW + 30, fence=5)
    assert leased == replace(expected, claim=claim or session.claim)
    assert stores.sessions.get(session.id) == leased


def test_the_same_holder_gets_the_same_lease_again(stores: Stores) -> None:
    """A lease that is repeated by its holder returns the session and raises no fence."""
    session = stores.stored()
    first = stores.lease(session)
    assert stores.lease(session, at=99, now=NOW + 40, until=NOW + 99) == first
    assert stores.sessions.get(session.id) == first


@pytest.mark.parametrize(
    ("changes", "asker"),
    [
        ({"state": UploadState.SEALED}, {}),
        ({"state": UploadState.COMMITTED}, {}),
        ({"state": UploadState.CANCELLED}, {}),
        ({"life_until": NOW}, {}),
        ({"life_until": NOW - 1}, {}),
        ({}, {"repository": "another"}),
        ({}, {"principal": "another"}),
    ],
)
def test_a_closed_expired_or_foreign_session_gives_no_lease(
    stores: Stores, changes: dict[str, Any], asker: dict[str, str]
) -> None:
    """It is unknown to the caller."""
    session = stores.stored(**changes)
    with pytest.raises(UploadUnknownError):
        stores.lease(session, owner=replace(session.owner, **asker))
    assert stores.sessions.get(session.id) == session


def test_an_absent_session_gives_no_lease_takes_no_write_and_is_not_made(stores: Stores) -> None:
    """A session that is not there, or is gone, stays so."""
    session = a_session()
    assert stores.sessions.get(session.id) is None
    with pytest.raises(UploadUnknownError):
        stores.lease(session)
    with pytest.raises(SessionMovedError) as caught:
        stores.sessions.write(session, replace(session, offset=9))
    assert caught.value.current is None
    assert stores.sessions.get(session.id) is None


@pytest.mark.parametrize("lease", [{}, {"holder": "dead", "lease_until": NOW}])
def test_a_chunk_at_another_offset_gets_the_right_one(
    stores: Stores, lease: dict[str, Any]
) -> None:
    """No part number is burned for it."""
    session = stores.stored(offset=10, **lease)
    for at in (9, 11):
        with pytest.raises(UploadOffsetError) as caught:
            stores.lease(session, at=at)
        assert caught.value.offset == 10
    assert stores.sessions.get(session.id) == session


@pytest.mark.parametrize(("rest", "retry_after"), [(30.0, 30), (4.2, 5), (0.001, 1)])
def test_a_live_lease_keeps_others_out(stores: Stores, rest: float, retry_after: int) -> None:
    """While a lease lives, others are told to wait for its rest in whole seconds."""
    session = stores.stored(offset=2)
    leased = stores.lease(session, until=NOW + rest)
    with pytest.raises(UploadBusyError) as caught:
        stores.lease(session, holder="other")
    assert (caught.value.offset, caught.value.retry_after) == (2, retry_after)
    assert stores.sessions.get(session.id) == leased


def test_a_dead_lease_is_taken_over_and_its_part_number_burned(stores: Stores) -> None:
    """Taking over at the very end of a lease burns the part number that its holder may write."""
    session = stores.stored(next_part=4, burned=(2,))
    dead = stores.lease(session, until=NOW + 5)
    claim = fresh_digest()
    taken = stores.lease(session, holder="other", now=NOW + 5, until=NOW + 60, claim=claim)
    assert taken == replace(
        dead,
        holder="other",
        lease_until=NOW + 60,
        fence=dead.fence + 1,
        claim=claim,
        next_part=5,
        burned=(2, 4),
        disturbed=True,
    )
    assert stores.sessions.get(session.id) == taken


def test_a_session_outlives_any_number_of_dead_requests(stores: Stores) -> None:
    """Each costs a part number and no more, up to the last one, which only the tail may take."""
    burned = tuple(range(1, LAST_PART - 1))
    session = stores.stored(burned=burned, next_part=LAST_PART - 1, holder="dead", lease_until=NOW)
    taken = stores.lease(session, until=NOW + 1)
    assert (taken.next_part, taken.burned) == (LAST_PART, (*burned, LAST_PART - 1))
    again = stores.lease(taken, holder="other", now=NOW + 1, until=NOW + 9)
    assert (again.next_part, again.burned, again.fence) == (LAST_PART, taken.burned, 2)
    assert stores.sessions.get(session.id) == again


def test_a_session_of_too_many_claims_is_given_up(stores: Stores) -> None:
    """Requests that died may have named at most 64 digests."""
    claims = tuple(fresh_digest() for _ in range(MAX_CLAIMS))
    dead = {"earlier_claims": claims, "holder": "dead", "lease_until": NOW}
    session = stores.stored(claim=fresh_digest(), **dead)
    with pytest.raises(UploadUnknownError):
        stores.lease(session)
    assert stores.sessions.get(session.id) == session
    repeated = stores.stored(claim=claims[3], **dead)
    assert stores.lease(repeated).earlier_claims == claims


def test_a_write_stores_what_differs(stores: Stores) -> None:
    """A write sets new values, removes those that are None now, and returns the session."""
    full = replace(a_full_session(), expires_at=NOW // 1)
    stores.sessions.create(full)
    after = replace(
        full,
        state=UploadState.CANCELLED,
        offset=0,
        hash_state=None,
        upload_id=None,
        burned=(),
        tail=None,
        tail_part=None,
        claim=None,
        fence=10,
        holder=None,
        staged=None,
        computed=(),
        published_key=None,
        disturbed=False,
        sweep_at=None,
        expires_at=None,
    )
    assert stores.sessions.write(full, after) == after
    assert stores.sessions.get(full.id) == after
    back = replace(full, fence=11)
    assert stores.sessions.write(after, back) == back
    assert stores.sessions.get(full.id) == back
    ended = stores.sessions.write(back, replace(back, expires_at=NOW))
    assert ended == stores.sessions.get(full.id) == replace(back, expires_at=NOW // 1 + 1)


def test_a_write_keeps_what_it_does_not_change(stores: Stores) -> None:
    """Fields that a write leaves alone keep what another write under the same fence gave them."""
    session = stores.stored()
    assert stores.sessions.write(session, session) == session
    assert stores.sessions.get(session.id) == session
    stores.sessions.write(session, replace(session, upload_id="an upload"))
    stores.sessions.write(session, replace(session, offset=5))
    there = stores.sessions.get(session.id)
    assert there == replace(session, offset=5, upload_id="an upload")


@pytest.mark.parametrize("change", [{"fence": 1}, {"state": UploadState.SEALED}])
def test_a_write_under_an_older_fence_or_state_is_refused(
    stores: Stores, change: dict[str, Any]
) -> None:
    """A request whose session has moved can't write, and gets what is there."""
    session = stores.stored()
    moved = stores.sessions.write(session, replace(session, **change))
    with pytest.raises(SessionMovedError) as caught:
        stores.sessions.write(session, replace(session, offset=9))
    assert caught.value.current == moved
    assert stores.sessions.get(session.id) == moved


def test_the_oldest_is_due_first(stores: Stores) -> None:
    """Wherever the index keeps it: what was put back into the queue stands behind the rest."""
    # Long before what other tests leave in the same tables.
    times = [NOW - 9_000_000 - at for at in (3.0, 1.0, 2.25, 2.5, 7.0, 5.0, 6.0, 4.0, 8.0, 0.5)]
    sessions = [stores.stored(sweep_at=at) for at in times]
    ids = {session.id: session.sweep_at for session in sessions}
    due = [ids[name] for name in stores.sessions.due(NOW - 9_000_000) if name in ids]
    assert due == sorted(times)
    put_back = sessions[4]
    stores.sessions.write(put_back, replace(put_back, sweep_at=NOW - 9_000_000))
    *_, last = [name for name in stores.sessions.due(NOW - 9_000_000) if name in ids]
    assert last == put_back.id
