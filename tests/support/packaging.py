"""The package that is deployed, for this machine or for Lambda's: made once for each code.

Packages are kept below build/, where every worker and every later session finds them. Nothing here
may touch the checkout's own package.
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
import shutil
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from moorage.common.project import PROJECT
from tests.support import network

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

LAMBDA: Final = "arm64"
HOST: Final = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}[
    platform.machine()
]

_KEPT: Final = PROJECT / "build" / "tests" / "packages"
_KEPT_SECONDS: Final = 86_400
# What a package is made of, and what makes it.
_SOURCES: Final = (
    "app.py",
    "requirements.txt",
    "constraints.txt",  # Chalice's own release among the others
    ".chalice/*.json",
    "infra/api.merge.yaml",
    "chalicelib/**/*.py",
    "moorage/deploy/build.py",
    "moorage/deploy/trim_sdk.py",
)
# The first is Chalice's; the second is what pip says of a package that exists when PyPI doesn't
# answer.
_NETWORK_WORDS = (
    "Could not install",
    "Could not satisfy the requirement",
    "ConnectionError",
    "Connection reset",
    "Max retries exceeded",
    "Read timed out",
    "Temporary failure in name resolution",
)


def package(machine: str) -> Path:
    """Return the folder of the package for functions on `machine`, which no test may change."""
    folder = _KEPT / f"{machine}-{_state()}"
    _KEPT.mkdir(parents=True, exist_ok=True)
    with _alone(_KEPT / f"{machine}.lock"):
        if not folder.is_dir():
            for old in _KEPT.glob(f"{machine}-*"):
                if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
                    shutil.rmtree(old)
            unfinished = folder.with_suffix(".new")
            # What `make package` runs.
            done = network.run(
                [
                    sys.executable,
                    "-m",
                    "moorage.deploy.build",
                    str(unfinished),
                    "--machine",
                    machine,
                ],
                cwd=PROJECT,
                capture_output=True,
                text=True,
                failed=_missed_the_network,
                timeout=240,
            )
            assert done.returncode == 0, done.stderr
            unfinished.rename(folder)
    return folder


def _missed_the_network(done: subprocess.CompletedProcess[str]) -> bool:
    return any(words in done.stdout + done.stderr for words in _NETWORK_WORDS)


def _state() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(path for pattern in _SOURCES for path in PROJECT.glob(pattern)):
        digest.update(f"{path.relative_to(PROJECT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
