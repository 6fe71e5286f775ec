"""Declares options, and reads their values: ports, sizes, times, addresses.

An error says what is wrong with a value, and what would be right.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from moorage.common.errors import UsageError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What click.option returns."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,5})([smhd])")


class ParsedText(click.ParamType[Any]):
    """Text that a function reads. Its ValueError says what is wrong; `name` is shown in help."""

    def __init__(self, name: str, read: Callable[[str], object]) -> None:
        self.name = name
        self._read = read

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's own
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> object:
        """See click.ParamType.convert."""
        try:
            return self._read(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


def option(
    names: str,
    kind: click.ParamType[Any] | str | None,
    text: str,
    default: str | Callable[[], bool] | None = None,
    variable: str | None = None,
    **more: Any,  # noqa: ANN401 - click's own
) -> Decorator:
    """Declare an option: its names, with that of the parameter if it differs, and its help.

    `kind` is its type; or, of plain text, what help shows for it; or None for a flag. `variable`
    sets the default; an empty one doesn't.
    """
    if kind is None:
        more["is_flag"] = True
    else:
        more["metavar" if isinstance(kind, str) else "type"] = kind
    if default is not None:
        more["default"] = default
    if not default:
        more.setdefault("show_default", False)
    return click.option(*names.split(), envvar=variable, show_envvar=True, help=text, **more)


def _number(name: str, least: int, most: float = math.inf) -> ParsedText:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            limits = f"from {least} on" if most == math.inf else f"from {least} to {most}"
            raise ValueError(f"{text!r} is no number {limits}")
        return int(text)

    return ParsedText(name, read)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"{text!r} is no number of seconds above 0")
    return seconds


def _duration(text: str) -> int:
    form = _DURATION.fullmatch(text)
    if text != "0" and form is None:
        raise ValueError(f"{text!r} is no time: write it as 90d, 12h or 30m")
    return int(form[1]) * _UNITS[form[2]] if form else 0


def _life(text: str) -> int | None:
    seconds = None if text == "never" else _duration(text)
    if seconds == 0:
        raise ValueError(f"{text!r} would be over at once: write it as 90d")
    return seconds


def _url(text: str) -> str:
    from moorage.common.http import http_url  # noqa: PLC0415 - help and completion need none

    try:
        http_url(text)
    except ValueError:
        raise ValueError(f"{text!r} is no URL: write it as http://127.0.0.1:4566") from None
    return text


def _origins(text: str) -> str:
    from chalicelib.origins import parse_origins  # noqa: PLC0415 - likewise

    parse_origins(text)
    return text


def _host(text: str) -> str:
    from moorage.common.hosts import EVERY_HOST, host_key  # noqa: PLC0415 - likewise

    try:
        return text if text == EVERY_HOST else str(host_key(text))
    except ValueError:
        raise ValueError(
            f"{text!r} is no name of a host: write it as host.docker.internal, or * for any"
        ) from None


def read_text(file: Path) -> str:
    """Return what a file holds, or standard input for `-`; raises UsageError, OSError."""
    with click.open_file(str(file), encoding="utf-8-sig") as opened:  # a BOM is no part of it
        try:
            text: str = opened.read()
        except UnicodeDecodeError:
            raise UsageError(f"{file} is not UTF-8: save it as UTF-8 text") from None
    return text


PATH = click.Path(path_type=Path, readable=False)  # who opens it says what is wrong
PORT = _number("port", 0, 65_535)
SIZE = _number("bytes", 0)
COUNT = _number("n", 1)
SECONDS = ParsedText("seconds", _seconds)
DURATION = ParsedText("time", _duration)
"""Seconds, from text as in 90d; 0 is taken."""
LIFE = ParsedText("time", _life)
"""Seconds above 0, or None for `never`."""
URL = ParsedText("url", _url)
HOST = ParsedText("name", _host)
ORIGINS = ParsedText("origin,...", _origins)
