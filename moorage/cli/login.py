"""`moorage login`. No secret may come by an option: all on the machine can read those."""
# ruff: noqa: ANN401 - click hands options over by name, and a dataclass takes them

from typing import Any

import click

from moorage.cli.command import Command
from moorage.cli.options import PATH, option

_WHO = ("aws", "oidc", "oidc_env", "oidc_token_file", "password_stdin")
_TOOLS = ("docker", "podman", "skopeo", "buildah", "crane", "regctl", "oras", "helm")


@click.command(cls=Command, required=_WHO, exclusive=("tool", "print_token"))
@click.argument("registry", metavar="REGISTRY_URL", help="the registry's address")
@option("--aws", None, "as this machine's AWS role or user")
@option("--oidc", None, "as this job of GitHub Actions")
@option("--oidc-env", "NAME", "by the identity token in this variable, as in GitLab")
@option("--oidc-token-file", PATH, "by the identity token in this file")
@option("--password-stdin", None, "by an API token, read from stdin")
@option("--tool", click.Choice(_TOOLS), "the program to log in; else the first that is there")
@option("--print print_token", None, "print the bearer token instead of using it")
@option(
    "--scope scopes",
    "SCOPE",
    "what the printed token is for, as in repository:team/app:pull,push; may be repeated",
    multiple=True,
)
@option("--service", "HOST", "what the registry calls itself, if it is behind the address given")
def login(**options: Any) -> None:
    """Log a client program in, with the identity of this machine or CI job.

    Give one of --aws, --oidc, --oidc-env, --oidc-token-file and --password-stdin.
    """
    from moorage.login import run  # noqa: PLC0415 - imported when it runs

    run.run(run.LoginOptions(**options))
