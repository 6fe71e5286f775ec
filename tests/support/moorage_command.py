"""The `moorage` command for tests: run in this process, with nothing of the machine's AWS settings.

It must see to it that no run shows a hash, and that a token is shown on stdout alone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from moorage.cli import main as cli

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

TOKEN = re.compile(r"moor_[0-9A-Za-z]{49}")
"""An API token, wherever it stands."""

_HASH = re.compile(r"(?<!sha256:)(?<!/)(?<![0-9a-f])[0-9a-f]{64}")
"""The hash of a secret; a digest is none, by itself or in a key."""

_SETTINGS = ("AUTH", "AWS_", "MOORAGE_", "ACTIONS_")


@dataclass(frozen=True)
class CommandResult:
    """What a run of the command left behind."""

    status: int | str | None
    out: str
    err: str


@dataclass(frozen=True)
class Command:
    """Runs the command; `more` words follow those of each run."""

    captured: pytest.CaptureFixture[str]
    more: Sequence[str] = field(default=())

    def __call__(self, words: str) -> CommandResult:
        """Run it, and look at what it shows; words are separated by white space."""
        try:
            status: int | str | None = cli.main([*words.split(), *self.more])
        except SystemExit as ended:
            status = ended.code
        shown = self.captured.readouterr()
        assert not _HASH.search(shown.out + shown.err)
        assert not TOKEN.search(shown.err)
        assert "Traceback" not in shown.err
        return CommandResult(status, shown.out, shown.err)


def forget_settings(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Make the environment one that sets no option and names no AWS, no job; `home` is empty."""
    options = _variables(cli._moorage)  # noqa: SLF001 - `main` alone is public
    for name in os.environ:
        if name.startswith(_SETTINGS) or name in options:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def _variables(command: click.Command) -> set[str]:
    """Return the variables that set options of a command, or of the commands in a group."""
    found = {each.envvar for each in command.params if isinstance(each.envvar, str)}
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    return found.union(*map(_variables, inner))
