"""Builds the package that is deployed: what Chalice packages, made smaller and compiled.

Run as `python -m moorage.deploy.build FOLDER`; `moorage deploy` does the same by itself.

A function starts sooner from a zip with bytecode, which Lambda can't write, and with an SDK cut
down to what is called. This module must never change what the code does, nor write beside the
project's own files, which may be those of an installed package.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import chalicelib
from moorage.common.project import API_TEMPLATE, PROJECT
from moorage.deploy import DeployError, trim_sdk
from moorage.deploy.package import CODE, REQUIREMENTS, Package, entry, read_package

TASK: Final = "/var/task"
"""Where Lambda unpacks a zip: tracebacks name files by this folder."""

LEFT_OUT: Final = ("aws_lambda_powertools/event_handler",)
"""Large folders that no function imports."""

_SELDOM: Final = "(cffi|pycparser|aws_lambda_powertools/utilities/(?!jmespath_utils)[a-z_]+)/"
"""What stays although no function imports it: not compiled. A pattern, below the code's folder."""

# Chalice has no `python -m`, and its program need not be on the PATH.
_CHALICE: Final = (sys.executable, "-c", "import sys, chalice.cli; sys.exit(chalice.cli.main())")
# API Gateway's stage is always v2, for the URL's sake.
_OPTIONS: Final = ("package", "--stage", "v2", "--merge-template", str(API_TEMPLATE))
# Chalice prints this of packages without a wheel, and still exits with 0.
_NOT_INSTALLED: Final = "Could not install"


def build(folder: Path) -> Package:
    """Write the package into a folder, the template and the zip of the code, and return it.

    The requirements are downloaded. Raises DeployError, OSError.
    """
    with tempfile.TemporaryDirectory(prefix="moorage-project-") as name:
        project = Path(name)
        _lay_out(project)
        _run_chalice(project, folder.absolute())
    finish(folder)
    return read_package(folder)


def _lay_out(project: Path) -> None:
    """Copy the project's files into a folder as Chalice wants them."""
    code = Path(str(chalicelib.__file__)).parent
    shutil.copytree(code, project / code.name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (PROJECT / "app.py", REQUIREMENTS, *(PROJECT / ".chalice").glob("*.json")):
        target = project / path.relative_to(PROJECT)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)


def _run_chalice(project: Path, folder: Path) -> None:
    environment = {
        # Chalice needs a region, though it calls nothing there.
        "AWS_DEFAULT_REGION": "us-east-1",
        **os.environ,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(  # noqa: S603 - the command above
        [*_CHALICE, *_OPTIONS, str(folder)],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or _NOT_INSTALLED in done.stdout + done.stderr:
        raise DeployError(f"Chalice can't package the functions: {done.stdout}{done.stderr}")


def finish(folder: Path) -> None:
    """Shrink and compile the zip of a package; raises DeployError."""
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
                raise DeployError(f"{path} has no {each}: LEFT_OUT is out of date")
            shutil.rmtree(code / each)
        trim_sdk.cut(code / "botocore" / "data")
        trim_sdk.shed(code)
        compile_all(code)
        whole = path.with_suffix(".new")
        write_zip(code, whole)
        whole.replace(path)


def compile_all(code: Path) -> None:
    """Compile every module that may be imported; raises DeployError.

    Bytecode is not checked against its source: Lambda changes the files' dates, and no source
    changes there.
    """
    command = [sys.executable, "-m", "compileall", "-q", "-f", "--invalidation-mode"]
    seldom = f"^{re.escape(str(code))}/{_SELDOM}"
    command += ["unchecked-hash", "-s", str(code), "-p", TASK, "-x", seldom, str(code)]
    # In bytecode the members of a set are in the order of their hashes.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(  # noqa: S603 - the command above
        command, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DeployError(f"the package can't be compiled: {done.stdout}{done.stderr}")


def write_zip(folder: Path, path: Path) -> None:
    """Write all files of a folder into a zip that depends on their names and content alone."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.writestr(entry(file.relative_to(folder).as_posix()), file.read_bytes())


def main(argv: Sequence[str] | None = None) -> int:
    """Build a package; return 0, or 1 after saying why there is none."""
    parser = argparse.ArgumentParser(prog="python -m moorage.deploy.build")
    parser.add_argument("folder", type=Path, help="where to write the package")
    options = parser.parse_args(argv)
    try:
        package = build(options.folder)
    except (DeployError, OSError) as error:
        sys.stderr.write(f"moorage: {error}\n")
        return 1
    sys.stdout.write(f"{options.folder / CODE}: {len(package.code):,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
