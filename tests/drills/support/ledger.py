"""What clients were promised, and what they deleted: the invariants are checked against it.

This module must never read the registry: promises are made in answers only.
"""

from __future__ import annotations

from collections import defaultdict
from copy import copy
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chalicelib.digest import Digest


class Violation(AssertionError):  # noqa: N818 - the word of the drills
    """An invariant did not hold, or an answer was wrong."""


def id_of(name: str) -> str:
    """Return the id of a session that is named by it or by its ticket, as in its Location."""
    return name.partition("~")[0]


@dataclass
class Ledger:
    """The promises that clients were given."""

    blobs: dict[tuple[str, Digest], bytes] = field(default_factory=dict)
    """Accepted with 201: can be pulled from this repository."""
    manifests: dict[tuple[str, Digest], bytes] = field(default_factory=dict)
    """Accepted with 201: can be pulled whole."""
    unlinked: set[tuple[str, Digest]] = field(default_factory=set)
    """A client sent DELETE for the blob: it may be there or not from then on."""
    dropped: set[tuple[str, Digest]] = field(default_factory=set)
    """A client sent DELETE for the manifest."""
    cancelled: set[str] = field(default_factory=set)
    """Sessions for which a client sent DELETE."""
    refused: set[str] = field(default_factory=set)
    """Sessions that a client sent a report or digest for which is not that of the bytes."""
    robbed: set[str] = field(default_factory=set)
    """Sessions whose bytes the drill itself deleted: they end as lost."""
    dead: set[str] = field(default_factory=set)
    """Keys of blobs whose objects the drill itself deleted: a push brings them anew."""
    remade: set[Digest] = field(default_factory=set)
    """Blobs whose records the drill itself deleted: a push makes another, which counts its link."""
    strays: set[str] = field(default_factory=set)
    """Keys of objects that the drill itself put where nothing names them."""
    durable_bytes: dict[str, int] = field(default_factory=dict)
    """How many bytes of a session were answered as durable, at most."""
    chunks: dict[str, list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list))
    """The chunks of a session that were accepted with 202, and where each begins."""
    in_use: dict[str, set[frozenset[Digest] | None]] = field(default_factory=dict)
    """What may stand in a repository's in-use lease: all of one of these; None is no lease."""

    def copy(self) -> Ledger:
        """Return a ledger of the same promises: what is noted in one is not in the other."""
        other = Ledger(*(copy(getattr(self, each.name)) for each in fields(self)))
        for session, chunks in self.chunks.items():
            other.chunks[session] = [*chunks]
        return other

    def ends(self, name: str) -> bool:
        """Whether a session may be cancelled before its life is over."""
        return id_of(name) in self.cancelled | self.refused | self.robbed

    def durable(self, name: str, offset: int) -> None:
        """Note the offset of an answer; raises Violation if an earlier one was higher."""
        session_id = id_of(name)
        before = self.durable_bytes.get(session_id, 0)
        if offset < before:
            raise Violation(f"{session_id} had {before} bytes, and now {offset}")
        self.durable_bytes[session_id] = offset

    def accepted(self, name: str, at: int, chunk: bytes) -> None:
        """Note a chunk that was answered with 202."""
        self.chunks[id_of(name)].append((at, chunk))
        self.durable(name, at + len(chunk))
