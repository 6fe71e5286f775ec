"""An AWS account for the tests of deployments, and the command that deploys to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from chalicelib.stores.dynamodb.access import DynamoAccessStore
from moorage.access import admin as access_admin
from moorage.cli import main as cli
from moorage.common.project import DATA_TEMPLATE, load_template
from moorage.deploy.stacks import Stacks
from tests.moorage.deploy.cloudformation import ACCOUNT, REGION, STORE
from tests.support.moorage_command import TOKEN, CommandResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pytest

    from moorage.deploy import stacks as deploy_stacks

STACK, DATA = "moorage-x", "moorage-x-data"
BUCKET = f"{DATA}-{ACCOUNT}-{REGION}"
CODE = f"{STACK}-code-{ACCOUNT}-{REGION}"
WATCHING = f"{STACK}-observability"
EDGE = f"{STACK}-edge"
KEY = "/moorage/x/signing-key"


class Cloud:
    """An account in moto, the command, and clients to examine the results."""

    def __init__(self, package: Path, captured: pytest.CaptureFixture[str]) -> None:
        self._package, self._captured = package, captured

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3's clients are made at run time
        """Return a client."""
        return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]

    def run(self, *words: str, package: bool = True) -> CommandResult:
        """Run a command of the stage x."""
        act, *others = words
        given = ["--package", str(self._package)] if act == "deploy" and package else []
        stage = [] if "--stage" in " ".join(others) else ["--stage", "x"]
        status = cli.main([act, *stage, *given, *others])
        shown = self._captured.readouterr()
        assert "Traceback" not in shown.err
        assert not TOKEN.search(shown.err)
        return CommandResult(status, shown.out, shown.err)

    def done(self, *words: str, package: bool = True) -> CommandResult:
        """Run a command, which must succeed."""
        result = self.run(*words, package=package)
        assert result.status == 0, result.err
        return result

    def refused(self, *words: str) -> CommandResult:
        """Run a command, which must fail."""
        result = self.run(*words)
        assert result.status == 1
        return result

    def variables(self) -> dict[str, dict[str, str]]:
        """Return the environments of the functions, by their handlers."""
        functions = self.client("lambda").list_functions()["Functions"]
        return {each["Handler"]: each["Environment"]["Variables"] for each in functions}

    def edge_keys(self) -> str:
        """Return what the store of the edge's keys holds."""
        store = self.client("cloudfront-keyvaluestore")
        return str(store.get_key(KvsARN=STORE, Key="keys")["Value"])

    def stack(self, name: str = STACK) -> deploy_stacks.Stack:
        """Return a stack, which must exist."""
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
        """Return the API tokens."""
        return access_admin.credentials(self.access_store())

    def access_store(self) -> DynamoAccessStore:
        """Return the store of who may do what."""
        return DynamoAccessStore(self.client("dynamodb"), f"{DATA}-access")


def refusal(code: str, operation: str) -> ClientError:
    """Return an error of AWS."""
    return ClientError({"Error": {"Code": code, "Message": "a\n reason"}}, operation)


def answering(
    monkeypatch: pytest.MonkeyPatch, operation: str, answers: Iterator[object]
) -> list[dict[str, Any]]:
    """Let AWS answer an operation by these, each once: None by itself, and an exception by raising.

    After the last of them AWS itself answers. Returns the parameters of each call.
    """
    send = BaseClient._make_api_call  # type: ignore[attr-defined]  # noqa: SLF001 - all calls pass it
    calls: list[dict[str, Any]] = []

    def answer(self: BaseClient, name: str, parameters: dict[str, Any]) -> Any:  # noqa: ANN401 - botocore's own
        given = None
        if name == operation:
            calls.append(parameters)
            given = next(answers, None)
        if isinstance(given, Exception):
            raise given
        return send(self, name, parameters) if given is None else given

    monkeypatch.setattr(BaseClient, "_make_api_call", answer)
    return calls


def create_data_stack(cloud: Cloud, given: Mapping[str, str]) -> None:
    """Create the data stack from infra/data.yaml without changes, as older deployments did."""
    cloud.client("cloudformation").create_stack(
        StackName=DATA,
        TemplateBody=json.dumps(load_template(DATA_TEMPLATE)),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
    )
