"""The mutants that forget a condition of DynamoDB's writes: one row for each named clause.

This module must never leave out a named clause: tests/drills/test_mutants.py compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.stores.dynamodb import blobs, manifests, sessions
from tests.drills.corruptions import a_deletion_never_begun, a_link_without_count, a_record_renamed
from tests.drills.mutants.run import ALWAYS, PATCHES, Change, Mutant

if TYPE_CHECKING:
    from types import ModuleType

    from chalicelib.stores.dynamodb.expressions import Clause


def _always(*_arguments: object) -> Clause:
    return ALWAYS


def clause(name: str, *modules: ModuleType, **drills: Any) -> Mutant:  # noqa: ANN401 - names of rows
    """Forget a named clause wherever it is used."""
    value = ALWAYS if name.isupper() else _always
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
    clause("ABSENT", blobs, failed=["mount"], raced=["mount, mount"]),
    clause("STILL_COUNTED", blobs, checked=[a_link_without_count]),
    clause(
        "naming",
        blobs,
        checked=[a_record_renamed],
        raced=["push, delete", "mount, delete at the source"],
    ),
    clause("at_version", blobs, failed=["delete a blob"], raced=["delete, delete"]),
    clause("ABSENT", manifests, crashed=["put an image that is there"]),
    clause("IS_PENDING", manifests, crashed=["put an image that is there"]),
    clause("IS_LIVE", manifests, raced=["put, delete"]),
    clause("IS_DELETING", manifests, checked=[a_deletion_never_begun]),
    clause("NO_TAG", manifests, raced=["tag, tag"]),
    clause("of_version", manifests, raced=["delete, delete and put and delete"]),
    clause("tag_names", manifests, raced=["tag, tag", "tag moves, tag is deleted"]),
]
