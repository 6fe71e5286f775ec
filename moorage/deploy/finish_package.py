"""Finishes the package that Chalice made, as `make package` does.

Run as `python -m moorage.deploy.finish_package FOLDER`.

A function starts sooner from a zip that holds bytecode, which Lambda can't keep, and an SDK that is
cut down to what is called. This module must never change what the code does.
"""

import argparse
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from moorage.deploy import trim_sdk as package_sdk
from moorage.deploy.errors import DeployError
from moorage.deploy.package import CODE, read_template

TASK: Final = "/var/task"
"""Where Lambda unpacks a zip: tracebacks name files in there."""

LEFT_OUT: Final = ("aws_lambda_powertools/event_handler",)
"""What no function imports, and is large."""

_SELDOM: Final = "(cffi|pycparser|aws_lambda_powertools/utilities/(?!jmespath_utils)[a-z_]+)/"
"""What no function imports, below the code's folder, and is not compiled either."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The date of every file, the first one that a zip can tell: the same code is the same zip."""


def check(folder: Path) -> None:
    """Raise DeployError for a package of functions that no runtime of Lambda's would run."""
    try:
        read_template(folder)
    except OSError as error:
        raise DeployError(f"Chalice left no package in {folder}: {error}") from error


def finish(folder: Path) -> None:
    """Put the zip of a package in its final form; raises DeployError."""
    path = folder / CODE
    with tempfile.TemporaryDirectory(prefix="moorage-package-") as name:
        code = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(code)
        except (OSError, zipfile.BadZipFile) as error:
            raise DeployError(f"Chalice left no package in {folder}: {error}") from error
        for each in LEFT_OUT:
            if not (code / each).is_dir():
                raise DeployError(f"{path} has no {each}: does `LEFT_OUT` name what there was?")
            shutil.rmtree(code / each)
        package_sdk.cut(code / "botocore" / "data")
        compile_all(code)
        whole = path.with_suffix(".new")
        write_zip(code, whole)
        whole.replace(path)


def compile_all(code: Path) -> None:
    """Put bytecode beside every module that may be imported; raises DeployError.

    Lambda gives files dates of its own, so that bytecode is neither checked by dates nor, since
    nobody can change the one without the other there, by hashes.
    """
    command = [sys.executable, "-m", "compileall", "-q", "-f", "--invalidation-mode"]
    seldom = f"^{re.escape(str(code))}/{_SELDOM}"
    command += ["unchecked-hash", "-s", str(code), "-p", TASK, "-x", seldom, str(code)]
    # The order of a set's members in bytecode is that of their hashes.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(  # noqa: S603 - the words above
        command, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DeployError(f"the package can't be compiled: {done.stdout}{done.stderr}")


def write_zip(folder: Path, path: Path) -> None:
    """Write all files of a folder into a zip that depends on nothing else."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            # Whoever the function runs as may read it.
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, file.read_bytes())


def main(argv: Sequence[str] | None = None) -> int:
    """Check a package, and finish it."""
    parser = argparse.ArgumentParser(
        prog="python -m moorage.deploy.finish_package", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="where `chalice package` wrote to")
    options = parser.parse_args(argv)
    try:
        check(options.folder)
        finish(options.folder)
    except DeployError as error:
        sys.stderr.write(f"moorage: {error}\n")
        return 1
    path = options.folder / CODE
    sys.stdout.write(f"{path}: {path.stat().st_size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
