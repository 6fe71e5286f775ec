"""The package that is deployed, made by the tool that makes it, for this machine or for Lambda's.

Chalice keeps what it downloaded beside the project, so each machine has a copy of the project below
build/: the second run takes seconds. Nothing here may touch the checkout's own package.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from moorage.common.checkout import CHECKOUT
from moorage.deploy import finish_package as finishing
from tests.support import network

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

LAMBDA: Final = "arm64"
HOST: Final = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}[
    platform.machine()
]

_PACKED = ("app.py", "requirements.txt", "infra/api.merge.yaml")
_NOT_INSTALLED = "Could not install"
# The second is what pip says of a package that exists when PyPI doesn't answer.
_NETWORK_WORDS = (
    _NOT_INSTALLED,
    "Could not satisfy the requirement",
    "ConnectionError",
    "Connection reset",
    "Max retries exceeded",
    "Read timed out",
    "Temporary failure in name resolution",
)
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "deployments", "deployed")


def package(machine: str, into: Path) -> None:
    """Package the project for functions that run on `machine`; `into` is then a folder."""
    project = CHECKOUT / "build" / "tests" / machine
    project.mkdir(parents=True, exist_ok=True)
    with _alone(project / ".lock"):
        _copy(project, machine)
        # The commands of `make package`.
        command = [
            "package",
            "--stage",
            "v2",
            "--merge-template",
            "infra/api.merge.yaml",
            str(into),
        ]
        done = network.run(
            [str(Path(sys.executable).with_name("chalice")), *command],
            cwd=project,
            env={**os.environ, "AWS_DEFAULT_REGION": "us-east-1"},
            capture_output=True,
            text=True,
            failed=_missed_the_network,
            timeout=240,
        )
    assert done.returncode == 0, done.stderr
    assert _NOT_INSTALLED not in done.stdout + done.stderr, done.stdout
    finishing.check(into)
    finishing.finish(into)


def _missed_the_network(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether another try may help: Chalice ends well, or not, when packages didn't come."""
    said = done.stdout + done.stderr
    return any(words in said for words in _NETWORK_WORDS)


def _copy(project: Path, machine: str) -> None:
    for folder in ("chalicelib", "infra"):
        shutil.rmtree(project / folder, ignore_errors=True)
        shutil.copytree(CHECKOUT / folder, project / folder, ignore=_LEFT_OUT)
    shutil.copytree(
        CHECKOUT / ".chalice", project / ".chalice", ignore=_LEFT_OUT, dirs_exist_ok=True
    )
    for name in _PACKED:
        shutil.copyfile(CHECKOUT / name, project / name)
    config = project / ".chalice" / "config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    assert content["lambda_architecture"] == LAMBDA
    content["lambda_architecture"] = machine
    config.write_text(json.dumps(content), encoding="utf-8")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
