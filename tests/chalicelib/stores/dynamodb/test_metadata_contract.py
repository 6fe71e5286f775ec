"""What every metadata store does with links, records and publications.

No test may know which store it has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.registry.model import Record
from chalicelib.registry.outcomes import RecordMissingError, SessionMovedError
from chalicelib.registry.session import UploadState
from tests.support.values import (
    NOW,
    SIZE,
    a_session,
    always,
    begin,
    fresh_digest,
    fresh_name,
    key_of,
    push,
)

if TYPE_CHECKING:
    from chalicelib.digest import Digest
    from tests.chalicelib.stores.conftest import Stores


def assert_absent(stores: Stores, repository: str, digest: Digest) -> None:
    """Require that a blob has neither link nor record."""
    assert stores.metadata.get_link(repository, digest) is None
    assert stores.metadata.get_record(digest) is None


# reading


def test_unknown_links_and_records_are_absent_and_a_mount_creates_none(
    stores: Stores, repository: str
) -> None:
    """Unknown links and records read as None, and as nothing among many."""
    digest = fresh_digest()
    assert stores.metadata.add_link(repository, digest, NOW) is None
    assert_absent(stores, repository, digest)
    assert stores.metadata.get_links(repository, [digest]) == {}
    assert stores.metadata.get_links(repository, []) == {}


def test_many_links_are_read_at_once(stores: Stores, repository: str) -> None:
    """More links than one request takes are read, each once, the absent ones left out."""
    there, elsewhere, absent = stores.pushed(repository), stores.pushed(), fresh_digest()
    many = [fresh_digest() for _ in range(205)]
    found = stores.metadata.get_links(repository, [elsewhere, *many, absent, there, there])
    assert found == {there: stores.link(repository, there)}


# publish


def test_the_first_publication_creates_record_and_link(stores: Stores, repository: str) -> None:
    """It commits the session."""
    digest = fresh_digest()
    before, after = begin(stores.sessions, repository, digest)
    written = stores.metadata.publish(before, after, key_of(before), NOW, is_there=always)
    assert written == replace(after, published_key=key_of(before), sweep_at=None)
    assert stores.sessions.get(before.id) == written
    link = stores.link(repository, digest)
    made = Record(digest, key_of(before), SIZE, links=1, count_id=link.count_id)
    assert (stores.record(digest), link.count_id is None) == (made, False)
    assert (link.size, link.key, link.touched_at) == (SIZE, key_of(before), NOW)
    assert (link.repository, link.digest, link.mark) == (repository, digest, None)


def test_the_bytes_of_a_new_record_are_read_with_every_link_to_it(
    stores: Stores, repository: str
) -> None:
    """The first push brings them; a later one, and a mount, leave them as they are."""
    digest, other, third = fresh_digest(), fresh_name(), fresh_name()
    for name, content in ((repository, b"bytes"), (other, b"more")):
        before, after = begin(stores.sessions, name, digest)
        stores.metadata.publish(
            before, after, key_of(before), NOW, is_there=always, content=content
        )
    stores.metadata.add_link(third, digest, NOW)
    for name in (repository, other, third):
        assert stores.link(name, digest).content == b"bytes"


@pytest.mark.parametrize("linked", [True, False], ids=["linked", "elsewhere"])
def test_a_publication_heals_a_record_without_an_object(
    stores: Stores, repository: str, *, linked: bool
) -> None:
    """The links of all repositories then name the new bytes."""
    other = fresh_name()
    digest, asked = stores.pushed(repository if linked else None), list[str]()
    stores.metadata.add_link(other, digest, NOW)
    dead = stores.record(digest)
    before, after = begin(stores.sessions, repository, digest)

    def gone(key: str) -> bool:
        asked.append(key)
        return False

    written = stores.metadata.publish(before, after, key_of(before), NOW, is_there=gone)
    assert asked == [dead.key]
    assert written == replace(after, published_key=key_of(before), sweep_at=None)
    healed = replace(dead, key=key_of(before), links=2 if linked else 3)
    assert stores.record(digest) == healed
    for name in (repository, other):
        assert stores.link(name, digest).key == key_of(before)
    stores.metadata.touch_link(stores.link(other, digest), NOW + 1)
    assert stores.metadata.get_links(other, [digest])[digest].key == key_of(before)


@pytest.mark.parametrize("linked", [True, False], ids=["linked", "elsewhere"])
@pytest.mark.parametrize("whole", [True, False], ids=["with bytes", "without bytes"])
def test_a_publication_of_a_live_blob_links_to_its_bytes(
    stores: Stores, repository: str, *, linked: bool, whole: bool
) -> None:
    """Or it touches the link; its own bytes are to be deleted."""
    digest = stores.pushed(repository if linked else None)
    kept, old = stores.record(digest), stores.metadata.get_link(repository, digest)
    before, after = begin(stores.sessions, repository, digest)
    written = stores.metadata.publish(
        before, after, key_of(before) if whole else None, NOW + 9, is_there=always
    )
    assert written == replace(after, published_key=kept.key, expires_at=None)
    assert stores.sessions.get(before.id) == written
    assert stores.record(digest) == replace(kept, links=1 if linked else 2)
    new = stores.link(repository, digest)
    assert (new.key, new.touched_at) == (kept.key, NOW + 9)
    assert (old is not None) == linked
    if old is not None:
        assert new == replace(old, touched_at=NOW + 9, version=new.version)
        assert new.version != old.version


def test_publishing_without_bytes_needs_a_record(stores: Stores, repository: str) -> None:
    """Without an own key and without a record, nothing is written."""
    digest = fresh_digest()
    before, after = begin(stores.sessions, repository, digest)
    with pytest.raises(RecordMissingError):
        stores.metadata.publish(before, after, None, NOW, is_there=always)
    assert stores.sessions.get(before.id) == before
    assert_absent(stores, repository, digest)


@pytest.mark.parametrize(
    "moved",
    [
        {"fence": 1},
        {"state": UploadState.CANCELLED},
        {"state": UploadState.COMMITTED, "claim": None},
    ],
)
def test_a_session_that_moved_publishes_nothing(
    stores: Stores, repository: str, moved: dict[str, object]
) -> None:
    """With an old fence, state or claim a publication is refused, and writes nothing."""
    digest = fresh_digest()
    before, after = begin(stores.sessions, repository, digest)
    current = stores.sessions.write(before, replace(before, **moved))  # type: ignore[arg-type]
    with pytest.raises(SessionMovedError) as caught:
        stores.metadata.publish(before, after, key_of(before), NOW, is_there=always)
    assert caught.value.current == current
    assert stores.sessions.get(before.id) == current
    assert_absent(stores, repository, digest)


def test_a_session_that_is_gone_publishes_nothing(stores: Stores, repository: str) -> None:
    """The publication is refused, and creates no session."""
    digest = fresh_digest()
    gone = a_session(repository=repository, claim=digest, offset=SIZE)
    with pytest.raises(SessionMovedError) as caught:
        stores.metadata.publish(
            gone, replace(gone, state=UploadState.COMMITTED), "key", NOW, is_there=always
        )
    assert caught.value.current is None
    assert stores.sessions.get(gone.id) is None
    assert_absent(stores, repository, digest)


# links


def test_a_mount_links_to_the_live_bytes_and_is_counted(stores: Stores, repository: str) -> None:
    """A mount links to the live bytes and is counted."""
    digest = stores.pushed()
    link = stores.metadata.add_link(repository, digest, NOW + 3)
    assert link == stores.link(repository, digest)
    record = stores.record(digest)
    assert (link.key, link.size, link.touched_at) == (record.key, SIZE, NOW + 3)
    assert record.links == 2


@pytest.mark.parametrize("how", ["touch", "mount"])
def test_a_touch_sets_time_and_version_and_counts_nothing(
    stores: Stores, repository: str, how: str
) -> None:
    """So does a mount of a linked blob."""
    digest, at = stores.pushed(repository), NOW + 0.000001
    old = stores.link(repository, digest)
    if how == "touch":
        assert stores.metadata.touch_link(old, at)
    else:
        mounted = stores.metadata.add_link(repository, digest, at)
        assert mounted == stores.link(repository, digest)
    new = stores.link(repository, digest)
    assert new == replace(old, touched_at=at, version=new.version)
    assert new.version != old.version
    assert stores.record(digest).links == 1


def test_the_time_of_a_touch_only_moves_forward(stores: Stores, repository: str) -> None:
    """A touch creates no link."""
    digest = stores.pushed(repository)
    link = stores.link(repository, digest)
    for read in (link, replace(link, touched_at=NOW + 5)):
        assert stores.metadata.touch_link(read, NOW + 5)
    later = stores.link(repository, digest)
    assert stores.metadata.touch_link(link, NOW + 3)
    assert stores.link(repository, digest) == later
    assert stores.metadata.add_link(repository, digest, NOW + 3)
    push(stores.sessions, stores.metadata, repository, digest, NOW + 1)
    assert stores.link(repository, digest).touched_at == NOW + 5
    assert stores.metadata.delete_link(repository, digest)
    assert not stores.metadata.touch_link(link, NOW)
    assert stores.metadata.get_link(repository, digest) is None


def test_a_deleted_link_lowers_the_count_once(stores: Stores, repository: str) -> None:
    """Links of other repositories stay."""
    digest, other = stores.pushed(repository), fresh_name()
    stores.metadata.add_link(other, digest, NOW)
    for deleted in (True, False):
        assert stores.metadata.delete_link(repository, digest) is deleted
        assert stores.metadata.get_link(repository, digest) is None
        assert stores.record(digest).links == 1
    assert stores.link(other, digest)


def test_a_record_without_links_stays_until_the_collector(stores: Stores, repository: str) -> None:
    """It counts no link."""
    digest = stores.pushed(repository)
    assert stores.metadata.delete_link(repository, digest)
    assert stores.record(digest).links == 0
    assert stores.metadata.add_link(repository, digest, NOW) is not None
    assert stores.record(digest).links == 1
