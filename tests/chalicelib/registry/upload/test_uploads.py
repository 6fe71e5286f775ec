"""Uploads while S3 fails or another request comes between: no bytes and no part numbers are lost.

No test may wait: the clock is moved.
"""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import pytest

from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import (
    TooManyRequestsError,
    UnavailableError,
    UploadBusyError,
    UploadInvalidError,
    UploadUnknownError,
)
from chalicelib.registry.service import Limits
from chalicelib.registry.session import LAST_PART, UploadState
from tests.chalicelib.registry.sessions import BYTES, NAME, OWNER, append, commit, named, opened
from tests.support.registries import MemoryRegistry, registry_in_memory

LIMITS = Limits(part_minimum=8)
BY_WORKER = LIMITS._replace(commit_inline=20)


@pytest.fixture
def memory() -> MemoryRegistry:
    """An empty registry in memory."""
    return registry_in_memory(LIMITS)


@pytest.mark.parametrize(
    ("chunks", "chunk", "call"),
    [
        ([], b"small", "put"),
        ([b"small"], b"er", "get"),
        ([b"small"], b"er", "put"),
        ([], BYTES, "begin_multipart"),
        ([], BYTES, "put_part"),
        ([BYTES[:16]], BYTES[:16], "put_part"),
    ],
)
def test_an_upload_goes_on_after_200_throttled_chunks_and_burns_numbers_of_parts_only(
    memory: MemoryRegistry, chunks: list[bytes], chunk: bytes, call: str
) -> None:
    """A number is burned where a part may have been sent, and nowhere else."""
    session = opened(memory, *chunks)
    throttled = mock.Mock(side_effect=TooManyRequestsError("slow down", retry_after=2))
    with mock.patch.object(memory.objects, call, throttled):
        for _ in range(200):
            with pytest.raises(TooManyRequestsError):
                append(memory, session, chunk)
            memory.clock.sleep(2)
    met = memory.session(session.id)
    assert (met.offset, met.holder) == (session.offset, None)
    part = call in {"put_part", "begin_multipart"}
    assert len(met.burned) == met.next_part - session.next_part == 200 * part
    whole = b"".join([*chunks, chunk])
    append(memory, session, chunk)
    done = commit(memory, session, Digest.of(whole))
    assert memory.objects.objects[done.published_key or ""] == whole


def test_a_small_blob_that_fails_to_close_burns_no_part_number(memory: MemoryRegistry) -> None:
    """It is copied or put whole: a late write of it goes to its own key."""
    session = opened(memory, b"small")
    failing = mock.Mock(side_effect=UnavailableError("no"))
    with mock.patch.object(memory.objects, "copy", failing):
        for _ in range(100):
            with pytest.raises(UnavailableError):
                commit(memory, session, Digest.of(b"small"))
    met = memory.session(session.id)
    assert (met.burned, met.earlier_claims, met.disturbed) == ((), (Digest.of(b"small"),), True)
    assert commit(memory, session, Digest.of(b"small")).state is UploadState.COMMITTED


def test_a_chunk_past_the_last_part_is_refused_and_the_session_can_be_closed(
    memory: MemoryRegistry,
) -> None:
    """Nothing was sent to S3, so the session is as it was; the tail has a number of its own."""
    session = opened(memory, BYTES[:16], b"tail")
    full = replace(
        memory.session(session.id), next_part=LAST_PART, burned=tuple(range(2, LAST_PART))
    )
    memory.replace(full)
    for _ in range(3):
        with pytest.raises(UploadInvalidError, match="larger chunks"):
            append(memory, session, BYTES)
    met = memory.session(session.id)
    assert (met.burned, met.next_part, met.disturbed) == (full.burned, LAST_PART, False)
    done = commit(memory, session, Digest.of(BYTES[:16] + b"tail"))
    assert (done.state, done.tail_part) == (UploadState.COMMITTED, LAST_PART)


def test_a_put_whose_session_is_cancelled_under_another_claim_is_404() -> None:
    """The client is not told to wait for a commit that can't come any more."""
    memory = registry_in_memory(BY_WORKER)
    right, wrong = (Digest.of(data, Algorithm.SHA512) for data in (BYTES, b"other"))
    session = opened(memory, BYTES[:16], BYTES[16:])

    def lose(_seconds: float) -> None:
        sealed = memory.session(session.id)
        lost = replace(sealed, claim=wrong, fence=sealed.fence + 1, state=UploadState.CANCELLED)
        memory.replace(lost)

    with mock.patch.object(memory.clock, "sleep", lose), pytest.raises(UploadUnknownError):
        commit(memory, session, right)
    assert memory.workers.asked == [session.id]


def test_a_commit_is_answered_again_for_as_long_as_it_is_remembered(
    memory: MemoryRegistry,
) -> None:
    """Also where the session's life ended meanwhile."""
    session = opened(memory, BYTES[:16])
    memory.clock.sleep(LIMITS.session_life - 1)
    done = commit(memory, session, Digest.of(BYTES[:16]))
    memory.clock.sleep(LIMITS.remember - 60)
    assert commit(memory, session, Digest.of(BYTES[:16])) == done
    assert memory.registry.uploads.status(OWNER, session.id) == done


@pytest.mark.parametrize("chunks", [(b"small",), (BYTES[:16], BYTES[16:])])
def test_a_commit_is_not_answered_again_once_its_blob_was_deleted(
    memory: MemoryRegistry, chunks: tuple[bytes, ...]
) -> None:
    """The client has to push anew; after that push the old PUT is right again."""
    session, digest = opened(memory, *chunks), Digest.of(b"".join(chunks))
    commit(memory, session, digest)
    memory.registry.blobs.delete(NAME, digest)
    for data in (b"", b"again"):
        with pytest.raises(UploadUnknownError, match="start a new upload"):
            commit(memory, session, digest, data)
    commit(memory, opened(memory, *chunks), digest)
    assert commit(memory, session, digest).state is UploadState.COMMITTED


@pytest.mark.parametrize("size", [20, 21])
def test_bytes_that_must_be_read_back_are_left_to_a_worker(size: int) -> None:
    """A request reads no more than `commit_inline` bytes to compare them with a sha512 digest."""
    memory = registry_in_memory(BY_WORKER)
    content = BYTES[:size]
    session = opened(memory, content[:16], content[16:])
    claim = Digest.of(content, Algorithm.SHA512)
    if size <= BY_WORKER.commit_inline:
        assert commit(memory, session, claim).state is UploadState.COMMITTED
        assert memory.workers.asked == []
        return
    with pytest.raises(UploadBusyError):
        commit(memory, session, claim)
    assert memory.session(session.id).state is UploadState.SEALED
    assert memory.workers.asked == [session.id]
    memory.registry.commits.resume(session.id, memory.clock.now() + 600)
    assert commit(memory, session, claim).state is UploadState.COMMITTED


def test_the_algorithm_can_be_named_with_the_first_chunk_and_no_later(
    memory: MemoryRegistry,
) -> None:
    """The bytes are hashed with it as they come, so that they need not be read back."""
    claim, deadline = Digest.of(BYTES, Algorithm.SHA512), memory.clock.now() + 29
    first, late = opened(memory), opened(memory, BYTES[:16])
    chunk = memory.registry.uploads.append
    chunk(OWNER, named(first), BYTES[:16], 0, deadline, Algorithm.SHA512)
    chunk(OWNER, first.id, BYTES[16:], 16, deadline)
    chunk(OWNER, late.id, BYTES[16:], 16, deadline, Algorithm.SHA512)
    assert memory.session(late.id).algorithm is Algorithm.SHA256
    with mock.patch.object(memory.objects, "read", side_effect=AssertionError("read back")):
        assert commit(memory, first, claim).state is UploadState.COMMITTED
    assert commit(memory, late, Digest.of(BYTES)).state is UploadState.COMMITTED
