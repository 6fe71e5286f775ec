"""The tails of a session: a bounded number while it lives, and none after, whatever comes late."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.digest import Digest
from chalicelib.errors import UploadDigestInvalidError
from chalicelib.registry.keys import canonical_key
from chalicelib.registry.service import Limits
from chalicelib.registry.session import Owner
from chalicelib.registry.upload.leftovers import TAIL_WINDOW
from tests.support.registries import MemoryRegistry, registry_in_memory

OWNER = Owner("team/app", "ann")
LIMITS = Limits(part_minimum=1000)
TEXT = b"shorter than a part"
DIGEST = Digest.of(TEXT)


@pytest.fixture
def memory() -> MemoryRegistry:
    """An empty registry in memory."""
    return registry_in_memory(LIMITS)


def sweep(memory: MemoryRegistry) -> None:
    """Sweep when what has ended is looked at again."""
    memory.clock.offset += LIMITS.sweep_again + 1
    memory.registry.sweeper.sweep(memory.clock.now() + 600)


@pytest.mark.parametrize("refusals", [0, 1, 2, 20])
def test_superseded_tails_go_while_the_session_lives(memory: MemoryRegistry, refusals: int) -> None:
    """Chunk upon chunk, with so many refused PUTs after each, a window of them at most is there.

    Each PUT takes a lease too: it is not the chunks that the windows count.
    """
    uploads, deadline = memory.registry.uploads, memory.clock.now() + 999
    session, most = uploads.start("team/app", "ann"), 0
    for _ in range(4 * TAIL_WINDOW):
        session = uploads.append(OWNER, session.id, b"x", session.offset, deadline)
        most = max(most, len(memory.objects.objects))
        for _ in range(refusals):
            with pytest.raises(UploadDigestInvalidError):
                uploads.commit(OWNER, session.id, Digest.of(b"wrong"), b"", None, deadline)
    assert most <= TAIL_WINDOW + 1
    whole = b"x" * session.offset
    uploads.commit(OWNER, session.id, Digest.of(whole), b"", None, deadline)
    assert list(memory.objects.objects.values()) == [whole]


def test_a_tail_that_was_sent_twice_is_looked_for_again(
    memory: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first sending may arrive when the blob is committed and the tail deleted."""
    uploads, deadline = memory.registry.uploads, memory.clock.now() + 999
    session, put = uploads.start("team/app", "ann"), memory.objects.put
    with monkeypatch.context() as patch:
        patch.setattr(memory.objects, "put", lambda *sent: replace(put(*sent), repeated=True))
        session = uploads.append(OWNER, session.id, TEXT, 0, deadline)
    uploads.commit(OWNER, session.id, DIGEST, b"", None, deadline)
    (blob,) = memory.objects.objects
    assert session.tail is not None
    put(session.tail.key, TEXT)
    sweep(memory)
    assert list(memory.objects.objects) == [blob]


def test_a_copy_that_comes_late_is_deleted(memory: MemoryRegistry) -> None:
    """A tail's copy is deleted where another push's bytes are live; S3 may still be writing it."""
    uploads, deadline = memory.registry.uploads, memory.clock.now() + 999
    uploads.put_whole("team/other", "bob", DIGEST, TEXT, deadline)
    (live,) = memory.objects.objects
    session = uploads.start("team/app", "ann")
    uploads.append(OWNER, session.id, TEXT, 0, deadline)
    uploads.commit(OWNER, session.id, DIGEST, b"", None, deadline)
    assert list(memory.objects.objects) == [live]
    memory.objects.put(canonical_key(DIGEST, session.id), TEXT)
    sweep(memory)
    assert list(memory.objects.objects) == [live]
