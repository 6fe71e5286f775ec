"""The mutants, one row for each: every named clause of the stores, and rules that matter.

This module must never hold a change that the program could not have as a fault: each row is one
condition forgotten, or one rule bent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.stores import links, manifests, publications, sessions, tags
from chalicelib.stores.codec import CorruptItemError
from chalicelib.stores.expressions import Clause
from chalicelib.stores.keys import record_key
from tests.drills.mutant_rules import PATCHES, RULES
from tests.drills.mutants import Change, Mutant
from tests.drills.steps import HOME, TEXT
from tests.drills.tally import Tally
from tests.support.drill_client import Stage, Upload
from tests.support.drill_ledger import Ledger
from tests.support.drill_points import Gate
from tests.support.drill_worlds import TablesWorld

if TYPE_CHECKING:
    from types import ModuleType

ALWAYS = Clause("attribute_not_exists(#no_item_has_this)")
"""A clause that every item fulfils, and an absent one too."""


def _always(*_arguments: object) -> Clause:
    return ALWAYS


def clause(name: str, *modules: ModuleType, **drills: Any) -> Mutant:  # noqa: ANN401 - names of rows
    """Forget a named clause wherever it is used."""
    value = ALWAYS if name.isupper() else _always
    home = modules[0].__name__.rpartition(".")[2]
    changes = [Change(module, name, value) for module in modules]
    return Mutant(f"{home}.{name} forgotten", changes, **drills)


def uncounted_link() -> Tally:
    """Delete a link that its record does not count, as a bad restore may leave it: refused."""
    tally, world = Tally(), TablesWorld()
    metadata = world.ports(Gate()).metadata
    Stage(world, Ledger()).client().push(HOME, Upload(TEXT, whole=True))
    digest = Digest.of(TEXT)
    world.spoil(record_key(digest), links={"N": "0"})
    try:
        metadata.delete_link(HOME, digest)
    except CorruptItemError:
        return tally
    tally.lose("look/tables/uncounted link", AssertionError("a record counts less than no link"))
    return tally


CLAUSES = [
    clause("NEVER_CREATED", sessions, failed=["POST, PATCHes, PUT"]),
    clause("NOBODY_HOLDS", sessions, raced=PATCHES),
    clause("in_state", sessions, raced=["PATCH, PUT", "PUT, PUT", "DELETE, PATCH"]),
    clause("under_fence", sessions, raced=["late tail", *PATCHES]),
    clause("of_repository", sessions, crashed=["append under another name"]),
    clause("opened_by", sessions, crashed=["append as somebody else"]),
    clause("alive_at", sessions, crashed=["append after the end"]),
    clause("at_offset", sessions, crashed=["append the same again"]),
    clause("held_by", sessions, raced=["late tail", *PATCHES]),
    clause("ABSENT", links, publications, failed=["mount"], raced=["mount, mount"]),
    clause("STILL_COUNTED", links, looked=[uncounted_link]),
    clause("naming", links, raced=["push, delete", "mount, delete at the source"]),
    clause("at_version", links, failed=["delete a blob"], raced=["delete, delete"]),
    clause("ABSENT", manifests, crashed=["put an image that is there"]),
    clause("IS_PENDING", manifests, crashed=["put an image that is there"]),
    clause("IS_LIVE", manifests, raced=["put, delete"]),
    clause("IS_DELETING", manifests, raced=["delete, delete", "put, delete"]),
    clause("NO_TAG", manifests, raced=["tag, tag"]),
    clause("of_version", manifests, tags, raced=["delete, delete and put and delete"]),
    clause("tag_names", manifests, tags, raced=["tag, tag", "tag moves, tag is deleted"]),
]

ALL = [*CLAUSES, *RULES]
