"""What all commands share: the log level, and how an error becomes a line and an exit status.

No error that is expected shows a traceback. The status is 1 for a failure, 2 for a usage error, and
130 for Ctrl-C, unless the command handles that itself.
"""

from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from moorage.cli import output
from moorage.common.errors import CommandError, UsageError

_LOG_LEVELS = ("debug", "info", "warning", "error")
_GIVEN = ParameterSource.COMMANDLINE
_FAILED, _STOPPED = 1, 130


class Command(click.Command):
    """A command with `--log-level`, which click.pass_obj hands to its function.

    At most one of the parameters in `exclusive` may be given, and exactly one of those in
    `required`. The function returns the exit status, or None for 0.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - click's own
        exclusive: Sequence[str] = (),
        required: Sequence[str] = (),
        **attributes: Any,  # noqa: ANN401 - click's own
    ) -> None:
        super().__init__(*args, **attributes)
        self._exclusive, self._required = exclusive, required
        level = click.Choice(_LOG_LEVELS)
        self.params.append(
            click.Option(["--log-level"], type=level, default="warning", help="what to log")
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click.Command.parse_args; its errors always know the command."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def invoke(self, ctx: click.Context) -> int:
        """Run it and return its exit status; raises click.UsageError, BrokenPipeError."""
        import logging  # noqa: PLC0415 - `moorage --version` needs none

        ctx.obj = ctx.params.pop("log_level")
        form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
        logging.basicConfig(level=ctx.obj.upper(), format=form)
        self._require_one(ctx)
        try:
            return super().invoke(ctx) or 0
        except BrokenPipeError:  # as of `| head`: click ends silently then
            raise
        except UsageError as error:
            raise click.UsageError(str(error), ctx) from None
        except (CommandError, OSError) as error:
            output.fail(ctx.command_path, str(error))
            return _FAILED
        except KeyboardInterrupt:
            output.fail(ctx.command_path, "stopped")
            return _STOPPED

    def _require_one(self, ctx: click.Context) -> None:
        for row in filter(None, (self._exclusive, self._required)):
            hints = {name: self._hint(ctx, name) for name in row}
            given = [hints[name] for name in row if ctx.get_parameter_source(name) is _GIVEN]
            if len(given) > 1:
                raise click.UsageError(f"{' and '.join(given)} don't go together.", ctx)
            if not given and row is self._required:
                raise click.UsageError(f"Give one of {', '.join(hints.values())}.", ctx)

    def _hint(self, ctx: click.Context, name: str) -> str:
        return next(each for each in self.params if each.name == name).get_error_hint(ctx)


class Group(click.Group):
    """Commands below one name."""

    command_class = Command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click.Group.format_commands."""
        commands = [self.commands[name] for name in self.list_commands(ctx)]
        show_commands(formatter, "Commands", commands)


def show_commands(
    formatter: click.HelpFormatter, heading: str, commands: Sequence[click.Command]
) -> None:
    """Write a section of help: each command with its first sentence, which click would cut off."""
    with formatter.section(heading):
        formatter.write_dl([(f"{each.name:7}", each.get_short_help_str(1000)) for each in commands])


def usage_error(error: click.UsageError) -> int:
    """Print a usage error and where the help is; return the exit status."""
    command = "moorage" if error.ctx is None else error.ctx.command_path
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        output.say(error.format_message())
    else:
        output.fail(command, f"{error.format_message()}\nsee `{command} --help`")
    return error.exit_code
