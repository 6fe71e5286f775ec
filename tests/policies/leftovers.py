"""What requests leave behind, in every state, for commit function and sweeper to go on with.

All of it is arranged by a test, so that nothing here counts as a function's call.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from chalicelib.digest import Algorithm, Digest
from chalicelib.registry.session import Session, StoredObject, UploadState
from tests.policies.deployed import COPY_PART, COPY_WHOLE, MIB, ReplayedDeployment
from tests.support.values import a_session, as_sealed, fresh_name

if TYPE_CHECKING:
    from collections.abc import Sequence

WHO = "somebody"
PART = 5 * MIB


def opened(
    deployment: ReplayedDeployment, *sizes: int, data: bytes | None = None, name: str | None = None
) -> tuple[Session, bytes]:
    """Open a session and append chunks of random bytes, or of `data`; return it, and the bytes."""
    registry = deployment.arranged
    uploads, data = registry.registry.uploads, data or os.urandom(sum(sizes))
    session, at = uploads.start(name or fresh_name(), WHO), 0
    for size in sizes:
        deadline = registry.clock.now() + 29
        session = uploads.append(session.owner, session.id, data[at : at + size], at, deadline)
        at += size
    return session, data


def sealed(  # noqa: PLR0913 - whatever a flow varies
    deployment: ReplayedDeployment,
    *sizes: int,
    algorithm: Algorithm = Algorithm.SHA256,
    claimed: bytes | None = None,
    data: bytes | None = None,
    name: str | None = None,
    disturbed: bool = False,
) -> tuple[Session, bytes]:
    """Leave a session that a request has closed with its digest, or with that of other bytes."""
    session, data = opened(deployment, *sizes, data=data, name=name)
    claim = Digest.of(data if claimed is None else claimed, algorithm)
    closed = as_sealed(session, claim, deployment.arranged.clock.now())
    closed = replace(closed, disturbed=disturbed)
    return deployment.arranged.ports.sessions.write(session, closed), data


def published(deployment: ReplayedDeployment, data: bytes, name: str | None = None) -> str:
    """Push a blob into a repository whole; return the repository."""
    registry, name = deployment.arranged, name or fresh_name()
    deadline = registry.clock.now() + 29
    registry.registry.uploads.put_whole(name, WHO, Digest.of(data), data, deadline)
    return name


def died(deployment: ReplayedDeployment, *sizes: int) -> Session:
    """Leave a session whose request has died in the middle, with bytes of it that nobody knows."""
    session, data = opened(deployment, *sizes)
    now = deployment.arranged.clock.now()
    deployment.arranged.ports.sessions.take_lease(
        session.id,
        owner=session.owner,
        at=len(data),
        claim=None,
        holder="dead",
        now=now - 60,
        until=now - 1,
    )
    written_late(deployment, session)
    return session


def written_late(deployment: ReplayedDeployment, session: Session) -> None:
    """Write what a dead request of this session may yet write: a tail, and a multipart upload."""
    objects = deployment.arranged.ports.objects
    objects.put(f"uploads/{session.id}/tail-99", b"late")
    objects.begin_multipart(f"uploads/{session.id}/data")


def changed_under_a_copy(deployment: ReplayedDeployment) -> Session:
    """Leave an assembled session whose bytes, too many for one copy, are not those that it names.

    Another driver of its commit has begun a copy in parts besides, and left that.
    """
    objects, size = deployment.arranged.ports.objects, COPY_WHOLE + COPY_PART
    now, session_id = deployment.arranged.clock.now(), str(uuid.uuid4())
    key = f"uploads/{session_id}/data"
    objects.put(key, os.urandom(size))
    session = a_session(
        id=session_id,
        state=UploadState.ASSEMBLED,
        offset=size,
        life_until=now + 3600,
        upload_id="over",
        next_part=3,
        tail_part=2,
        claim=Digest.of(session_id.encode()),
        staged=StoredObject(key, size, '"another"'),
        sweep_at=now - 1,
    )
    deployment.arranged.ports.sessions.create(session)
    return session


def copy_begun(deployment: ReplayedDeployment, session: Session) -> None:
    """Leave a copy in parts to the canonical key of a session."""
    claim = session.claim
    assert claim is not None
    key = f"blobs/{claim.algorithm.value}/{claim.hex[:2]}/{claim.hex}/{session.id}"
    deployment.arranged.ports.objects.begin_multipart(key)


def state_of(deployment: ReplayedDeployment, session: Session) -> UploadState:
    """Return where a session stands by now."""
    found = deployment.arranged.ports.sessions.get(session.id)
    assert found is not None
    return found.state


def keys_of(deployment: ReplayedDeployment, session: Session) -> Sequence[str]:
    """Return the keys of all objects of a session."""
    return [key for key in deployment.arranged.stored() if session.id in key]
