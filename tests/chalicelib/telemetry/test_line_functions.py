"""The lines and metrics of the functions beside the API, each process of which is Lambda's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Digest
from chalicelib.registry.session import UploadState
from tests.chalicelib.telemetry.test_line_requests import has
from tests.chalicelib.wiring.test_registry_functions import RULE
from tests.support.registries import registry_over
from tests.support.values import as_sealed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.emulators.backends import Backend

MIB = 1024 * 1024

_PROGRAM = """
import json, sys
import app
for line in sys.stdin:
    name, event = json.loads(line)
    try:
        getattr(app, name)(event, None)
    except Exception as error:
        print("raised", error, file=sys.stderr)
    print("done", flush=True)
"""


@contextmanager
def functions(backend: Backend, **environment: str) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Yield a list of calls to fill; at the end they have been made, in a process as in Lambda."""
    calls: list[tuple[str, dict[str, Any]]] = []
    yield calls
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input="".join(json.dumps(call) + "\n" for call in calls),
        env={
            **os.environ,
            **backend.environment,
            "AWS_LAMBDA_FUNCTION_NAME": "moorage-commit",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    written = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    calls[:] = [("metrics" if "_aws" in line else "line", line) for line in written]


@pytest.mark.parametrize("metrics", ["0", "1"])
def test_the_functions_beside_the_api_have_a_line_each(strict_moto: Backend, metrics: str) -> None:
    """Commit and sweep tell what they did, the first of a process that it was cold, as metrics too.

    Without MOORAGE_METRICS nothing but lines is written.
    """
    backend = strict_moto.fresh()
    under = registry_over(backend)
    data = b"x" * (6 * MIB)
    session = under.registry.uploads.start("a/b", "ann")
    deadline = under.clock.now() + 29
    session = under.registry.uploads.append(session.owner, session.id, data, 0, deadline)
    sealed = as_sealed(session, Digest.of(data), under.clock.now())
    under.ports.sessions.write(session, sealed)
    with functions(backend, MOORAGE_METRICS=metrics) as calls:
        calls.append(("commit", {"session": session.id}))
        calls.append(("sweep", RULE))
        calls.append(("commit", {"session": "none"}))
    done = under.ports.sessions.get(session.id)
    assert done is not None
    assert done.state is UploadState.COMMITTED
    committed, swept, missing = (line for kind, line in calls if kind == "line")
    assert has(committed, action="commit", status=200, cold_start=True, committed=True)
    assert has(committed, session=session.id, repository="a/b", digest=str(Digest.of(data)))
    assert committed["s3_calls"] >= 4
    assert has(swept, action="sweep", status=200, cold_start=False, finished=True, swept={})
    assert has(missing, action="commit", status=404, cold_start=False, dynamodb_calls=1)
    emitted = [line for kind, line in calls if kind == "metrics"]
    if metrics == "0":
        assert emitted == []
        return
    first = emitted[0]
    assert has(first, Pushes=[1.0], ColdStarts=[1.0], service="moorage")
    assert first["CommitSeconds"][0] > 0
    assert [line["ColdStarts"] for line in emitted if "ColdStarts" in line] == [[1.0]]


def test_a_setting_that_can_not_be_read_stops_no_registry(strict_moto: Backend) -> None:
    """A slip in MOORAGE_METRICS is said in the log, and work goes on."""
    with functions(strict_moto.fresh(), MOORAGE_METRICS="yes") as calls:
        calls.append(("sweep", RULE))
    said, line = (line for _, line in calls)
    assert "MOORAGE_METRICS must be one of 0, 1" in said["message"]
    assert has(line, action="sweep", status=200)
