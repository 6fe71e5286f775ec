"""`moorage doctor`. No secret may come by an option: all on the machine can read those."""
# ruff: noqa: ANN401 - click hands options over by name, and a dataclass takes them

import contextlib
from typing import Any

import click

from moorage.cli import output
from moorage.cli.command import Command
from moorage.cli.options import PATH, option


@click.command(cls=Command, exclusive=("password_stdin", "token_file"))
@click.argument("url", metavar="URL", help="the registry's address")
@option("--user", "NAME", "the user name, if it is not to be `moorage`")
@option("--password-stdin", None, "log in with the password read from stdin")
@option("--token-file", PATH, "log in with the API token in this file")
@option(
    "--repository",
    "NAME",
    "where to write, instead of moorage-doctor/ and something random; repositories below it are"
    " used too",
)
@option("--json as_json", None, "print JSON instead of a table")
@option("--keep", None, "leave what was pushed, to be looked at")
@option("--large", None, "also push a blob of 5 MiB, which is above any inline limit")
@option("--only", "CHECK", "do this check, and what it needs; may be repeated", multiple=True)
def doctor(**options: Any) -> int:
    """Check a registry as clients see it, and say what to set and why."""
    from moorage.doctor import run  # noqa: PLC0415 - imported when it runs

    # A terminal's width must not break lines of JSON.
    with contextlib.nullcontext() if options["as_json"] else output.progress("checking"):
        return run.run(run.DoctorOptions(**options))
