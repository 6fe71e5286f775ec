"""What is listed, as a terminal shows it and as a program reads it."""

from __future__ import annotations

import io
import sys

import pytest

from moorage.cli import output
from moorage.common.listing import Listing

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


HEAD = f"NAME  ID{' ' * 32}GRANTS"
BLOCK = ["NAME    ci", f"ID      {TOKEN_ID}", "GRANTS  team/**:pull,push base/*:pull", ""]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (100, [HEAD, f"ci    {TOKEN_ID}  team/**:pull,push base/*:pull"]),
        # The last column alone is wrapped, between words, so that each can be copied.
        (60, [HEAD, f"ci    {TOKEN_ID}  team/**:pull,push", f"{' ' * 40}base/*:pull"]),
        (50, BLOCK),
    ],
)
def test_a_terminal_shows_a_table_or_a_block_for_each_where_that_is_too_wide(
    monkeypatch: pytest.MonkeyPatch, width: int, lines: list[str]
) -> None:
    """A table has one line for each thing, below the head; a block one for each column."""
    assert shown(monkeypatch, width) == lines


def test_a_list_of_names_has_no_heading(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_an_empty_list_says_so_on_stderr(
    capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    """A program that reads stdout gets no head without rows, but a JSON list."""
    output.show(Listing(("NAME",), [], []), as_json=as_json, empty="there are none")
    assert capsys.readouterr() == ("[]\n" if as_json else "", "there are none\n")
