"""Which client programs the tests drive, where they are, and how one is run.

It never installs anything (``install.py`` does) and never starts a daemon.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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
    """Its file in GO_BIN."""
    package: str
    module: str
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

_CONTAINERD = "github.com/containerd/containerd/v2"
_BUILDKIT = "github.com/moby/buildkit"
_COSIGN = "github.com/sigstore/cosign"


def _program(name: str, module: str, version: str, folder: str = "") -> GoProgram:
    return GoProgram(name, f"{module}{folder}", module, version)


GO_PROGRAMS = (
    _program("crane", "github.com/google/go-containerregistry", "v0.22.1", "/cmd/crane"),
    _program("regctl", "github.com/regclient/regclient", "v0.11.7", "/cmd/regctl"),
    _program("oras", "oras.land/oras", "v1.3.6", "/cmd/oras"),
    _program("helm3", "helm.sh/helm/v3", "v3.22.0", "/cmd/helm"),
    _program("helm4", "helm.sh/helm/v4", "v4.3.2", "/cmd/helm"),
    _program("cosign3", f"{_COSIGN}/v3", "v3.1.3", "/cmd/cosign"),
    _program("notation", "github.com/notaryproject/notation", "v1.3.2", "/cmd/notation"),
    _program("containerd2", _CONTAINERD, "v2.4.2", "/cmd/containerd"),
    _program("ctr2", _CONTAINERD, "v2.4.2", "/cmd/ctr"),
    _program("buildkitd", _BUILDKIT, "v0.34.2", "/cmd/buildkitd"),
    _program("buildctl", _BUILDKIT, "v0.34.2", "/cmd/buildctl"),
    _program("ko", "github.com/google/ko", "v0.19.1"),
)
NIGHTLY_PROGRAMS = (
    # docker 29's daemon is of the module's version 2.
    _program("dockerd29", "github.com/moby/moby/v2", "v2.0.0-beta.24", "/cmd/dockerd"),
    _program("nerdctl", "github.com/containerd/nerdctl/v2", "v2.0.0", "/cmd/nerdctl"),
    _program("cosign2", f"{_COSIGN}/v2", "v2.6.5", "/cmd/cosign"),
)
"""What takes long to build."""
# Debian's client beside Debian's daemon, even where a newer one comes first on PATH; our own
# command is that of this environment.
_PREFERRED = {
    "docker": Path("/usr/bin/docker"),
    "moorage": Path(sys.executable).with_name("moorage"),
}


class ClientError(AssertionError):
    """A client program failed; the message holds its command line and its output."""


def program(name: str) -> str | None:
    """Path of a client program, or None when it is not installed."""
    for candidate in (GO_BIN / name, _PREFERRED.get(name)):
        if candidate is not None and candidate.exists():
            return str(candidate)
    # Daemons live in sbin, which an unprivileged PATH may lack.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def run(  # noqa: PLR0913  what subprocess.run takes
    name: str,
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    given: str = "",
    folder: Path | None = None,
    errors: bool = False,
) -> str:
    """Run a client program to its end and return its standard output.

    ``env`` is added to this process's environment; ``timeout`` is in seconds; ``given`` is what it
    reads from its standard input; it runs in ``folder``, else here. With ``errors`` what it writes
    to its standard error is returned too.
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
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors else subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as slow:
        output = f"{slow.stdout!r}\n{slow.stderr!r}"
        raise ClientError(f"no end after {timeout} s: {' '.join(command)}\n{output}") from slow
    if done.returncode:
        raise ClientError(
            f"exit status {done.returncode}: {' '.join(command)}\n{done.stdout}{done.stderr or ''}"
        )
    return done.stdout
