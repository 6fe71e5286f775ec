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
    begin,
    fresh_digest,
    fresh_name,
    key_of,
    push,
)

if TYPE_CHECKING:
    from chalicelib.digest import Digest
    from chalicelib.registry.model import Link
    from tests.chalicelib.stores.conftest import Stores


def link_to(stores: Stores, repository: str, digest: Digest) -> Link:
    """Return a link that must be there."""
    link = stores.metadata.get_link(repository, digest)
    assert link is not None
    return link


def links_of(stores: Stores, digest: Digest) -> int:
    """Return how many links the record counts."""
    record = stores.metadata.get_record(digest)
    assert record is not None
    return record.links


# reading


def test_what_nobody_pushed_is_absent(stores: Stores, repository: str) -> None:
    """Unknown links and records read as None, and as nothing among many."""
    digest = fresh_digest()
    assert stores.metadata.get_link(repository, digest) is None
    assert stores.metadata.get_record(digest) is None
    assert stores.metadata.get_links(repository, [digest]) == {}
    assert stores.metadata.get_links(repository, []) == {}


def test_many_links_are_read_at_once(stores: Stores, repository: str) -> None:
    """More links than one request takes are read, each once, the absent ones left out."""
    there, elsewhere, absent = fresh_digest(), fresh_digest(), fresh_digest()
    push(stores.sessions, stores.metadata, repository, there)
    push(stores.sessions, stores.metadata, fresh_name(), elsewhere)
    many = [fresh_digest() for _ in range(205)]
    found = stores.metadata.get_links(repository, [elsewhere, *many, absent, there, there])
    assert found == {there: link_to(stores, repository, there)}


# publish


def test_publishing_something_new(stores: Stores, repository: str) -> None:
    """The first push of a blob makes record and link, and commits its session."""
    digest = fresh_digest()
    before, after = begin(stores.sessions, repository, digest)
    written = stores.metadata.publish(before, after, key_of(before), NOW)
    assert written == replace(after, published_key=key_of(before))
    assert stores.sessions.get(before.id) == written
    assert stores.metadata.get_record(digest) == Record(digest, key_of(before), SIZE, links=1)
    link = link_to(stores, repository, digest)
    assert (link.size, link.key, link.touched_at) == (SIZE, key_of(before), NOW)
    assert (link.repository, link.digest, link.mark) == (repository, digest, None)


def test_publishing_what_another_repository_has(stores: Stores, repository: str) -> None:
    """A second repository links to the bytes that are live, and its own are to be removed."""
    digest = fresh_digest()
    first = push(stores.sessions, stores.metadata, fresh_name(), digest)
    before, after = begin(stores.sessions, repository, digest)
    written = stores.metadata.publish(before, after, key_of(before), NOW + 1)
    kept = first.published_key
    assert kept is not None
    assert written == replace(after, published_key=kept, sweep_at=before.sweep_at, expires_at=None)
    assert stores.sessions.get(before.id) == written
    assert stores.metadata.get_record(digest) == Record(digest, kept, SIZE, links=2)
    assert link_to(stores, repository, digest).key == kept


def test_publishing_what_the_repository_has(stores: Stores, repository: str) -> None:
    """A push of what is linked already only touches the link; its own bytes are to be removed."""
    digest = fresh_digest()
    first = push(stores.sessions, stores.metadata, repository, digest)
    old = link_to(stores, repository, digest)
    before, after = begin(stores.sessions, repository, digest)
    written = stores.metadata.publish(before, after, key_of(before), NOW + 9)
    assert (written.published_key, written.sweep_at) == (first.published_key, before.sweep_at)
    assert written.expires_at is None
    assert links_of(stores, digest) == 1
    new = link_to(stores, repository, digest)
    assert new == replace(old, touched_at=NOW + 9, version=new.version)
    assert new.version != old.version


@pytest.mark.parametrize("linked", ["here", "elsewhere"])
def test_publishing_without_bytes_links_to_a_live_record(
    stores: Stores, repository: str, linked: str
) -> None:
    """With no key of its own a publication links to the bytes that are live."""
    digest = fresh_digest()
    first = push(
        stores.sessions, stores.metadata, repository if linked == "here" else fresh_name(), digest
    )
    before, after = begin(stores.sessions, repository, digest)
    written = stores.metadata.publish(before, after, None, NOW)
    assert written == replace(
        after, published_key=first.published_key, sweep_at=before.sweep_at, expires_at=None
    )
    assert stores.sessions.get(before.id) == written
    assert links_of(stores, digest) == (1 if linked == "here" else 2)
    assert link_to(stores, repository, digest).key == first.published_key


def test_publishing_without_bytes_needs_a_record(stores: Stores, repository: str) -> None:
    """With no key of its own and no record live, nothing is written."""
    digest = fresh_digest()
    before, after = begin(stores.sessions, repository, digest)
    with pytest.raises(RecordMissingError):
        stores.metadata.publish(before, after, None, NOW)
    assert stores.sessions.get(before.id) == before
    assert stores.metadata.get_record(digest) is None
    assert stores.metadata.get_link(repository, digest) is None


def test_publishing_again_what_took_effect(stores: Stores, repository: str) -> None:
    """A publication that is repeated returns the session and counts no link twice."""
    digest = fresh_digest()
    before, after = begin(stores.sessions, repository, digest)
    written = stores.metadata.publish(before, after, key_of(before), NOW)
    link = link_to(stores, repository, digest)
    assert stores.metadata.publish(before, after, key_of(before), NOW) == written
    assert links_of(stores, digest) == 1
    assert link_to(stores, repository, digest) == link


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
    """A publication from an old fence, state or claim is refused and writes nothing at all."""
    digest = fresh_digest()
    before, after = begin(stores.sessions, repository, digest)
    current = stores.sessions.write(before, replace(before, **moved))  # type: ignore[arg-type]
    with pytest.raises(SessionMovedError) as caught:
        stores.metadata.publish(before, after, key_of(before), NOW)
    assert caught.value.current == current
    assert stores.sessions.get(before.id) == current
    assert stores.metadata.get_record(digest) is None
    assert stores.metadata.get_link(repository, digest) is None


def test_a_session_that_is_gone_publishes_nothing(stores: Stores, repository: str) -> None:
    """A publication from no session at all is refused and makes none."""
    digest = fresh_digest()
    gone = a_session(repository=repository, claim=digest, offset=SIZE)
    with pytest.raises(SessionMovedError) as caught:
        stores.metadata.publish(gone, replace(gone, state=UploadState.COMMITTED), "key", NOW)
    assert caught.value.current is None
    assert stores.sessions.get(gone.id) is None
    assert stores.metadata.get_record(digest) is None


# links


def test_mounting_a_live_blob(stores: Stores, repository: str) -> None:
    """A mount links to the live bytes and is counted."""
    digest = fresh_digest()
    pushed = push(stores.sessions, stores.metadata, fresh_name(), digest)
    link = stores.metadata.add_link(repository, digest, NOW + 3)
    assert link is not None
    assert link == link_to(stores, repository, digest)
    assert (link.key, link.size, link.touched_at) == (pushed.published_key, SIZE, NOW + 3)
    assert links_of(stores, digest) == 2


def test_mounting_again_only_touches(stores: Stores, repository: str) -> None:
    """A mount of what is linked already touches the link and counts nothing."""
    digest = fresh_digest()
    push(stores.sessions, stores.metadata, repository, digest)
    old = link_to(stores, repository, digest)
    link = stores.metadata.add_link(repository, digest, NOW + 3)
    assert link is not None
    assert link == replace(old, touched_at=NOW + 3, version=link.version)
    assert link.version != old.version
    assert link == link_to(stores, repository, digest)
    assert links_of(stores, digest) == 1


def test_mounting_what_is_not_live(stores: Stores, repository: str) -> None:
    """A mount of a digest without a record links nothing."""
    digest = fresh_digest()
    assert stores.metadata.add_link(repository, digest, NOW) is None
    assert stores.metadata.get_link(repository, digest) is None
    assert stores.metadata.get_record(digest) is None


def test_touching_a_link(stores: Stores, repository: str) -> None:
    """A touch sets the time and a fresh version, and nothing else."""
    digest = fresh_digest()
    push(stores.sessions, stores.metadata, repository, digest)
    old = link_to(stores, repository, digest)
    assert stores.metadata.touch_link(old, NOW + 0.000001)
    new = link_to(stores, repository, digest)
    assert new == replace(old, touched_at=NOW + 0.000001, version=new.version)
    assert new.version != old.version


def test_touching_a_link_that_is_gone(stores: Stores, repository: str) -> None:
    """A touch of a link that is gone makes none, and tells."""
    digest = fresh_digest()
    push(stores.sessions, stores.metadata, repository, digest)
    link = link_to(stores, repository, digest)
    assert stores.metadata.delete_link(repository, digest)
    assert not stores.metadata.touch_link(link, NOW)
    assert stores.metadata.get_link(repository, digest) is None


def test_touching_a_link_that_names_other_bytes_by_now(stores: Stores, repository: str) -> None:
    """A link that names another object than the one that was read is another link."""
    digest = fresh_digest()
    push(stores.sessions, stores.metadata, repository, digest)
    link = link_to(stores, repository, digest)
    assert not stores.metadata.touch_link(replace(link, key="blobs/elsewhere"), NOW + 5)
    assert link_to(stores, repository, digest) == link


def test_deleting_a_link(stores: Stores, repository: str) -> None:
    """A deleted link is gone and counted off, once, and other repositories keep theirs."""
    digest, other = fresh_digest(), fresh_name()
    push(stores.sessions, stores.metadata, repository, digest)
    stores.metadata.add_link(other, digest, NOW)
    assert stores.metadata.delete_link(repository, digest)
    assert stores.metadata.get_link(repository, digest) is None
    assert links_of(stores, digest) == 1
    assert not stores.metadata.delete_link(repository, digest)
    assert links_of(stores, digest) == 1
    assert link_to(stores, other, digest)


def test_the_last_link_leaves_a_record_of_none(stores: Stores, repository: str) -> None:
    """A record whose last link goes stays, counting none, until the collector takes it."""
    digest = fresh_digest()
    push(stores.sessions, stores.metadata, repository, digest)
    assert stores.metadata.delete_link(repository, digest)
    assert links_of(stores, digest) == 0
    assert stores.metadata.add_link(repository, digest, NOW) is not None
    assert links_of(stores, digest) == 1
