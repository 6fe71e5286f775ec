"""The login command of each client program, which reads the password from stdin.

This module must never put a token on a command line, where everybody on the machine can read it.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moorage.login.http import LoginError

USER = "moorage"
"""The user name: the registry takes any, and knows a login by its password."""

_HOST = "{host}"
_STDIN = ("--username", USER, "--password-stdin")
_NO_TLS = ("--tls-verify=false",)


@dataclass(frozen=True, slots=True)
class _LoginCommand:
    """A command's words before the host; `plain` are more, for a local registry without TLS."""

    words: Sequence[str]
    plain: Sequence[str] = ()


_TOOLS: Mapping[str, _LoginCommand] = {
    # docker and crane use no TLS at a loopback address.
    "docker": _LoginCommand(("login", *_STDIN)),
    "podman": _LoginCommand(("login", *_STDIN), _NO_TLS),
    "skopeo": _LoginCommand(("login", *_STDIN), _NO_TLS),
    "buildah": _LoginCommand(("login", *_STDIN), _NO_TLS),
    "crane": _LoginCommand(("auth", "login", *_STDIN)),
    "regctl": _LoginCommand(
        ("registry", "login", "--user", USER, "--pass-stdin"),
        ("--host", f"reg={_HOST},tls=disabled"),
    ),
    "oras": _LoginCommand(("login", *_STDIN), ("--plain-http",)),
    "helm": _LoginCommand(("registry", "login", *_STDIN), ("--plain-http",)),
}


TOOLS = tuple(_TOOLS)
"""Client programs that can be logged in, in the order in which they are looked for."""


def choose(wanted: str | None) -> str:
    """Return the wanted program, or the first one on PATH; raises LoginError."""
    if wanted is not None and shutil.which(wanted) is None:
        raise LoginError(f"{wanted} is not on PATH: install it, or name another by --tool")
    found = wanted or next((name for name in TOOLS if shutil.which(name)), None)
    if found is None:
        raise LoginError(
            f"none of {', '.join(TOOLS)} is on PATH: install one, or print the token by --print"
        )
    return found


def words(tool: str, host: str, *, plain: bool) -> list[str]:
    """Return the command that logs a tool in; `plain` for a registry without TLS."""
    known = _TOOLS[tool]
    # buildah takes no option after the host.
    given = [*known.words, *(known.plain if plain else ()), _HOST]
    return [tool, *(word.replace(_HOST, host) for word in given)]


def log_in(tool: str, host: str, password: str, *, plain: bool) -> None:
    """Run a tool's login command; its output is this process's own. Raises LoginError."""
    command = words(tool, host, plain=plain)
    try:
        done = subprocess.run(command, input=password, text=True, check=False)  # noqa: S603 - a command of the table above
    except OSError as error:
        raise LoginError(f"{tool} can't be run: {error}") from None
    if done.returncode != 0:
        raise LoginError(f"`{' '.join(command)}` failed with status {done.returncode}")
