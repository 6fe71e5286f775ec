"""What a deployment says at its end: lines that a shell takes as they stand."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from moorage.deploy.texts import Deployed, deployed, program

RESULT = Deployed("https://r.example.com", "moorage-x-data", "/moorage/x/signing-key")
BIN = Path(sys.executable).parent


def commands() -> list[list[str]]:
    """Return the words of each line that calls this project's command."""
    lines = (line.strip().removesuffix(" &") for line in deployed(RESULT).splitlines())
    words = [shlex.split(line) for line in lines if line.startswith((program(), "'"))]
    return [each for each in words if Path(each[0]).name == "moorage"]


@pytest.mark.parametrize("place", ["here", "elsewhere", "spaces in it"])
def test_lines_call_a_program_that_is_there(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it on the PATH it is named by its path, from where the user stands."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    if place == "here":
        monkeypatch.chdir(BIN.parent.parent)
    else:
        monkeypatch.chdir(tmp_path)
    if place == "spaces in it":
        linked = tmp_path / "my tools"
        linked.symlink_to(BIN)
        monkeypatch.setattr(sys, "executable", str(linked / "python"))
    called = commands()
    assert [each[1] for each in called] == ["proxy", "token", "key"]
    for words in called:
        # Its help, for what the line asks is not on this machine.
        told = subprocess.run([*words, "--help"], capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr
    assert all(Path(words[0]).is_absolute() is (place == "elsewhere") for words in called)


def test_a_program_on_the_path_is_named_as_people_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """And only if it is this one: another installation may be older."""
    monkeypatch.setenv("PATH", f"/usr/bin:{BIN}")
    assert program() == "moorage"


def test_another_program_on_the_path_is_not_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines call the one that printed them."""
    other = tmp_path / "moorage"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{BIN}")
    assert Path(program()).samefile(BIN / "moorage")
