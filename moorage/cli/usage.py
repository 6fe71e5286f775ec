"""`moorage usage`: its options. moorage.usage does the work. No logic may live here."""
# ruff: noqa: PLC0415 - it imports what it runs when it runs
# ruff: noqa: ANN401 - click hands options over by name, and a dataclass takes them

from typing import Any

import click

from moorage.cli import output
from moorage.cli.command import Command
from moorage.cli.options import option
from moorage.cli.registry import at_data


@click.command(cls=Command)
@option("--cost", None, "also show what the bytes cost a month")
@at_data
@option("--json as_json", None, "print JSON")
def usage(*, cost: bool, as_json: bool, **where: Any) -> None:
    """Show what uses the bytes in the bucket: repositories, trash, uploads and garbage.

    A blob that several repositories link to is divided among them evenly, so that the sum is the
    size of the bucket. The command reads the tables and lists the bucket with your AWS credentials.
    """
    from moorage.usage import run

    registry = run.OwnedRegistry(**where)
    with output.progress("reading the tables and the bucket"):
        found = registry.usage()
    output.show(run.listing(found, cost=cost), as_json=as_json, empty="the bucket is empty")
    for line in run.messages(found, cost=cost):
        output.say(line)
