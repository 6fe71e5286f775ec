"""Which client programs the tests drive, where they are, and how one is run.

It never installs anything (``install.py`` does) and never starts a daemon.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moorage.common.project import PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY = PROJECT
TOOLS = REPOSITORY / ".tools"
GO_BIN = TOOLS / "bin"
DEFAULT_TIMEOUT = 280


@dataclass(frozen=True)
class GoProgram:
    """A program built from a Go module at one released version."""

    name: str
    package: str
    version: str


# A Debian package and the program that shows it is there.
DEBIAN_PROGRAMS = {
    "skopeo": "skopeo",
    "podman": "podman",
    "buildah": "buildah",
    "docker.io": "dockerd",
    "docker-registry": "docker-registry",
    "containerd": "containerd",
    "debootstrap": "debootstrap",
}

GO_PROGRAMS = (
    GoProgram("crane", "github.com/google/go-containerregistry/cmd/crane", "v0.22.1"),
    GoProgram("regctl", "github.com/regclient/regclient/cmd/regctl", "v0.11.7"),
    GoProgram("oras", "oras.land/oras/cmd/oras", "v1.3.6"),
)

# Debian's client beside Debian's daemon, even where a newer one comes first on PATH.
_PREFERRED = {"docker": Path("/usr/bin/docker")}


class ClientError(AssertionError):
    """A client program failed; the message holds its command line and its output."""


def program(name: str) -> str | None:
    """Path of a client program, or None when it is not installed."""
    for candidate in (GO_BIN / name, _PREFERRED.get(name)):
        if candidate is not None and candidate.exists():
            return str(candidate)
    # Daemons live in sbin, which an unprivileged PATH may lack.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def run(
    name: str,
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    given: str = "",
) -> str:
    """Run a client program to its end and return its standard output.

    ``env`` is added to this process's environment; ``timeout`` is in seconds; ``given`` is what it
    reads from its standard input.
    Raises ClientError when it is missing, is too slow or exits with an error.
    """
    path = program(name)
    if path is None:
        raise ClientError(f"{name} is not installed: run `make clients`, which installs it")
    command = [path, *map(str, arguments)]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(env or {})},
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as slow:
        output = f"{slow.stdout!r}\n{slow.stderr!r}"
        raise ClientError(f"no end after {timeout} s: {' '.join(command)}\n{output}") from slow
    if done.returncode:
        raise ClientError(
            f"exit status {done.returncode}: {' '.join(command)}\n{done.stdout}{done.stderr}"
        )
    return done.stdout
