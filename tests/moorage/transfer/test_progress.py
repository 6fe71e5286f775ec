"""What a transfer shows: bars at a terminal, lines in a log, events for programs."""

from __future__ import annotations

import io
import re
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from chalicelib.descriptor import Descriptor
from chalicelib.digest import Digest
from moorage.transfer import progress
from moorage.transfer.progress import Quiet, display
from tests.moorage.transfer.images import Content, noise

if TYPE_CHECKING:
    from tests.moorage.transfer.conftest import Runner

MB = 1_000_000
LAYER = Descriptor("x", Digest.of(b"layer"), 200 * MB)
NAME = f"layer  sha256:{LAYER.digest.hex[:12]}"


class Terminal(io.StringIO):
    """A terminal that is written to."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, for a test to set."""
    now = [1000.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def move(shown: Quiet, clock: list[float]) -> None:
    """Move 150 of 200 MB in 15 seconds, after 50 that were kept."""
    with shown:
        watch = shown.begin(LAYER, "layer")
        watch.kept(50 * MB)
        clock[0] += 10
        watch.moved(100 * MB)
        clock[0] += 1
        watch.moved(105 * MB)
        clock[0] += 4
        watch.moved(200 * MB)
        shown.end(LAYER, "sent")


def test_a_log_has_a_line_for_each_layer_and_some_for_a_slow_one(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every ten seconds: how much, how fast, how long; all on stderr."""
    move(display(quiet=False, as_json=False), clock)
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        f"{NAME}  goes on: 50.0 MB of 200 MB were kept",
        f"{NAME}  100 MB of 200 MB, 5.0 MB/s, 20 s left",
        f"{NAME}    200 MB  done, 50.0 MB were kept",
    ]
    assert shown.out == ""


def test_a_program_reads_an_event_a_second(run: Runner, clock: list[float]) -> None:
    """Each is a JSON object; `done` is the last, with the digest and the line that pulls."""
    content = Content()
    root = content.image(noise(10), noise(10))
    content.tag(root)
    pushed = run("push", f"oci:{content.folder(run.folder / 'i')}", f"{run.host}/x:1", "--json")
    assert [(each["event"], each.get("outcome")) for each in pushed.events[-3:]] == [
        *[("end", "sent"), ("end", "sent"), ("done", None)]
    ]
    assert pushed.err == ""
    assert pushed.events[-1] == {
        "event": "done",
        "digest": root["digest"],
        "image": f"{run.host}/x:1",
        "pull": f"docker pull {run.host}/x@{root['digest']}",
        "bytes": sum(len(body) for key, body in run.fake.blobs.items()),
        "kept": 0,
    }
    move(display(quiet=False, as_json=True), clock)
    told = [line for line in run.captured.readouterr().out.splitlines() if '"progress"' in line]
    assert [re.findall(r'"(?:bytes|rate)": (\d+)', line) for line in told] == [
        *[["100000000", "5000000"], ["105000000", "5000000"]]
    ]


def test_a_terminal_has_a_bar_for_each_layer(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes way for a line when the layer is there; each is one line of eighty columns."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    shown = display(quiet=False, as_json=False)
    move(shown, clock)
    with display(quiet=False, as_json=False) as slow:
        watch = slow.begin(LAYER, "layer")
        clock[0] += 100
        watch.moved(113_500_000)
    assert watch.pace == "1.1 MB/s, 1 min 17 s left"
    shown_text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    lines = [line.strip() for line in re.split(r"[\r\n]", shown_text) if line.strip()]
    assert f"{NAME}    200 MB  done, 50.0 MB were kept" in lines
    assert any(re.fullmatch(f"{NAME} .+ 50.0/200.0 MB 50.0 MB were kept", line) for line in lines)
    assert max(map(len, lines)) <= 80
    assert {line[: len(NAME)] for line in lines} == {NAME}


def test_a_part_sent_again_does_not_lower_the_bytes_kept(clock: list[float]) -> None:
    """A layer that is begun anew has kept nothing; one that is all sent waits for the check."""
    clock[0] += 1
    watch = Quiet().begin(LAYER, "layer")
    watch.kept(50 * MB)
    for offset, kept in ((80, 50), (60, 50), (40, 0)):
        watch.moved(offset * MB)
        assert watch.kept_bytes == kept * MB
        assert watch.pace.endswith(" left")
    watch.moved(LAYER.size)
    assert watch.pace == "being checked"


def test_quiet_prints_the_digest_alone(run: Runner) -> None:
    """On stdout."""
    content = Content()
    root = content.image(noise(10))
    content.tag(root)
    image = f"oci:{content.folder(run.folder / 'i')}"
    pushed = run("push", image, f"{run.host}/x:1", "--quiet")
    assert (pushed.out, pushed.err) == (f"{root['digest']}\n", "")
