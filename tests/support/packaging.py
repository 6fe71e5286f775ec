"""The package that is deployed, made once for each code, and its zip unpacked for this machine.

Packages are kept below build/, where every worker and every later session finds them. Nothing here
may touch the checkout's own package.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import shutil
import sys
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from moorage.common.project import PROJECT
from moorage.deploy.package import CODE, binaries
from tests.support import network

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

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


def package() -> Path:
    """Return the folder of the package, which no test may change."""
    folder = _KEPT / _state()
    _KEPT.mkdir(parents=True, exist_ok=True)
    with _alone(_KEPT / "lock"):
        if not folder.is_dir():
            for old in (path for path in _KEPT.iterdir() if path.is_dir()):
                if time.time() - old.stat().st_mtime > _KEPT_SECONDS:
                    shutil.rmtree(old)
            unfinished = folder.with_suffix(".new")
            # What `make package` runs.
            done = network.run(
                [sys.executable, "-m", "moorage.deploy.build", str(unfinished)],
                cwd=PROJECT,
                capture_output=True,
                text=True,
                failed=_missed_the_network,
                timeout=240,
            )
            assert done.returncode == 0, done.stderr
            unfinished.rename(folder)
    return folder


def unpack(folder: Path) -> None:
    """Unpack the zip of the package into a folder, to run on this machine.

    Its native libraries, and nothing else, are replaced by this environment's, which has the same
    releases: tests/moorage/deploy/test_package.py compares them.
    """
    with zipfile.ZipFile(package() / CODE) as archive:
        archive.extractall(folder)
        foreign = list(binaries(archive))
    for name in foreign:
        spec = importlib.util.find_spec(name.partition(".")[0].replace("/", "."))
        assert spec is not None, name
        assert spec.origin is not None, name
        (folder / name).unlink()
        shutil.copyfile(spec.origin, (folder / name).with_name(Path(spec.origin).name))


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
