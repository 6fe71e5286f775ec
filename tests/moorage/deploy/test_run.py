"""`moorage deploy` and `moorage destroy` against moto's CloudFormation, S3, DynamoDB, SSM, STS."""

from __future__ import annotations

import json
import re
import shutil
import stat
import sys
import time
import types
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from botocore.exceptions import ClientError

from chalicelib.access.credentials import hash_of
from chalicelib.settings import Settings
from moorage.common.errors import CommandError
from moorage.deploy import DeployError
from moorage.deploy import run as deploy_run
from moorage.deploy.package import Package, read_package
from moorage.deploy.stacks import LONGEST_TEMPLATE
from tests.chalicelib.access.values import a_credential
from tests.moorage.deploy.cloud import (
    BUCKET,
    CODE,
    DATA,
    KEY,
    STACK,
    WATCHING,
    answering,
    refusal,
)
from tests.moorage.deploy.cloudformation import ACCOUNT, REGION
from tests.support.memory_access import put_as_version_0_1
from tests.support.moorage_command import TOKEN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.moorage.deploy.cloud import Cloud

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


def test_deploy_creates_a_registry_and_prints_how_to_push(cloud: Cloud) -> None:
    """The functions get the API's address in a second pass, since the first does not know it."""
    made = cloud.done("deploy")
    assert f"account {ACCOUNT}, region {REGION}" in made.err
    stack = cloud.stack()
    api = stack.outputs["RestAPIId"]
    url = f"https://{api}.execute-api.{REGION}.amazonaws.com"
    # The second pass: the first could not know the API's name.
    assert stack.status == "UPDATE_COMPLETE"
    assert stack.parameters["PublicUrl"] == url
    assert f"setting its address, {url}" in made.err
    for line in (
        f"The registry is at {url}/v2/",
        f"docker login -u admin {api}.execute-api.{REGION}.amazonaws.com",
        f"moorage proxy --upstream {url} &",
        "docker push 127.0.0.1:5000/demo/my-image:1",
        f"--stack {DATA}",
    ):
        assert line in made.out
    key = cloud.client("ssm").get_parameter(Name=KEY)["Parameter"]
    assert key["Type"] == "SecureString"
    (token,) = TOKEN.findall(made.out)
    (admin,) = cloud.credentials()
    assert (admin.name, admin.secret_hash, admin.grants.admin) == ("admin", hash_of(token), True)


def test_deploy_without_a_package_builds_one(
    cloud: Cloud, light_package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is removed afterwards; a failed build is one line of error, and no stack."""
    folders = []

    def build(folder: Path) -> Package:
        folders.append(folder)
        if len(folders) == 1:
            raise DeployError("Chalice can't package the functions")
        shutil.copytree(light_package, folder, dirs_exist_ok=True)
        return read_package(folder)

    monkeypatch.setattr(deploy_run, "build", build)
    failed = cloud.run("deploy", package=False)
    assert (failed.status, cloud.find(STACK)) == (1, None)
    assert failed.err.endswith("moorage deploy: Chalice can't package the functions\n")
    cloud.done("deploy", package=False)
    assert cloud.stack().status == "UPDATE_COMPLETE"
    assert not any(folder.exists() for folder in folders)


@pytest.fixture
def long_package(light_package: Path, tmp_path: Path) -> Path:
    """A package whose template is longer than CloudFormation takes in a request."""
    folder = tmp_path / "long"
    shutil.copytree(light_package, folder)
    template = read_package(folder).template | {"Metadata": {"Notes": "x" * LONGEST_TEMPLATE}}
    (folder / "sam.json").write_text(json.dumps(template))
    return folder


def test_a_template_too_long_for_a_request_goes_by_the_bucket_of_packages(
    cloud: Cloud, long_package: Path
) -> None:
    """Beside the code, by its content; a second deployment finds nothing changed."""
    cloud.done("deploy", "--package", str(long_package), package=False)
    stored = cloud.client("s3").list_objects_v2(Bucket=CODE)["Contents"]
    keys = [each["Key"] for each in stored]
    # One before the API's address is known, one with it.
    assert [key for key in keys if not key.endswith(".zip")] == [
        key for key in keys if re.fullmatch(rf"{STACK}/[0-9a-f]{{64}}\.json", key)
    ]
    assert len(keys) == 3
    assert cloud.stack().status == "UPDATE_COMPLETE"
    again = cloud.done("deploy", "--package", str(long_package), package=False)
    assert f"{STACK}: nothing changed" in again.err


def test_functions_get_the_names_of_the_data_and_the_url(cloud: Cloud) -> None:
    """Each function has what it needs in its environment, and a log group that expires."""
    cloud.done("deploy")
    functions = cloud.client("lambda").list_functions()["Functions"]
    url, given = cloud.stack().parameters["PublicUrl"], cloud.variables()
    assert set(given) == {
        f"app.{name}" for name in ("app", "authorize", "commit", "verify", "sweep", "collect")
    }
    assert given["app.app"]["MOORAGE_URL"] == url
    assert given["app.app"]["MOORAGE_BUCKET"] == given["app.sweep"]["MOORAGE_BUCKET"] == BUCKET
    assert given["app.app"]["MOORAGE_COMMIT_FUNCTION"] in {f["FunctionName"] for f in functions}
    assert given["app.authorize"] == {
        "MOORAGE_URL": url,
        "MOORAGE_ACCESS_TABLE": f"{DATA}-access",
        "MOORAGE_SIGNING_KEY": KEY,
        "MOORAGE_METRICS": "0",
        "MOORAGE_TRACING": "0",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "POWERTOOLS_SERVICE_NAME": STACK,
    }
    assert {f["Runtime"] for f in functions} == {PYTHON}
    groups = cloud.client("logs").describe_log_groups()["logGroups"]
    assert {group["logGroupName"]: group["retentionInDays"] for group in groups} == {
        f"/aws/lambda/{STACK}-{name}": 30
        for name in ("api", "authorizer", "commit", "verify", "sweep", "collect")
    }


def test_a_second_deployment_keeps_key_admin_and_options(cloud: Cloud) -> None:
    """It creates no key and no admin, and changes only the options that are given.

    What version 0.1 stored is moved.
    """
    cloud.done("deploy")
    url = cloud.stack().parameters["PublicUrl"]
    put_as_version_0_1(cloud.access_store(), a_credential(), public="team/app")
    again = cloud.done("deploy")
    assert f"{DATA}-access: moved 2 items of version 0.1" in again.err
    assert f"{DATA}: nothing changed" in again.err
    assert f"{STACK}: nothing changed" in again.err
    assert not TOKEN.search(again.out)
    assert f"The registry is at {url}/v2/" in again.out
    assert cloud.client("ssm").get_parameter(Name=KEY)["Parameter"]["Version"] == 1
    assert len(cloud.credentials()) == 2
    changed = cloud.done("deploy", "--log-days", "7", "--api-memory", "2048")
    assert "setting its address" not in changed.err
    cloud.done("deploy", "--api-memory", "1769")
    kept = cloud.stack().parameters
    assert (kept["LogRetentionDays"], kept["ApiMemory"], kept["PublicUrl"]) == ("7", "1769", url)


def test_metrics_and_tracing_are_switched_separately(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stays on, in all functions, until it is switched off."""

    def on() -> tuple[set[str], set[str]]:
        variables = cloud.variables().values()
        assert len(variables) == 6
        metrics = {each["MOORAGE_METRICS"] for each in variables}
        return metrics, {each["MOORAGE_TRACING"] for each in variables}

    cloud.done("deploy", "--tracing", "1")
    assert on() == ({"0"}, {"1"})
    monkeypatch.setenv("METRICS", "1")
    cloud.done("deploy")
    assert on() == ({"1"}, {"1"})
    monkeypatch.delenv("METRICS")
    monkeypatch.setenv("TRACING", "0")
    cloud.done("deploy")
    assert on() == ({"1"}, {"0"})
    parameters = cloud.stack().parameters
    assert (parameters["Metrics"], parameters["Tracing"]) == ("1", "0")


def test_destroy_keeps_the_data_for_the_next_deployment(cloud: Cloud) -> None:
    """The functions and the API are deleted; the next deployment finds bucket, tables and key."""
    cloud.done("deploy")
    cloud.client("s3").put_object(Bucket=BUCKET, Key="blobs/sha256/00/a", Body=b"x")
    gone = cloud.done("destroy")
    assert f"Its data is kept in {DATA}" in gone.out
    assert cloud.buckets() == [BUCKET]
    assert cloud.tables() == [f"{DATA}-access", f"{DATA}-registry", f"{DATA}-uploads"]
    assert cloud.variables() == {}
    assert cloud.client("ssm").get_parameter(Name=KEY)
    back = cloud.done("deploy")
    assert not TOKEN.search(back.out)
    assert cloud.stack().outputs["RestAPIId"] in back.out
    assert cloud.client("s3").get_object(Bucket=BUCKET, Key="blobs/sha256/00/a")


def test_data_is_deleted_only_after_its_stacks_name_is_typed(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then open uploads and the signing key are deleted too."""
    cloud.done("deploy")
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(readline=lambda: "yes\n"))
    refused = cloud.refused("destroy", "--data", "delete")
    assert f"Type {DATA} to delete them" in refused.err
    assert "nothing was deleted" in refused.err
    assert cloud.stack().outputs
    s3 = cloud.client("s3")
    s3.put_object(Bucket=BUCKET, Key="blobs/sha256/00/a", Body=b"x")
    s3.create_multipart_upload(Bucket=BUCKET, Key="uploads/s/data")
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(readline=lambda: f"{DATA}\n"))
    cloud.done("destroy", "--data", "delete")
    assert (cloud.buckets(), cloud.tables()) == ([], [])
    assert cloud.client("ssm").describe_parameters()["Parameters"] == []
    nothing = cloud.refused("destroy", "--data", "delete", "--confirm", DATA)
    assert f"there is no {STACK} in account {ACCOUNT}" in nothing.err


def test_what_doctor_advises_is_an_option(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The strategy for HEAD, limits and log level stay through later deployments."""
    monkeypatch.setenv("HEAD_STRATEGY", "body")
    words = ("--inline-limit", "0", "--manifest-limit", "4700000", "--sparse-index", "1")
    cloud.done("deploy", *words, "--function-log-level", "WARNING")
    monkeypatch.delenv("HEAD_STRATEGY")
    cloud.done("deploy", "--metrics", "1", "--no-measure")
    given = cloud.variables()
    assert {each["POWERTOOLS_LOG_LEVEL"] for each in given.values()} == {"WARNING"}
    # moto leaves numbers as numbers; CloudFormation makes them strings.
    read = Settings.read({name: str(value) for name, value in given["app.app"].items()})
    assert (read.head_strategy, read.inline_limit) == ("body", 0)
    assert (read.manifest_limit, read.sparse_index) == (4_700_000, True)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is measured, one strategy for each deployment; then nothing can be."""
    found: list[str] = []

    def measure(url: str) -> str:
        assert re.fullmatch(r"https://\w+\.execute-api\.us-east-1\.amazonaws\.com", url)
        if not found:
            raise CommandError("the connection failed: no such host")
        return found.pop(0)

    monkeypatch.setattr("moorage.doctor.run.measured_strategy", measure)
    monkeypatch.setattr("moorage.deploy.run.time.sleep", waits.append)
    waits.clear()
    return found


waits: list[float] = []
"""How long each pause between two tries was; none takes any time."""


def strategy(cloud: Cloud) -> str:
    """Return the strategy that the API's function has."""
    return cloud.variables()["app.app"]["MOORAGE_HEAD_STRATEGY"]


def test_a_deployment_sets_the_head_strategy_that_is_measured(
    cloud: Cloud, measured: list[str]
) -> None:
    """One more pass, and only where the strategy differs; what is given or to stay is left."""
    measured += ["body", "body", "redirect"]
    first = cloud.done("deploy")
    assert f"{STACK}: HEAD_STRATEGY=body is right there" in first.err
    assert (strategy(cloud), cloud.stack().parameters["HeadStrategy"]) == ("body", "body")
    assert cloud.stack().parameters["PublicUrl"] in first.out
    again = cloud.done("deploy", "--log-days", "7")
    assert "is right there" not in again.err
    assert again.err.count(f"{STACK}: updating") == 1
    assert cloud.stack().parameters["LogRetentionDays"] == "7"
    cloud.done("deploy", "--no-measure")
    cloud.done("deploy", "--head-strategy", "body")
    assert (strategy(cloud), measured) == ("body", ["redirect"])
    cloud.done("deploy")
    assert (strategy(cloud), measured, waits) == ("redirect", [], [])


def test_a_strategy_that_can_not_be_measured_stays_and_is_a_warning(
    cloud: Cloud, measured: list[str]
) -> None:
    """After half a minute; the deployment has succeeded."""
    done = cloud.done("deploy")
    assert "the connection failed: no such host): HEAD_STRATEGY stays redirect" in done.err
    assert (strategy(cloud), measured) == ("redirect", [])
    assert 20 <= sum(waits) <= 40


def test_a_network_that_answers_nothing_is_tried_twice(
    cloud: Cloud, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try takes half a minute there."""
    at = iter([0.0, 35.0, 72.0])
    clock = types.SimpleNamespace(sleep=waits.append, time=time.time, monotonic=lambda: next(at))
    monkeypatch.setattr(deploy_run, "time", clock)
    assert "HEAD_STRATEGY stays redirect" in cloud.done("deploy").err
    assert (waits, measured) == ([2], [])


def test_observability_is_a_stack_of_its_own_until_it_is_switched_off(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refers to the two others, keeps its parameters, and is deleted by 0 or with the API."""
    monkeypatch.setenv("OBSERVABILITY", "1")
    cloud.done("deploy", "--alarm-email", "ops@example.com")
    parameters = cloud.stack(WATCHING).parameters
    assert (parameters["ApiStack"], parameters["DataStack"]) == (STACK, DATA)
    assert (parameters["Service"], parameters["AlarmEmail"]) == (STACK, "ops@example.com")
    cloud.done("deploy")
    assert cloud.stack(WATCHING).parameters == parameters
    monkeypatch.setenv("OBSERVABILITY", "")
    monkeypatch.setenv("DASHBOARD", "off")
    cloud.done("deploy")
    assert cloud.stack(WATCHING).parameters == {**parameters, "Dashboard": "off"}
    assert (parameters["Dashboard"], parameters["Alarms"]) == ("on", "on")
    monkeypatch.delenv("DASHBOARD")
    cloud.done("deploy", "--alarm-email", "none")
    changed = cloud.stack(WATCHING).parameters
    assert (changed["Dashboard"], changed["AlarmEmail"]) == ("off", "")
    monkeypatch.setenv("OBSERVABILITY", "0")
    for _ in range(2):
        cloud.done("deploy")
        assert cloud.find(WATCHING) is None
    cloud.done("deploy", "--observability")
    cloud.done("destroy")
    assert cloud.find(WATCHING) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--alarm-email ops@example.com", "give OBSERVABILITY=1 too"),
        ("--no-observability --alarm-email ops@example.com", "give OBSERVABILITY=1 too"),
        ("--domain registry.example.com", "give both DOMAIN and CERTIFICATE"),
        # Names that make an invalid bucket name, or that of another stage's data stack.
        *[
            (f"--stage {stage}", "1 to 20 lower-case letters and digits")
            for stage in ("X", "1a", "a-data", "a_b", "a" * 21)
        ],
        ("--stage=", "1 to 20 lower-case letters and digits"),
    ],
)
def test_options_that_do_not_fit_are_refused(cloud: Cloud, words: str, told: str) -> None:
    """Before anything is created."""
    assert told in cloud.refused("deploy", *words.split()).err
    assert cloud.tables() == []


@pytest.mark.parametrize(
    ("answer", "warned"),
    [
        ({"AccountLimit": {"ConcurrentExecutions": 10}}, True),
        ({"AccountLimit": {"ConcurrentExecutions": 99}}, True),
        ({"AccountLimit": {"ConcurrentExecutions": 100}}, False),
        (refusal("AccessDeniedException", "GetAccountSettings"), False),
    ],
)
def test_a_low_limit_of_concurrent_functions_is_a_warning(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, answer: object, *, warned: bool
) -> None:
    """Without the right to read it there is no warning; the deployment continues."""
    monkeypatch.setattr(deploy_run, "upload", mock.Mock(side_effect=DeployError("far enough")))
    calls = answering(monkeypatch, "GetAccountSettings", iter([answer]))
    refused = cloud.refused("deploy")
    assert refused.err.endswith("far enough\n")
    assert ("warning: Lambda runs only" in refused.err) is warned
    assert calls == [{}]


def test_two_stages_share_nothing(cloud: Cloud, tmp_path: Path) -> None:
    """Each token is in a file that only its owner can read."""
    for stage in ("x", "y"):
        path = tmp_path / stage
        made = cloud.done("deploy", "--stage", stage, "--admin-token-file", str(path))
        assert not TOKEN.search(made.out)
        assert f"--password-stdin < {path}" in made.out
        assert TOKEN.fullmatch(path.read_text(encoding="utf-8").strip())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(cloud.buckets()) == 4
    assert len(cloud.tables()) == 6
    assert len(cloud.client("apigateway").get_rest_apis()["items"]) == 2
    cloud.done("destroy", "--data", "delete", "--confirm", DATA)
    assert len(cloud.buckets()) == 2
    assert len(cloud.tables()) == 3
    assert cloud.stack("moorage-y").status == "UPDATE_COMPLETE"


def test_a_domain_becomes_the_registrys_url(cloud: Cloud) -> None:
    """One pass is enough; the domain stays until it is removed."""
    certificate = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/1"
    words = ("--domain", "registry.example.com", "--certificate", certificate)
    made = cloud.done("deploy", *words)
    assert "The registry is at https://registry.example.com/v2/" in made.out
    assert cloud.stack().status == "CREATE_COMPLETE"
    cloud.done("deploy", "--log-days", "7")
    parameters = cloud.stack().parameters
    assert parameters["PublicUrl"] == "https://registry.example.com"
    assert parameters["CertificateArn"] == certificate
    cloud.done("deploy", "--domain", "none")
    parameters = cloud.stack().parameters
    assert parameters["CertificateArn"] == parameters["DomainName"] == ""
    assert re.fullmatch(r"https://\w+\.execute-api\.\S+\.com", parameters["PublicUrl"])


def test_origins_of_pages_stay_until_they_are_taken_away(cloud: Cloud) -> None:
    """The function gets them, and API Gateway's own answers are deployed with their headers."""

    def read() -> tuple[str, str]:
        body = cloud.client("cloudformation").get_template(StackName=STACK)["TemplateBody"]
        definition = body["Resources"]["RestAPI"]["Properties"]["Body"]
        own = cloud.variables()["app.app"]["MOORAGE_CORS_ORIGINS"]
        return own, definition["info"]["description"].partition(", for ")[2]

    cloud.done("deploy", "--cors-origins", "https://a.example,https://b.example")
    assert read() == ("https://a.example,https://b.example", "pages of other sites too")
    cloud.done("deploy", "--log-days", "7")
    assert read() == ("https://a.example,https://b.example", "pages of other sites too")
    cloud.done("deploy", "--cors-origins", "none")
    assert read() == ("", "")


def test_the_stages_bucket_of_packages_is_private(cloud: Cloud) -> None:
    """It is encrypted and needs TLS; a bucket that the user names must exist."""
    cloud.done("deploy")
    s3 = cloud.client("s3")
    block = s3.get_public_access_block(Bucket=CODE)["PublicAccessBlockConfiguration"]
    assert list(block.values()) == [True] * 4
    assert s3.get_bucket_encryption(Bucket=CODE)["ServerSideEncryptionConfiguration"]
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=CODE)["Policy"]
    named = cloud.refused("deploy", "--bucket", "nobody-s")
    assert "there is no bucket nobody-s: name an existing one" in named.err


def test_the_bucket_of_packages_stays_the_same(cloud: Cloud) -> None:
    """Without the option packages go to the last bucket; `none` selects the stage's own."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="somebody-s")
    cloud.done("deploy", "--bucket", "somebody-s")
    (item,) = s3.list_objects_v2(Bucket="somebody-s")["Contents"]
    assert re.fullmatch(r"moorage-x/[0-9a-f]{32}\.zip", item["Key"])
    again = cloud.done("deploy", "--log-days", "7")
    assert "somebody-s: uploading the code" in again.err
    assert cloud.buckets() == [BUCKET, "somebody-s"]
    # The settings of the user's bucket are unchanged.
    with pytest.raises(ClientError, match="NoSuchPublicAccessBlockConfiguration"):
        s3.get_public_access_block(Bucket="somebody-s")
    back = cloud.done("deploy", "--bucket", "none")
    assert f"{CODE}: uploading the code" in back.err
    assert f"{CODE}: uploading the code" in cloud.done("deploy").err
    assert s3.get_public_access_block(Bucket=CODE)
