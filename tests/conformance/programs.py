"""Builds the two conformance programs from their released Go modules, into .tools/bin.

Their source is never copied into this repository, and what is there already is not built again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.clients.install import go_environment, install_go_programs
from tests.clients.tools import GO_BIN, TOOLS, GoProgram
from tests.conformance.suites import Program
from tests.support import network

MODULE = "github.com/opencontainers/distribution-spec/conformance"
CURRENT = GoProgram("conformance", MODULE, MODULE, "v0.0.0-20260831232431-97274622c111")
# The newest of the module's Ginkgo days that can be had: three months before specification 1.1.0.
GINKGO_VERSION = "v0.0.0-20231101194043-f2182352d4cc"
OWN_PROGRAM_VARIABLE = "CONFORMANCE"
_BUILD_TIMEOUT = 900


def built(program: Program) -> tuple[str, ...]:
    """Return the command that runs a program, which is built first if it isn't there.

    Raises RuntimeError or SubprocessError when it can't be had.
    """
    if program is Program.GINKGO:
        return (str(_ginkgo()), "--ginkgo.no-color")
    own = os.environ.get(OWN_PROGRAM_VARIABLE)
    if own:
        path = Path(own).resolve()
        if not os.access(path, os.X_OK) or path.is_dir():
            raise RuntimeError(f"{OWN_PROGRAM_VARIABLE}: {path} is not a program")
        return (str(path),)
    install_go_programs([CURRENT])
    return (str(GO_BIN / CURRENT.name),)


def _ginkgo() -> Path:
    """Build the Ginkgo suite, which is a package's tests and no command, in a module of its own."""
    program = GO_BIN / f"conformance-ginkgo-{GINKGO_VERSION}"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise RuntimeError("Go is needed to build the Ginkgo suite: install Go 1.25 or newer")
    print(f"conformance: building the Ginkgo suite {GINKGO_VERSION}", flush=True)
    folder = TOOLS / "conformance-ginkgo"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    GO_BIN.mkdir(parents=True, exist_ok=True)
    (folder / "go.mod").write_text("module ginkgo\n\ngo 1.20\n")
    unfinished = folder / "conformance.test"
    for command in (
        ["go", "get", "-t", f"{MODULE}@{GINKGO_VERSION}"],
        ["go", "test", "-c", "-o", str(unfinished), MODULE],
    ):
        network.run(
            command, cwd=folder, env=go_environment(), timeout=_BUILD_TIMEOUT
        ).check_returncode()
    return unfinished.replace(program)
