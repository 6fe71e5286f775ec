"""The mutants that forget a condition of DynamoDB's writes: one row for each named clause.

This module must never leave one out (tests/drills/test_mutants.py compares).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.stores.dynamodb import (
    blobs,
    collection,
    in_use,
    manifests,
    metadata,
    retention,
    sessions,
    usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from chalicelib.stores.dynamodb.expressions import Clause

    Original = Callable[..., Any]
from tests.drills.mutants.checks import (
    a_collector_that_was_overtaken,
    a_deletion_never_begun,
    a_link_counted_meanwhile,
    a_link_of_a_lost_record,
    a_link_whose_record_comes_back,
    a_link_without_count,
    a_manifest_not_in_the_trash,
    a_mark_that_is_late,
    a_pass_begun_twice,
    a_pull_that_is_late,
    a_record_renamed,
    a_record_that_was_used_since,
    a_release_that_is_late,
    a_release_that_is_noted_twice,
    a_restoration_that_is_late,
    a_use_before_the_mark,
    facts_beside_a_push,
    facts_of_no_repository,
    facts_that_are_late,
)
from tests.drills.mutants.mutant import ALWAYS, PATCHES, Change, Mutant


def always(*_arguments: object) -> Clause:
    """Stand in place of a function that makes a clause."""
    return ALWAYS


def clause(name: str, *modules: ModuleType, **drills: Any) -> Mutant:  # noqa: ANN401 - names of rows
    """Forget a named clause wherever it is used."""
    value = ALWAYS if name.isupper() else always
    home = modules[0].__name__.rpartition(".")[2]
    changes = [Change(module, name, value) for module in modules]
    return Mutant(f"{home}.{name} forgotten", changes, **drills)


CLAUSES = [
    clause("NEVER_CREATED", sessions, failed=["POST, PATCHes, PUT"]),
    clause("NOBODY_HOLDS", sessions, raced=PATCHES),
    clause("in_state", sessions, raced=["PATCH, PUT", "PUT, PUT", "DELETE, PATCH"]),
    clause("under_fence", sessions, raced=["late tail", *PATCHES]),
    clause("of_repository", sessions, crashed=["append under another name"]),
    clause("opened_by", sessions, crashed=["append as another principal"]),
    clause("alive_at", sessions, crashed=["append after the end"]),
    clause("at_offset", sessions, crashed=["append the same again"]),
    clause("held_by", sessions, raced=["late tail", *PATCHES]),
    clause("further_than", sessions, checked=[a_mark_that_is_late]),
    clause("ABSENT", blobs, failed=["mount"], raced=["mount, mount"]),
    clause("STILL_COUNTED", blobs, checked=[a_link_without_count]),
    clause("NOT_COUNTED", blobs, checked=[a_link_counted_meanwhile]),
    clause("NO_COUNT_ID", blobs, checked=[a_link_of_a_lost_record]),
    clause("counting", blobs, checked=[a_link_of_a_lost_record]),
    clause("not_counting", blobs, checked=[a_link_whose_record_comes_back]),
    clause("ABSENT", collection, checked=[a_collector_that_was_overtaken]),
    clause("NO_LINKS", collection, raced=["collect, push to another repository"]),
    clause("NO_RELEASE", collection, checked=[a_release_that_is_noted_twice]),
    clause("released_at", collection, checked=[a_record_that_was_used_since]),
    clause("not_released_since", blobs, checked=[a_release_that_is_late]),
    clause("naming", blobs, checked=[a_record_renamed], raced=["push, push, object gone"]),
    clause("at_version", blobs, manifests, failed=["delete a blob"], raced=["delete, delete"]),
    clause("ABSENT", manifests, crashed=["put an image that is there"]),
    clause("IS_PENDING", manifests, crashed=["put an image that is there"]),
    clause("IS_LIVE", manifests, raced=["put, delete, no trash"]),
    clause("IS_DELETING", manifests, checked=[a_deletion_never_begun]),
    clause("IS_TRASHED", manifests, checked=[a_manifest_not_in_the_trash]),
    clause("NO_TAG", manifests, raced=["tag, tag"]),
    clause("ABSENT", metadata, checked=[facts_beside_a_push]),
    clause("LISTED", metadata, checked=[facts_of_no_repository]),
    clause("noted_before", metadata, checked=[facts_that_are_late]),
    clause("ABSENT", retention, checked=[a_pass_begun_twice]),
    clause("IS_LIVE", retention, checked=[a_restoration_that_is_late]),
    clause("marked", retention, raced=["retention, put of the index"]),
    clause("unused_since", retention, checked=[a_use_before_the_mark]),
    clause("of_version", manifests, raced=["delete, delete and put and delete"]),
    clause("tagged_by", manifests, raced=["tag, tag"]),
    clause("not_pulled_since", manifests, checked=[a_pull_that_is_late]),
    clause("ABSENT", usage, raced=["push, push, room for one", "push, push, room for two"]),
    clause("at_version", usage, raced=["push, delete, push, full"]),
    clause("counted_under", usage, crashed=["push under a quota that is new"]),
    clause("bytes_at_most", usage, crashed=["no room, mount"]),
    clause("tags_at_most", usage, crashed=["no room for a tag"]),
    clause("ABSENT", in_use, raced=["refresh, refresh, the first time"]),
    clause("as_read", in_use, raced=["refresh, refresh", "refresh, remove"]),
    clause("tag_names", manifests, raced=["tag, tag", "tag moves, tag is deleted"]),
]
