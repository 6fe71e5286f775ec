"""What commands print: tables for people, columns and JSON for programs, one form of error.

Results go to stdout and all else to stderr. Colour is for terminals only, and never with NO_COLOR.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from moorage.common.errors import UsageError

if TYPE_CHECKING:
    from moorage.common.listing import Listing


def say(text: str) -> None:
    """Print a message for a person."""
    click.echo(text, err=True)


def fail(command: str, text: str) -> None:
    """Print why a command, such as `moorage token create`, failed."""
    say(f"{command}: {text}")


def show_json(value: object) -> None:
    """Print a result for programs."""
    click.echo(json.dumps(value, indent=2))


def show(listing: "Listing", *, as_json: bool, empty: str) -> None:
    """Print a list; where it has nothing, `empty` says so to a person."""
    if as_json:
        show_json(listing.values)
    elif listing.rows:
        (_table if listing.head and sys.stdout.isatty() else _columns)(listing)
    if not listing.rows:
        say(empty)


def agreed(question: str) -> bool:
    """Ask a person; raises UsageError where nobody is there to answer."""
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: give --yes")
    return click.confirm(question, err=True)


@contextlib.contextmanager
def progress(text: str) -> Iterator[Callable[[str], None]]:
    """Show at a terminal that the block still runs; what it prints appears above that line.

    The block is given what shows another text.
    """
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - costs 60 ms, and only a terminal needs it

    with Console(stderr=True).status(text) as status:
        yield status.update


def _table(listing: "Listing") -> None:
    from rich.console import Console  # noqa: PLC0415 - likewise
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    console = Console()
    *fixed, last = zip(listing.head, *listing.rows, strict=True)
    # The last column alone is wrapped, between words: an id is there to be copied.
    least = [max(map(len, column)) + 2 for column in fixed]
    least.append(max(len(word) for text in last for word in text.split()))
    if sum(least) > console.width:
        for row in listing.rows:
            lines = Table.grid(padding=(0, 2, 0, 0))
            for name, text in zip(listing.head, row, strict=True):
                lines.add_row(Text(name, "bold"), Text(text))
            console.print(lines, "")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in listing.head:
        table.add_column(name, no_wrap=name != listing.head[-1])
    for row in listing.rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _columns(listing: "Listing") -> None:
    lines = [*([listing.head] if listing.head else []), *listing.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(map(str.ljust, line, widths)).rstrip())
