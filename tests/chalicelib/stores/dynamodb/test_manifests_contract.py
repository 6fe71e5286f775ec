"""What every metadata store does with manifests and tags.

No test may know which store it has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.registry.model import ManifestState, Stamp, TagRow, bodies_of
from chalicelib.registry.outcomes import ManifestMovedError
from tests.support.values import (
    NOW,
    STAMP,
    a_full_manifest,
    a_manifest,
    a_referrer,
    fresh_digest,
    fresh_name,
    push,
    push_manifest,
)

if TYPE_CHECKING:
    from chalicelib.digest import Digest
    from chalicelib.registry.model import Link, Manifest
    from tests.chalicelib.stores.conftest import Stores


def at(stores: Stores, manifest: Manifest) -> Manifest | None:
    """Read what is where a manifest belongs."""
    return stores.metadata.get_manifest(manifest.repository, manifest.digest)


def named(stores: Stores, repository: str, tag: str) -> Digest | None:
    """Return what a tag names."""
    found = stores.metadata.get_tags(repository, [tag]).get(tag)
    return None if found is None else found.digest


def deleting(stores: Stores, manifest: Manifest) -> Manifest:
    """Begin to delete a live manifest."""
    return stores.metadata.begin_delete(manifest, NOW + 9, STAMP)


# pending


def test_a_manifest_reads_back_with_every_field(stores: Stores) -> None:
    """Every field of a manifest survives, set or not."""
    full = a_full_manifest()
    bare = a_manifest(subject=None, body=None, references=())
    for manifest in (full, bare):
        assert at(stores, manifest) is None
        assert stores.metadata.put_pending(manifest) == manifest
        assert at(stores, manifest) == manifest


def test_many_manifests_are_read_without_their_bodies(stores: Stores) -> None:
    """Many manifests are read at once in whatever state, less their bodies and absent ones."""
    pending = a_manifest()
    live = push_manifest(stores.metadata, a_manifest(repository=pending.repository))
    stores.metadata.put_pending(pending)
    absent = [fresh_digest() for _ in range(150)]
    asked = [pending.digest, *absent, live.digest, live.digest]
    found = stores.metadata.get_manifests(pending.repository, asked)
    assert found == {m.digest: replace(m, body=None) for m in (pending, live)}
    assert stores.metadata.get_manifests(pending.repository, []) == {}


def test_a_pending_manifest_replaces_a_pending_one(stores: Stores) -> None:
    """Of two pushes that have begun, the later one's item stands."""
    first = a_manifest()
    second = replace(first, version="second")
    stores.metadata.put_pending(first)
    assert stores.metadata.put_pending(second) == second
    assert at(stores, first) == second


@pytest.mark.parametrize("state", ["live", "deleting"])
def test_a_pending_manifest_replaces_no_accepted_one(stores: Stores, state: str) -> None:
    """A push of what is live, or being deleted, returns what is there, and leaves it."""
    there = push_manifest(stores.metadata, a_manifest())
    if state == "deleting":
        there = deleting(stores, there)
    again = replace(there, version="again", state=ManifestState.PENDING)
    assert stores.metadata.put_pending(again) == there
    assert at(stores, there) == there


def test_a_refused_push_removes_only_its_own_pending_item(stores: Stores) -> None:
    """A repeat changes nothing.

    A manifest that became live is not removed, though its version is the same.
    """
    manifest = a_manifest()
    stores.metadata.put_pending(manifest)
    stores.metadata.remove_pending(replace(manifest, version="another"))
    assert at(stores, manifest) == manifest
    for _ in range(2):
        stores.metadata.remove_pending(manifest)
        assert at(stores, manifest) is None
    live = push_manifest(stores.metadata, manifest)
    stores.metadata.remove_pending(live)
    assert at(stores, live) == live


# live


def test_a_manifest_becomes_live_with_its_tags_and_its_referrer_row(stores: Stores) -> None:
    """A manifest becomes live with its tags, the ways back from it, and its referrer row."""
    subject = fresh_digest()
    manifest = a_manifest(subject=subject)
    live = push_manifest(stores.metadata, manifest, "v1", "latest")
    assert at(stores, manifest) == live
    assert live.state is ManifestState.LIVE
    tags = stores.metadata.get_tags(manifest.repository, ["v1", "other", "latest", "v1"])
    assert tags == dict.fromkeys(["v1", "latest"], TagRow(manifest.digest, *STAMP))
    assert list(stores.metadata.tags_of(manifest.repository, manifest.digest)) == ["latest", "v1"]
    page = stores.metadata.list_referrers(manifest.repository, subject, None, 10)
    assert page.items == [a_referrer(manifest, subject)]


def test_making_live_again_keeps_a_tag_on_the_same_manifest(stores: Stores) -> None:
    """A live manifest can be pushed again with the tag that names it, from any version."""
    live = push_manifest(stores.metadata, a_manifest(), "v1")
    again = replace(live, version="again", state=ManifestState.PENDING)
    stores.metadata.make_live(again, {"v1": TagRow(live.digest), "v2": None}, None, STAMP)
    assert at(stores, live) == live
    assert list(stores.metadata.tags_of(live.repository, live.digest)) == ["v1", "v2"]


def test_a_tag_moves_with_its_way_back(stores: Stores, repository: str) -> None:
    """A tag that moves leaves no way back from the old manifest, also when it moves twice."""
    old = push_manifest(stores.metadata, a_manifest(repository=repository), "v1", "kept")
    new = a_manifest(repository=repository)
    stores.metadata.put_pending(new)
    for _ in range(2):
        stores.metadata.make_live(new, {"v1": TagRow(old.digest), "v2": None}, None, STAMP)
    assert named(stores, repository, "v1") == named(stores, repository, "v2") == new.digest
    assert named(stores, repository, "kept") == old.digest
    assert list(stores.metadata.tags_of(repository, new.digest)) == ["v1", "v2"]
    assert list(stores.metadata.tags_of(repository, old.digest)) == ["kept"]


def test_only_what_was_put_becomes_live(stores: Stores) -> None:
    """A manifest that is absent, another push's, or being deleted does not become live."""
    manifest = a_manifest(subject=(subject := fresh_digest()))
    row = a_referrer(manifest, subject)
    with pytest.raises(ManifestMovedError):
        stores.metadata.make_live(manifest, {"v1": None}, row, STAMP)
    assert at(stores, manifest) is None
    other = replace(manifest, version="another")
    stores.metadata.put_pending(other)
    with pytest.raises(ManifestMovedError):
        stores.metadata.make_live(manifest, {"v1": None}, row, STAMP)
    assert at(stores, manifest) == other
    stores.metadata.make_live(other, {}, None, STAMP)
    begun = deleting(stores, other)
    with pytest.raises(ManifestMovedError):
        stores.metadata.make_live(begun, {"v1": None}, row, STAMP)
    assert at(stores, manifest) == begun
    assert named(stores, manifest.repository, "v1") is None
    assert list(stores.metadata.tags_of(manifest.repository, manifest.digest)) == []
    assert not stores.metadata.list_referrers(manifest.repository, subject, None, 10).items


def test_a_tag_that_is_not_where_it_was_read_stops_everything(
    stores: Stores, repository: str
) -> None:
    """A tag that came, went or moved since it was read leaves the manifest pending."""
    other = push_manifest(stores.metadata, a_manifest(repository=repository), "taken")
    new = a_manifest(repository=repository)
    stores.metadata.put_pending(new)
    for tags in (
        {"taken": None},
        {"taken": TagRow(fresh_digest())},
        {"gone": TagRow(other.digest)},
    ):
        with pytest.raises(ManifestMovedError):
            stores.metadata.make_live(new, {"fine": None, **tags}, None, STAMP)
    assert at(stores, new) == new
    assert named(stores, repository, "taken") == other.digest
    assert named(stores, repository, "fine") is None
    assert named(stores, repository, "gone") is None


def test_as_many_tags_at_once_as_a_transaction_takes(stores: Stores, repository: str) -> None:
    """One transaction moves 24 tags, with their history, and writes a referrer row."""
    tags = [f"t{number:02}" for number in range(24)]
    old = push_manifest(stores.metadata, a_manifest(repository=repository), *tags)
    new = a_manifest(repository=repository, subject=(subject := fresh_digest()))
    stores.metadata.put_pending(new)
    named_before = dict.fromkeys(tags, TagRow(old.digest))
    stores.metadata.make_live(new, named_before, a_referrer(new, subject), STAMP)
    assert list(stores.metadata.tags_of(repository, new.digest)) == tags
    assert list(stores.metadata.tags_of(repository, old.digest)) == []


def test_a_push_again_renews_the_facts_that_it_knows(stores: Stores) -> None:
    """A manifest has the facts of its last push, and of an earlier one what that does not know."""
    live = push_manifest(stores.metadata, a_manifest(), "v1")
    first = replace(live, pushed_at=NOW + 1, pushed_by="credential:a", total_bytes=7)
    again = replace(live, pushed_at=NOW + 2, artifact_type="x", platforms=("linux/amd64",))
    for push_of in (first, again):
        stores.metadata.make_live(push_of, {}, None, STAMP)
    assert at(stores, live) == replace(again, pushed_by="credential:a", total_bytes=7)


def test_a_pull_is_noted_once_in_24_hours(stores: Stores) -> None:
    """Only on a live manifest."""
    pending = a_manifest()
    stores.metadata.put_pending(pending)
    stores.metadata.note_pull(pending, NOW, NOW)
    assert at(stores, pending) == pending
    live = push_manifest(stores.metadata, a_manifest())
    for now, since, noted in ((0, -9, 0), (5, 0, 0), (6, 1, 6)):
        stores.metadata.note_pull(live, NOW + now, NOW + since)
        assert at(stores, live) == replace(live, pulled_at=NOW + noted)
    absent = a_manifest()
    stores.metadata.note_pull(absent, NOW, NOW)
    assert at(stores, absent) is None


# history


def test_a_tag_that_moves_or_goes_is_history(stores: Stores, repository: str) -> None:
    """Each move and deletion is a row: from what, since when, to what, when and by whom."""
    metadata = stores.metadata
    pushed = [push_manifest(metadata, a_manifest(repository=repository)) for _ in range(3)]
    first, second, third = (manifest.digest for manifest in pushed)

    def move(number: int, tag: str, seconds: int) -> TagRow:
        old = metadata.get_tags(repository, [tag]).get(tag)
        stamp = Stamp(NOW + seconds, f"credential:{seconds}")
        metadata.make_live(pushed[number], {tag: old}, None, stamp)
        return metadata.get_tags(repository, [tag])[tag]

    assert move(0, "v1", 1) == TagRow(first, NOW + 1, "credential:1", None)
    assert move(1, "v1", 2) == TagRow(second, NOW + 2, "credential:2", first)
    assert move(1, "v1", 3) == TagRow(second, NOW + 2, "credential:2", first)
    move(2, "v1.1", 4)
    assert metadata.delete_tag(repository, "v1", Stamp(NOW + 5, None))
    begun = metadata.begin_delete(pushed[2], NOW + 9, Stamp(NOW + 6, "credential:6"))
    ((tag, since),) = metadata.tags_of(repository, third).items()
    assert metadata.drop_tag(begun, tag, since)
    rows = [
        ("v1", second, None, NOW + 2, NOW + 5, None),
        ("v1", first, second, NOW + 1, NOW + 2, "credential:2"),
        ("v1.1", third, None, NOW + 4, NOW + 6, "credential:6"),
    ]

    def seen(tag: str | None, after: str | None, limit: int) -> tuple[list[object], bool, str]:
        page = metadata.list_history(repository, tag, after, limit)
        found = [(r.tag, r.was, r.now, r.since, r.at, r.by) for r in page.items]
        return [*found], page.more, page.items[-1].place if page.items else ""

    whole, more, place = seen(None, None, 2)
    assert (whole, more) == (rows[:2], True)
    assert seen(None, place, 2)[:2] == (rows[2:], False)
    assert seen("v1", None, 9)[:2] == (rows[:2], False)
    assert seen("v1", seen("v1", None, 1)[2], 9)[:2] == (rows[1:2], False)
    assert seen("v1", place, 9)[:2] == ([], False)
    assert seen("v1.1", None, 9)[:2] == (rows[2:], False)
    assert seen("v", None, 9)[:2] == ([], False)


# deleting


def test_a_deletion_begins_with_a_live_manifest(stores: Stores) -> None:
    """A live manifest turns to deleting, also a second time, with all its fields."""
    live = push_manifest(stores.metadata, a_manifest(subject=fresh_digest()))
    begun = replace(
        live,
        state=ManifestState.DELETING,
        sweep_at=NOW + 9,
        deleted_at=STAMP.at,
        deleted_by=STAMP.by,
    )
    assert deleting(stores, live) == begun
    assert deleting(stores, live) == begun
    assert at(stores, live) == begun


def test_only_the_live_manifest_that_was_seen_can_be_deleted(stores: Stores) -> None:
    """One that is absent, pending or pushed anew since is not, and stays."""
    manifest = a_manifest()
    with pytest.raises(ManifestMovedError):
        deleting(stores, manifest)
    assert at(stores, manifest) is None
    stores.metadata.put_pending(manifest)
    with pytest.raises(ManifestMovedError):
        deleting(stores, manifest)
    assert at(stores, manifest) == manifest
    old = push_manifest(stores.metadata, manifest)
    stores.metadata.finish_delete(deleting(stores, old))
    new = push_manifest(stores.metadata, replace(manifest, version="new"))
    with pytest.raises(ManifestMovedError):
        deleting(stores, old)
    assert at(stores, new) == new


@pytest.mark.parametrize("subject", [None, fresh_digest()])
def test_a_deletion_ends_with_item_and_row(stores: Stores, subject: Digest | None) -> None:
    """A finished deletion leaves neither the item nor the row, and may be finished twice."""
    live = push_manifest(stores.metadata, a_manifest(subject=subject))
    begun = deleting(stores, live)
    for _ in range(2):
        stores.metadata.finish_delete(begun)
        assert at(stores, live) is None
        if subject is not None:
            rows = stores.metadata.list_referrers(live.repository, subject, None, 10)
            assert rows.items == []


def test_a_late_deletion_spares_what_was_pushed_anew(stores: Stores) -> None:
    """A deletion that ends late takes no live manifest, no row of one, and no newer deletion."""
    manifest = a_manifest(subject=(subject := fresh_digest()))
    late = deleting(stores, push_manifest(stores.metadata, manifest))
    stores.metadata.finish_delete(late)
    live = push_manifest(stores.metadata, replace(manifest, version="anew"))
    for deletion in (late, replace(live, state=ManifestState.DELETING)):
        stores.metadata.finish_delete(deletion)
        assert at(stores, live) == live
    begun = deleting(stores, live)
    stores.metadata.finish_delete(late)
    assert at(stores, live) == begun
    rows = stores.metadata.list_referrers(manifest.repository, subject, None, 10)
    assert rows.items == [a_referrer(manifest, subject)]


# the trash


def trashed(stores: Stores, manifest: Manifest) -> Manifest:
    """Put a live manifest into the trash until NOW + 99."""
    stores.metadata.put_in_trash(deleting(stores, manifest), NOW + 99)
    found = at(stores, manifest)
    assert found is not None
    return found


@pytest.mark.parametrize("subject", [None, fresh_digest()])
def test_the_trash_has_the_manifest_and_not_its_row(stores: Stores, subject: Digest | None) -> None:
    """It keeps what it was, leaves the list of its subject, and history says that it went."""
    live = push_manifest(stores.metadata, a_manifest(subject=subject, body=b"x"))
    begun = deleting(stores, live)
    for _ in range(2):
        stores.metadata.put_in_trash(begun, NOW + 99)
        assert at(stores, live) == replace(begun, state=ManifestState.TRASHED, sweep_at=NOW + 99)
    if subject is not None:
        assert not stores.metadata.list_referrers(live.repository, subject, None, 9).items
    name = f"@{live.digest}"
    (row,) = stores.metadata.list_history(live.repository, name, None, 9).items
    assert (row.tag, row.was, row.now, row.since) == (None, live.digest, None, live.pushed_at)
    assert (row.at, row.by) == STAMP


def test_only_a_deletion_that_began_ends_in_the_trash(stores: Stores) -> None:
    """A manifest that is live, pushed anew, or absent stays as it is."""
    live = push_manifest(stores.metadata, a_manifest())
    stores.metadata.put_in_trash(live, NOW + 99)
    assert at(stores, live) == live
    begun = deleting(stores, live)
    stores.metadata.put_in_trash(replace(begun, version="another"), NOW + 99)
    assert at(stores, live) == begun
    absent = a_manifest()
    stores.metadata.put_in_trash(absent, NOW + 99)
    assert at(stores, absent) is None


def test_a_manifest_in_the_trash_can_be_restored(stores: Stores) -> None:
    """It is live again with tags and row, under a fresh version."""
    live = push_manifest(stores.metadata, a_manifest(subject=(subject := fresh_digest())))
    gone = trashed(stores, live)
    row = a_referrer(live, subject)
    for _ in range(2):
        stores.metadata.make_live(gone, {"v1": None}, row, STAMP)
    found = at(stores, live)
    assert found is not None
    assert found.version != live.version
    assert replace(found, version=live.version) == live
    assert named(stores, live.repository, "v1") == live.digest
    assert stores.metadata.list_referrers(live.repository, subject, None, 9).items == [row]
    # What is late of its old deletion finds another one.
    with pytest.raises(ManifestMovedError):
        deleting(stores, live)
    for late in (stores.metadata.finish_delete, stores.metadata.empty_trash):
        late(gone)
    stores.metadata.put_in_trash(gone, NOW + 99)
    assert at(stores, live) == found


def test_the_trash_is_emptied_once(stores: Stores) -> None:
    """The item goes with its body, if that is as it was read; what came back stays."""
    live, link = with_body(stores)
    gone = trashed(stores, live)
    assert stores.metadata.touch_link(link, NOW + 1)
    with pytest.raises(ManifestMovedError):
        stores.metadata.empty_trash(gone, link)
    assert at(stores, live) == gone
    read = stores.metadata.get_link(link.repository, link.digest)
    for _ in range(2):
        stores.metadata.empty_trash(gone, read)
        assert at(stores, live) is None
        assert links(stores, live.digest) == 0
    with pytest.raises(ManifestMovedError):
        stores.metadata.make_live(gone, {}, None, STAMP)


# bodies


def with_body(stores: Stores, *, of_0_1: bool = False) -> tuple[Manifest, Link]:
    """Make a large manifest live, and its body too: in its own namespace, or where 0.1 had it."""
    manifest = a_manifest(body=None)
    home = manifest.repository if of_0_1 else bodies_of(manifest.repository)
    push(stores.sessions, stores.metadata, home, manifest.digest)
    link = stores.metadata.get_link(home, manifest.digest)
    assert link is not None
    return push_manifest(stores.metadata, manifest), link


def links(stores: Stores, digest: Digest) -> int:
    """Return how many links the record counts."""
    record = stores.metadata.get_record(digest)
    assert record is not None
    return record.links


@pytest.mark.parametrize("state", ["pending", "deleting"])
def test_a_body_is_deleted_with_its_manifest(stores: Stores, state: str) -> None:
    """In one transaction; neither is deleted if the link has changed, nor twice."""
    live, link = with_body(stores)
    if state == "deleting":
        ending, end = deleting(stores, live), stores.metadata.finish_delete
    else:
        stores.metadata.finish_delete(deleting(stores, live))
        ending, end = replace(live, state=ManifestState.PENDING), stores.metadata.remove_pending
        stores.metadata.put_pending(ending)
    assert stores.metadata.touch_link(link, NOW)
    with pytest.raises(ManifestMovedError):
        end(ending, link)
    assert at(stores, live) == ending
    read = stores.metadata.get_link(link.repository, link.digest)
    for _ in range(2):
        end(ending, read)
        assert at(stores, live) is None
        assert stores.metadata.get_link(link.repository, link.digest) is None
        assert links(stores, live.digest) == 0


def test_a_late_deletion_spares_the_body_of_a_later_push(stores: Stores) -> None:
    """What somebody else has ended takes no link, though the digest is the same."""
    live, link = with_body(stores)
    late = deleting(stores, live)
    stores.metadata.finish_delete(late, link)
    push(stores.sessions, stores.metadata, link.repository, link.digest)
    anew = push_manifest(stores.metadata, replace(live, version="anew"))
    read = stores.metadata.get_link(link.repository, link.digest)
    stores.metadata.finish_delete(late, read)
    stores.metadata.remove_pending(anew, read)
    assert stores.metadata.get_link(link.repository, link.digest) == read
    assert (at(stores, anew), links(stores, live.digest)) == (anew, 1)


def test_a_body_is_kept_out_of_its_repository(stores: Stores) -> None:
    """The link moves, also if it is asked twice; the record counts as many."""
    live, link = with_body(stores, of_0_1=True)
    for _ in range(2):
        stores.metadata.keep_body(live, link)
        assert stores.metadata.get_link(link.repository, link.digest) is None
        kept = stores.metadata.get_link(bodies_of(live.repository), live.digest)
        assert kept is not None
        assert (kept.key, kept.size, links(stores, live.digest)) == (link.key, link.size, 1)
        assert kept.version != link.version


@pytest.mark.parametrize("change", ["deleting", "gone", "anew", "touched", "kept"])
def test_a_body_is_kept_for_a_live_manifest_only(stores: Stores, change: str) -> None:
    """Nothing moves where the manifest goes or was pushed anew, or a link is not as it was."""
    live, link = with_body(stores, of_0_1=True)
    home = bodies_of(live.repository)
    if change in {"deleting", "gone", "anew"}:
        begun = deleting(stores, live)
        if change != "deleting":
            stores.metadata.finish_delete(begun)
        if change == "anew":
            push_manifest(stores.metadata, replace(live, version="anew"))
    elif change == "touched":
        assert stores.metadata.touch_link(link, NOW)
    else:
        assert stores.metadata.add_link(home, link.digest, NOW)
    before = stores.metadata.get_link(link.repository, link.digest)
    counted = links(stores, live.digest)
    with pytest.raises(ManifestMovedError):
        stores.metadata.keep_body(live, link)
    assert stores.metadata.get_link(link.repository, link.digest) == before
    assert links(stores, live.digest) == counted
    assert (stores.metadata.get_link(home, live.digest) is None) is (change != "kept")


# tags


@pytest.mark.parametrize("how", ["delete_tag", "drop_tag"])
def test_a_deleted_tag_leaves_manifest_and_other_tags(
    stores: Stores, repository: str, how: str
) -> None:
    """A deleted tag is gone with its way back; the manifest and its other tags stay."""
    live = push_manifest(stores.metadata, a_manifest(repository=repository), "v1", "v2")
    begun = live
    if how == "drop_tag":
        begun = replace(deleting(stores, live), deleted_tags=("v1", "v2"))
    for first in (True, False):
        if how == "drop_tag":
            assert stores.metadata.drop_tag(begun, "v1", NOW)
        else:
            assert stores.metadata.delete_tag(repository, "v1", STAMP) is first
        assert named(stores, repository, "v1") is None
        assert list(stores.metadata.tags_of(repository, live.digest)) == ["v2"]
    listed = begun if how == "delete_tag" else replace(begun, deleted_tags=("v1", "v2"))
    assert at(stores, live) == listed


def test_a_tag_that_names_another_manifest_stays(stores: Stores, repository: str) -> None:
    """A deletion does not take a tag that names another manifest."""
    begun = deleting(stores, push_manifest(stores.metadata, a_manifest(repository=repository)))
    other = push_manifest(stores.metadata, a_manifest(repository=repository), "v1")
    assert stores.metadata.drop_tag(begun, "v1", NOW)
    assert named(stores, repository, "v1") == other.digest
    assert list(stores.metadata.tags_of(repository, other.digest)) == ["v1"]


def test_a_late_deletion_spares_the_tag_of_a_later_push(stores: Stores, repository: str) -> None:
    """A deletion that somebody else has ended takes no tag, though the digest is the same."""
    manifest = a_manifest(repository=repository)
    late = deleting(stores, push_manifest(stores.metadata, manifest, "v1"))
    assert stores.metadata.drop_tag(late, "v1", NOW)
    stores.metadata.finish_delete(late)
    assert not stores.metadata.drop_tag(late, "v1", NOW)
    push_manifest(stores.metadata, replace(manifest, version="anew"), "v1")
    for deletion in (late, replace(late, version="anew")):
        assert not stores.metadata.drop_tag(deletion, "v1", NOW)
    assert named(stores, repository, "v1") == manifest.digest
    assert list(stores.metadata.tags_of(repository, manifest.digest)) == ["v1"]
    # Nor while that push is itself being deleted: whose deletion it is, is for that one to end.
    again = deleting(stores, replace(manifest, version="anew"))
    assert not stores.metadata.drop_tag(late, "v1", NOW)
    assert named(stores, repository, "v1") == manifest.digest
    assert stores.metadata.drop_tag(again, "v1", NOW)


# the sweeper's queue


def test_manifests_wait_for_the_sweeper_until_they_are_live(fresh_stores: Stores) -> None:
    """A manifest is due at its time while it is pending or being deleted, and at no other."""
    metadata = fresh_stores.metadata
    manifest = a_manifest(sweep_at=NOW + 5)
    place = (manifest.repository, manifest.digest)

    def due(now: float) -> list[tuple[str, Digest]]:
        return list(metadata.due_manifests(now))

    metadata.put_pending(manifest)
    assert (due(NOW + 4), due(NOW + 5)) == ([], [place])
    metadata.make_live(manifest, {}, None, STAMP)
    assert due(NOW + 99) == []
    begun = deleting(fresh_stores, manifest)
    assert (due(NOW + 8), due(NOW + 9)) == ([], [place])
    metadata.finish_delete(begun)
    assert due(NOW + 99) == []


def test_tags_of_one_manifest_only(stores: Stores, repository: str) -> None:
    """The ways back lead from one manifest, and not from its neighbours, to its tags."""
    one = push_manifest(stores.metadata, a_manifest(repository=repository), "a", "z", "A")
    push_manifest(stores.metadata, a_manifest(repository=repository), "b")
    push_manifest(stores.metadata, a_manifest(repository=fresh_name(), digest=one.digest), "c")
    assert list(stores.metadata.tags_of(repository, one.digest)) == ["A", "a", "z"]
    assert list(stores.metadata.tags_of(repository, fresh_digest())) == []
