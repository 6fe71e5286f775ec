"""How each client program is logged in: by its own login, which reads the password from stdin.

This module must never put a token on a command line, where everybody on the machine can read it.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moorage.common.http import LoginError

USER = "moorage"
"""The user name: any will do, for the password says who it is."""

_HOST = "{host}"
_STDIN = ("--username", USER, "--password-stdin")
_NO_TLS = ("--tls-verify=false",)


@dataclass(frozen=True, slots=True)
class _Tool:
    """Words of a login before the host; `plain` for a registry without TLS, on this machine."""

    words: Sequence[str]
    plain: Sequence[str] = ()


_TOOLS: Mapping[str, _Tool] = {
    # docker and crane take an address of loopback for one without TLS.
    "docker": _Tool(("login", *_STDIN)),
    "podman": _Tool(("login", *_STDIN), _NO_TLS),
    "skopeo": _Tool(("login", *_STDIN), _NO_TLS),
    "buildah": _Tool(("login", *_STDIN), _NO_TLS),
    "crane": _Tool(("auth", "login", *_STDIN)),
    "regctl": _Tool(
        ("registry", "login", "--user", USER, "--pass-stdin"),
        ("--host", f"reg={_HOST},tls=disabled"),
    ),
    "oras": _Tool(("login", *_STDIN), ("--plain-http",)),
    "helm": _Tool(("registry", "login", *_STDIN), ("--plain-http",)),
}


TOOLS = tuple(_TOOLS)
"""Client programs that can be logged in, in the order in which they are looked for."""


def choose(wanted: str | None) -> str:
    """Return the program that is wanted, or the first that is there; raises LoginError."""
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
    # buildah takes no option behind the host.
    given = [*known.words, *(known.plain if plain else ()), _HOST]
    return [tool, *(word.replace(_HOST, host) for word in given)]


def log_in(tool: str, host: str, password: str, *, plain: bool) -> None:
    """Run a tool's own login; what it says goes where ours does. Raises LoginError."""
    command = words(tool, host, plain=plain)
    try:
        done = subprocess.run(command, input=password, text=True, check=False)  # noqa: S603 - words of the table above
    except OSError as error:
        raise LoginError(f"{tool} can't be run: {error}") from None
    if done.returncode != 0:
        raise LoginError(f"`{' '.join(command)}` failed with status {done.returncode}")
