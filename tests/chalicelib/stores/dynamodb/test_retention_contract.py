"""What every metadata store does for retention: a mark goes with each use, a deletion needs it.

No test may know which store it has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.registry.model import Manifest, ManifestState, RetentionState, Stamp
from chalicelib.registry.outcomes import ManifestMovedError
from tests.support.values import NOW, STAMP, a_manifest, fresh_name, push_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chalicelib.stores.conftest import Stores


def at(stores: Stores, manifest: Manifest) -> Manifest:
    """Read what is where a manifest belongs."""
    found = stores.metadata.get_manifest(manifest.repository, manifest.digest)
    assert found is not None
    return found


def marked(stores: Stores, mark: str = "n 1 root r", **changes: Any) -> Manifest:  # noqa: ANN401 - any field of a manifest
    """Return a live manifest with a mark."""
    live = push_manifest(stores.metadata, a_manifest(**changes))
    assert stores.metadata.mark_manifest(live, mark)
    assert at(stores, live) == replace(live, mark=mark)
    return at(stores, live)


def pushed(stores: Stores, manifest: Manifest) -> None:
    """Push it again."""
    again = replace(manifest, pushed_at=NOW + 1, state=ManifestState.PENDING)
    stores.metadata.make_live(again, {}, None, STAMP)


USES: list[Callable[[Stores, Manifest], object]] = [
    pushed,
    lambda stores, manifest: stores.metadata.note_pull(manifest, NOW + 1, NOW),
    lambda stores, manifest: stores.metadata.note_restore(manifest, NOW + 1),
    lambda stores, manifest: stores.metadata.begin_delete(manifest, NOW + 9, STAMP),
]


@pytest.mark.parametrize("use", USES)
def test_a_manifest_used_since_it_was_read_is_not_marked(
    stores: Stores, use: Callable[[Stores, Manifest], object]
) -> None:
    """By a push, a pull or a restoration; nor is one that is being deleted."""
    live = push_manifest(stores.metadata, a_manifest(pulled_at=NOW - 9))
    use(stores, live)
    used = at(stores, live)
    assert not stores.metadata.mark_manifest(live, "n 1 root r")
    assert at(stores, live) == used


@pytest.mark.parametrize("use", USES[:-1])
def test_a_use_removes_the_mark(stores: Stores, use: Callable[[Stores, Manifest], object]) -> None:
    """Then the manifest can't be removed for it."""
    manifest = marked(stores)
    use(stores, manifest)
    assert at(stores, manifest).mark is None
    with pytest.raises(ManifestMovedError):
        stores.metadata.retire(manifest, [], NOW + 9, STAMP)
    used = at(stores, manifest)
    stores.metadata.unmark_manifest(manifest)
    assert at(stores, manifest) == used


def test_a_mark_is_removed_only_by_its_reader(stores: Stores) -> None:
    """Whoever has read another mark, such as an earlier run, can't remove it."""
    manifest = marked(stores)
    assert stores.metadata.mark_manifest(manifest, "n 2 root r")
    with pytest.raises(ManifestMovedError):
        stores.metadata.unmark_manifest(manifest)
    assert at(stores, manifest).mark == "n 2 root r"
    stores.metadata.unmark_manifest(at(stores, manifest))
    assert at(stores, manifest) == replace(manifest, mark=None)
    stores.metadata.begin_delete(manifest, NOW + 9, STAMP)
    with pytest.raises(ManifestMovedError):
        stores.metadata.unmark_manifest(manifest)


def test_a_marked_manifest_is_deleted_once(stores: Stores) -> None:
    """Like a client's deletion; it has the name of the rule."""
    name = fresh_name()
    manifest, other = marked(stores, repository=name), marked(stores, repository=name)
    stamp = Stamp(NOW + 5, "retention:r")
    for _ in range(2):
        retired = stores.metadata.retire(manifest, [other], NOW + 9, stamp)
        assert retired == at(stores, manifest)
    assert (retired.state, retired.deletion) == (ManifestState.DELETING, stamp)
    assert list(stores.metadata.due_manifests(NOW + 9)).count((name, manifest.digest)) == 1
    with pytest.raises(ManifestMovedError):
        stores.metadata.retire(manifest, [], NOW + 9, Stamp(NOW + 6, "retention:r"))
    assert at(stores, other) == other


@pytest.mark.parametrize("use", USES)
def test_nothing_is_deleted_if_a_member_has_lost_its_mark(
    stores: Stores, use: Callable[[Stores, Manifest], object]
) -> None:
    """A unit is deleted as a whole."""
    name = fresh_name()
    manifest, *others = (marked(stores, repository=name) for _ in range(4))
    use(stores, others[1])
    with pytest.raises(ManifestMovedError):
        stores.metadata.retire(manifest, others, NOW + 9, STAMP)
    assert at(stores, manifest) == manifest


def test_a_restoration_is_noted_on_a_live_manifest(stores: Stores) -> None:
    """Later pushes keep it; for one that is being deleted it is an error."""
    live = push_manifest(stores.metadata, a_manifest())
    stores.metadata.note_restore(live, NOW + 5)
    pushed(stores, live)
    assert at(stores, live) == replace(live, pushed_at=NOW + 1, restored_at=NOW + 5)
    stores.metadata.begin_delete(at(stores, live), NOW + 9, STAMP)
    with pytest.raises(ManifestMovedError):
        stores.metadata.note_restore(live, NOW + 6)


def test_only_one_of_two_runs_writes_its_progress(stores: Stores) -> None:
    """It replaces what it has read; a repeat counts once."""
    metadata = stores.metadata
    found = metadata.retention_state()
    first = RetentionState(NOW, "abc", "", None, fresh_name())
    other = replace(first, version=fresh_name())
    assert metadata.put_retention_state(found, first)
    assert metadata.put_retention_state(found, first)
    assert not metadata.put_retention_state(found, other)
    assert metadata.retention_state() == first
    done = replace(first, after="team/app", finished_at=NOW + 1, version=fresh_name())
    assert metadata.put_retention_state(first, done)
    assert not metadata.put_retention_state(first, other)
    assert metadata.retention_state() == done
