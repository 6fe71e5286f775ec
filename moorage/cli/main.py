"""The `moorage` command: all its commands, in sections. No logic may live here.

Each command imports what it runs when it runs: `moorage --version` and completion load no SDK.
"""

from collections.abc import Sequence

import click

from moorage.cli import access, client, deploy, garbage, repo, retention, serve, transfer, usage
from moorage.cli.command import Group, show_commands, usage_error
from moorage.cli.options import option

_NAME = "moorage"
_SECTIONS = {
    "Serve": (serve.local, serve.gateway, serve.proxy, serve.edge),
    "Move images": (transfer.push, transfer.pull, transfer.copy),
    "Look after images": (repo.repo, retention.retention, usage.usage, garbage.collect),
    "Log in and check": (client.login, client.doctor),
    "Manage access": (access.token, access.grant, access.public, access.trust, access.key),
    "Manage rules": (access.rules,),
    "Deploy to AWS": (deploy.deploy, deploy.destroy),
}


class _Sections(Group):
    """The root: its commands are shown in sections, each with its whole sentence."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click.Group.format_commands."""
        del ctx
        for heading, commands in _SECTIONS.items():
            show_commands(formatter, heading, commands)


def _show_completion(ctx: click.Context, _param: click.Parameter, shell: str | None) -> None:
    if shell is None or ctx.resilient_parsing:
        return
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only who asks pays

    script = get_completion_class(shell)
    if script is not None:
        click.echo(script(ctx.command, {}, _NAME, f"_{_NAME.upper()}_COMPLETE").source())
    ctx.exit()


@click.group(
    cls=_Sections,
    commands=[each for commands in _SECTIONS.values() for each in commands],
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
)
@click.version_option(package_name=_NAME, message="%(prog)s %(version)s")
@option(
    "--show-completion",
    click.Choice(("bash", "zsh", "fish")),
    'print the script for shell completion; use it by: eval "$(moorage --show-completion bash)"',
    is_eager=True,
    expose_value=False,
    callback=_show_completion,
)
def _moorage() -> None:
    """Moorage, a private container registry with no server. These are its tools on your machine."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 usage error."""
    try:
        status: int = _moorage.main(argv, prog_name=_NAME, standalone_mode=False)
    except click.UsageError as error:
        return usage_error(error)
    return status
