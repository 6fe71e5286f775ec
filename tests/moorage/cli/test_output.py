"""What is listed, as a terminal shows it and as a program reads it."""

from __future__ import annotations

import io
import sys

import pytest

from moorage.access.texts import Listing
from moorage.cli import output

TOKEN_ID = "05aba8b6" * 4
LISTING = Listing(
    ("NAME", "ID", "GRANTS"), [("ci", TOKEN_ID, "team/**:pull,push base/*:pull")], [{"name": "ci"}]
)


class Terminal(io.StringIO):
    """A terminal that keeps what is shown."""

    def isatty(self) -> bool:
        """See io.IOBase.isatty."""
        return True


def shown(monkeypatch: pytest.MonkeyPatch, width: int, listing: Listing = LISTING) -> list[str]:
    """Return the lines that a terminal of some columns shows, without its escape sequences."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    for name, value in {"COLUMNS": str(width), "LINES": "40", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    output.show(listing, as_json=False, empty="")
    return [line.rstrip() for line in terminal.getvalue().splitlines()]


def test_a_wide_terminal_shows_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each thing, below the head."""
    assert shown(monkeypatch, 100) == [
        f"NAME  ID{' ' * 32}GRANTS",
        f"ci    {TOKEN_ID}  team/**:pull,push base/*:pull",
    ]


def test_a_narrower_terminal_wraps_the_last_column_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between words, so that each can be copied."""
    _, first, second = shown(monkeypatch, 60)
    assert first.split() == ["ci", TOKEN_ID, "team/**:pull,push"]
    assert second.strip() == "base/*:pull"


def test_a_terminal_too_narrow_for_a_table_shows_a_block_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line for each column, and an empty one after each block."""
    lines = ["NAME    ci", f"ID      {TOKEN_ID}", "GRANTS  team/**:pull,push base/*:pull", ""]
    assert shown(monkeypatch, 50) == lines


def test_names_alone_have_no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has one column is a line for each, wherever it goes."""
    assert shown(monkeypatch, 10, Listing((), [("team/application",)], [])) == ["team/application"]


def test_a_terminal_shows_that_a_command_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below what it prints, which goes where it would without; and nowhere else than there."""
    screen = Terminal()
    for stdout in (screen, io.StringIO()):
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "stderr", screen)
        with output.progress("checking"):
            sys.stdout.write("a row\n")
        screen.write("end\n")
    shown, _, nothing = screen.getvalue().partition("end\n")
    assert "checking" in shown
    assert "a row\n" in shown
    assert (nothing, stdout.getvalue()) == ("end\n", "a row\n")


@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_is_told_on_stderr(capsys: pytest.CaptureFixture[str], *, as_json: bool) -> None:
    """A program that reads stdout gets no head without rows, but a JSON list."""
    output.show(Listing(("NAME",), [], []), as_json=as_json, empty="there are none")
    assert capsys.readouterr() == ("[]\n" if as_json else "", "there are none\n")
