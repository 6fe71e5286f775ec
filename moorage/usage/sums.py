"""Assigns the bytes in the bucket: each object is counted in exactly one place, so all sums agree.

A blob that several repositories link to is divided among them to the byte. This module must never
do I/O, nor count bytes that the bucket does not have.
"""

import enum
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.digest import Digest


class Kind(enum.StrEnum):
    """What bytes are there for."""

    OWN = "own"
    """Images of this repository, and of no other."""
    SHARED = "shared"
    """A repository's part of what others link to as well."""
    TRASH = "trash"
    """Images in the trash, and no other of this repository."""
    UNUSED = "unused"
    """Linked, but no manifest names it: the collector takes it once it is old enough."""
    UPLOADS = "uploads"
    """Bytes of an upload in progress, or its leftovers until the sweeper deletes them."""
    GARBAGE = "garbage"
    """No repository links to it any more: the collector deletes it."""
    UNREFERENCED = "unreferenced"
    """Nothing names it; sweeper and collector search for such objects."""


class Use(enum.IntEnum):
    """What a repository links to a blob for; of several the least."""

    IMAGES = 0
    TRASH = 1
    NOTHING = 2


NOWHERE = ""
"""In place of a repository: bytes that are of none."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Bytes by repository and kind; `lost` has the keys of blobs whose object is not there."""

    bytes: Mapping[tuple[str, Kind], int]
    objects: int
    lost: Sequence[str]

    @property
    def total(self) -> int:
        """All bytes in the bucket, the parts of unfinished uploads among them."""
        return sum(self.bytes.values())

    def of(self, repository: str, *kinds: Kind) -> int:
        """Bytes of a repository, of some kinds or of all."""
        return sum(self.bytes.get((repository, kind), 0) for kind in kinds or Kind)

    def kind(self, kind: Kind) -> int:
        """Bytes of one kind."""
        return sum(size for (_, each), size in self.bytes.items() if each is kind)

    def repositories(self) -> Sequence[str]:
        """Return the repositories that have bytes, the largest first."""
        names = {name for name, _ in self.bytes} - {NOWHERE}
        return sorted(names, key=lambda name: (-self.of(name), name))


@dataclass
class Ledger:
    """Learns what names which bytes, and then books each object."""

    _uses: dict[Digest, dict[str, Use]] = field(default_factory=dict)
    _digests: dict[str, Digest] = field(default_factory=dict)
    _garbage: set[str] = field(default_factory=set)
    _sessions: dict[str, str] = field(default_factory=dict)
    _booked: Counter[tuple[str, Kind]] = field(default_factory=Counter)
    _awaited: set[str] = field(default_factory=set)
    _objects: int = 0

    def link(self, repository: str, digest: Digest, use: Use) -> None:
        """Learn that a repository links to a blob."""
        uses = self._uses.setdefault(digest, {})
        uses[repository] = min(use, uses.get(repository, use))

    def record(self, digest: Digest, key: str, size: int) -> None:
        """Learn which object has the bytes of a blob; an empty one needs none."""
        self._digests[key] = digest
        if size:
            self._awaited.add(key)

    def garbage(self, key: str) -> None:
        """Learn that an object is about to be deleted."""
        self._garbage.add(key)

    def session(self, session_id: str, repository: str) -> None:
        """Learn of an upload that is not over and cleaned up."""
        self._sessions[session_id] = repository

    def book(self, key: str, size: int) -> None:
        """Book an object of the bucket, once all is learnt."""
        self._objects += 1
        self._awaited.discard(key)
        self._add(key, size)

    def book_part(self, key: str, size: int) -> None:
        """Book a part of a multipart upload that is to become the object `key`."""
        self._add(key, size)

    def sums(self) -> Sums:
        """Return all that was booked."""
        return Sums(dict(self._booked), self._objects, sorted(self._awaited))

    def _add(self, key: str, size: int) -> None:
        digest, session = self._digests.get(key), _session_of(key)
        uses = sorted(self._uses.get(digest, {}).items()) if digest else []
        if digest and uses:
            parts = divided(size, len(uses), first=int(digest.hex[:8], 16))
            for (repository, use), part in zip(uses, parts, strict=True):
                self._booked[repository, _kind(use, len(uses))] += part
        elif digest or key in self._garbage:
            self._booked[NOWHERE, Kind.GARBAGE] += size
        elif session in self._sessions:
            self._booked[self._sessions[session], Kind.UPLOADS] += size
        else:
            self._booked[NOWHERE, Kind.UNREFERENCED] += size


def divided(size: int, parts: int, first: int) -> list[int]:
    """Divide bytes evenly; those that are left over go to the parts from number `first` on."""
    each, rest = divmod(size, parts)
    return [each + ((number - first) % parts < rest) for number in range(parts)]


def _kind(use: Use, users: int) -> Kind:
    if use is Use.IMAGES:
        return Kind.OWN if users == 1 else Kind.SHARED
    return Kind.TRASH if use is Use.TRASH else Kind.UNUSED


def _session_of(key: str) -> str:
    """Return the id of the session that wrote a key: chalicelib.registry.keys has their forms."""
    match key.split("/"):
        case ["blobs", _, _, _, session] | ["uploads" | "direct", session, *_]:
            return session
    return ""
