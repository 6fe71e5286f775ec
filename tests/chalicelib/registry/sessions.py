"""What the tests of uploads and of the sweeper do to a registry in memory, as one client would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.digest import Digest
from chalicelib.registry.session import Owner, Session
from tests.support.values import take_lease

if TYPE_CHECKING:
    from chalicelib.registry.sweeper import SweepOutcome
    from tests.support.registries import MemoryRegistry

NAME = "team/app"
OWNER = Owner(NAME, "ann")
BYTES = b"sixteen letters.and a tail"
CLAIM = Digest.of(BYTES)


def opened(memory: MemoryRegistry, *chunks: bytes) -> Session:
    """Open a session and append chunks to it."""
    session = memory.registry.uploads.start(NAME, "ann")
    for chunk in chunks:
        session = append(memory, session, chunk)
    return session


def named(session: Session) -> str:
    """Return what a Location names a session by."""
    return session.ticket or session.id


def append(memory: MemoryRegistry, session: Session, chunk: bytes) -> Session:
    """Append where the session ends."""
    deadline = memory.clock.now() + 29
    return memory.registry.uploads.append(OWNER, named(session), chunk, session.offset, deadline)


def commit(memory: MemoryRegistry, session: Session, claim: Digest, data: bytes = b"") -> Session:
    """Close a session, with its last bytes if there are any."""
    at, deadline = session.offset if data else None, memory.clock.now() + 29
    return memory.registry.uploads.commit(OWNER, named(session), claim, data, at, deadline)


def die_holding(memory: MemoryRegistry, session: Session, claim: Digest | None = None) -> None:
    """Take the lease as a request does that then dies; it ends in 34 seconds."""
    now = memory.clock.now()
    dead = {"at": None, "claim": claim, "holder": "dead", "now": now, "until": now + 34}
    take_lease(memory.sessions, session, **dead)


def sweep(memory: MemoryRegistry, wait: float = 0.0) -> dict[SweepOutcome, int]:
    """Run the sweeper to its end, so many seconds later."""
    memory.clock.offset += wait
    swept = memory.registry.sweeper.sweep(memory.clock.now() + 600)
    assert swept.finished
    return dict(swept.outcomes)
