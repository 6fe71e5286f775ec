"""Tracing as it is deployed: what the template turns on, who may send, and the zip that is traced.

The daemon that Lambda runs is a socket of ours: what X-Ray makes of the documents, no test sees.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Digest
from moorage.common.checkout import CHECKOUT
from moorage.deploy.package import read_package
from moorage.gateway.event import GatewayRequest, build_event
from moorage.gateway.resources import MatchedResource
from tests.infra import test_runtime
from tests.infra.intrinsics import decided
from tests.infra.runtime import Function, running
from tests.infra.sam import transformed
from tests.policies.function_policies import Function as Named
from tests.policies.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.infra.test_runtime import World

ACTIONS = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
"""What Lambda's daemon does as the function, which an execution role of a traced one must allow."""

TRACE, SEGMENT = "1-5bef4de7-ad49b0e87f6ef6c87fc2e700", "53995c3f42cd8ad8"
SAMPLED = f"Root={TRACE};Parent={SEGMENT};Sampled=1"

paths = test_runtime.paths
cloud = test_runtime.cloud
world = test_runtime.world


@pytest.fixture(params=["0", "1"])
def asked(request: pytest.FixtureRequest) -> str:
    """What the parameter says."""
    return str(request.param)


@pytest.fixture
def made(package: Path, asked: str) -> dict[str, Any]:
    """The resources that CloudFormation makes then."""
    template = read_package(package).placed("bucket", "key", "https://registry.example")
    return decided(transformed(template, {"Tracing": asked}), {"Tracing": asked})


def properties(made: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a kind, by their names."""
    return {name: each["Properties"] for name, each in made.items() if each["Type"] == kind}


def test_tracing_is_off_unless_it_is_asked_for(package: Path) -> None:
    """A deployment that says nothing has no price."""
    assert read_package(package).template["Parameters"]["Tracing"]["Default"] == "0"


def test_every_function_is_traced_or_none(made: dict[str, Any], asked: str) -> None:
    """Lambda's part and ours are on together, in all four functions and at the API's stage."""
    functions = properties(made, "AWS::Lambda::Function")
    assert set(functions) == {"APIHandler", "Authorizer", "Commit", "Sweep"}
    for function in functions.values():
        mode = function["TracingConfig"]["Mode"]
        assert mode == {"0": "PassThrough", "1": "Active"}[asked]
        assert function["Environment"]["Variables"]["MOORAGE_TRACING"] == {"Ref": "Tracing"}
    (stage,) = properties(made, "AWS::ApiGateway::Stage").values()
    assert stage["TracingEnabled"] is (asked == "1")


def test_only_a_traced_function_may_send_traces(made: dict[str, Any], asked: str) -> None:
    """The two actions, on "*" for want of resources, in a policy that stands only while it is on.

    A role that names the policy exists after it, and a function after its role: Lambda refuses to
    trace a function whose role does not allow it.
    """
    policies = properties(made, "AWS::IAM::ManagedPolicy")
    roles = properties(made, "AWS::IAM::Role")
    functions = properties(made, "AWS::Lambda::Function").values()
    assert {each["Role"]["Fn::GetAtt"][0] for each in functions} == set(roles)
    named = [role.get("ManagedPolicyArns") for role in roles.values()]
    if asked == "0":
        assert (policies, named) == ({}, [None] * 4)
        return
    ((name, policy),) = policies.items()
    assert named == [[{"Ref": name}]] * 4
    assert not {"Roles", "Users", "Groups"} & set(policy)
    allowed = Policy.parse(policy["PolicyDocument"]).permissions
    assert {each.action for each in allowed} == ACTIONS
    assert {(each.effect, each.resource) for each in allowed} == {("Allow", "*")}


@pytest.mark.parametrize("function", Named)
def test_no_policy_of_a_function_holds_it(function: Named) -> None:
    """What stands in .chalice/ is allowed always."""
    text = (CHECKOUT / ".chalice" / f"policy-{function}.json").read_text(encoding="utf-8")
    assert "xray" not in text


class Daemon:
    """A socket in the place of Lambda's daemon."""

    def __init__(self, listening: socket.socket) -> None:
        self._socket = listening
        self.address = "{}:{}".format(*listening.getsockname())

    def taken(self) -> list[dict[str, Any]]:
        """Return what has come since the last look: a datagram on loopback is there at once."""
        found: list[dict[str, Any]] = []
        while True:
            try:
                datagram = self._socket.recv(64 * 1024)
            except BlockingIOError:
                return found
            head, _, document = datagram.partition(b"\n")
            assert json.loads(head) == {"format": "json", "version": 1}
            found.append(json.loads(document))


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon that nobody has spoken to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(0)
        yield Daemon(listening)


def push(function: Function, world: World, blob: bytes) -> None:
    """Push a blob in one request, let in by the authorizer that stands before the world."""
    assert world.ask("GET", "/v2/", Authorization=world.basic)[0] == 200
    principal = world.events[-1]["requestContext"]["authorizer"]
    path = "/team/app/blobs/uploads"
    incoming = GatewayRequest("POST", path, f"digest={Digest.of(blob)}", (), "127.0.0.1", 80)
    event = build_event(incoming, MatchedResource("/{proxy+}", path, path[1:]), blob, principal)
    answer = function(event)
    assert answer["statusCode"] == 201, answer


@contextmanager
def packaged(
    paths: tuple[Path, ...], world: World, daemon: Daemon, tracing: str
) -> Iterator[Function]:
    """Run the packaged API's function once more, before the same data."""
    told = {"MOORAGE_TRACING": tracing, "AWS_XRAY_DAEMON_ADDRESS": daemon.address}
    with running("app.app", paths, world.environment | told) as function:
        yield function


@test_runtime.pytestmark
def test_calls_of_the_packaged_code_are_told(
    paths: tuple[Path, ...],
    world: World,
    daemon: Daemon,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each call of a sampled request is one subsegment below Lambda's segment; no other's is."""
    with packaged(paths, world, daemon, "1") as function:
        function.trace = SAMPLED.replace("Sampled=1", "Sampled=0")
        push(function, world, b"not sampled")
        assert daemon.taken() == []
        function.trace = SAMPLED
        push(function, world, b"sampled")
        told = daemon.taken()
    lines = [json.loads(each) for each in capfd.readouterr().out.splitlines() if each[:1] == "{"]
    counted = [line for line in lines if line.get("operation") == "uploads.start"][-1]
    calls = Counter(each["name"] for each in told)
    assert calls == {"s3": counted["s3_calls"], "dynamodb": counted["dynamodb_calls"]}
    operations = [each["aws"]["operation"] for each in told]
    assert operations.count("PutObject") == calls["s3"] == 1
    assert {(each["trace_id"], each["parent_id"]) for each in told} == {(TRACE, SEGMENT)}
    assert len({each["id"] for each in told}) == len(told)
    for each in told:
        assert (each["type"], each["namespace"]) == ("subsegment", "aws")
        assert 0 < each["end_time"] - each["start_time"] < 60
        assert each["http"]["response"]["status"] == 200
    assert Digest.of(b"sampled").hex not in json.dumps(told)


@test_runtime.pytestmark
def test_nothing_is_told_where_tracing_is_off(
    paths: tuple[Path, ...], world: World, daemon: Daemon
) -> None:
    """Though somebody else, API Gateway say, has the request traced."""
    with packaged(paths, world, daemon, "0") as function:
        function.trace = SAMPLED
        push(function, world, b"off")
    assert daemon.taken() == []
