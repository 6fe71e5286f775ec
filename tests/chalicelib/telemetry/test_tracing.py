"""What X-Ray is told of a call to AWS, what it is never told, and that tracing is an option."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectTimeoutError

from chalicelib.telemetry.tracing import Trace, Tracer
from moorage.common.project import PROJECT
from tests.emulators.lost_answers import aws_answer

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse

ROOT = PROJECT
TRACE, SEGMENT = "1-5bef4de7-ad49b0e87f6ef6c87fc2e700", "53995c3f42cd8ad8"
HEADER = f"Root={TRACE};Parent={SEGMENT};Sampled=1;Lineage=1:a87bd80c:0"
SECRET = "sha256/5e/c4e7"  # noqa: S105 - what must be nowhere


@dataclass
class Traced:
    """A client that never reaches AWS, and the datagrams that its calls came to."""

    service: str
    status: int = 200
    body: bytes = b"{}"
    failure: Exception | None = None
    header: str = HEADER
    deaf: bool = False
    """Whether the daemon takes nothing."""
    datagrams: list[bytes] = field(default_factory=list)
    sent: list[str | None] = field(default_factory=list)
    """The trace headers that went out."""

    def __post_init__(self) -> None:
        self.environment = {"_X_AMZN_TRACE_ID": self.header}
        clock = iter((100.25, 100.5, 200.0, 300.0))
        self.client: Any = boto3.client(  # type: ignore[call-overload] # any service's
            self.service,
            "eu-west-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",  # noqa: S106 - nothing is sent
            config=Config(retries={"total_max_attempts": 2}),
        )
        self.client.meta.events.register("before-send", self.answer)
        Tracer(self.environment, self.send, lambda: next(clock)).watch(self.client)

    def send(self, datagram: bytes) -> None:
        """Take a datagram in the daemon's place."""
        if self.deaf:
            raise BlockingIOError
        self.datagrams.append(datagram)

    def answer(self, request: Any, **_: object) -> AWSResponse:  # noqa: ANN401 - botocore's
        """Answer in AWS's place."""
        header = request.headers.get("X-Amzn-Trace-Id")
        self.sent.append(header.decode() if isinstance(header, bytes) else header)
        if self.failure is not None:
            raise self.failure
        return aws_answer(request.url, self.status, self.body, {"x-amzn-requestid": "R1"})

    def document(self) -> dict[str, Any]:
        """Return the one document that was sent."""
        (datagram,) = self.datagrams
        head, _, document = datagram.partition(b"\n")
        assert json.loads(head) == {"format": "json", "version": 1}
        found: dict[str, Any] = json.loads(document)
        return found


def get_item(traced: Traced) -> None:
    """Read an item whose key nobody is to know."""
    traced.client.get_item(TableName="registry", Key={"pk": {"S": SECRET}})


def test_a_call_is_a_subsegment() -> None:
    """It has an id, hangs below Lambda's segment, and tells operation, table and outcome only."""
    traced = Traced("dynamodb", body=json.dumps({"Item": {"pk": {"S": SECRET}}}).encode())
    get_item(traced)
    document = traced.document()
    assert len(document["id"]) == len(SEGMENT)
    assert int(document.pop("id"), 16) != int(SEGMENT, 16)
    assert document == {
        "name": "dynamodb",
        "trace_id": TRACE,
        "parent_id": SEGMENT,
        "type": "subsegment",
        "namespace": "aws",
        "start_time": 100.25,
        "end_time": 100.5,
        "http": {"response": {"status": 200}},
        "aws": {
            "operation": "GetItem",
            "region": "eu-west-1",
            "table_name": "registry",
            "request_id": "R1",
        },
    }


def test_a_subsegment_has_no_object_key() -> None:
    """It has only the bucket."""
    traced = Traced("s3", body=b"")
    traced.client.put_object(Bucket="layers", Key=SECRET, Body=b"x")
    document = traced.document()
    assert (document["name"], document["aws"]["bucket_name"]) == ("s3", "layers")
    assert SECRET not in json.dumps(document)


@pytest.mark.parametrize(
    ("status", "code", "flags"),
    [
        (400, "ConditionalCheckFailedException", {"error"}),
        (400, "ThrottlingException", {"error", "throttle"}),
        (429, "Whatever", {"error", "throttle"}),
        (500, "InternalServerError", {"fault"}),
    ],
)
def test_a_refused_call_has_its_error_code(status: int, code: str, flags: set[str]) -> None:
    """And whether it was a client's error, and how often botocore repeated it."""
    body = json.dumps({"__type": f"x#{code}", "Message": SECRET}).encode()
    traced = Traced("dynamodb", status, body)
    with pytest.raises(ClientError):
        get_item(traced)
    document = traced.document()
    assert {flag for flag in ("error", "fault", "throttle") if document.get(flag)} == flags
    (cause,) = document["cause"]["exceptions"]
    assert (cause["type"], cause["remote"]) == (code, True)
    assert document["http"] == {"response": {"status": status}}
    assert document["aws"].get("retries", 0) == len(traced.sent) - 1
    assert SECRET not in json.dumps(document)


def test_an_answer_that_never_came_is_a_fault() -> None:
    """It is told with the error's kind, and the error goes on to whom it concerns."""
    traced = Traced("dynamodb", failure=ConnectTimeoutError(endpoint_url=SECRET))
    with pytest.raises(ConnectTimeoutError):
        get_item(traced)
    document = traced.document()
    assert document["fault"] is True
    assert document["cause"]["exceptions"][0]["type"] == "ConnectTimeoutError"
    assert document["aws"]["operation"] == "GetItem"
    assert SECRET not in json.dumps(document)


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"Root={TRACE};Parent={SEGMENT};Sampled=0",
        f"Root={TRACE};Parent={SEGMENT}",
        f"Root={TRACE};Sampled=1",
        f"Root={TRACE}0;Parent={SEGMENT};Sampled=1",
        f'Root={TRACE};Parent="{SEGMENT};Sampled=1',
        "Sampled=1",
        ";;=;",
    ],
)
def test_nothing_is_sent_for_an_absent_or_unsampled_trace(header: str) -> None:
    """Nothing is told where there is no trace, or none that is sampled; the call is made."""
    assert Trace.read(header) is None
    traced = Traced("dynamodb", header=header)
    get_item(traced)
    assert traced.datagrams == []
    assert len(traced.sent) == 1


def test_each_call_is_of_the_invocation_that_makes_it() -> None:
    """Lambda changes the environment from one invocation to the next."""
    traced = Traced("dynamodb", header=HEADER.replace("Sampled=1", "Sampled=0"))
    get_item(traced)
    other = "1-00000000-ad49b0e87f6ef6c87fc2e700"
    traced.environment["_X_AMZN_TRACE_ID"] = HEADER.replace(TRACE, other)
    get_item(traced)
    assert traced.document()["trace_id"] == other


def test_a_signed_url_is_no_call() -> None:
    """Whoever follows it is not traced by us, and nothing is told."""
    traced = Traced("s3")
    wanted = {"Bucket": "layers", "Key": SECRET}
    assert "X-Amzn-Trace" not in traced.client.generate_presigned_url("get_object", wanted)
    assert traced.datagrams == []


def test_a_called_service_is_a_subsegment_below_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The header that botocore sends in Lambda names the subsegment, and keeps all else."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "moorage-api")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", HEADER)
    traced = Traced("lambda", 202, b"")
    traced.client.invoke(FunctionName="moorage-commit", InvocationType="Event", Payload=b"{}")
    assert traced.sent == [HEADER.replace(SEGMENT, traced.document()["id"])]


def test_a_failed_trace_stops_no_call(caplog: pytest.LogCaptureFixture) -> None:
    """A missing daemon is logged, and the call's answer is unchanged."""
    traced = Traced("dynamodb", body=b'{"Item": {"a": {"S": "b"}}}', deaf=True)
    with caplog.at_level(logging.ERROR, logger="moorage.tracing"):
        answer = traced.client.get_item(TableName="registry", Key={"pk": {"S": "x"}})
    assert answer["Item"] == {"a": {"S": "b"}}
    assert "a call to AWS was not traced" in caplog.text


_OPTION = """
import os
from chalicelib.telemetry import log
from chalicelib.telemetry import tally as telemetry
log.configure(os.environ)
print(len(telemetry._watchers))
"""


@pytest.mark.parametrize(
    ("environment", "traced", "said"),
    [
        ({"AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000"}, "0", False),
        ({"AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000", "MOORAGE_TRACING": "0"}, "0", False),
        ({"AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000", "MOORAGE_TRACING": "1"}, "1", False),
        ({"AWS_XRAY_DAEMON_ADDRESS": "nowhere", "MOORAGE_TRACING": "1"}, "0", True),
        ({"MOORAGE_TRACING": "1"}, "0", True),
    ],
)
def test_tracing_is_off_by_default(environment: dict[str, str], traced: str, *, said: bool) -> None:
    """Without a daemon there is a warning, and the registry works as usual."""
    ran = subprocess.run(
        [sys.executable, "-c", _OPTION],
        env={"AWS_LAMBDA_FUNCTION_NAME": "x", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.splitlines()[-1] == traced
    assert ("AWS_XRAY_DAEMON_ADDRESS names no daemon" in ran.stdout) is said
