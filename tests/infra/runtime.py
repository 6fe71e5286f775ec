"""Lambda on this machine: the runtime API, and AWS's own runtime client with the packaged zip.

The function's process sees the unpacked zip, boto3 with its requirements, and Python's own library:
nothing of the checkout, nor of the tests' environment.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from tests.support.fake_http import FakeRequest, run_fake

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SDK: Final = ("boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3")
"""What Lambda's runtime has beside Python: boto3 and its requirements."""

CLIENT: Final = ("awslambdaric", "simplejson", "snapshot-restore-py")

_NEXT: Final = "/2018-06-01/runtime/invocation/next"
_INVOCATIONS: Final = re.compile("/2015-03-31/functions/([^/?]+)/invocations")
_SECONDS: Final = 60.0


class FunctionError(Exception):
    """A function raised; the text is its error's message, as the runtime reports it."""


@dataclass
class Call:
    """One invocation and its result."""

    event: dict[str, Any]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    done: threading.Event = field(default_factory=threading.Event)
    value: Any = None
    error: str | None = None


@dataclass
class Function:
    """A function whose process polls for invocations; calling it waits for the result."""

    seconds: float = 29.0
    """Its timeout, from when its process receives the event."""
    waiting: queue.Queue[Call | None] = field(default_factory=queue.Queue)
    known: dict[str, Call] = field(default_factory=dict)
    returned: int = 0
    """The number of invocations without an error."""
    failed: list[str] = field(default_factory=list)
    trace: str = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0"
    """The trace header of its invocations."""

    def begin(self, event: dict[str, Any]) -> Call:
        """Invoke it without waiting."""
        call = Call(json.loads(json.dumps(event)))
        self.known[call.id] = call
        self.waiting.put(call)
        return call

    def __call__(self, event: dict[str, Any], _context: object = None) -> Any:  # noqa: ANN401 - a function may return anything
        """Invoke it; raises FunctionError."""
        return self.result(self.begin(event))

    def result(self, call: Call) -> Any:  # noqa: ANN401 - likewise
        """Wait for the end of an invocation; raises FunctionError."""
        assert call.done.wait(_SECONDS), f"no answer; the runtime said: {self.failed}"
        if call.error is not None:
            raise FunctionError(call.error)
        return call.value


@contextmanager
def running(
    handler: str, path: tuple[Path, ...], environment: Mapping[str, str]
) -> Iterator[Function]:
    """Run `handler` under the runtime client until the block ends; `path` is its Python path."""
    function = Function()
    with run_fake(partial(_polled, function)) as url:
        process = subprocess.Popen(
            [sys.executable, "-S", "-m", "awslambdaric", handler],
            cwd=path[0],
            env={
                **bare_environment(path),
                **environment,
                "AWS_LAMBDA_RUNTIME_API": url.removeprefix("http://"),
                "AWS_LAMBDA_FUNCTION_NAME": f"test-{handler}",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "LAMBDA_TASK_ROOT": str(path[0]),
                "_HANDLER": handler,
            },
        )
        try:
            yield function
        finally:
            process.kill()
            process.wait()
            function.waiting.put(None)


def bare_environment(path: tuple[Path, ...]) -> dict[str, str]:
    """Return an environment in which Python finds `path` and its own library; use it with -S."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_PROXY": "127.0.0.1",
    }


def function_environment(path: tuple[Path, ...], **more: str) -> dict[str, str]:
    """Return what a function's process needs to start with `path` alone, and more variables."""
    return {
        **bare_environment(path),
        "MOORAGE_BUCKET": "moorage-x-data-123456789012",
        "MOORAGE_REGISTRY_TABLE": "registry",
        "MOORAGE_UPLOADS_TABLE": "uploads",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        **more,
    }


def run_bare(
    program: str, environment: Mapping[str, str], *words: str, cwd: Path, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program of Python's in a bare environment; `given` is its standard input."""
    return subprocess.run(
        [sys.executable, "-S", "-c", program, *words],
        cwd=cwd,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def lay_out(folder: Path, distributions: tuple[str, ...]) -> None:
    """Link installed distributions, and nothing else, into a folder."""
    folder.mkdir()
    for name in distributions:
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or [] if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            (folder / top).symlink_to(str(distribution.locate_file(top)))


def _polled(function: Function, asked: FakeRequest) -> None:
    if asked.command == "GET":
        call = function.waiting.get() if asked.path == _NEXT else None
        if call is None:
            asked.close_connection = True
            return
        asked.answer(
            200,
            json.dumps(call.event).encode(),
            Lambda_Runtime_Aws_Request_Id=call.id,
            Lambda_Runtime_Deadline_Ms=str(int((time.time() + function.seconds) * 1000)),
            Lambda_Runtime_Invoked_Function_Arn="arn:aws:lambda:us-east-1:0:function:f",
            # Without these the client exits silently.
            Lambda_Runtime_Trace_Id=function.trace,
            Content_Type="application/json",
        )
        return
    body = asked.body()
    *_, call_id, outcome = asked.path.split("/")
    ended = function.known.get(call_id)
    if ended is None:
        function.failed.append(body.decode())
    elif outcome == "response":
        ended.value = json.loads(body)
        function.returned += 1
        ended.done.set()
    else:
        ended.error = str(json.loads(body)["errorMessage"])
        ended.done.set()
    asked.answer(202, b'{"status":"OK"}')


@dataclass
class Lambda:
    """Lambda's API as functions call it: asynchronous Invoke, and nothing else.

    Source: AWS Lambda API Reference, "Invoke". It must never wait for the function that it invokes,
    nor accept what Lambda would refuse.
    """

    functions: dict[str, Function] = field(default_factory=dict)
    """The functions that can be invoked, by their names."""
    calls: list[Call] = field(default_factory=list)
    url: str = ""

    def invoke(self, path: str, kind: str, body: bytes) -> tuple[int, str]:
        """Invoke a function; return the status, and the error's type."""
        found = _INVOCATIONS.fullmatch(path)
        function = self.functions.get(unquote(found[1])) if found else None
        if function is None:
            return 404, "ResourceNotFoundException"
        if kind != "Event":
            return 400, "InvalidParameterValueException"
        self.calls.append(function.begin(json.loads(body)))
        return 202, ""


@contextmanager
def invoking() -> Iterator[Lambda]:
    """Serve Lambda's API until the block ends."""
    served = Lambda()

    def respond(asked: FakeRequest) -> None:
        kind = asked.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        status, error = served.invoke(asked.path, kind, asked.body())
        content = json.dumps({"Message": error}).encode() if error else b""
        asked.answer(status, content, **({"X_Amzn_ErrorType": error} if error else {}))

    with run_fake(respond) as served.url:
        yield served
