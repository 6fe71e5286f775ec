"""Installs what `make e2e` needs and isn't there: Debian packages, Debian for arm64, wheels.

All of it happens before the run's own network, which has no way out. What is there already is not
installed again.
"""

from __future__ import annotations

import fcntl
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Final

from moorage.deploy.package import REQUIREMENTS
from tests.clients.install import install_debian_packages
from tests.clients.tools import TOOLS
from tests.e2e import arm64
from tests.support import network

# A Debian package and the program that shows that it is there.
_PROGRAMS: Final = {"iproute2": "ip", "qemu-user-static": arm64.QEMU, "skopeo": "skopeo"}
_KEPT: Final = TOOLS / "e2e"
_SECONDS: Final = 300

# What Chalice asks pip for when it packages for arm64 what this machine can't use.
_FOR_LAMBDA: Final = (
    "--only-binary=:all:",
    "--no-deps",
    "--platform=manylinux2014_aarch64",
    "--implementation=cp",
)


def install() -> Path:
    """Install what is missing; return the folder of wheels, from which pip packages the functions.

    Raises RuntimeError, SubprocessError.
    """
    _KEPT.mkdir(parents=True, exist_ok=True)
    with (_KEPT / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may do the same
        install_debian_packages(_PROGRAMS)
        arm64.install()
        return _wheels()


def _wheels() -> Path:
    state = hashlib.sha256(f"{arm64.PYTHON}\n".encode() + REQUIREMENTS.read_bytes()).hexdigest()
    folder = _KEPT / f"wheels-{state[:16]}"
    if folder.is_dir():
        return folder
    print("e2e: fetching the wheels of the functions", flush=True)
    with tempfile.TemporaryDirectory(prefix="moorage-wheels-", dir=_KEPT) as name:
        made = Path(name) / "wheels"
        pip = (sys.executable, "-m", "pip", "download", "--quiet", f"--dest={made}")
        for options in ((), _FOR_LAMBDA):
            network.run(
                [*pip, *options, "--requirement", str(REQUIREMENTS)], timeout=_SECONDS
            ).check_returncode()
        made.rename(folder)
    return folder
