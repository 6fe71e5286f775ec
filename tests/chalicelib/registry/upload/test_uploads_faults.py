"""Uploads where a store fails or another request comes between: nothing is thrown away for it.

No test may wait: the clock is moved.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import (
    RegistryError,
    TooManyRequestsError,
    UnavailableError,
    UploadBusyError,
    UploadInvalidError,
    UploadUnknownError,
)
from chalicelib.registry.outcomes import MultipartBusyError
from chalicelib.registry.service import Limits
from chalicelib.registry.session import LAST_PART, Owner, Session, UploadState
from tests.support.registries import MemoryRegistry, registry_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = Limits(part_minimum=8, verify_inline=20)
NAME = "team/app"
OWNER = Owner(NAME, "ann")
BYTES = b"sixteen letters.and a tail"
CLAIM = Digest.of(BYTES)
WEEK = LIMITS.session_life


@pytest.fixture
def memory() -> MemoryRegistry:
    """An empty registry in memory."""
    return registry_in_memory(LIMITS)


def opened(memory: MemoryRegistry, *chunks: bytes) -> Session:
    """Open a session and append chunks to it."""
    session = memory.registry.uploads.start(NAME, "ann")
    for chunk in chunks:
        session = append(memory, session, chunk)
    return session


def append(memory: MemoryRegistry, session: Session, chunk: bytes) -> Session:
    """Append where the session ends."""
    deadline = memory.clock.now() + 29
    return memory.registry.uploads.append(OWNER, session.id, chunk, session.offset, deadline)


def commit(memory: MemoryRegistry, session: Session, claim: Digest, data: bytes = b"") -> Session:
    """Close a session, with its last bytes perhaps."""
    at, deadline = session.offset if data else None, memory.clock.now() + 29
    return memory.registry.uploads.commit(OWNER, session.id, claim, data, at, deadline)


def state(memory: MemoryRegistry, session: Session) -> Session:
    """Return a session as it stands."""
    return memory.sessions.sessions[session.id]


def refusing(error: RegistryError) -> Callable[..., Any]:
    """Return what stands for a call that fails so."""

    def call(*_: object, **__: object) -> Any:  # noqa: ANN401 - it never returns
        raise error

    return call


def before(call: Callable[..., Any], act: Callable[[], object]) -> Callable[..., Any]:
    """Return a call before which, the first time, something else happens."""
    acts = [act]

    def both(*args: object, **kwargs: object) -> Any:  # noqa: ANN401 - whatever it returns
        if acts:
            acts.pop()()
        return call(*args, **kwargs)

    return both


@pytest.mark.parametrize(("kept", "data"), [(b"small", b""), (b"", b"small"), (b"sm", b"all")])
@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_a_blob_whose_upload_ended_meanwhile_is_not_said_to_be_there(
    memory: MemoryRegistry, monkeypatch: pytest.MonkeyPatch, kept: bytes, data: bytes, end: str
) -> None:
    """A closing PUT that stored its bytes, and then met the end of its session, is a 404."""
    session = opened(memory, *filter(None, [kept]))

    def cancel() -> None:
        memory.registry.uploads.cancel(OWNER, session.id)

    def expire() -> None:
        memory.clock.sleep(WEEK)
        memory.registry.sweeper.sweep(memory.clock.now() + 600)

    act = cancel if end == "cancelled" else expire
    monkeypatch.setattr(memory.metadata, "publish", before(memory.metadata.publish, act))
    with pytest.raises(UploadUnknownError):
        commit(memory, session, Digest.of(b"small"), data)
    assert state(memory, session).state is UploadState.CANCELLED
    assert memory.metadata.get_record(Digest.of(b"small")) is None
    memory.clock.sleep(LIMITS.sweep_again)
    memory.registry.sweeper.sweep(memory.clock.now() + 600)
    assert not memory.objects.objects


def test_a_whole_blob_that_outlived_its_session_is_sent_again(
    memory: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sent it in one request knows of no session that could be unknown."""

    def expire() -> None:
        memory.clock.sleep(WEEK)
        memory.registry.sweeper.sweep(memory.clock.now() + 600)

    monkeypatch.setattr(memory.metadata, "publish", before(memory.metadata.publish, expire))
    deadline = memory.clock.now() + 29
    with pytest.raises(UnavailableError, match="send it again"):
        memory.registry.uploads.put_whole(NAME, "ann", CLAIM, BYTES, deadline)
    assert memory.registry.uploads.put_whole(NAME, "ann", CLAIM, BYTES, deadline + WEEK).offset


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
def test_an_upload_outlives_a_spell_of_failures(
    memory: MemoryRegistry,
    monkeypatch: pytest.MonkeyPatch,
    chunks: list[bytes],
    chunk: bytes,
    call: str,
) -> None:
    """However often S3 refused, the upload goes on where it was once S3 is well again."""
    session = opened(memory, *chunks)
    slow_down = TooManyRequestsError("slow down", retry_after=2)
    with monkeypatch.context() as spell:
        spell.setattr(memory.objects, call, refusing(slow_down))
        for _ in range(200):
            with pytest.raises(TooManyRequestsError):
                append(memory, session, chunk)
            memory.clock.sleep(2)
    met = state(memory, session)
    assert (met.offset, met.holder) == (session.offset, None)
    # Numbers are given up for what may have been sent as a part, and for nothing else.
    part = call in {"put_part", "begin_multipart"}
    assert len(met.burned) == met.next_part - session.next_part == 200 * part
    whole = b"".join([*chunks, chunk])
    append(memory, session, chunk)
    done = commit(memory, session, Digest.of(whole))
    assert memory.objects.objects[done.published_key or ""] == whole


def test_a_closing_request_costs_no_part_number_where_it_writes_no_part(
    memory: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small blob is copied or put whole: what may come late of it is its own key."""
    session = opened(memory, b"small")
    with monkeypatch.context() as spell:
        spell.setattr(memory.objects, "copy", refusing(UnavailableError("no")))
        for _ in range(100):
            with pytest.raises(UnavailableError):
                commit(memory, session, Digest.of(b"small"))
    met = state(memory, session)
    assert (met.burned, met.earlier_claims, met.disturbed) == ((), (Digest.of(b"small"),), True)
    assert commit(memory, session, Digest.of(b"small")).state is UploadState.COMMITTED


def test_a_refusal_of_ours_leaves_a_session_as_it_was(memory: MemoryRegistry) -> None:
    """Past the last part number nothing was sent, so nothing is given up; closing still works."""
    session = opened(memory, BYTES[:16], b"tail")
    full = replace(state(memory, session), next_part=LAST_PART, burned=tuple(range(2, LAST_PART)))
    memory.sessions.sessions[session.id] = full
    for _ in range(3):
        with pytest.raises(UploadInvalidError, match="larger chunks"):
            append(memory, session, BYTES)
    met = state(memory, session)
    assert (met.burned, met.next_part, met.disturbed) == (full.burned, LAST_PART, False)
    done = commit(memory, session, Digest.of(BYTES[:16] + b"tail"))
    assert (done.state, done.tail_part) == (UploadState.COMMITTED, LAST_PART)


def test_a_complete_that_another_one_makes_is_waited_for(
    memory: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as nobody knows what came of it the bytes are not lost: the client waits."""
    session = opened(memory, BYTES[:16], BYTES[16:])

    def busy(*_: object) -> str:
        raise MultipartBusyError(session.id)

    with monkeypatch.context() as others:
        others.setattr(memory.objects, "complete_multipart", busy)
        for _ in range(3):
            with pytest.raises(UnavailableError):
                commit(memory, session, CLAIM)
            assert state(memory, session).state is UploadState.SEALED
    assert commit(memory, session, CLAIM).state is UploadState.COMMITTED


def test_another_ones_wrong_claim_is_not_held_against_the_right_one(
    memory: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a worker reads the bytes for one claim, another one takes over and is found wrong."""
    right, wrong = (Digest.of(data, Algorithm.SHA512) for data in (BYTES, b"other"))
    session = opened(memory, BYTES[:16], BYTES[16:])

    def claim_another() -> None:
        # Another client's PUT binds the session to its claim, and a worker finds it wrong.
        sealed = state(memory, session)
        other = replace(sealed, claim=wrong, fence=sealed.fence + 1)
        memory.sessions.sessions[session.id] = other
        with pytest.raises(RegistryError):
            memory.registry.commits.resume(session.id, memory.clock.now() + 600)

    monkeypatch.setattr(memory.clock, "sleep", before(memory.clock.sleep, claim_another))
    with pytest.raises(UploadBusyError):
        commit(memory, session, right)
    assert memory.workers.asked == [session.id] * 2
    with pytest.raises(UploadBusyError):
        commit(memory, session, right)
    memory.registry.commits.resume(session.id, memory.clock.now() + 600)
    assert commit(memory, session, right).state is UploadState.COMMITTED


def test_an_upload_that_ends_under_another_ones_claim_is_over(
    memory: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told to wait for a commit that can't come any more."""
    right, wrong = (Digest.of(data, Algorithm.SHA512) for data in (BYTES, b"other"))
    session = opened(memory, BYTES[:16], BYTES[16:])

    def lose() -> None:
        sealed = state(memory, session)
        lost = replace(sealed, claim=wrong, fence=sealed.fence + 1, state=UploadState.CANCELLED)
        memory.sessions.sessions[session.id] = lost

    monkeypatch.setattr(memory.clock, "sleep", before(memory.clock.sleep, lose))
    with pytest.raises(UploadUnknownError):
        commit(memory, session, right)
    assert memory.workers.asked == [session.id]


@pytest.mark.parametrize("size", [20, 21])
def test_bytes_that_must_be_read_back_are_left_to_a_worker(
    memory: MemoryRegistry, size: int
) -> None:
    """Reading them takes longer than a request lives; the first digest of a kind asks for that."""
    content = BYTES[:size]
    session = opened(memory, content[:16], content[16:])
    claim = Digest.of(content, Algorithm.SHA512)
    if size <= LIMITS.verify_inline:
        assert commit(memory, session, claim).state is UploadState.COMMITTED
        assert memory.workers.asked == []
        return
    with pytest.raises(UploadBusyError):
        commit(memory, session, claim)
    assert state(memory, session).state is UploadState.SEALED
    assert set(memory.workers.asked) == {session.id}
    memory.registry.commits.resume(session.id, memory.clock.now() + 600)
    assert commit(memory, session, claim).state is UploadState.COMMITTED


def test_what_keeps_failing_keeps_nothing_waiting(
    memory: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions whose clean-up takes long and fails stand behind the others from then on."""
    failing = {opened(memory, BYTES[:16]).id for _ in range(12)}
    memory.clock.sleep(5)
    others = [opened(memory, BYTES[:16]) for _ in range(4)]
    memory.clock.sleep(WEEK)
    abort = memory.objects.abort_multipart

    def slow(key: str, upload_id: str) -> None:
        if any(name in key for name in failing):
            memory.clock.sleep(250)
            raise UnavailableError("no answer")
        abort(key, upload_id)

    monkeypatch.setattr(memory.objects, "abort_multipart", slow)
    for _ in range(12):
        memory.registry.sweeper.sweep(memory.clock.now() + 600)
        memory.clock.sleep(3600)
    assert [state(memory, each).sweep_at for each in others] == [None] * 4
    monkeypatch.setattr(memory.objects, "abort_multipart", abort)
    memory.registry.sweeper.sweep(memory.clock.now() + 600)
    assert not memory.objects.uploads
