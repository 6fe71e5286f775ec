"""The commands that `moorage deploy` prints work when they are pasted into a shell."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from moorage.deploy.texts import DeployResult, deployed, program

RESULT = DeployResult("https://r.example.com", "moorage-x-data", "/moorage/x/signing-key")
BIN = Path(sys.executable).parent


def commands() -> list[list[str]]:
    """Return the arguments of each printed call of `moorage`."""
    lines = (line.strip().removesuffix(" &") for line in deployed(RESULT).splitlines())
    words = [shlex.split(line) for line in lines if line.startswith((program(), "'"))]
    return [each for each in words if Path(each[0]).name == "moorage"]


@pytest.mark.parametrize("place", ["here", "elsewhere", "spaces in it"])
def test_printed_commands_can_be_run(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that is not on the PATH is named by its path, from the current directory."""
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
        # Its help: the registry of the printed command does not exist.
        shown = subprocess.run([*words, "--help"], capture_output=True, text=True, check=False)
        assert shown.returncode == 0, shown.stderr
    assert all(Path(words[0]).is_absolute() is (place == "elsewhere") for words in called)


def test_a_program_on_the_path_is_printed_by_its_name_unless_another_is_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands call the installation that printed them."""
    monkeypatch.setenv("PATH", f"/usr/bin:{BIN}")
    assert program() == "moorage"
    other = tmp_path / "moorage"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{BIN}")
    assert Path(program()).samefile(BIN / "moorage")
