"""Builds the package that is deployed: Chalice's own, in its final form.

Run as `python -m moorage.deploy.build FOLDER`; `moorage deploy` does the same by itself.

A function starts sooner from a zip that holds bytecode, which Lambda can't keep, and an SDK that is
cut down to what is called. This module must never change what the code does, nor write anything
beside the project's own files: they may be those of an installed package.
"""

import argparse
import json
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

import chalicelib
from moorage.common.checkout import API_TEMPLATE, CHECKOUT
from moorage.deploy import DeployError, trim_sdk
from moorage.deploy.package import CODE, REQUIREMENTS, read_template

TASK: Final = "/var/task"
"""Where Lambda unpacks a zip: tracebacks name files in there."""

LEFT_OUT: Final = ("aws_lambda_powertools/event_handler",)
"""What no function imports, and is large."""

_SELDOM: Final = "(cffi|pycparser|aws_lambda_powertools/utilities/(?!jmespath_utils)[a-z_]+)/"
"""What no function imports, below the code's folder, and is not compiled either."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The date of every file, the first one that a zip can tell: the same code is the same zip."""

_CONFIG: Final = Path(".chalice", "config.json")
# Chalice has no module that Python could run, and its program is not on every PATH.
_CHALICE: Final = (sys.executable, "-c", "import sys, chalice.cli; sys.exit(chalice.cli.main())")
# API Gateway's stage is always v2, for the URL's sake.
_OPTIONS: Final = ("package", "--stage", "v2", "--merge-template", str(API_TEMPLATE))
# A line of Chalice's output; its exit status is 0 all the same.
_NOT_INSTALLED: Final = "Could not install"


def build(folder: Path, machine: str | None = None) -> None:
    """Write the package into a folder: the template, and the zip of the functions' code.

    `machine`: what the functions run on, if not on what Chalice's configuration says. Packages of
    Python are downloaded. Raises DeployError, OSError.
    """
    with tempfile.TemporaryDirectory(prefix="moorage-project-") as name:
        project = Path(name)
        _lay_out(project, machine)
        _run_chalice(project, folder.absolute())
    check(folder)
    finish(folder)


def _lay_out(project: Path, machine: str | None) -> None:
    """Make a project as Chalice wants it, whatever this one's files are a part of."""
    code = Path(str(chalicelib.__file__)).parent
    shutil.copytree(code, project / code.name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (CHECKOUT / "app.py", REQUIREMENTS, *(CHECKOUT / ".chalice").glob("*.json")):
        target = project / path.relative_to(CHECKOUT)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    if machine is not None:
        config = json.loads((project / _CONFIG).read_text(encoding="utf-8"))
        config["lambda_architecture"] = machine
        (project / _CONFIG).write_text(json.dumps(config), encoding="utf-8")


def _run_chalice(project: Path, folder: Path) -> None:
    environment = {
        # Chalice wants to be told one; nothing is called in it.
        "AWS_DEFAULT_REGION": "us-east-1",
        **os.environ,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(  # noqa: S603 - the words above
        [*_CHALICE, *_OPTIONS, str(folder)],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or _NOT_INSTALLED in done.stdout + done.stderr:
        raise DeployError(f"Chalice can't package the functions: {done.stdout}{done.stderr}")


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
        trim_sdk.cut(code / "botocore" / "data")
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
    """Build a package; return 0, or 1 after saying why there is none."""
    parser = argparse.ArgumentParser(prog="python -m moorage.deploy.build")
    parser.add_argument("folder", type=Path, help="where to write the package")
    parser.add_argument("--machine", help="what the functions run on, if not on arm64")
    options = parser.parse_args(argv)
    try:
        build(options.folder, options.machine)
    except (DeployError, OSError) as error:
        sys.stderr.write(f"moorage: {error}\n")
        return 1
    path = options.folder / CODE
    sys.stdout.write(f"{path}: {path.stat().st_size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
