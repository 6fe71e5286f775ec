"""Mutants of sessions that have no item yet, and of what comes through the edge."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from chalicelib.registry import tickets
from chalicelib.registry.keys import read_direct_key
from chalicelib.registry.upload.effects import Effects
from chalicelib.registry.upload.states import Event
from chalicelib.registry.upload.unbegun import UnbegunSessions
from tests.support.memory_objects import MemoryObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.session import Session

    Original = Callable[..., Any]
from tests.drills.mutants.mutant import Mutant, rules_of

RULES: list[Mutant] = []
rule = rules_of(RULES)


@rule("a MAC covers no name", "mac_of", tickets, crashed=["a ticket under another name"])
def _(mac_of: Original, key: bytes, purpose: object, _name: str, text: str) -> object:
    return mac_of(key, purpose, "", text)


@rule("a ticket is anybody's", "_hash_of", tickets, crashed=["a ticket of another principal"])
def _(hash_of: Original, session: str, _principal: str) -> object:
    return hash_of(session, "")


@rule("any MAC is good", "_made", tickets.Tickets, crashed=["a forged ticket"])
def _(_: Original, *_arguments: object) -> bool:
    return True


@rule("a ticket has no end", "named", UnbegunSessions, crashed=["a ticket that is too old"])
def _(named: Original, self: UnbegunSessions, *what: object, **_late: float) -> object:
    with mock.patch.object(self._ports.clock, "now", return_value=0.0):
        return named(self, *what)


@rule("a cancelled ticket stays good", "cancel", UnbegunSessions, crashed=["cancel, nothing sent"])
def _(_: Original, _self: UnbegunSessions, _session: Session) -> None:
    return


@rule(
    "what the edge has put is good uncompared",
    "check",
    MemoryObjectStore,
    crashed=["edge, not compared, and not true"],
)
def _(check: Original, self: MemoryObjectStore, key: str) -> object:
    found, named = check(self, key), read_direct_key(key)
    return replace(found, digest=named[1]) if found and named else found


@rule(
    "what was not compared is published where it stands",
    "_copy",
    Effects,
    crashed=["edge, not compared, and changed"],
)
def _(copy: Original, self: Effects, session: Session, until: float) -> object:
    staged = session.staged
    if staged is None or read_direct_key(staged.key) is None:
        return copy(self, session, until)
    return Event.COPY, session


@rule("what the edge has put is anybody's", "_hash_of", tickets, crashed=["edge, commit by others"])
def _(hash_of: Original, session: str, _principal: str) -> object:
    return hash_of(session, "")


@rule(
    "the edge's commit is good for ever",
    "named",
    UnbegunSessions,
    crashed=["edge, commit days later"],
)
def _(named: Original, self: UnbegunSessions, *what: object, late: float = 0.0) -> object:
    return named(self, *what, late=late and 1e9)
