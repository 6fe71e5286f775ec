"""Pushes whose bytes go to the storage itself: by one PUT or by parts, resumed, or in chunks."""

from __future__ import annotations

import asyncio
import copy
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from chalicelib.digest import Algorithm, Digest
from chalicelib.limits import MIB
from moorage.common.direct_upload import NotDirectError, PartRules, PartsUpload, WholeUpload
from moorage.transfer import direct_sender
from moorage.transfer.direct_sender import LARGEST_WHOLE, _Memory, planned_parts
from moorage.transfer.kept_sessions import KeptSession, state_folder
from tests.moorage.transfer.images import Content, noise
from tests.support.fake_direct import FakeDirect, FakeSession, PutFault
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.moorage.transfer.conftest import Ran, Runner

PART = 64 * 1024
WHOLE = 100_000
LAYER = noise(10 * PART + 77)
DIGEST = Digest.of(LAYER)
MORE = ("--chunk-size", "1000")
RULES = PartRules(minimum=5 * MIB, maximum=5 * 1024 * MIB, count=10_000, multiple=64, batch=100)

_SMALL = f"""
import sys
from moorage.cli.main import main
from moorage.transfer import direct_sender
direct_sender.LARGEST_WHOLE, direct_sender._PART = {WHOLE}, {PART}
direct_sender._MEMORY = {3 * PART}
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def direct(run: Runner, monkeypatch: pytest.MonkeyPatch) -> FakeDirect:
    """The registry's direct uploads; blobs above 100,000 bytes go by parts of 64 KiB."""
    monkeypatch.setattr(direct_sender, "LARGEST_WHOLE", WHOLE)
    monkeypatch.setattr(direct_sender, "_PART", PART)
    monkeypatch.setattr(direct_sender, "_MEMORY", 3 * PART)
    run.fake.direct = FakeDirect(minimum=PART)
    return run.fake.direct


def image(folder: Path, *layers: bytes) -> str:
    """Return the source of an image."""
    content = Content()
    content.tag(content.image(*layers))
    return f"oci:{content.folder(folder / 'image')}"


def push(run: Runner, *layers: bytes, words: tuple[str, ...] = (), fails: bool = False) -> Ran:
    """Push an image of these layers."""
    source = image(run.folder, *(layers or (LAYER,)))
    return run("push", source, f"{run.host}/x:1", "--json", *MORE, *words, fails=fails)


def chunks_sent(run: Runner) -> int:
    """Return how many bytes came in chunks."""
    return sum(run.fake.chunks)


def test_layers_go_whole_or_in_parts_and_small_ones_by_a_post(
    run: Runner, direct: FakeDirect
) -> None:
    """Each request that a layer takes is counted; the storage has seen no login."""
    run.log_in()
    whole, small = noise(90_000, 2), noise(10, 3)
    run.fake.takes_whole = True
    push(run, LAYER, whole, small)
    assert {run.fake.blobs[str(Digest.of(each))] for each in (LAYER, whole, small)} == {
        *(LAYER, whole, small)
    }
    assert chunks_sent(run) == 0
    assert sorted(size for _, number, size in direct.puts if number) == [77, *([PART] * 10)]
    assert [size for _, number, size in direct.puts if not number] == [len(whole)]
    asked = [(method, path) for method, path in run.fake.log if "_moorage" in path]
    assert sum(method == "POST" and path.endswith("/uploads/") for method, path in asked) == 2
    assert (
        [path for method, path in asked if method == "POST"].count(
            next(path for _, path in asked if path.endswith("/parts"))
        )
        == len(direct.batches)
        == 1
    )
    assert sum(method == "PUT" for method, _ in asked) == 2
    assert [path for _, path in run.fake.log].count("/v2/_oci/ext/discover") == 1
    assert list(state_folder().iterdir()) == []


def test_parts_go_at_once_but_no_more_than_the_memory_holds(
    run: Runner, direct: FakeDirect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three parts here, of all layers together."""
    put = PartsUpload.put
    under_way, most = 0, 0

    async def counted(*arguments: object) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        await put(*arguments)  # type: ignore[arg-type]
        under_way -= 1

    monkeypatch.setattr(PartsUpload, "put", counted)
    push(run, LAYER, noise(5 * PART, 5), noise(4 * PART, 6))
    assert most == 3
    assert run.fake.blobs[str(DIGEST)] == LAYER
    assert len(direct.puts) == 11 + 5 + 4


@pytest.mark.parametrize("fault", [each for each in PutFault if each is not PutFault.REFUSED])
def test_a_layer_arrives_whatever_happens_to_its_parts(
    fault: PutFault, run: Runner, direct: FakeDirect
) -> None:
    """And by one PUT likewise; no chunk is sent."""
    direct.put_faults = [fault, *[None] * 9, fault]
    direct.answers_lost, direct.runs = 1, 2
    push(run, LAYER, noise(90_000, 2))
    assert run.fake.blobs[str(DIGEST)] == LAYER
    assert chunks_sent(run) == 0


@pytest.mark.parametrize(
    ("change", "tried"),
    [
        ({"refuses": {"whole": 413, "parts": 400}}, 0),
        ({"refuses": {"whole": 404, "parts": 405}}, 0),
        ({"url": "http://192.0.2.1"}, 0),
        ({"url": "ftp://127.0.0.1"}, 0),
        ({"put_faults": [PutFault.REFUSED] * 3}, 1),
        ({"put_faults": [PutFault.EXPIRED] * 9}, 2),
        ({"put_faults": [PutFault.LOST_BEFORE] * 1000}, 2),
    ],
)
@pytest.mark.parametrize("size", [90_000, len(LAYER)])
def test_what_is_not_taken_directly_goes_in_chunks(
    size: int, change: dict[str, object], tried: int, run: Runner, direct: FakeDirect
) -> None:
    """The registry or the storage refuses, or the storage can't be reached: nothing is left."""
    for name, value in change.items():
        setattr(direct, name, copy.copy(value))
    faults = len(direct.put_faults)
    layer = noise(size, 7)
    push(run, layer, words=("--patience", "0.1"))
    assert run.fake.blobs[str(Digest.of(layer))] == layer
    assert chunks_sent(run) == size
    assert direct.sessions == {}
    assert direct.puts == []
    assert faults - len(direct.put_faults) >= tried
    assert list(state_folder().iterdir()) == []


def test_a_storage_that_takes_nothing_is_tried_once(run: Runner, direct: FakeDirect) -> None:
    """The next layers go in chunks at once."""
    direct.put_faults = [PutFault.REFUSED] * 100
    push(run, LAYER, noise(90_000, 2), noise(90_001, 3), words=("--parallel", "1"))
    assert len(direct.put_faults) >= 97


def test_a_storage_that_fails_after_it_has_worked_ends_the_push(
    run: Runner, direct: FakeDirect
) -> None:
    """The next run goes on, and says how much was kept."""
    direct.put_faults = [*[None] * 6, *[PutFault.BUSY] * 10_000]
    layers = (LAYER, noise(90_000, 2))
    words = ("--parallel", "1", "--patience", "0.2")
    failed = push(run, *layers, words=words, fails=True)
    assert "its storage: status 503" in failed.err
    direct.put_faults = []
    told = push(run, *layers, words=words).events
    kept = [each["bytes"] for each in told if each["event"] == "kept"]
    # What was in flight at the end of the first run may have come, too.
    assert kept[0] >= 6 * PART
    assert told[-1]["kept"] == kept[0]
    assert len(direct.puts) == 12


def test_a_login_that_ends_keeps_what_was_sent(run: Runner, direct: FakeDirect) -> None:
    """It says to log in; the next run goes on."""
    direct.refuses = {"commit": 403}
    failed = push(run, fails=True)
    assert failed.status == 1
    direct.refuses = {}
    assert push(run).events[-1]["kept"] == len(LAYER)
    assert len(direct.puts) == 11


@pytest.mark.parametrize("size", [90_000, len(LAYER)])
def test_a_source_with_other_bytes_is_refused(size: int, run: Runner, direct: FakeDirect) -> None:
    """By the storage or by the registry; nothing goes in chunks then."""
    layer = noise(size, 8)
    source = image(run.folder, layer)
    digest = Digest.of(layer)
    (run.folder / "image/blobs/sha256" / digest.hex).write_bytes(layer[::-1])
    failed = run("push", source, f"{run.host}/x:1", *MORE, fails=True)
    assert digest.hex[:12] in failed.err
    assert str(digest) not in run.fake.blobs
    assert chunks_sent(run) == 0
    assert len(direct.puts) in {0, 11}
    assert list(state_folder().iterdir()) == []


def test_a_truncated_source_is_an_error(run: Runner, direct: FakeDirect) -> None:
    """It is no fault of the network, so nothing is repeated."""
    source = image(run.folder, LAYER)
    file = run.folder / "image/blobs/sha256" / DIGEST.hex
    original = direct_sender.DirectSender._try  # noqa: SLF001 - it has no other hook

    async def cut(*arguments: object) -> None:
        file.write_bytes(LAYER[: 5 * PART])
        await original(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(direct_sender.DirectSender, "_try", cut)
        failed = run("push", source, f"{run.host}/x:1", *MORE, fails=True)
    assert "ends too early" in failed.err
    assert direct.batches in ([], [11])


def test_a_session_that_somebody_ends_is_begun_anew(run: Runner, direct: FakeDirect) -> None:
    """The parts are sent again, once."""
    sent = PartsUpload.put
    ended = False

    async def put(*arguments: object) -> None:
        nonlocal ended
        if len(direct.puts) >= 4 and not ended:
            ended = True
            direct.sessions.clear()
        await sent(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PartsUpload, "put", put)
        push(run)
    assert ended
    assert run.fake.blobs[str(DIGEST)] == LAYER
    assert chunks_sent(run) == 0


def kept_parts(direct: FakeDirect, run: Runner, *parts: tuple[int, bytes]) -> None:
    """Leave a session of an earlier run that has these parts."""
    direct.sessions["kept"] = FakeSession("x", Algorithm.SHA256, parts=dict(parts))
    with KeptSession(f"{run.host}/x", DIGEST) as kept:
        kept.keep(f"{run.fake.url}/v2/x/_moorage/uploads/kept")


@pytest.mark.parametrize(
    ("parts", "kept", "sessions"),
    [
        ([(2, LAYER[PART : 2 * PART]), (11, LAYER[10 * PART :])], PART + 77, 1),
        ([(2, LAYER[PART : 2 * PART - 64])], 0, 1),
        ([(12, LAYER[:PART])], 0, 1),
        ([(2, bytes(PART))], PART, 2),
    ],
    ids=["its parts", "another size", "a part too many", "other bytes"],
)
def test_a_kept_session_is_gone_on_with_or_left(
    parts: list[tuple[int, bytes]], kept: int, sessions: int, run: Runner, direct: FakeDirect
) -> None:
    """With parts of another cut it is given up, with other bytes its commit is refused."""
    kept_parts(direct, run, *parts)
    told = push(run).events
    first = [each["bytes"] for each in told if each["event"] == "kept"]
    assert first == ([kept] if kept else [])
    assert run.fake.blobs[str(DIGEST)] == LAYER
    assert len(direct.sessions) == sessions
    assert ("kept" in direct.sessions) == bool(kept)


def test_a_session_that_is_over_or_of_another_kind_is_left(run: Runner, direct: FakeDirect) -> None:
    """One in chunks is gone on with in chunks, for that layer."""
    with KeptSession(f"{run.host}/x", DIGEST) as kept:
        kept.keep(f"{run.fake.url}/v2/x/_moorage/uploads/gone")
    assert push(run).events[-1]["kept"] == 0
    assert chunks_sent(run) == 0
    assert len(direct.puts) == 11
    run.renew()
    run.fake.direct = FakeDirect(minimum=PART)
    place = "/v2/x/blobs/uploads/9"
    run.fake.sessions[place] = bytearray(LAYER[:1000])
    with KeptSession(f"{run.host}/x", DIGEST) as kept:
        kept.keep(f"{run.fake.url}{place}?at=1000")
    assert push(run).events[-1]["kept"] == 1000
    assert chunks_sent(run) == len(LAYER) - 1000


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("size", [90_000, len(LAYER)])
def test_a_push_that_was_killed_at_its_commit_sends_no_byte_again(
    size: int, *, committed: bool, run: Runner, direct: FakeDirect
) -> None:
    """Before the registry has heard of it, or after; a blob that is there is not even looked at."""
    layer = noise(size, 9)
    digest = Digest.of(layer)
    commit = "commit" if committed else "none"
    upload = WholeUpload if size < WHOLE else PartsUpload
    original = upload.commit

    async def killed(*arguments: object) -> None:
        if commit == "commit":
            await original(*arguments)  # type: ignore[arg-type]
        raise RuntimeError("killed")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(upload, "commit", killed)
        with pytest.raises(RuntimeError):
            push(run, layer)
    run.fake.homes.discard(("x", str(digest)))
    puts = len(direct.puts)
    told = push(run, layer).events
    assert told[-1]["kept"] == size
    assert run.fake.blobs[str(digest)] == layer
    assert len(direct.puts) == puts
    assert len(direct.sessions) == 1


@pytest.mark.parametrize("stopped_after", [1, 3, 5, 8, 10])
def test_a_push_by_parts_that_is_killed_sends_no_more_than_was_in_flight_again(
    stopped_after: int, run: Runner, direct: FakeDirect
) -> None:
    """The next one says how much was kept."""
    source = image(run.folder, LAYER)
    run.fake.pause, direct.runs = 0.05, 10_000
    words = (source, f"{run.host}/x:1", *MORE)
    killed = subprocess.Popen([sys.executable, "-c", _SMALL, "push", *words])
    until(lambda: len(direct.puts) >= stopped_after, "parts have come")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (session,) = direct.sessions.values()
    run.fake.pause = direct.runs = session.runs = 0
    stored = sum(map(len, session.parts.values()))
    told = run("push", *words, "--json").events
    # What was in flight may arrive after the kill: a part, or the commit.
    there = any(each.get("outcome") == "there" for each in told[:-1] if each["size"] == len(LAYER))
    assert there or told[-1]["kept"] >= min(stored, stopped_after * PART)
    assert sum(size for _, _, size in direct.puts) <= len(LAYER) + 3 * PART
    assert run.fake.blobs[str(DIGEST)] == LAYER
    assert there or list(state_folder().iterdir()) == []


@pytest.mark.parametrize(
    ("size", "rules", "expected"),
    [
        (LARGEST_WHOLE + 1, RULES, (8 * MIB, 17, 1)),
        (16 * MIB, RULES, (8 * MIB, 2, 8 * MIB)),
        (78 * 1024 * MIB, RULES, (8 * MIB, 9984, 8 * MIB)),
        (80 * 1024 * MIB, RULES, (16 * MIB, 5120, 16 * MIB)),
        (48 * 1024 * 1024 * MIB, RULES, (5040 * MIB, 9987, 2208 * MIB)),
        (1, RULES, (8 * MIB, 1, 1)),
    ],
)
def test_a_blob_is_cut_the_same_way_each_time(
    size: int, rules: PartRules, expected: tuple[int, int, int]
) -> None:
    """In the smallest parts that suffice, which hash blocks end with."""
    plan = planned_parts(size, rules)
    each, count, last = expected
    assert sum(part.size for part in plan) == size
    assert [part.number for part in plan] == list(range(1, count + 1))
    assert {part.size for part in plan[:-1]} <= {each}
    assert plan[-1].size == last


def test_more_than_the_parts_can_hold_is_not_sent_in_parts() -> None:
    """It can't be a blob of S3's either."""
    with pytest.raises(NotDirectError):
        planned_parts(RULES.maximum * RULES.count + 1, RULES)


def test_memory_is_given_in_the_order_of_requests() -> None:
    """A request for more than all gets all, and no later one goes first."""

    async def run() -> None:
        memory = _Memory(10)
        order: list[str] = []

        async def use(name: str, size: int) -> None:
            await memory.take(size)
            order.append(name)
            await asyncio.sleep(0.01)
            memory.give(size)

        asked = {"a": 4, "b": 6, "large": 25, "c": 1, "d": 9}
        await asyncio.gather(*(use(name, size) for name, size in asked.items()))
        assert order == list(asked)
        await memory.take(10)

    asyncio.run(asyncio.wait_for(run(), 10))
