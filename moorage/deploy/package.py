"""What is deployed: the template that Chalice made, and the zip of the functions' code.

This module must never accept a package that Lambda can't run: Chalice exits with 0 even if a
requirement has no wheel, and packages for whatever Python it runs on.
"""

import hashlib
import io
import json
import re
import stat
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from moorage.common.project import PROJECT, load_template
from moorage.deploy import DeployError

CODE = "deployment.zip"
REQUIREMENTS = PROJECT / "requirements.txt"

LARGEST_ZIP = 50 * 1000 * 1000
"""Bytes; Lambda's limit for an upload. Unpacked it is 250 MB."""

RUNTIMES: Final = ("python3.11", "python3.12", "python3.13", "python3.14")
"""The runtimes of Lambda for which every pinned requirement has wheels."""

PACKAGE_BUCKET: Final = "PackageBucket"
"""The stack's output with the bucket of packages, for the next deployment."""

_TEMPLATES = ("sam.json", "sam.yaml")
_FUNCTION = "AWS::Serverless::Function"
# e_machine of an ELF header.
_MACHINES: Final = {62: "x86_64", 183: "arm64"}
_ELF = b"\x7fELF"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The date of every file, so that the same code is the same zip; a zip knows none before."""
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")


@dataclass(frozen=True, slots=True)
class Package:
    """A packaged registry; `digest` is the code's SHA-256, in hex."""

    template: dict[str, Any]
    code: bytes
    digest: str

    def placed(self, bucket: str, key: str, url: str, *, cors: bool = False) -> dict[str, Any]:
        """Return the template for code in S3 and an API at `url`; `cors`: pages may ask it."""
        template: dict[str, Any] = json.loads(json.dumps(self.template))
        for function in functions(template):
            function["CodeUri"] = {"Bucket": bucket, "Key": key}
        # API Gateway freezes the API's answers in a deployment, and the transform makes a new
        # deployment only if the definition's text differs; parameters are not part of that text.
        # Without this the challenge would keep the first deployment's URL, which is empty, and the
        # answers their headers for pages of other sites.
        definition = template["Resources"]["RestAPI"]["Properties"]["DefinitionBody"]
        definition["info"]["description"] = f"A Moorage registry, at {url or 'no address yet'}"
        if cors:
            definition["info"]["description"] += ", for pages of other sites too"
        template["Outputs"][PACKAGE_BUCKET] = {
            "Description": "The bucket that the packages are uploaded to.",
            "Value": bucket,
        }
        return template

    def with_file(self, name: str, text: str) -> "Package":
        """Return a package with one file more; `name` is its path in the zip."""
        code = io.BytesIO(self.code)
        with zipfile.ZipFile(code, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(entry(name), text)
        return package_of(self.template, code.getvalue())


def package_of(template: dict[str, Any], code: bytes) -> Package:
    """Return the package of a template and a zip."""
    return Package(template, code, hashlib.sha256(code).hexdigest())


def entry(name: str) -> zipfile.ZipInfo:
    """Return what a zip says of a file: the same wherever and whenever it is made."""
    made = zipfile.ZipInfo(name, _EPOCH)
    made.compress_type = zipfile.ZIP_DEFLATED
    # Readable for any user: the function runs as one that Lambda chooses.
    made.external_attr = (stat.S_IFREG | 0o644) << 16
    return made


def functions(template: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the properties of a template's functions."""
    resources = template["Resources"].values()
    return [each["Properties"] for each in resources if each["Type"] == _FUNCTION]


def read_package(folder: Path) -> Package:
    """Read and check the package in a folder; raises DeployError."""
    try:
        template = read_template(folder)
        code = (folder / CODE).read_bytes()
    except OSError as error:
        raise DeployError(
            f"there is no package in {folder}: `make package` makes one ({error})"
        ) from None
    machines = {name for each in functions(template) for name in each["Architectures"]}
    problems = zip_problems(code, machines, REQUIREMENTS.read_text(encoding="utf-8"))
    if problems:
        raise DeployError(f"{folder / CODE} would not run on Lambda: {'; '.join(problems)}")
    return package_of(template, code)


def read_template(folder: Path) -> dict[str, Any]:
    """Read the template in a folder; raises OSError if there is none, DeployError for a bad one.

    Chalice names the Python that packaged the functions as their runtime, also where Lambda has
    no such runtime, or a requirement no wheels for it.
    """
    path = next((folder / name for name in _TEMPLATES if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"neither {' nor '.join(_TEMPLATES)}")
    template: dict[str, Any]
    try:
        if path.suffix == ".json":
            template = json.loads(path.read_text(encoding="utf-8"))
        else:
            template = load_template(path)
    except (yaml.YAMLError, ValueError) as error:
        raise DeployError(f"the template in {folder} can't be read: {error}") from None
    others = {str(each.get("Runtime")) for each in functions(template)} - set(RUNTIMES)
    if others:
        raise DeployError(
            f"functions can't run on {', '.join(sorted(others))}, the Python that packaged them:"
            f" install Moorage with {', '.join(RUNTIMES[:-1])} or {RUNTIMES[-1]} (in a checkout"
            " remove .venv, and name one: `make deploy PYTHON=python3.12`)"
        )
    return template


def zip_problems(code: bytes, machines: set[str], requirements: str) -> list[str]:
    """Return why functions on these machines can't load a zip; nothing if they can."""
    if len(code) > LARGEST_ZIP:
        return [f"it has {len(code)} bytes, more than Lambda's {LARGEST_ZIP}"]
    try:
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            problems = [
                f"{name} is for {machine}, the functions run on {', '.join(sorted(machines))}"
                for name, machine in binaries(archive).items()
                if {machine} != machines
            ]
            missing = _pinned(requirements) - _packed(archive)
    except zipfile.BadZipFile as error:
        return [f"it is no zip ({error})"]
    problems += [f"{name} is not in it: has it a wheel for Lambda?" for name in sorted(missing)]
    return problems


def binaries(archive: zipfile.ZipFile) -> dict[str, str]:
    """Return the machine of each native library and program in a zip."""
    found = {}
    for name in archive.namelist():
        with archive.open(name) as file:
            head = file.read(20)
        if head.startswith(_ELF):
            (number,) = struct.unpack_from("<H", head, 18)
            found[name] = _MACHINES.get(number, f"ELF machine {number}")
        elif name.endswith((".so", ".pyd", ".dylib")):
            found[name] = "no Linux"
    return found


def _pinned(requirements: str) -> set[str]:
    pins = filter(None, map(_PIN.match, requirements.splitlines()))
    return {f"{_normal(pin[1])}-{pin[2]}" for pin in pins}


def _packed(archive: zipfile.ZipFile) -> set[str]:
    folders = {name.partition("/")[0] for name in archive.namelist()}
    stems = (name.removesuffix(".dist-info") for name in folders if name.endswith(".dist-info"))
    return {f"{_normal(name)}-{version}" for name, _, version in (s.partition("-") for s in stems)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
