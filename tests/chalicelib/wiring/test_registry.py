"""The functions beside the API, each called as Lambda does: what they do, log and measure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Digest
from chalicelib.errors import UnavailableError
from chalicelib.registry.model import CollectorPhase, CollectorState
from chalicelib.registry.service import Limits
from chalicelib.registry.session import UploadState
from chalicelib.rules.document import StoredRules
from chalicelib.settings import Settings
from chalicelib.stores.aws.workers import stretch_event
from chalicelib.stores.dynamodb.rules import DynamoRulesStore
from chalicelib.wiring import registry as wiring
from tests.chalicelib.telemetry.test_line_requests import has
from tests.support.parted import parted
from tests.support.registries import RegistryUnderTest, registry_in_memory, registry_over
from tests.support.values import a_manifest, as_sealed, push_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.emulators.backends import Backend

MIB = 1024 * 1024

RULE: dict[str, object] = {
    "version": "0",
    "account": "000000000000",
    "region": "us-east-1",
    "detail": {},
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "time": "2026-01-01T00:00:00Z",
    "id": "an event",
    "resources": [],
}

_PROGRAM = """
import json, sys
import app
for line in sys.stdin:
    name, event = json.loads(line)
    try:
        answer = getattr(app, name)(event, None)
        if answer is not None:
            print("answer", json.dumps(answer))
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
    lines = ran.stdout.splitlines()
    written = [json.loads(line) for line in lines if line.startswith("{")]
    calls[:] = [("metrics" if "_aws" in line else "line", line) for line in written]
    answers = [line.removeprefix("answer ") for line in lines if line.startswith("answer ")]
    calls += [("answer", json.loads(answer)) for answer in answers]


def state_of(registry: RegistryUnderTest, session_id: str) -> UploadState:
    """Return where a session stands."""
    session = registry.ports.sessions.get(session_id)
    assert session is not None
    return session.state


def half_right(under: RegistryUnderTest) -> dict[str, Any]:
    """Store an object in whose second part is another byte; return what asks about its parts."""
    blob = parted(b"x" * 200, 64, 64)
    stored = blob.data[:100] + b"y" + blob.data[101:]
    etag = under.ports.objects.put("direct/s/parts", stored).etag
    return stretch_event(blob.stretch("direct/s/parts", etag))


@pytest.mark.parametrize("metrics", ["0", "1"])
def test_commit_and_sweep_do_their_work_and_log_it(strict_moto: Backend, metrics: str) -> None:
    """A sealed session is committed by its id alone; each call has a line, and metrics if on.

    The first call of the process is cold. Without MOORAGE_METRICS nothing but lines is written.
    """
    backend = strict_moto.fresh()
    under = registry_over(backend)
    data = b"x" * (6 * MIB)
    session = under.registry.uploads.start("a/b", "ann")
    deadline = under.clock.now() + 29
    session = under.registry.uploads.append(session.owner, session.ticket or "", data, 0, deadline)
    sealed = as_sealed(session, Digest.of(data), under.clock.now())
    under.ports.sessions.write(session, sealed)
    with functions(backend, MOORAGE_METRICS=metrics) as calls:
        calls.append(("commit", {"session": session.id}))
        calls.append(("sweep", RULE))
        calls.append(("commit", {"session": "none"}))
        calls.append(("verify", half_right(under)))
    assert state_of(under, session.id) is UploadState.COMMITTED
    assert under.registry.blobs.stat("a/b", Digest.of(data)).size == len(data)
    committed, swept, missing, verified = (line for kind, line in calls if kind == "line")
    assert has(committed, action="commit", status=200, cold_start=True, committed=True)
    assert has(committed, session=session.id, repository="a/b", digest=str(Digest.of(data)))
    assert committed["s3_calls"] >= 4
    assert has(swept, action="sweep", status=200, cold_start=False, finished=True, swept={})
    assert has(missing, action="commit", status=404, cold_start=False, dynamodb_calls=1)
    assert has(verified, action="verify", status=200, s3_calls=1, dynamodb_calls=0)
    assert [each for kind, each in calls if kind == "answer"] == [{"held": [0, 2], "wrong": [1]}]
    emitted = [line for kind, line in calls if kind == "metrics"]
    if metrics == "0":
        assert emitted == []
        return
    first = emitted[0]
    assert has(first, Pushes=[1.0], ColdStarts=[1.0], service="moorage")
    assert first["CommitSeconds"][0] > 0
    assert [line["ColdStarts"] for line in emitted if "ColdStarts" in line] == [[1.0]]


def test_the_sweep_function_ends_what_is_due(strict_moto: Backend) -> None:
    """An upload whose life has ended is cancelled, and one that may go on is left alone.

    A mistyped MOORAGE_METRICS is an error in the log, and no more.
    """
    backend = strict_moto.fresh()
    registry = registry_over(backend)
    uploads, sessions = registry.registry.uploads, []
    for offset in (0.0, -Limits().session_life - 60):
        registry.clock.offset = offset
        opened, deadline = uploads.start("a/b", "ann"), registry.clock.now() + 29
        assert opened.ticket is not None
        sessions.append(uploads.append(opened.owner, opened.ticket, b"x", 0, deadline))
    young, old = sessions
    with functions(backend, MOORAGE_METRICS="yes") as calls:
        calls.append(("sweep", RULE))
    assert state_of(registry, old.id) is UploadState.CANCELLED
    assert state_of(registry, young.id) is UploadState.OPEN
    error, line = (line for _, line in calls)
    assert "MOORAGE_METRICS must be one of 0, 1" in error["message"]
    assert has(line, action="sweep", status=200)


def test_the_collect_function_expires_and_collects(strict_moto: Backend) -> None:
    """What retention removes goes to the trash; what no manifest names goes for good."""
    backend = strict_moto.fresh()
    registry = registry_over(backend)
    registry.clock.offset = -3 * 24 * 3600.0
    named, unnamed = b"a layer", b"a layer that nobody needs"
    for data in (named, unnamed):
        registry.registry.uploads.put_whole("a/b", "ann", Digest.of(data), data)
    image = a_manifest(repository="a/b", references=(Digest.of(named),), pushed_at=0.0)
    push_manifest(registry.ports.metadata, image)
    rule = {"name": "all", "repositories": ["**"], "untagged": True, "brake": 100}
    text = json.dumps({"retention": {"rules": [{**rule, "expire": {"days_since_push": 1}}]}})
    rules = DynamoRulesStore(registry.dynamodb, registry.registry_table)
    rules.replace(None, StoredRules(1, text, 0.0, "ann"))
    registry.ports.metadata.add_repository("a/b")
    with functions(backend, AWS_LAMBDA_FUNCTION_NAME="moorage-collect") as calls:
        calls.extend([("collect", RULE)] * 2)
    first, second = (line for kind, line in calls if kind == "line")
    assert has(first, action="collect", status=200, finished=True, lost=0, bytes_freed=25)
    assert (first["expired"]["images"], first["collected"]["links"]) == (1, 1)
    assert (first["collected"]["objects"], "pass_age" in first) == (1, False)
    assert has(second, finished=True, bytes_freed=0)
    assert second["collected"]["repositories"] == 0
    assert registry.ports.metadata.get_record(Digest.of(named)) is not None
    assert registry.ports.metadata.get_record(Digest.of(unnamed)) is None


def test_a_registry_without_a_collector_expires_all_the_same(strict_moto: Backend) -> None:
    """Nothing is deleted, and its line says nothing of a pass."""
    backend = strict_moto.fresh()
    registry = registry_over(backend)
    registry.clock.offset = -3 * 24 * 3600.0
    registry.registry.uploads.put_whole("a/b", "ann", Digest.of(b"x"), b"x")
    with functions(backend, MOORAGE_GC="0") as calls:
        calls.append(("collect", RULE))
    ((_, line),) = calls
    assert has(line, action="collect", status=200)
    assert "expired" in line
    assert not {"collected", "finished", "bytes_freed"} & set(line)
    assert registry.ports.metadata.get_record(Digest.of(b"x")) is not None


def test_garbage_is_collected_where_retention_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is the invocation's, so that its alarm rings, and its line has the work done."""
    registry = registry_in_memory(Limits())
    registry.clock.offset = -3 * 24 * 3600.0
    registry.registry.uploads.put_whole("a/b", "ann", Digest.of(b"x"), b"x")
    registry.clock.offset = 0.0

    def fail(_: float) -> None:
        raise UnavailableError

    monkeypatch.setattr(registry.registry.retention, "run", fail)
    monkeypatch.setattr(wiring, "registry", lambda: registry.registry)
    monkeypatch.setattr(wiring, "settings", lambda: Settings("bucket", "registry", "uploads"))
    with pytest.raises(UnavailableError):
        wiring.collect()
    assert registry.objects.objects == {}
    (line,) = (vars(record) for record in caplog.records if hasattr(record, "collected"))
    assert (line["status"], line["collected"]["objects"]) == (503, 1)


def test_a_pass_that_goes_on_says_how_old_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """So that an alarm can ring for one that never ends."""
    registry = registry_in_memory(Limits())
    state = CollectorState("", CollectorPhase.WALK, began_at=registry.clock.now() - 5000)
    registry.metadata.save_collector_state(None, state)
    monkeypatch.setattr(wiring, "registry", lambda: registry.registry)
    monkeypatch.setattr(wiring, "settings", lambda: Settings("bucket", "registry", "uploads"))
    caplog.set_level("INFO", "moorage")
    registry.registry.uploads.put_whole("a/b", "ann", Digest.of(b"x"), b"x")
    wiring.collect(-1.0)
    (line,) = (vars(record) for record in caplog.records if hasattr(record, "collected"))
    assert (line["finished"], line["pass_age"]) == (False, 5000)
