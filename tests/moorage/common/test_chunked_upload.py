"""How long an upload is tried for: by a clock that moves only when the upload waits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict

from moorage.common.chunked_upload import ChunkedUpload, UploadRefusedError
from moorage.common.patience import (
    COMMIT_RUNNING,
    LONGEST_COMMIT,
    ExhaustedError,
    UpstreamResponse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.moorage.conftest import SteppedClock

PATIENCE = 90.0
DRIVEN = dict([COMMIT_RUNNING])
CHUNK = memoryview(b"0123456789")
# Waits of 0.1 s, each twice the last and none above 5 s: ninety seconds have room for so many.
MOST_TRIES = 25


@dataclass
class ScriptedUpstream:
    """Answers each request with the next answer; `asked` has methods and lengths of bodies."""

    answers: Iterator[UpstreamResponse]
    asked: list[tuple[str, int]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: memoryview | None = None
    ) -> UpstreamResponse:
        """Answer one request; there is no wire."""
        self.paths.append(path)
        assert isinstance(headers, dict)
        self.asked.append((method, len(body or b"")))
        return next(self.answers)


def kept(offset: int, status: int = 416, **headers: str) -> UpstreamResponse:
    """Make the answer of a session that keeps so many bytes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return UpstreamResponse(
        status, CIMultiDict({"Location": f"/session?at={offset}", **named}), b""
    )


def for_ever(*answers: UpstreamResponse) -> Iterator[UpstreamResponse]:
    """Give the answers, and the last of them again and again."""
    yield from answers
    for _ in range(1000):
        yield answers[-1]
    pytest.fail("it asks without end")


def send(script: ScriptedUpstream, how: str = "PUT") -> UpstreamResponse:
    """Send the chunk at the start of a session: by PATCH, by the last PUT, or by an empty PUT."""
    upload = ChunkedUpload(script, "/session?at=0", {}, 0, PATIENCE)
    if how == "PATCH":
        return asyncio.run(upload.append(CHUNK))
    return asyncio.run(upload.close(CHUNK if how == "PUT" else CHUNK[:0], "digest=sha256:x"))


@pytest.mark.parametrize(
    ("how", "answers"),
    [
        ("PUT", [kept(0)]),
        ("PUT", [kept(0, 503), kept(0, 204), kept(0)]),
        ("PUT", [kept(4), kept(4)]),
        ("empty PUT", [kept(0)]),
        ("PATCH", [kept(0, 500), kept(0, 204), kept(0)]),
        ("PATCH", [kept(0, 500), kept(4, 204), kept(4)]),
    ],
)
def test_a_refusal_without_progress_is_given_up(
    clock: SteppedClock, how: str, answers: list[UpstreamResponse]
) -> None:
    """A 416 whose offset stays is repeated, after longer waits, until the patience is over."""
    script = ScriptedUpstream(for_ever(*answers))
    began = clock.now
    with pytest.raises(ExhaustedError):
        send(script, how)
    assert PATIENCE < clock.now - began < PATIENCE + 10
    assert len(script.asked) <= MOST_TRIES + len(answers)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("offset", [4, len(CHUNK), 99])
@pytest.mark.parametrize("status", [204, 416])
def test_another_clients_bytes_are_not_taken_for_ones_own(offset: int, status: int) -> None:
    """After a busy upload whose offset moved, the client gets 416 and the new offset.

    The registry had kept nothing of its chunk: the bytes there are of somebody else's.
    """
    busy = [kept(0, 503), kept(0, 204), kept(0, 503)]
    script = ScriptedUpstream(iter([*busy, kept(offset, status)]))
    with pytest.raises(UploadRefusedError) as refused:
        send(script, "PATCH")
    answer = refused.value.answer
    assert (answer.status, answer.headers["Location"]) == (416, f"/session?at={offset}")


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("lost", [500, 503])
def test_a_busy_upload_after_a_lost_answer_is_resumed(lost: int) -> None:
    """The lease may be that of the lost request itself: what is there then is this client's."""
    nothing = UpstreamResponse(lost, CIMultiDict(), b"")
    script = ScriptedUpstream(iter([nothing, kept(0, 204), kept(0, 503), kept(len(CHUNK), 204)]))
    assert send(script, "PATCH").status == 204


def test_an_offset_that_moves_to_and_fro_is_given_up(clock: SteppedClock) -> None:
    """Only an offset above every earlier one is progress."""
    answers = (kept(offset) for _ in range(500) for offset in (4, 0))
    script = ScriptedUpstream(answers)
    began = clock.now
    with pytest.raises(ExhaustedError):
        send(script)
    assert clock.now - began < PATIENCE + 10
    assert len(script.asked) <= 2 * MOST_TRIES


@pytest.mark.parametrize("chunk", ["PUT", "empty PUT"])
def test_a_commit_that_is_driven_is_waited_for(clock: SteppedClock, chunk: str) -> None:
    """As long as each answer says that a driver works on it."""
    busy = [kept(10, 503, Retry_After="1", **DRIVEN), kept(10, 204)] * 5000
    script = ScriptedUpstream(iter([*busy, kept(10, 201)]))
    began = clock.now
    assert send(script, chunk).status == 201
    assert clock.now - began > 50 * PATIENCE
    assert [sent for _, sent in script.asked].count(len(CHUNK)) == (chunk == "PUT")


@pytest.mark.parametrize(
    ("driven", "seconds"), [([DRIVEN, {}], PATIENCE), ([DRIVEN], LONGEST_COMMIT)]
)
def test_a_commit_that_nobody_drives_any_more_is_given_up(
    clock: SteppedClock, driven: list[dict[str, str]], seconds: float
) -> None:
    """After the patience, or after hours if it always seems to be driven."""

    def answers() -> Iterator[UpstreamResponse]:
        for number in range(20_000):
            headers = driven[min(number, len(driven) - 1)]
            yield from (kept(10, 503, Retry_After="5", **headers), kept(10, 204))

    began = clock.now
    with pytest.raises(ExhaustedError):
        send(ScriptedUpstream(answers()), "empty PUT")
    assert seconds < clock.now - began < seconds + 20


def test_the_first_chunk_names_the_algorithm_of_the_digest(clock: SteppedClock) -> None:
    """Once it is kept, the registry knows it."""
    script = ScriptedUpstream(iter([kept(10, 202), kept(20, 202)]))
    upload = ChunkedUpload(script, "/session?at=0", {}, 0, PATIENCE)
    for _ in range(2):
        asyncio.run(upload.append(CHUNK, "sha512"))
    assert script.paths == ["/session?at=0&digest-algorithm=sha512", "/session?at=10"]
    assert clock.now == 1000.0


def test_every_chunk_that_is_stored_starts_the_patience_anew(clock: SteppedClock) -> None:
    """A slow upload with progress may take longer than the patience.

    What is kept isn't sent again, and after progress nothing is waited for.
    """
    slowly = [kept(n, Retry_After="40") for n in range(len(CHUNK)) for _ in range(2)]
    script = ScriptedUpstream(iter([*slowly, kept(10, 201)]))
    began = clock.now
    assert send(script).status == 201
    # At 0 both are no progress; elsewhere the first is.
    assert 11 * 40 <= clock.now - began <= 11 * 40 * 1.2
    assert [sent for _, sent in script.asked] == [10, 10, *(10 - n // 2 for n in range(1, 20))]
