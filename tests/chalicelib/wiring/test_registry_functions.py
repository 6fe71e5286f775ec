"""The functions beside the API, called as Lambda calls them: in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from chalicelib.digest import Digest
from chalicelib.registry.service import Limits
from chalicelib.registry.session import UploadState
from tests.support.registries import RegistryUnderTest, registry_over
from tests.support.values import as_sealed

if TYPE_CHECKING:
    from tests.emulators.backends import Backend

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


def call(backend: Backend, function: str, event: dict[str, object]) -> None:
    """Load app.py with a deployment's environment and call one of its functions."""
    subprocess.run(
        [sys.executable, "-c", f"import app; app.{function}({json.dumps(event)}, None)"],
        env={**os.environ, **backend.environment},
        check=True,
        timeout=60,
    )


def state_of(registry: RegistryUnderTest, session_id: str) -> UploadState:
    """Return where a session stands."""
    session = registry.ports.sessions.get(session_id)
    assert session is not None
    return session.state


def test_the_sweep_function_ends_what_is_due(strict_moto: Backend) -> None:
    """An upload whose life has ended is cancelled, and one that may go on is left alone."""
    backend = strict_moto.fresh()
    registry = registry_over(backend)
    young = registry.registry.uploads.start("a/b", "ann")
    registry.clock.offset = -Limits().session_life - 60
    old = registry.registry.uploads.start("a/b", "ann")
    call(backend, "sweep", RULE)
    assert state_of(registry, old.id) is UploadState.CANCELLED
    assert state_of(registry, young.id) is UploadState.OPEN


def test_the_commit_function_ends_a_sealed_session(strict_moto: Backend) -> None:
    """A session that a request has sealed is committed by its id alone."""
    backend = strict_moto.fresh()
    registry = registry_over(backend)
    data = b"x" * (6 * 1024 * 1024)
    session = registry.registry.uploads.start("a/b", "ann")
    deadline = registry.clock.now() + 29
    session = registry.registry.uploads.append(session.owner, session.id, data, 0, deadline)
    sealed = as_sealed(session, Digest.of(data), registry.clock.now())
    registry.ports.sessions.write(session, sealed)
    call(backend, "commit", {"session": session.id})
    assert state_of(registry, session.id) is UploadState.COMMITTED
    assert registry.registry.blobs.stat("a/b", Digest.of(data)).size == len(data)
