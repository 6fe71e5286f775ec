"""Deploying and destroying, against moto: its CloudFormation, S3, DynamoDB, SSM and STS."""

from __future__ import annotations

import re
import shutil
import stat
import sys
import types
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.access.credentials import hash_of
from chalicelib.settings import Settings
from moorage.access import admin as access_admin
from moorage.cli import main as cli
from moorage.deploy import DeployError
from moorage.deploy import run as deploy_run
from moorage.deploy.stacks import Stacks
from tests.moorage.deploy.cloudformation import ACCOUNT, REGION, emulated
from tests.support.moorage_command import TOKEN, Result, forget_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moorage.deploy import stacks as deploy_stacks

STACK, DATA = "moorage-x", "moorage-x-data"
BUCKET = f"{DATA}-{ACCOUNT}-{REGION}"
CODE = f"{STACK}-code-{ACCOUNT}-{REGION}"
WATCHING = f"{STACK}-observability"
KEY = "/moorage/x/signing-key"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


class Cloud:
    """An account of moto's, the command, and clients to look at what it did."""

    def __init__(self, package: Path, captured: pytest.CaptureFixture[str]) -> None:
        self._package, self._captured = package, captured

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3's clients are made at run time
        """Return a client."""
        return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]

    def run(self, *words: str, package: bool = True) -> Result:
        """Run a command of the stage x."""
        act, *others = words
        given = ["--package", str(self._package)] if act == "deploy" and package else []
        stage = [] if "--stage" in others else ["--stage", "x"]
        status = cli.main([act, *stage, *given, *others])
        shown = self._captured.readouterr()
        assert "Traceback" not in shown.err
        assert not TOKEN.search(shown.err)
        return Result(status, shown.out, shown.err)

    def stack(self, name: str = STACK) -> deploy_stacks.Stack:
        """Return a stack that has to be there."""
        found = self.find(name)
        assert found is not None
        return found

    def find(self, name: str) -> deploy_stacks.Stack | None:
        """Return a stack, if there is one."""
        return Stacks(self.client("cloudformation"), print).find(name)

    def tables(self) -> list[str]:
        """Return the names of all tables."""
        return sorted(self.client("dynamodb").list_tables()["TableNames"])

    def buckets(self) -> list[str]:
        """Return the names of all buckets."""
        return sorted(bucket["Name"] for bucket in self.client("s3").list_buckets()["Buckets"])

    def credentials(self) -> list[Any]:
        """Return the access tokens that are known."""
        store = access_admin.open_store(self.client("dynamodb"), f"{DATA}-access")
        return access_admin.credentials(store)


@pytest.fixture
def cloud(
    light_package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Cloud]:
    """An empty account."""
    forget_settings(monkeypatch, tmp_path)
    for name in (
        "DOMAIN",
        "CERTIFICATE",
        "DATA",
        "CONFIRM",
        "ADMIN_TOKEN_FILE",
        "DEPLOY_BUCKET",
        "METRICS",
        "TRACING",
        "OBSERVABILITY",
        "ALARM_EMAIL",
        "HEAD_STRATEGY",
        "FUNCTION_LOG_LEVEL",
    ):
        monkeypatch.delenv(name, raising=False)
    with emulated():
        yield Cloud(light_package, capsys)


def test_a_registry_is_deployed(cloud: Cloud) -> None:
    """One command makes it, and says how to push; the API learns its own address at once."""
    made = cloud.run("deploy")
    assert made.status == 0, made.err
    assert f"account {ACCOUNT}, region {REGION}" in made.err
    stack = cloud.stack()
    api = stack.outputs["RestAPIId"]
    url = f"https://{api}.execute-api.{REGION}.amazonaws.com"
    # The second pass: the first could not know the API's name.
    assert stack.status == "UPDATE_COMPLETE"
    assert stack.parameters["PublicUrl"] == url
    assert f"telling it its address, {url}" in made.err
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


def test_a_package_is_made_if_none_is_given(
    cloud: Cloud, light_package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is built into a folder that is gone afterwards; a failure is one line, and no stack."""
    folders = []

    def build(folder: Path) -> None:
        folders.append(folder)
        shutil.copytree(light_package, folder, dirs_exist_ok=True)
        if len(folders) == 1:
            raise DeployError("Chalice can't package the functions")

    monkeypatch.setattr(deploy_run, "build", build)
    failed = cloud.run("deploy", package=False)
    assert (failed.status, cloud.find(STACK)) == (1, None)
    assert failed.err.endswith("moorage deploy: Chalice can't package the functions\n")
    made = cloud.run("deploy", package=False)
    assert made.status == 0, made.err
    assert cloud.stack().status == "UPDATE_COMPLETE"
    assert not any(folder.exists() for folder in folders)


def test_functions_are_told_what_was_made(cloud: Cloud) -> None:
    """Names that the data stack exports, and the URL, are in the functions' environment."""
    assert cloud.run("deploy").status == 0
    functions = cloud.client("lambda").list_functions()["Functions"]
    url = cloud.stack().parameters["PublicUrl"]
    told = {f["Handler"]: f["Environment"]["Variables"] for f in functions}
    assert set(told) == {"app.app", "app.authorize", "app.commit", "app.sweep"}
    assert told["app.app"]["MOORAGE_URL"] == url
    assert told["app.app"]["MOORAGE_BUCKET"] == told["app.sweep"]["MOORAGE_BUCKET"] == BUCKET
    assert told["app.app"]["MOORAGE_COMMIT_FUNCTION"] in {f["FunctionName"] for f in functions}
    assert told["app.authorize"] == {
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
        f"/aws/lambda/{STACK}-{name}": 30 for name in ("api", "authorizer", "commit", "sweep")
    }


def test_what_is_there_is_kept(cloud: Cloud) -> None:
    """A second deployment makes no key and no admin, and what isn't said stays as it is."""
    assert cloud.run("deploy").status == 0
    url = cloud.stack().parameters["PublicUrl"]
    again = cloud.run("deploy")
    assert again.status == 0, again.err
    assert f"{DATA}: nothing changed" in again.err
    assert f"{STACK}: nothing changed" in again.err
    assert not TOKEN.search(again.out)
    assert f"The registry is at {url}/v2/" in again.out
    assert cloud.client("ssm").get_parameter(Name=KEY)["Parameter"]["Version"] == 1
    assert len(cloud.credentials()) == 1
    changed = cloud.run("deploy", "--log-days", "7", "--api-memory", "2048")
    assert changed.status == 0, changed.err
    assert "telling it its address" not in changed.err
    assert cloud.run("deploy", "--api-memory", "1769").status == 0
    kept = cloud.stack().parameters
    assert (kept["LogRetentionDays"], kept["ApiMemory"], kept["PublicUrl"]) == ("7", "1769", url)


def test_metrics_and_traces_are_asked_for(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either is on from when it is asked for until it is asked not to be, and asks for no other."""

    def on() -> tuple[set[str], set[str]]:
        functions = cloud.client("lambda").list_functions()["Functions"]
        assert len(functions) == 4
        told = [each["Environment"]["Variables"] for each in functions]
        return (
            {each["MOORAGE_METRICS"] for each in told},
            {each["MOORAGE_TRACING"] for each in told},
        )

    assert cloud.run("deploy", "--tracing", "1").status == 0
    assert on() == ({"0"}, {"1"})
    monkeypatch.setenv("METRICS", "1")
    assert cloud.run("deploy").status == 0
    assert on() == ({"1"}, {"1"})
    monkeypatch.delenv("METRICS")
    monkeypatch.setenv("TRACING", "0")
    assert cloud.run("deploy").status == 0
    assert on() == ({"1"}, {"0"})
    parameters = cloud.stack().parameters
    assert (parameters["Metrics"], parameters["Tracing"]) == ("1", "0")


def test_data_outlives_a_registry(cloud: Cloud) -> None:
    """Destroying takes down what answers, and the next deployment stands before the same data."""
    assert cloud.run("deploy").status == 0
    cloud.client("s3").put_object(Bucket=BUCKET, Key="blobs/sha256/00/a", Body=b"x")
    gone = cloud.run("destroy")
    assert gone.status == 0, gone.err
    assert f"Its data is kept in {DATA}" in gone.out
    assert cloud.buckets() == [BUCKET]
    assert cloud.tables() == [f"{DATA}-access", f"{DATA}-registry", f"{DATA}-uploads"]
    assert cloud.client("lambda").list_functions()["Functions"] == []
    assert cloud.client("ssm").get_parameter(Name=KEY)
    back = cloud.run("deploy")
    assert back.status == 0, back.err
    assert not TOKEN.search(back.out)
    assert cloud.stack().outputs["RestAPIId"] in back.out
    assert cloud.client("s3").get_object(Bucket=BUCKET, Key="blobs/sha256/00/a")


def test_data_goes_if_it_is_said_twice(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's name has to be typed; then all goes, uploads under way and the key too."""
    assert cloud.run("deploy").status == 0
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(readline=lambda: "yes\n"))
    refused = cloud.run("destroy", "--data", "delete")
    assert refused.status == 1
    assert f"Type {DATA} to delete them" in refused.err
    assert "nothing was deleted" in refused.err
    assert cloud.stack().outputs
    s3 = cloud.client("s3")
    s3.put_object(Bucket=BUCKET, Key="blobs/sha256/00/a", Body=b"x")
    s3.create_multipart_upload(Bucket=BUCKET, Key="uploads/s/data")
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(readline=lambda: f"{DATA}\n"))
    ended = cloud.run("destroy", "--data", "delete")
    assert ended.status == 0, ended.err
    assert (cloud.buckets(), cloud.tables()) == ([], [])
    assert cloud.client("ssm").describe_parameters()["Parameters"] == []
    nothing = cloud.run("destroy", "--data", "delete", "--confirm", DATA)
    assert nothing.status == 1
    assert f"there is no {STACK} in account {ACCOUNT}" in nothing.err


def test_what_doctor_advises_can_be_set(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """How HEADs are answered, limits and log level are options, and outlive other changes."""
    monkeypatch.setenv("HEAD_STRATEGY", "body")
    words = ("--inline-limit", "0", "--manifest-limit", "4700000", "--sparse-index", "1")
    made = cloud.run("deploy", *words, "--function-log-level", "WARNING")
    assert made.status == 0, made.err
    monkeypatch.delenv("HEAD_STRATEGY")
    assert cloud.run("deploy", "--metrics", "1").status == 0
    functions = cloud.client("lambda").list_functions()["Functions"]
    told = {each["Handler"]: each["Environment"]["Variables"] for each in functions}
    assert {each["POWERTOOLS_LOG_LEVEL"] for each in told.values()} == {"WARNING"}
    # moto leaves numbers as numbers; CloudFormation makes texts of them.
    read = Settings.read({name: str(value) for name, value in told["app.app"].items()})
    assert (read.head_strategy, read.inline_limit) == ("body", 0)
    assert (read.manifest_limit, read.sparse_index) == (4_700_000, True)


def test_alarms_are_a_stack_of_their_own(cloud: Cloud) -> None:
    """They are made if they are asked for, know the two others, and go with the API."""
    made = cloud.run("deploy", "--observability", "--alarm-email", "ops@example.com")
    assert made.status == 0, made.err
    parameters = cloud.stack(WATCHING).parameters
    assert (parameters["ApiStack"], parameters["DataStack"]) == (STACK, DATA)
    assert (parameters["Service"], parameters["AlarmEmail"]) == (STACK, "ops@example.com")
    assert cloud.run("deploy", "--observability").status == 0
    assert cloud.stack(WATCHING).parameters == parameters
    assert cloud.run("destroy").status == 0
    assert cloud.find(WATCHING) is None


def test_alarms_are_kept_up_to_date_until_they_are_taken_away(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unsaid, the stack has the newest template and what it was told; 0 deletes it."""
    monkeypatch.setenv("OBSERVABILITY", "1")
    assert cloud.run("deploy", "--alarm-email", "ops@example.com").status == 0
    monkeypatch.setenv("OBSERVABILITY", "")
    monkeypatch.setenv("DASHBOARD", "off")
    changed = cloud.run("deploy")
    assert changed.status == 0, changed.err
    parameters = cloud.stack(WATCHING).parameters
    assert (parameters["Dashboard"], parameters["Alarms"]) == ("off", "on")
    assert parameters["AlarmEmail"] == "ops@example.com"
    monkeypatch.delenv("DASHBOARD")
    assert cloud.run("deploy", "--alarm-email", "none").status == 0
    parameters = cloud.stack(WATCHING).parameters
    assert (parameters["Dashboard"], parameters["AlarmEmail"]) == ("off", "")
    monkeypatch.setenv("OBSERVABILITY", "0")
    assert cloud.run("deploy").status == 0
    assert cloud.find(WATCHING) is None
    assert cloud.run("deploy").status == 0


@pytest.mark.parametrize("words", [(), ("--no-observability",)])
def test_alarms_that_are_not_there_cant_be_changed(cloud: Cloud, words: tuple[str, ...]) -> None:
    """An address that nobody would ever write to is refused before anything is made."""
    refused = cloud.run("deploy", *words, "--alarm-email", "ops@example.com")
    assert refused.status == 1
    assert "give OBSERVABILITY=1 too" in refused.err
    assert cloud.tables() == []


def test_two_stages_live_side_by_side(cloud: Cloud, tmp_path: Path) -> None:
    """Nothing of one is the other's, and a file gets the token of each, for its owner alone."""
    for stage in ("x", "y"):
        path = tmp_path / stage
        made = cloud.run("deploy", "--stage", stage, "--admin-token-file", str(path))
        assert made.status == 0, made.err
        assert not TOKEN.search(made.out)
        assert f"--password-stdin < {path}" in made.out
        assert TOKEN.fullmatch(path.read_text(encoding="utf-8").strip())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(cloud.buckets()) == 4
    assert len(cloud.tables()) == 6
    assert len(cloud.client("apigateway").get_rest_apis()["items"]) == 2
    assert cloud.run("destroy", "--data", "delete", "--confirm", DATA).status == 0
    assert len(cloud.buckets()) == 2
    assert len(cloud.tables()) == 3
    assert cloud.stack("moorage-y").status == "UPDATE_COMPLETE"


def test_a_domain_is_the_address(cloud: Cloud) -> None:
    """It is known beforehand, so that one pass is enough; it stays until it is taken away."""
    certificate = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/1"
    alone = cloud.run("deploy", "--domain", "registry.example.com")
    assert alone.status == 1
    assert "give both DOMAIN and CERTIFICATE" in alone.err
    assert cloud.tables() == []
    words = ("--domain", "registry.example.com", "--certificate", certificate)
    made = cloud.run("deploy", *words)
    assert made.status == 0, made.err
    assert "The registry is at https://registry.example.com/v2/" in made.out
    assert cloud.stack().status == "CREATE_COMPLETE"
    assert cloud.run("deploy", "--log-days", "7").status == 0
    parameters = cloud.stack().parameters
    assert parameters["PublicUrl"] == "https://registry.example.com"
    assert parameters["CertificateArn"] == certificate
    assert cloud.run("deploy", "--domain", "none").status == 0
    parameters = cloud.stack().parameters
    assert parameters["CertificateArn"] == parameters["DomainName"] == ""
    assert re.fullmatch(r"https://\w+\.execute-api\.\S+\.com", parameters["PublicUrl"])


def test_the_bucket_of_packages_is_closed(cloud: Cloud) -> None:
    """It is private, encrypted and reached by TLS only; one that is named is used as it is."""
    assert cloud.run("deploy").status == 0
    s3 = cloud.client("s3")
    block = s3.get_public_access_block(Bucket=CODE)["PublicAccessBlockConfiguration"]
    assert list(block.values()) == [True] * 4
    assert s3.get_bucket_encryption(Bucket=CODE)["ServerSideEncryptionConfiguration"]
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=CODE)["Policy"]
    named = cloud.run("deploy", "--bucket", "nobody-s")
    assert named.status == 1
    assert "there is no bucket nobody-s: name one" in named.err
    s3.create_bucket(Bucket="somebody-s")
    assert cloud.run("deploy", "--bucket", "somebody-s").status == 0
    (item,) = s3.list_objects_v2(Bucket="somebody-s")["Contents"]
    assert re.fullmatch(r"moorage-x/[0-9a-f]{32}\.zip", item["Key"])


def test_the_bucket_of_packages_is_kept(cloud: Cloud) -> None:
    """Unsaid, packages go where they went before; `none` goes back to the stage's own bucket."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="somebody-s")
    assert cloud.run("deploy", "--bucket", "somebody-s").status == 0
    again = cloud.run("deploy", "--log-days", "7")
    assert again.status == 0, again.err
    assert "somebody-s: uploading the code" in again.err
    assert cloud.buckets() == [BUCKET, "somebody-s"]
    # Nobody asked for the settings of somebody's bucket to be changed.
    with pytest.raises(ClientError, match="NoSuchPublicAccessBlockConfiguration"):
        s3.get_public_access_block(Bucket="somebody-s")
    back = cloud.run("deploy", "--bucket", "none")
    assert back.status == 0, back.err
    assert f"{CODE}: uploading the code" in back.err
    assert f"{CODE}: uploading the code" in cloud.run("deploy").err
    assert s3.get_public_access_block(Bucket=CODE)


@pytest.mark.parametrize("stage", ["", "X", "1a", "a-data", "a_b", "a" * 21])
def test_a_stage_has_a_name_that_fits(cloud: Cloud, stage: str) -> None:
    """One that would make a bucket's name impossible, or be another's data stack, is refused."""
    refused = cloud.run("deploy", "--stage", stage)
    assert refused.status == 1
    assert "1 to 20 lower-case letters and digits" in refused.err
