"""The package: code that Lambda can load, small, and a template that CloudFormation accepts."""

from __future__ import annotations

import functools
import importlib.metadata
import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from moorage.deploy import DeployError
from moorage.deploy import package as deploy_package
from moorage.deploy.package import binaries, functions, read_package, zip_problems
from moorage.deploy.stacks import LARGEST_TEMPLATE
from tests.infra.intrinsics import transformed
from tests.infra.templates import CONFIG

MEGABYTE = 1000 * 1000
URL = "https://abc123.execute-api.eu-west-1.amazonaws.com"


def made(**files: bytes) -> bytes:
    """Return a zip of files."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return memory.getvalue()


def elf(machine: int) -> bytes:
    """Return the beginning of a native library."""
    return b"\x7fELF" + bytes(14) + machine.to_bytes(2, "little") + bytes(32)


def test_every_native_library_is_for_arm64(package: Path) -> None:
    """Wheels are Lambda's, whatever machine packaged them."""
    with zipfile.ZipFile(package / deploy_package.CODE) as archive:
        found = binaries(archive)
        libraries = {name for name in archive.namelist() if ".so" in Path(name).suffixes}
    assert libraries <= set(found)
    packages = {name.partition("/")[0].partition(".")[0] for name in found}
    assert packages == {"_cffi_backend", "cryptography", "pybase64", "rehashes"}
    assert set(found.values()) == {"arm64"}


def test_the_zip_holds_the_functions_and_their_requirements_only(package: Path) -> None:
    """No tools for a person's machine, no tests, no boto3: every cold start waits for it."""
    assert (package / deploy_package.CODE).stat().st_size < 10 * MEGABYTE
    with zipfile.ZipFile(package / deploy_package.CODE) as archive:
        names = archive.namelist()
    top = {name.partition("/")[0] for name in names}
    assert {"app.py", "chalicelib", "chalice", "aws_lambda_powertools", "botocore", "jwt"} <= top
    assert not top & {"moorage", "tests", "boto3", "s3transfer", "aiohttp", "moto", "infra"}
    assert not [name for name in names if name.endswith(".env")]


def required() -> list[str]:
    """Return the lines of requirements.txt."""
    lines = deploy_package.REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def normal(name: str) -> str:
    """Return a distribution's normalized name (PyPA, "Names and normalization")."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("line", required())
def test_packaged_releases_are_the_tested_ones(line: str) -> None:
    """All other tests run with the versions that Lambda gets."""
    name, _, _ = line.partition("==")
    assert line == f"{name}=={importlib.metadata.version(name)}"


def test_exactly_what_is_packaged_is_pinned(package: Path) -> None:
    """The requirements of requirements are pinned too, and nothing else."""
    with zipfile.ZipFile(package / deploy_package.CODE) as archive:
        folders = [each for each in zipfile.Path(archive).iterdir() if each.suffix == ".dist-info"]
        packed = [importlib.metadata.PathDistribution(each) for each in folders]
        found = sorted(f"{normal(each.name)}=={each.version}" for each in packed)
    pins = [line.partition("==") for line in required()]
    assert found == sorted(f"{normal(name)}=={version}" for name, _, version in pins)


def test_the_package_is_accepted(package: Path) -> None:
    """`moorage deploy` reads it, and CloudFormation reads its template."""
    read = read_package(package)
    assert [each["Architectures"] for each in functions(read.template)] == [["arm64"]] * 6
    placed = read.placed("bucket", "key", URL)
    assert {json.dumps(each["CodeUri"]) for each in functions(placed)} == {
        '{"Bucket": "bucket", "Key": "key"}'
    }
    # As it is sent; some room is left for what comes.
    assert len(json.dumps(placed, separators=(",", ":"))) < LARGEST_TEMPLATE * 0.9


@functools.cache
def resources(package: Path, url: str, *, cors: bool = False) -> dict[str, Any]:
    """Return the resources of an API at `url`, after the SAM transform."""
    template = read_package(package).placed("bucket", "key", url, cors=cors)
    found: dict[str, Any] = transformed(template, {"PublicUrl": url})["Resources"]
    return found


def test_there_is_one_stage_named_v2(package: Path) -> None:
    """The default URL is a registry's, and no second stage gives another."""
    found = resources(package, URL)
    stages = [each for each in found.values() if each["Type"] == "AWS::ApiGateway::Stage"]
    assert [stage["Properties"]["StageName"] for stage in stages] == ["v2"]
    (deployment,) = [e for e in found.values() if e["Type"] == "AWS::ApiGateway::Deployment"]
    assert "StageName" not in deployment["Properties"]


def test_a_new_url_or_cors_makes_a_new_deployment(package: Path) -> None:
    """API Gateway's own answers depend on both, and it gives those of the last deployment.

    The transform makes no new deployment of an unchanged definition.
    """

    def deployments(url: str, *, cors: bool = False) -> set[str]:
        found = resources(package, url, cors=cors)
        return {name for name, e in found.items() if e["Type"] == "AWS::ApiGateway::Deployment"}

    assert deployments("") != deployments(URL)
    assert deployments(URL) != deployments(URL, cors=True)
    assert deployments(URL) == deployments(URL)


def test_the_api_has_the_name_that_alarms_know(package: Path) -> None:
    """In its properties and in its definition's title: API Gateway uses the later of the two."""
    api = resources(package, URL)["RestAPI"]["Properties"]
    name = {"Ref": "AWS::StackName"}
    assert (api["Name"], api["Body"]["info"]["title"]) == (name, name)


def test_a_domain_leads_to_the_stage(package: Path) -> None:
    """https://DOMAIN/v2/ is the stage, which is created before the mapping."""
    found = resources(package, URL)
    assert found["DomainMapping"]["Properties"] == {
        "BasePath": "v2",
        "DomainName": {"Ref": "Domain"},
        "RestApiId": {"Ref": "RestAPI"},
        "Stage": {"Ref": "RestAPIv2Stage"},
    }
    conditions = {name: found[name].get("Condition") for name in found if "Domain" in name}
    assert conditions == {
        "Domain": "HasDomain",
        "DomainMapping": "HasDomain",
        "DomainRecord": "HasZone",
    }


def test_every_log_expires(package: Path) -> None:
    """Each function writes to a declared log group of its own, with a retention."""
    found = resources(package, URL)
    groups = {name for name, each in found.items() if each["Type"] == "AWS::Logs::LogGroup"}
    lambdas = [e["Properties"] for e in found.values() if e["Type"] == "AWS::Lambda::Function"]
    assert {each["LoggingConfig"]["LogGroup"]["Ref"] for each in lambdas} == groups
    assert len(lambdas) == len(groups) == 6
    for name in groups:
        assert found[name]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_memory_is_the_same_in_chalices_configuration(package: Path) -> None:
    """The template's defaults are Chalice's values."""
    parameters = read_package(package).template["Parameters"]
    assert parameters["ApiMemory"]["Default"] == CONFIG["lambda_memory_size"]
    assert parameters["WorkerMemory"]["Default"] == CONFIG["lambda_memory_size"]
    authorizer = CONFIG["stages"]["v2"]["lambda_functions"]["authorizer"]
    assert parameters["AuthorizerMemory"]["Default"] == authorizer["lambda_memory_size"]


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (b"no zip", "it is no zip"),
        (made(**{"rehashes-0.3.0.dist-info/WHEEL": b""}), ""),
        (made(**{"Re_Hashes-0.3.0.dist-info/WHEEL": b""}), "rehashes-0.3.0 is not in it"),
        (made(**{"rehashes-0.2.0.dist-info/WHEEL": b""}), "rehashes-0.3.0 is not in it"),
        (made(**{"rehashes-0.3.0.dist-info/WHEEL": b"", "a.so": elf(183)}), ""),
        (made(**{"rehashes-0.3.0.dist-info/WHEEL": b"", "a.so": elf(62)}), "is for x86_64"),
        (made(**{"rehashes-0.3.0.dist-info/WHEEL": b"", "a.so": elf(3)}), "is for ELF machine"),
        (made(**{"rehashes-0.3.0.dist-info/WHEEL": b"", "a.dylib": b"\xca\xfe"}), "no Linux"),
        (b"x" * (deploy_package.LARGEST_ZIP + 1), "bytes, more than Lambda's"),
    ],
)
def test_a_zip_that_would_not_run_is_refused(code: bytes, problem: str) -> None:
    """A missing wheel, or one for another machine, stops a deployment."""
    problems = zip_problems(code, {"arm64"}, "# pins\nrehashes==0.3.0\nboto3\n")
    assert bool(problems) is bool(problem)
    assert problem in "; ".join(problems)


def test_a_folder_without_a_package_is_an_error(tmp_path: Path) -> None:
    """The error names the command that makes one."""
    with pytest.raises(DeployError, match="make package"):
        read_package(tmp_path)
    (tmp_path / "sam.json").write_text('{"Resources": {', encoding="utf-8")
    (tmp_path / deploy_package.CODE).write_bytes(b"")
    with pytest.raises(DeployError, match="can't be read"):
        read_package(tmp_path)


RUNTIMES = ("python3.11", "python3.12", "python3.13", "python3.14")
"""Those with wheels: the Pythons that docs/deploy.md names."""


@pytest.mark.parametrize("runtime", [*RUNTIMES, "python3.10", "python3.15", "python3.1", None])
def test_a_runtime_without_wheels_is_refused(
    light_package: Path, tmp_path: Path, runtime: str | None
) -> None:
    """Chalice packages for any Python; the error says how to choose another."""
    template = json.loads((light_package / "sam.json").read_text(encoding="utf-8"))
    functions(template)[-1]["Runtime"] = runtime
    (tmp_path / "sam.json").write_text(json.dumps(template), encoding="utf-8")
    shutil.copyfile(light_package / deploy_package.CODE, tmp_path / deploy_package.CODE)
    if runtime in RUNTIMES:
        assert functions(read_package(tmp_path).template)[-1]["Runtime"] == runtime
        return
    with pytest.raises(DeployError) as raised:
        read_package(tmp_path)
    assert str(raised.value) == (
        f"functions can't run on {runtime}, the Python that packaged them: install Moorage with"
        " python3.11, python3.12, python3.13 or python3.14 (in a checkout remove .venv, and name"
        " one: `make deploy PYTHON=python3.12`)"
    )
