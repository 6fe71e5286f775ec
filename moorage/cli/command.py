"""How every command behaves: its help, its log level, what a wrong option or an error becomes.

An error is one line on stderr and an exit status, never a traceback: 1 for what failed, 2 for what
was asked for wrongly, 130 for Ctrl-C where the command has no answer of its own to that.
"""

from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from moorage.cli import output
from moorage.common.errors import AskedWronglyError, CommandError

_LOG_LEVELS = ("debug", "info", "warning", "error")
_GIVEN = ParameterSource.COMMANDLINE
_FAILED, _STOPPED = 1, 130


class Command(click.Command):
    """A command with `--log-level`, whose function finds the level as click's `obj`.

    Of the parameters in `exclusive` at most one may be given, and of those in `required` exactly
    one. The function returns the exit status, or None for 0.
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
        except BrokenPipeError:  # whoever read the output has enough of it: click is silent then
            raise
        except AskedWronglyError as error:
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


def usage_error(error: click.UsageError) -> int:
    """Tell what was asked for wrongly, and where help is; return the exit status."""
    command = "moorage" if error.ctx is None else error.ctx.command_path
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        output.say(error.format_message())
    else:
        output.fail(command, f"{error.format_message()}\nsee `{command} --help`")
    return error.exit_code
