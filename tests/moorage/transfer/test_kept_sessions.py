"""Pushes and pulls that are killed go on where they stopped; two at once don't share an upload."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from chalicelib.digest import Digest
from moorage.transfer import kept_sessions
from moorage.transfer.kept_sessions import KeptSession, forget_old_sessions, state_folder
from tests.moorage.transfer.images import Content, noise, saved
from tests.support.fake_registry import UploadFault
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.moorage.transfer.conftest import Runner

CHUNK = 64 * 1024
LAYER = noise(60 * CHUNK + 7)
DIGEST = Digest.of(LAYER)
PLACE = "r.example.com/x"


def start(*words: str) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own."""
    program = [sys.executable, "-m", "moorage", *words]
    return subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("way", ["stream", "gzip", "--compress"])
def test_ctrl_c_ends_a_push_that_reads_its_archive(way: str, run: Runner) -> None:
    """At once: who writes standard input may be silent, and compression takes minutes."""
    folder, archive = run.folder / "tmp", run.folder / "saved.tar"
    folder.mkdir()
    words, begun = [f"docker-archive:{archive}"], b""
    if way == "stream":
        words, begun = ["docker-archive:-"], saved(noise(100_000))[:60_000]
    elif way == "gzip":
        archive.write_bytes(gzip.compress(bytes(10_000_000)) * 300)
    else:
        words.append(way)
        _save_zeros(archive, 3_000_000_000)
    program = [sys.executable, "-m", "moorage", "push", *words, f"{run.host}/x:1"]
    with subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder)},
    ) as stopped:
        assert stopped.stdin is not None
        stopped.stdin.write(begun)
        stopped.stdin.flush()
        until(lambda: _writes_below(stopped.pid, folder), "a temporary file is written")
        stopped.send_signal(signal.SIGINT)
        stopped.wait(5)
        assert stopped.stderr is not None
        said = stopped.stderr.read()
    assert (stopped.returncode, said) == (130, b"moorage push: stopped\n")


def _save_zeros(path: Path, size: int) -> None:
    """Write an archive of an image whose layer is a hole in the file."""
    config = json.dumps({"rootfs": {"diff_ids": [str(DIGEST)]}}).encode()
    image = {"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["layer.tar"]}
    with path.open("wb") as file:
        for name, body in (("c.json", config), ("manifest.json", json.dumps([image]).encode())):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            file.write(member.tobuf() + body + bytes(-len(body) % 512))
        member = tarfile.TarInfo("layer.tar")
        member.size = size - size % 512
        file.write(member.tobuf())
        file.seek(member.size, os.SEEK_CUR)
        file.write(bytes(1024))


def _writes_below(process: int, folder: Path) -> bool:
    """Whether a process has a file without a name open in a folder, with bytes in it."""
    for path in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(path.readlink()).startswith(str(folder)) and path.stat().st_size:
                return True
    return False


@pytest.mark.parametrize("stopped_after", [1, 4, 9, 17, 30])
def test_a_push_that_is_killed_is_gone_on_with(run: Runner, stopped_after: int) -> None:
    """The next one says how much was kept, and sends no more than was in flight again."""
    content = Content()
    content.tag(content.image(LAYER))
    words = ("push", f"oci:{content.folder(run.folder / 'image')}", f"{run.host}/x:1")
    more = ("--chunk-size", str(CHUNK))
    run.fake.pause = 0.02
    killed = start(*words, *more)
    until(lambda: len(run.fake.chunks) > stopped_after, "chunks have come")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (file,) = state_folder().glob("*.json")
    assert file.stat().st_mode & 0o777 == 0o600
    run.fake.pause = 0
    told = run(*words, *more, "--json").events
    (kept,) = [each["bytes"] for each in told if each["event"] == "kept"]
    assert kept >= stopped_after * CHUNK
    assert told[-1]["kept"] == kept
    # The chunk that was in flight may arrive, or not, or too late.
    assert len(LAYER) <= sum(run.fake.chunks) <= len(LAYER) + 2 * CHUNK
    assert run.fake.blobs[str(DIGEST)] == LAYER
    assert list(state_folder().iterdir()) == []


def test_ctrl_c_ends_a_push_in_one_line(run: Runner) -> None:
    """With the status that shells give it, and with what is kept."""
    content = Content()
    content.tag(content.image(LAYER))
    image = f"oci:{content.folder(run.folder / 'image')}"
    run.fake.pause = 0.05
    program = [sys.executable, "-m", "moorage", "push", image, f"{run.host}/x:1"]
    words = [*program, "--chunk-size", str(CHUNK)]
    stopped = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    until(lambda: len(run.fake.chunks) > 3, "chunks have come")
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=30)
    assert stopped.returncode == 130
    assert said.splitlines()[-1] == "moorage push: stopped"
    assert "Traceback" not in said
    assert len(list(state_folder().iterdir())) == 1


@pytest.mark.parametrize("stopped_after", [1, 3, 5, 8, 11])
def test_a_pull_that_is_killed_is_gone_on_with(
    run: Runner, stopped_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the partial file is not asked for again."""
    layer = noise(15 * 4 * 1024 * 1024 + 1)
    content = Content()
    content.tag(content.image(layer))
    run("push", f"oci:{content.folder(run.folder / 'image')}", f"{run.host}/x:1")
    words = ("pull", f"{run.host}/x:1", f"oci:{run.folder}/copy")
    run.fake.pause = 0.1
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    killed = start(*words)
    digest = Digest.of(layer)
    partial = run.folder / f"copy/.partial/sha256-{digest.hex}"
    piece = 4 * 1024 * 1024
    until(lambda: partial.exists() and partial.stat().st_size >= stopped_after * piece, "it comes")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    run.fake.pause = 0
    told = run(*words, "--json").events
    (kept,) = [each["bytes"] for each in told if each["event"] == "kept"]
    assert kept >= stopped_after * piece
    assert told[-1]["bytes"] < len(layer)
    assert (run.folder / "copy/blobs/sha256" / digest.hex).read_bytes() == layer


def test_a_partial_file_with_other_bytes_is_read_anew(run: Runner) -> None:
    """It costs the whole layer, and nothing wrong is kept."""
    content = Content()
    content.tag(content.image(LAYER))
    run("push", f"oci:{content.folder(run.folder / 'image')}", f"{run.host}/x:1")
    partial = run.folder / f"copy/.partial/sha256-{DIGEST.hex}"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"other")
    told = run("pull", f"{run.host}/x:1", f"oci:{run.folder}/copy", "--json").events
    assert told[-1]["kept"] == 0
    assert (run.folder / "copy/blobs/sha256" / DIGEST.hex).read_bytes() == LAYER


def test_a_location_that_moves_with_the_offset_is_kept(run: Runner) -> None:
    """Some registries refuse all but the last one that they gave."""
    content = Content()
    content.tag(content.image(LAYER))
    words = ("push", f"oci:{content.folder(run.folder / 'image')}", f"{run.host}/x:1")
    more = ("--chunk-size", str(CHUNK), "--parallel", "1", "--json")
    run.fake.states = True
    run.fake.faults = [None] * 5 + [UploadFault.ERROR] * 1000
    run(*words, *more, "--patience", "0.2", fails=True)
    run.fake.faults = []
    assert run(*words, *more).events[-1]["kept"] == 5 * CHUNK
    assert run.fake.blobs[str(DIGEST)] == LAYER


def test_a_session_with_more_than_the_layer_is_begun_anew(run: Runner) -> None:
    """It can't be this layer's; a partial file with more is not read on either."""
    content = Content()
    content.tag(content.image(LAYER))
    place = "/v2/x/blobs/uploads/9"
    run.fake.sessions[place] = bytearray(LAYER + b"more")
    with KeptSession(f"{run.host}/x", DIGEST) as session:
        session.keep(f"{run.fake.url}{place}?at={len(LAYER) + 4}")
    words = ("push", f"oci:{content.folder(run.folder / 'image')}", f"{run.host}/x:1")
    told = run(*words, "--json", "--chunk-size", str(CHUNK)).events
    assert [each for each in told if each["event"] == "kept"] == []
    assert run.fake.blobs[str(DIGEST)] == LAYER
    partial = run.folder / f"copy/.partial/sha256-{DIGEST.hex}"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(LAYER + b"more")
    told = run("pull", f"{run.host}/x:1", f"oci:{run.folder}/copy", "--json").events
    assert [each for each in told if each["event"] == "kept"] == []
    assert (run.folder / "copy/blobs/sha256" / DIGEST.hex).read_bytes() == LAYER


def test_a_session_that_has_ended_is_begun_anew(run: Runner) -> None:
    """The registry no longer knows it: nothing is lost but the bytes."""
    with KeptSession(f"{run.host}/x", DIGEST) as session:
        session.keep(f"{run.fake.url}/v2/x/blobs/uploads/none?at=5")
    content = Content()
    content.tag(content.image(LAYER))
    image = f"oci:{content.folder(run.folder / 'image')}"
    chunks = ("--chunk-size", str(CHUNK))
    told = run("push", image, f"{run.host}/x:1", "--json", *chunks).events
    assert (told[-1]["kept"], run.fake.blobs[str(DIGEST)]) == (0, LAYER)


def test_a_late_chunk_of_a_killed_push_is_gone_on_after(run: Runner) -> None:
    """It arrives after the status that the next push goes by: that push asks again."""
    content = Content()
    content.tag(content.image(LAYER))
    place = "/v2/x/blobs/uploads/9"
    run.fake.sessions[place] = bytearray(LAYER[:CHUNK])
    with KeptSession(f"{run.host}/x", DIGEST) as session:
        session.keep(f"{run.fake.url}{place}?at={CHUNK}")
    upload = run.fake._upload  # noqa: SLF001 - it has no other hook

    def arrive(request: Any, body: bytes) -> Any:  # noqa: ANN401 - as it is called
        if request.method == "PATCH" and len(run.fake.sessions[place]) == CHUNK:
            run.fake.sessions[place] += LAYER[CHUNK : 3 * CHUNK]
        return upload(request, body)

    with mock.patch.object(run.fake, "_upload", arrive):
        image = f"oci:{content.folder(run.folder / 'image')}"
        run("push", image, f"{run.host}/x:1", "--chunk-size", str(CHUNK))
    assert run.fake.blobs[str(DIGEST)] == LAYER
    assert sum(run.fake.chunks) == len(LAYER) - 2 * CHUNK


def test_a_session_of_another_command_is_left_to_it() -> None:
    """It gets none, and what it keeps changes nothing; another blob's is not taken either."""
    with KeptSession(PLACE, DIGEST) as mine:
        mine.keep("https://r.example.com/1")
        with KeptSession(PLACE, DIGEST) as other:
            assert other.location is None
            other.keep("https://r.example.com/2")
    with KeptSession(PLACE, DIGEST) as later, KeptSession(f"{PLACE}/y", DIGEST) as elsewhere:
        assert (later.location, elsewhere.location) == ("https://r.example.com/1", None)
        later.keep("https://r.example.com/a-much-shorter-or-longer-one")
        later.keep("https://r.example.com/3")
    with KeptSession(PLACE, DIGEST) as last:
        assert last.location == "https://r.example.com/3"
        last.forget()
    assert list(state_folder().iterdir()) == []


@pytest.mark.parametrize("line", [b"", b"{", b"[]\n", b'{"repository": "x"}\n'])
def test_a_file_that_cannot_be_read_is_no_session(line: bytes) -> None:
    """It is written anew."""
    with KeptSession(PLACE, DIGEST) as session:
        session.keep("https://r.example.com/1")
    (file,) = state_folder().iterdir()
    file.write_bytes(line)
    with KeptSession(PLACE, DIGEST) as session:
        assert session.location is None
        session.keep("https://r.example.com/2")
    assert json.loads(file.read_bytes())["location"] == "https://r.example.com/2"


def test_where_nothing_can_be_kept_the_push_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a home that is read-only."""
    monkeypatch.setattr(kept_sessions, "state_folder", lambda: Path("/dev/null/x"))
    with KeptSession(PLACE, DIGEST) as session:
        session.keep("https://r.example.com/1")
        assert session.location == "https://r.example.com/1"
    forget_old_sessions()


def test_sessions_that_no_registry_has_any_more_are_forgotten() -> None:
    """After eight days."""
    for name in ("old", "new"):
        with KeptSession(f"{PLACE}/{name}", DIGEST) as session:
            session.keep("https://r.example.com/1")
    old = next(each for each in state_folder().iterdir() if b"/old" in each.read_bytes())
    os.utime(old, (0, 0))
    forget_old_sessions()
    (left,) = state_folder().iterdir()
    assert b"/new" in left.read_bytes()
