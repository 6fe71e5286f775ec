"""The words of `moorage doctor`. No secret may be taken from the command line: all can read it."""

from pathlib import Path
from typing import TYPE_CHECKING

from moorage.cli.access import Command, Commands, Help, Run

if TYPE_CHECKING:
    import argparse


def add_doctor(
    commands: "Commands[argparse.ArgumentParser]", command: Command, *, run: Run
) -> None:
    """Add doctor to a parser's commands; `run` does it."""
    parser = command(
        commands, "doctor", "check a registry as clients see it, and say what to set and why"
    )
    parser.add_argument("url", metavar="URL", help="the registry's address")
    parser.add_argument(
        "--user", metavar="NAME", help="the user name, if it is not to be `moorage`"
    )
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument(
        "--password-stdin", action="store_true", help="log in with the password read from stdin"
    )
    secret.add_argument(
        "--token-file", type=Path, metavar="PATH", help="log in with the access token in this file"
    )
    parser.add_argument(
        "--repository",
        metavar="NAME",
        help="where to write, instead of moorage-doctor/ and something random; repositories below"
        " it are used too",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--keep", action="store_true", help="leave what was pushed, to be looked at"
    )
    parser.add_argument(
        "--large",
        action="store_true",
        help="also push a blob of 5 MiB, which is above any inline limit",
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="CHECK",
        help="do this check, and what it stands on; may be given several times",
    )
    parser.formatter_class = Help
    parser.set_defaults(run=run)
