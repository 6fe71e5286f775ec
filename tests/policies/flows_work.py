"""Flows of the functions that nobody waits for: every way of a commit, every kind of leftover."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.digest import Algorithm, Digest
from chalicelib.reference import Tag
from chalicelib.registry.manifests import ManifestPush
from chalicelib.registry.service import Limits
from chalicelib.registry.session import UploadState
from tests.policies.deployed import COPY_WHOLE, MIB, ReplayedDeployment
from tests.policies.leftovers import (
    PART,
    WHO,
    changed_under_a_copy,
    copy_begun,
    died,
    keys_of,
    opened,
    published,
    sealed,
    state_of,
    written_late,
)
from tests.support.values import a_manifest, begin_delete, fresh_digest, fresh_name

if TYPE_CHECKING:
    from chalicelib.registry.session import Session

LIMITS = Limits()
DAY = 24 * 3600.0
INDEX = "application/vnd.oci.image.index.v1+json"
LARGE = (PART, PART, 2 * MIB)
"""Chunks of more than one copy takes here."""


def commits(
    deployment: ReplayedDeployment, session: Session, state: UploadState = UploadState.COMMITTED
) -> None:
    """Have the commit function drive a session, which ends there."""
    deployment.commit(session.id)
    assert state_of(deployment, session) is state


def a_commit_with_a_tail(deployment: ReplayedDeployment) -> None:
    """Parts and a tail become one object, which is copied to where blobs are."""
    session, data = sealed(deployment, PART, 1000)
    commits(deployment, session)
    assert keys_of(deployment, session) == [published_key(session, data)]


def a_commit_that_reads(deployment: ReplayedDeployment) -> None:
    """The digest was claimed in another algorithm than was hashed: the bytes are read."""
    session, _ = sealed(deployment, PART, algorithm=Algorithm.SHA512)
    commits(deployment, session)


def a_commit_of_a_wrong_claim(deployment: ReplayedDeployment) -> None:
    """The bytes are read and have another digest: the session stays."""
    session, _ = sealed(deployment, PART, algorithm=Algorithm.SHA512, claimed=b"other bytes")
    commits(deployment, session, UploadState.ASSEMBLED)


def a_commit_of_what_is_live(deployment: ReplayedDeployment) -> None:
    """Another repository has the blob, and then this one too: what was sent is not needed."""
    session, data = sealed(deployment, PART)
    published(deployment, data)
    commits(deployment, session)
    assert keys_of(deployment, session) == []
    again, _ = sealed(deployment, PART, data=data, name=session.repository)
    commits(deployment, again)


def a_commit_in_parts(deployment: ReplayedDeployment) -> None:
    """More than one copy takes is copied in parts; what an equal has begun is looked for."""
    session, _ = sealed(deployment, *LARGE)
    copy_begun(deployment, session)
    commits(deployment, session)


def a_commit_of_changed_bytes(deployment: ReplayedDeployment) -> None:
    """A copy in parts that fails is given up."""
    commits(deployment, changed_under_a_copy(deployment), UploadState.CANCELLED)


def a_commit_after_a_death(deployment: ReplayedDeployment) -> None:
    """What a dead request may have written goes by prefix."""
    session, data = sealed(deployment, PART, disturbed=True)
    written_late(deployment, session)
    commits(deployment, session)
    assert keys_of(deployment, session) == [published_key(session, data)]


def a_commit_of_lost_bytes(deployment: ReplayedDeployment) -> None:
    """The parts are gone, and there is no object either: that has to be told from a failure."""
    session, _ = sealed(deployment, PART)
    assert session.upload_id is not None
    key = f"uploads/{session.id}/data"
    deployment.arranged.ports.objects.abort_multipart(key, session.upload_id)
    commits(deployment, session, UploadState.CANCELLED)


def a_commit_of_nothing(deployment: ReplayedDeployment) -> None:
    """A session that is gone, or open, is left alone."""
    deployment.commit("no session")
    session, _ = opened(deployment, 10)
    commits(deployment, session, UploadState.OPEN)


def a_sweep_of_abandoned_sessions(deployment: ReplayedDeployment) -> None:
    """Sessions whose life is over end, with parts and tails, and what a dead request left."""
    with deployment.earlier(LIMITS.session_life + DAY):
        left = [opened(deployment, PART, 10)[0], opened(deployment)[0], died(deployment, PART)]
        large, _ = sealed(deployment, *LARGE)
        copy_begun(deployment, large)
    deployment.sweep()
    for session in (*left, large):
        assert state_of(deployment, session) is UploadState.CANCELLED
        assert keys_of(deployment, session) == []


def a_sweep_of_sealed_sessions(deployment: ReplayedDeployment) -> None:
    """Commits whose driver has died are driven on, along every path."""
    with deployment.earlier(2 * DAY):
        ways = [
            sealed(deployment, PART, 1000),
            sealed(deployment, *LARGE),
            sealed(deployment, PART, algorithm=Algorithm.SHA512),
            sealed(deployment, PART),
        ]
        wrong, _ = sealed(deployment, PART, algorithm=Algorithm.SHA512, claimed=b"other")
    published(deployment, ways[-1][1])
    changed = changed_under_a_copy(deployment)
    deployment.sweep()
    assert {state_of(deployment, session) for session, _ in ways} == {UploadState.COMMITTED}
    assert state_of(deployment, wrong) is UploadState.ASSEMBLED
    assert state_of(deployment, changed) is UploadState.CANCELLED


def a_sweep_a_second_time(deployment: ReplayedDeployment) -> None:
    """Where a late writer may exist, a second look finds what it wrote."""
    with deployment.earlier(2 * DAY):
        session, data = sealed(deployment, PART, disturbed=True)
        commits(deployment, session)
    written_late(deployment, session)
    deployment.sweep()
    assert keys_of(deployment, session) == [published_key(session, data)]


def a_sweep_of_manifests(deployment: ReplayedDeployment) -> None:
    """A push that died before its manifest went live, and a deletion that died, are ended."""
    registry, name = deployment.arranged, fresh_name()
    with deployment.earlier(2 * DAY):
        now = registry.clock.now()
        pending = a_manifest(repository=name, sweep_at=now + LIMITS.manifest_grace)
        registry.ports.metadata.put_pending(pending)
        body = (
            '{"schemaVersion":2,"manifests":[],"subject":{"mediaType":"a/b","size":1,'
            f'"digest":"{fresh_digest()}"}}}}'
        ).encode()
        push = ManifestPush(name, Tag("v1"), INDEX, body, (), WHO, now + 29)
        digest = registry.registry.manifests.put(push).digest
        begin_delete(registry.ports.metadata, name, digest, now + LIMITS.manifest_grace)
    deployment.sweep()
    for each in (pending.digest, digest):
        assert registry.ports.metadata.get_manifest(name, each) is None


def published_key(session: Session, data: bytes) -> str:
    """Return where a session's bytes are once they are a blob."""
    digest = Digest.of(data)
    return f"blobs/sha256/{digest.hex[:2]}/{digest.hex}/{session.id}"


assert sum(LARGE) > COPY_WHOLE

FLOWS = (
    a_commit_with_a_tail,
    a_commit_that_reads,
    a_commit_of_a_wrong_claim,
    a_commit_of_what_is_live,
    a_commit_in_parts,
    a_commit_of_changed_bytes,
    a_commit_after_a_death,
    a_commit_of_lost_bytes,
    a_commit_of_nothing,
    a_sweep_of_abandoned_sessions,
    a_sweep_of_sealed_sessions,
    a_sweep_a_second_time,
    a_sweep_of_manifests,
)
