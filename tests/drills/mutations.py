"""The mutants, one row for each: every named clause of the stores, and rules that matter.

This module must never hold a change that the program could not have as a fault: each row is one
condition forgotten, or one rule bent.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.errors import RegistryError
from chalicelib.registry import bytestore
from chalicelib.registry import session as session_rules
from chalicelib.registry.bytestore import ByteStore
from chalicelib.registry.commit import Commits
from chalicelib.registry.effects import Effects
from chalicelib.registry.manifests import Manifests
from chalicelib.registry.outcomes import SessionMovedError
from chalicelib.registry.transitions import Event
from chalicelib.registry.uploads import Uploads
from chalicelib.stores import links, manifests, publications, sessions, tags
from chalicelib.stores.codec import CorruptItemError
from chalicelib.stores.dynamodb import ConditionFailedError
from chalicelib.stores.expressions import Clause
from chalicelib.stores.keys import record_key
from chalicelib.stores.links import Links
from chalicelib.stores.sessions import DynamoSessionStore
from tests.drills.mutants import Change, Mutant
from tests.drills.steps import HOME, TEXT
from tests.drills.tally import Tally
from tests.support.drill_client import Stage, Upload
from tests.support.drill_ledger import Ledger
from tests.support.drill_points import Gate
from tests.support.drill_worlds import TablesWorld

if TYPE_CHECKING:
    from types import ModuleType

    from chalicelib.registry.session import Session

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


PATCHES = ("PATCH, PATCH, other bytes", "PATCH, PATCH, parts of other bytes")


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


def _published_before_copy(_self: Effects, session: Session) -> tuple[Event, Session]:
    return Event.COPY, session


def _unverified(self: Effects, session: Session) -> tuple[Event, Session]:
    return self._copy(session)


_lease = Uploads._lease  # noqa: SLF001 - likewise


def _freed_early(self: Uploads, *arguments: Any) -> Session:  # noqa: ANN401 - as the method has them
    leased = _lease(self, *arguments)
    with suppress(SessionMovedError):
        self._ports.sessions.write(leased, replace(leased, holder=None))
    return leased


_overtaken = session_rules.overtaken


def _number_kept(session: Session) -> Session:
    return replace(_overtaken(session), next_part=session.next_part, burned=session.burned)


def _number_not_burned(session: Session) -> Session:
    return replace(_overtaken(session), burned=session.burned)


_met_by = sessions._met_by  # noqa: SLF001 - likewise


def _not_mine(lease: Any, failed: Any) -> Session:  # noqa: ANN401 - likewise
    return _met_by(replace(lease, holder="somebody else"), failed)


def _unrecognised(self: DynamoSessionStore, before: Session, after: Session) -> Session:
    update = sessions.update_of(self._table, before, after)
    try:
        self._dynamo.write(update)
    except ConditionFailedError as failed:
        raise SessionMovedError(sessions._session(failed)) from failed  # noqa: SLF001 - likewise
    return after


def _publication_unrecognised(_after: Session, refused: Any) -> Session:  # noqa: ANN401 - likewise
    raise SessionMovedError(None) from refused


def _any_claim(_self: Commits, session: Session, _digest: object) -> Session:
    return session


def _one_tail(session_id: str, _fence: int) -> str:
    return f"uploads/{session_id}/tail"


_get_link = Links.get_link


def _failure_is_absence(self: Links, *arguments: Any) -> Any:  # noqa: ANN401 - likewise
    try:
        return _get_link(self, *arguments)
    except RegistryError:
        return None


_delete_leftovers = ByteStore._delete_leftovers  # noqa: SLF001 - likewise


def _failure_is_done(self: ByteStore, session: Session) -> None:
    try:
        _delete_leftovers(self, session)
    except RegistryError:
        return


def _by_names_only(self: ByteStore, session: Session) -> None:
    _delete_leftovers(self, replace(session, disturbed=False))


def _unchecked(_self: Manifests, _repository: str, _parsed: object) -> None:
    return


def _tags_kept(self: Manifests, manifest: Any) -> None:  # noqa: ANN401 - likewise
    self._ports.metadata.finish_delete(manifest)


def _never_late(_self: ByteStore, _session: Session) -> bool:
    return False


def _rule(name: str, owner: Any, attribute: str, value: Any, **drills: Any) -> Mutant:  # noqa: ANN401 - anything
    return Mutant(name, [Change(owner, attribute, value)], **drills)


RULES = [
    _rule(
        "published before the copy",
        Effects,
        "_copy",
        _published_before_copy,
        crashed=["commit parts"],
    ),
    _rule(
        "published unverified",
        Effects,
        "_from_assembled",
        _unverified,
        crashed=["commit as sha512, wrong digest first"],
    ),
    _rule("lease freed early", Uploads, "_lease", _freed_early, raced=PATCHES),
    _rule("burned number used again", sessions, "overtaken", _number_kept, raced=["late part"]),
    _rule(
        "number given up, not burned",
        sessions,
        "overtaken",
        _number_not_burned,
        raced=["late part", "late first part"],
    ),
    _rule(
        "own lease not known on a repeat", sessions, "_met_by", _not_mine, failed=["append a tail"]
    ),
    _rule(
        "own write not known on a repeat",
        DynamoSessionStore,
        "write",
        _unrecognised,
        failed=["cancel", "commit parts"],
    ),
    _rule(
        "own publication not known on a repeat",
        publications,
        "_already_published",
        _publication_unrecognised,
        failed=["commit parts"],
    ),
    _rule(
        "any digest closes a sealed session",
        Commits,
        "_claimed",
        _any_claim,
        raced=["PUT, wrong PUT"],
    ),
    _rule("tails under one key", bytestore, "tail_key", _one_tail, raced=["late tail"]),
    _rule(
        "a failed read is absence", Links, "get_link", _failure_is_absence, failed=["pull a blob"]
    ),
    _rule(
        "a failed clean-up is done",
        ByteStore,
        "_delete_leftovers",
        _failure_is_done,
        failed=["commit parts"],
    ),
    _rule(
        "disturbed sessions cleaned by name",
        ByteStore,
        "_delete_leftovers",
        _by_names_only,
        crashed=["append a part"],
    ),
    _rule(
        "nobody is late",
        ByteStore,
        "_may_be_written_late",
        _never_late,
        raced=["late first part", "late part, and the rest"],
    ),
    _rule(
        "manifest taken unread",
        Manifests,
        "_check",
        _unchecked,
        crashed=["put a manifest that lacks a blob"],
    ),
    _rule(
        "tags survive their manifest",
        Manifests,
        "finish_delete",
        _tags_kept,
        crashed=["delete a manifest"],
    ),
]

ALL = [*CLAUSES, *RULES]
