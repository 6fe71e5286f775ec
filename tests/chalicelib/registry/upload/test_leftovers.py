"""Leftovers: few tails while a session lives, and none after it, though some arrive late."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.digest import Digest
from chalicelib.errors import UploadDigestInvalidError
from chalicelib.registry.keys import canonical_key
from chalicelib.registry.service import Limits
from chalicelib.registry.upload.leftovers import TAIL_WINDOW
from tests.chalicelib.registry.sessions import append, commit, opened, sweep
from tests.support.registries import MemoryRegistry, registry_in_memory

LIMITS = Limits(part_minimum=1000)
TEXT = b"shorter than a part"
DIGEST = Digest.of(TEXT)


@pytest.fixture
def memory() -> MemoryRegistry:
    """An empty registry in memory."""
    return registry_in_memory(LIMITS)


@pytest.mark.parametrize("refusals", [0, 1, 2, 20])
def test_superseded_tails_go_while_the_session_lives(memory: MemoryRegistry, refusals: int) -> None:
    """At most one window of tails is there, also with so many refused PUTs after each chunk.

    Each PUT takes a lease too: windows count leases, not chunks.
    """
    session, most = opened(memory), 0
    for _ in range(4 * TAIL_WINDOW):
        session = append(memory, session, b"x")
        most = max(most, len(memory.objects.objects))
        for _ in range(refusals):
            with pytest.raises(UploadDigestInvalidError):
                commit(memory, session, Digest.of(b"wrong"))
    assert most <= TAIL_WINDOW + 1
    whole = b"x" * session.offset
    commit(memory, session, Digest.of(whole))
    assert list(memory.objects.objects.values()) == [whole]


def test_a_tail_that_was_sent_twice_is_looked_for_again(
    memory: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first sending may arrive when the blob is committed and the tail deleted."""
    session, put = opened(memory), memory.objects.put
    with monkeypatch.context() as patch:
        patch.setattr(memory.objects, "put", lambda *sent: replace(put(*sent), repeated=True))
        session = append(memory, session, TEXT)
    commit(memory, session, DIGEST)
    (blob,) = memory.objects.objects
    assert session.tail is not None
    put(session.tail.key, TEXT)
    sweep(memory, LIMITS.sweep_again + 1)
    assert list(memory.objects.objects) == [blob]


def test_a_copy_that_comes_late_is_deleted(memory: MemoryRegistry) -> None:
    """A tail's copy is deleted where another push's bytes are live; S3 may still be writing it."""
    memory.registry.uploads.put_whole("team/other", "bob", DIGEST, TEXT)
    (live,) = memory.objects.objects
    session = opened(memory, TEXT)
    commit(memory, session, DIGEST)
    assert list(memory.objects.objects) == [live]
    memory.objects.put(canonical_key(DIGEST, session.id), TEXT)
    sweep(memory, LIMITS.sweep_again + 1)
    assert list(memory.objects.objects) == [live]
