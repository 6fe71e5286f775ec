"""Installs the client programs that ``make clients`` drives: ``python -m tests.clients.install``.

With ``--all`` the nightly ones are built, too.

It does nothing where they already are, never leaves a service running that it caused to
be installed, and never ends a process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clients.tools import (
    DEBIAN_PROGRAMS,
    GO_BIN,
    GO_PROGRAMS,
    NIGHTLY_PROGRAMS,
    GoProgram,
    program,
)
from tests.support import network

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# Debian's packages ask this script before they start a service; 101 is "not allowed".
_POLICY = Path("/usr/sbin/policy-rc.d")
_FORBID_STARTS = "#!/bin/sh\nexit 101\n"
# Each file that doesn't come is asked for again, before the whole command is.
_APT_GET = ("apt-get", "-o", "Acquire::Retries=3")
_GO_TIMEOUT = 900
_APT_TIMEOUT = 900


def main() -> int:
    """Install what is missing; the exit status is 0 when everything is there afterwards."""
    arguments = argparse.ArgumentParser(prog="python -m tests.clients.install")
    arguments.add_argument("--all", action="store_true", help="build what takes long, too")
    chosen = arguments.parse_args()
    try:
        install_debian_packages(DEBIAN_PROGRAMS)
        install_go_programs((*GO_PROGRAMS, *(NIGHTLY_PROGRAMS if chosen.all else ())))
    except (RuntimeError, subprocess.SubprocessError) as problem:
        print(f"clients: {problem}", file=sys.stderr)
        return 1
    print("clients: every client program is installed")
    return 0


def install_debian_packages(programs: Mapping[str, str]) -> None:
    """Install the packages whose program is missing; they are the mapping's keys.

    Raises RuntimeError, SubprocessError.
    """
    missing = [package for package, name in programs.items() if program(name) is None]
    if not missing:
        return
    names = " ".join(missing)
    if os.geteuid() != 0:
        raise RuntimeError(
            "these Debian packages are missing and only root can install them: "
            f"{names}\n  as root: apt-get install --no-install-recommends {names}"
        )
    if shutil.which("apt-get") is None:
        raise RuntimeError(f"this machine has no apt-get; install by other means: {names}")
    print(f"clients: installing {names}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [*_APT_GET, "install", "-y", "--no-install-recommends", *missing]
    with _no_service_starts():
        for command in ([*_APT_GET, "update"], install):
            network.run(command, env=environment, timeout=_APT_TIMEOUT).check_returncode()


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep package scripts from starting daemons; a policy that is already there stands."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text(_FORBID_STARTS)
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def install_go_programs(programs: Iterable[GoProgram]) -> None:
    """Build into GO_BIN the programs that aren't there at their version.

    Raises RuntimeError, SubprocessError.
    """
    missing = [wanted for wanted in programs if _installed_version(wanted) != wanted.version]
    if not missing:
        return
    if shutil.which("go") is None:
        names = " ".join(wanted.name for wanted in missing)
        raise RuntimeError(f"Go is needed to build {names}: install Go 1.25 or newer")
    GO_BIN.mkdir(parents=True, exist_ok=True)
    for wanted in missing:
        print(f"clients: building {wanted.name} {wanted.version}", flush=True)
        with tempfile.TemporaryDirectory(prefix="moorage-go-") as folder:
            _build(wanted, Path(folder))


def _build(wanted: GoProgram, folder: Path) -> None:
    """Build a program from a module of our own that requires its module.

    `go install` refuses a module that replaces or excludes others, as BuildKit's does.
    """
    (folder / "go.mod").write_text(
        f"module clients\n\ngo 1.25\n\nrequire {wanted.module} {wanted.version}\n"
    )
    environment = go_environment()
    environment["GOFLAGS"] += " -mod=mod"
    if wanted in NIGHTLY_PROGRAMS:
        # Go's checksum database lacks some modules of nerdctl's.
        environment["GONOSUMDB"] = "github.com/containerd/*"
    made = folder / wanted.name
    command = ["go", "build", "-o", str(made), wanted.package]
    done = network.run(command, cwd=folder, env=environment, timeout=_GO_TIMEOUT)
    done.check_returncode()
    # Renamed when it is whole: a run that is interrupted leaves no half program.
    unfinished = GO_BIN / f"{wanted.name}.new"
    shutil.copy2(made, unfinished)
    unfinished.replace(GO_BIN / wanted.name)


def go_environment() -> dict[str, str]:
    """Return the environment for Go: static programs, the same wherever they are built."""
    return {**os.environ, "GOBIN": str(GO_BIN), "GOFLAGS": "-trimpath", "CGO_ENABLED": "0"}


def _installed_version(wanted: GoProgram) -> str | None:
    """Module version recorded in our copy of a program; None when there is none."""
    path = GO_BIN / wanted.name
    if not path.exists() or shutil.which("go") is None:
        return None
    shown = subprocess.run(
        ["go", "version", "-m", str(path)], capture_output=True, text=True, check=False
    )
    for line in shown.stdout.splitlines():
        fields = line.split()
        # A newer Go names the program's own module as the main one.
        if fields[:2] in (["dep", wanted.module], ["mod", wanted.module]):
            return fields[2]
    return None


if __name__ == "__main__":
    sys.exit(main())
