"""``python -m bench.handler``: how much of a processor the API's function takes for one request.

One process, as Lambda keeps it between requests: app.py, with API Gateway's own events, over
an emulator in a process of its own, whose time is not counted; nor is that of waiting for it.
The first requests, for which code and connections are loaded, are left out: bench/coldstart.py has
them. Where valgrind is installed, its callgrind counts the instructions of each request as well:
other work on the machine changes no count.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import quantiles
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from bench.coldstart import deployed, event
from chalicelib.access.credentials import generate
from chalicelib.digest import Digest
from moorage.common.project import PROJECT
from tests.clients.images import CONFIG, LAYER_TAR, MANIFEST
from tests.emulators.backends import moto_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

REQUESTS, LEFT_OUT = 120, 20
FEW, MANY = 4, 14
"""Requests of two runs under callgrind: what one run counts more is of the requests alone."""
CHUNK, SMALL, REDIRECTED = 4 << 20, 200_000, 2_000_000
"""Bytes of a PATCH, of a whole PUT, and of a blob that is above the inline limit."""

MANIFEST_PULL, BLOB_PULL = "pull of a manifest by tag", "pull of a blob, a redirect"
PULLS = (MANIFEST_PULL, BLOB_PULL)
_COLLECTED = re.compile(r"Collected : (\d+)")

_PROGRAM = """
import json, sys, time
import app
for line in sys.stdin:
    event = json.loads(line)
    began = time.process_time()
    answer = app.app(event, None)
    took = time.process_time() - began
    print(json.dumps([took, answer["statusCode"], answer["headers"]]), flush=True)
"""


@dataclass(frozen=True)
class Spent:
    """The processor's time for one kind of request, in milliseconds: half take less, 99 of 100."""

    name: str
    p50: float
    p99: float
    instructions: float | None = None
    """Instructions of one, None where nobody counts them."""


class _Answer(NamedTuple):
    seconds: float
    status: int
    headers: Mapping[str, str]


class _Function:
    """A process that answers events one after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.name = f"a/{uuid4().hex}"
        """Its repository, which no other process pushes to."""

    def ask(
        self, method: str, target: str, status: int, body: bytes = b"", kind: str = ""
    ) -> _Answer:
        """Send an event; raises RuntimeError where the answer has another status."""
        parts = urlsplit(target.removeprefix("/v2/"))
        asked: dict[str, Any] = {
            **event(method, parts.path),
            "multiValueQueryStringParameters": parse_qs(parts.query) or None,
            "body": base64.b64encode(body).decode() if body else None,
            "isBase64Encoded": bool(body),
        }
        if kind:
            asked["headers"] = {"content-type": kind}
            asked["multiValueHeaders"] = {"content-type": [kind]}
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101 - likewise
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = _Answer(*json.loads(self._process.stdout.readline()))
        if answer.status != status:
            raise RuntimeError(f"{method} of {target} was answered {answer.status}")
        return answer

    def push(self, blob: bytes) -> None:
        """Push a blob in one request."""
        self.ask("POST", f"{self.name}/blobs/uploads/?digest={Digest.of(blob)}", 201, blob)

    def session(self) -> str:
        """Open an upload session; returns the target for its first chunk."""
        return self.ask("POST", f"{self.name}/blobs/uploads/", 202).headers["Location"]


def measure() -> list[Spent]:
    """Measure every kind of request."""
    with moto_backend() as backend:
        # Python's sets and dicts of texts are in another order in each process, but for this.
        environment = {**os.environ, **deployed(backend, generate()), "PYTHONHASHSEED": "0"}
        with _running(environment) as process:
            spent = [_spent(name, act) for name, act in _kinds(_Function(process)).items()]
        if not shutil.which("valgrind"):
            return spent
        # No work beside it changes a count: so all processors count.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            counts = threads.map(lambda each: _counted(each.name, environment), spent)
            return [
                replace(each, instructions=count) for each, count in zip(spent, counts, strict=True)
            ]


def _counted(name: str, environment: Mapping[str, str]) -> float:
    """Return how many instructions one request of a kind takes."""
    totals = []
    for number in (FEW, MANY):
        with tempfile.TemporaryDirectory() as folder:
            callgrind = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out")
            with _running(environment, *callgrind) as process:
                act = _kinds(_Function(process))[name]
                for _ in range(number):
                    act()
                said = process.communicate()[1]
        found = _COLLECTED.search(said)
        if found is None:
            raise RuntimeError(f"callgrind counted nothing: {said}")
        totals.append(int(found[1]))
    return (totals[1] - totals[0]) / (MANY - FEW)


def _running(environment: Mapping[str, str], *within: str) -> subprocess.Popen[str]:
    """Start the function's process, `within` another program."""
    return subprocess.Popen(
        [*within, sys.executable, "-c", _PROGRAM],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if within else None,
        text=True,
    )


def _kinds(function: _Function) -> dict[str, Callable[[], _Answer]]:
    """Push an image, and return what sends one request of each kind."""
    layer, config = os.urandom(REDIRECTED), b"{}"
    for blob in (layer, config):
        function.push(blob)
    described = [
        {"mediaType": kind, "digest": str(Digest.of(blob)), "size": len(blob)}
        for kind, blob in ((CONFIG, config), (LAYER_TAR, layer))
    ]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0]}
    body = json.dumps({**manifest, "layers": described[1:]}).encode()
    function.ask("PUT", f"{function.name}/manifests/latest", 201, body, MANIFEST)

    def put() -> _Answer:
        blob, target = os.urandom(SMALL), function.session()
        joint = "&" if "?" in target else "?"
        return function.ask("PUT", f"{target}{joint}digest={Digest.of(blob)}", 201, blob)

    return {
        MANIFEST_PULL: lambda: function.ask("GET", f"{function.name}/manifests/latest", 200),
        BLOB_PULL: lambda: function.ask("GET", f"{function.name}/blobs/{Digest.of(layer)}", 307),
        "PATCH of 4 MiB": lambda: function.ask("PATCH", function.session(), 202, os.urandom(CHUNK)),
        "whole PUT of 200 KB": put,
    }


def _spent(name: str, act: Callable[[], _Answer]) -> Spent:
    taken = [act().seconds * 1000 for _ in range(REQUESTS)][LEFT_OUT:]
    hundredths = quantiles(taken, n=100, method="inclusive")
    return Spent(name, hundredths[49], hundredths[98])


if __name__ == "__main__":
    for each in measure():
        counted = f", {each.instructions:,.0f} instructions" if each.instructions else ""
        print(f"{each.name:30} p50 {each.p50:6.2f} ms, p99 {each.p99:6.2f} ms{counted}")
