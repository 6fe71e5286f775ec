"""The words of `moorage login`. No secret may be taken from the command line: all can read it."""

from pathlib import Path
from typing import TYPE_CHECKING

from moorage.cli.access import Command, Commands, Help, Run
from moorage.login.tools import TOOLS

if TYPE_CHECKING:
    import argparse


def add_login(commands: "Commands[argparse.ArgumentParser]", command: Command, *, run: Run) -> None:
    """Add login to a parser's commands; `run` does it."""
    parser = command(commands, "login", "log a client program in, by who this machine or job is")
    parser.add_argument("registry", metavar="REGISTRY_URL", help="the registry's address")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--aws", action="store_true", help="as this machine's AWS role or user")
    how.add_argument("--oidc", action="store_true", help="as this job of GitHub Actions")
    how.add_argument(
        "--oidc-env", metavar="NAME", help="by the identity token in this variable, as in GitLab"
    )
    how.add_argument(
        "--oidc-token-file", type=Path, metavar="PATH", help="by the identity token in this file"
    )
    how.add_argument(
        "--password-stdin", action="store_true", help="by an access token, read from stdin"
    )
    then = parser.add_mutually_exclusive_group()
    then.add_argument(
        "--tool", choices=TOOLS, help="the program to log in; the first of these that is there"
    )
    then.add_argument(
        "--print", action="store_true", help="print the registry's token instead of using it"
    )
    parser.add_argument(
        "--scope",
        action="append",
        metavar="SCOPE",
        help="what the printed token is for, as in repository:team/app:pull,push",
    )
    parser.add_argument(
        "--service",
        metavar="HOST",
        help="what the registry calls itself, if it is behind the address given",
    )
    parser.formatter_class = Help
    parser.set_defaults(run=run, spoken="login")
