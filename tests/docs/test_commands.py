"""The `make` targets and `moorage` commands that documents name exist, and the README has each."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import click
import pytest

from moorage.cli.main import _moorage
from moorage.common.project import PROJECT, load_template

if TYPE_CHECKING:
    from pathlib import Path

MAKEFILE = (PROJECT / "Makefile").read_text(encoding="utf-8")
TARGETS = {
    target
    for line in re.findall(r"^\.PHONY:(.*)", MAKEFILE, re.MULTILINE)
    for target in line.split()
}
README = (PROJECT / "README.md").read_text(encoding="utf-8")
WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
CALLERS = sorted(
    [
        *WORKFLOWS,
        *PROJECT.glob("*.md"),
        *(PROJECT / "docs").glob("*.md"),
        PROJECT / ".ci" / "run",
    ]
)
_CALL = re.compile(r"(?:^|[`$>]|run:|[A-Z_]+=\S+)[ ]*make ([a-z][a-z0-9-]*)", re.MULTILINE)
"""A command, at the beginning of a line, a code span, a prompt or a workflow's step."""

_MOORAGE = re.compile(r"(?:^|[`$>|(])[ ]*moorage ([a-z][^`|\n]*)", re.MULTILINE)
"""The words behind the name of the command, to the end of the line or the code span."""


@pytest.mark.parametrize("path", CALLERS, ids=lambda path: path.name)
def test_every_target_that_is_called_exists(path: Path) -> None:
    """No page and no workflow calls a target that the Makefile doesn't have."""
    called = set(_CALL.findall(path.read_text(encoding="utf-8")))
    assert called - TARGETS == set()


def _unknown(words: list[str]) -> list[str]:
    """Return what the command line doesn't have: its first word, or options of its command."""
    command: click.Command = _moorage
    while words and isinstance(command, click.Group):
        found = command.commands.get(words[0].rstrip(",.;)"))
        if found is None:
            break
        command, words = found, words[1:]
    if command is _moorage:
        return words[:1]
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    named = {match[0] for word in words if (match := re.match(r"--[a-z-]+", word))}
    return sorted(named - options - {"--help"})


@pytest.mark.parametrize("path", CALLERS, ids=lambda path: path.name)
def test_every_command_and_option_that_is_named_exists(path: Path) -> None:
    """No page names a command of `moorage`, or an option of it, that the program doesn't have."""
    text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
    assert [words for words in _MOORAGE.findall(text) if _unknown(words.split())] == []


def test_every_command_has_its_row_in_the_readme() -> None:
    """The table names each command of `moorage`, and no other."""
    rows = [row for row in README.splitlines() if row.startswith("| `moorage ")]
    shown = " ".join(row.split(" | ")[0] for row in rows)
    named = set(re.findall(r"`(?:moorage )?([a-z]+)", shown))
    assert set(_moorage.commands) - named == set()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_bounded(path: Path) -> None:
    """It may write only where a job says so, its jobs end in time, its actions are pinned."""
    workflow = load_template(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    assert workflow["concurrency"]
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 180
        used = [step["uses"] for step in job["steps"] if "uses" in step]
        assert [each for each in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each)] == []


def test_the_weekly_drills_are_all_parts_of_one_run() -> None:
    """Each part is a job of its own, and one more job adds them up, whatever became of them."""
    jobs = load_template(PROJECT / ".github" / "workflows" / "nightly.yml")["jobs"]
    listed = jobs["drills"]["strategy"]["matrix"]["part"]
    assert listed == [f"{number}/{len(listed)}" for number in range(1, len(listed) + 1)]
    assert jobs["drills-sum"]["needs"] == "drills"
    assert "!cancelled()" in jobs["drills-sum"]["if"]
    assert jobs["drills-sum"]["steps"][-1] == {"run": "make drills SUM=1"}


def test_every_target_has_its_row_in_the_readme() -> None:
    """The table of commands has all targets and no other."""
    rows = set(re.findall(r"^\| `make ([a-z0-9-]+)", README, re.MULTILINE))
    assert rows == TARGETS


def test_the_version_has_its_section_in_the_changelog() -> None:
    """Below Unreleased stands the version that pyproject.toml says."""
    with (PROJECT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (\S+)(?: - \d{4}-\d\d-\d\d)?$", changelog, re.MULTILINE)
    assert sections[:2] == ["Unreleased", version]
