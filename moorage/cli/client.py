"""`moorage login` and `moorage doctor`: for the people who use a registry.

No secret may come by an option: everybody on the machine can read command lines.
"""
# ruff: noqa: ANN401 - click hands options over by name, and a dataclass takes them
# ruff: noqa: PLC0415 - each command imports what it runs when it runs

import contextlib
from typing import Any

import click

from moorage.cli import output
from moorage.cli.command import Command
from moorage.cli.options import PATH, SIZE, option

_WHO = ("aws", "oidc", "oidc_env", "oidc_token_file", "password_stdin")
_TOOLS = ("docker", "podman", "skopeo", "buildah", "crane", "regctl", "oras", "helm")


@click.command(cls=Command, required=_WHO, exclusive=("tool", "print_token"))
@click.argument("registry", metavar="REGISTRY_URL", help="the registry's URL")
@option("--aws", None, "log in as this machine's AWS role or user")
@option("--oidc", None, "log in as this job of GitHub Actions")
@option("--oidc-env", "NAME", "log in with the identity token in this variable, as in GitLab")
@option("--oidc-token-file", PATH, "log in with the identity token in this file")
@option("--password-stdin", None, "log in with an API token, read from stdin")
@option(
    "--tool",
    click.Choice(_TOOLS),
    "the client to log in; default: the first that is installed",
)
@option("--print print_token", None, "print the bearer token instead of using it")
@option(
    "--scope scopes",
    "SCOPE",
    "the scope of the printed token, such as repository:team/app:pull,push; may be repeated",
    multiple=True,
)
@option("--service", "HOST", "the registry's own host name, if REGISTRY_URL has another one")
def login(**options: Any) -> None:
    """Log a client in to a registry, with the identity of this machine or CI job.

    Give one of --aws, --oidc, --oidc-env, --oidc-token-file and --password-stdin.
    """
    from moorage.login import run

    run.run(run.LoginOptions(**options))


@click.command(cls=Command, exclusive=("password_stdin", "token_file"))
@click.argument("url", metavar="URL", help="the registry's URL")
@option("--user", "NAME", "the user name to log in with; default: moorage")
@option("--password-stdin", None, "log in with the password read from stdin")
@option("--token-file", PATH, "log in with the API token in this file")
@option("--repository", "NAME", "where to push; default: a random repository below moorage-doctor/")
@option("--json as_json", None, "print JSON instead of a table")
@option("--keep", None, "do not delete what the checks pushed")
@option("--large", None, "also push a blob of 5 MiB, which is larger than any inline limit")
@option("--edge-size", SIZE, "also push a blob of this many bytes through the edge; at most 5 GiB")
@option("--only", "CHECK", "run this check and those that it needs; may be repeated", multiple=True)
def doctor(**options: Any) -> int:
    """Check a registry as clients see it, and say which settings to change and why."""
    from moorage.doctor import run

    # A terminal's width must not break lines of JSON.
    with contextlib.nullcontext() if options["as_json"] else output.progress("checking"):
        return run.run(run.DoctorOptions(**options))
