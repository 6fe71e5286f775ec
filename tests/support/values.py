"""Sessions, manifests and blobs for tests: whole values, each with a name of its own.

Nothing here may repeat a name, so that tests can share tables.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Algorithm, Digest
from chalicelib.registry.model import Manifest, ManifestState, Referrer, Stamp
from chalicelib.registry.service import Limits
from chalicelib.registry.session import Reading, Session, StoredObject, UploadState
from chalicelib.registry.upload.chunks import hasher_of
from chalicelib.registry.upload.closing import sealed

if TYPE_CHECKING:
    from chalicelib.registry.ports import MetadataStore, SessionStore

NOW = 1_764_000_000.123456
"""A time with microseconds: stores have to keep them."""

STAMP = Stamp(NOW + 60, "credential:tester")

SIZE = 5


def fresh_name() -> str:
    """Return a repository name that no other test has."""
    return f"team/{uuid.uuid4().hex}"


def fresh_digest() -> Digest:
    """Return a digest that no other test has."""
    return Digest.of(uuid.uuid4().bytes)


def a_session(**changes: Any) -> Session:  # noqa: ANN401 - any field of a session
    """Return a new open session, with `changes`."""
    session = Session(
        id=str(uuid.uuid4()),
        repository=fresh_name(),
        principal="anybody",
        nonce=uuid.uuid4().hex,
        created_at=NOW,
        life_until=NOW + 3600,
        hash_state=b"\x00\xffstate",
        sweep_at=NOW + 600,
    )
    return replace(session, **changes)


def take_lease(sessions: SessionStore, session: Session, **changes: Any) -> Session:  # noqa: ANN401 - any argument of take_lease
    """Take a lease of 30 seconds as `holder`, at the session's offset, with `changes`."""
    now = changes.setdefault("now", NOW)
    given = {
        "owner": session.owner,
        "at": session.offset,
        "claim": None,
        "holder": "holder",
        "until": now + 30,
    }
    return sessions.take_lease(session.id, **(given | changes))


def as_sealed(session: Session, claim: Digest, now: float) -> Session:
    """Return a session as a closing PUT seals it: hashed if the claim has its hash's algorithm."""
    hasher = hasher_of(session) if claim.algorithm is session.algorithm else None
    return replace(sealed(session, claim, hasher), sweep_at=now + Limits().sweep_sealed)


def a_full_session() -> Session:
    """Return a session in which every field has a value, none of them the default."""
    return a_session(
        state=UploadState.VERIFIED,
        offset=2**40 + 7,
        upload_id="an/upload+id==",
        next_part=65,
        burned=(3, 64),
        tail=StoredObject("uploads/x/tail-9", 12, '"etag"'),
        tail_part=64,
        claim=fresh_digest(),
        earlier_claims=(fresh_digest(), fresh_digest()),
        fence=9,
        holder="me",
        lease_until=NOW + 30.000001,
        last_fence=8,
        staged=StoredObject("uploads/x/data", 2**40 + 7, '"other-2"'),
        missed_at=NOW + 3.25,
        reading=Reading(Algorithm.SHA512, 2**40, b"\x00state\xff"),
        computed=(fresh_digest(), fresh_digest()),
        published_key="blobs/sha256/ab/cd/x",
        direct_size=2**33,
        by_parts=True,
        report=Digest.of(b"report"),
        verified_segments=b"\xff\x01",
        refusal="part 3 is missing",
        denied=True,
        disturbed=True,
        expires_at=NOW + 0.877 - 0.000456,
    )


def a_manifest(**changes: Any) -> Manifest:  # noqa: ANN401 - any field of a manifest
    """Return a pending manifest, with `changes`."""
    manifest = Manifest(
        repository=fresh_name(),
        digest=fresh_digest(),
        media_type="application/vnd.oci.image.manifest.v1+json",
        size=7,
        references=(fresh_digest(), fresh_digest()),
        subject=None,
        body=b'{"a":1}',
        pushed_at=NOW,
        version=uuid.uuid4().hex,
        sweep_at=NOW + 3600,
    )
    return replace(manifest, **changes)


def a_full_manifest() -> Manifest:
    """Return a manifest with every field set."""
    return a_manifest(
        subject=fresh_digest(),
        body=b"\x00\xff" * 20_000,
        pushed_by="credential:a",
        total_bytes=2**40,
        platforms=("linux/amd64", "linux/arm64/v8"),
        artifact_type="application/x-test",
        pulled_at=NOW + 0.25,
        restored_at=NOW + 0.5,
        mark="nonce 1 root a rule",
        deleted_at=NOW + 1,
        deleted_by="credential:b",
        deleted_tags=("v1", "v2"),
    )


def a_referrer(manifest: Manifest, subject: Digest) -> Referrer:
    """Return the row that a manifest has in the list of its subject."""
    return Referrer(
        repository=manifest.repository,
        subject=subject,
        digest=manifest.digest,
        media_type=manifest.media_type,
        size=manifest.size,
        artifact_type="application/x-test",
        annotations={"": "no name", "a.b/c": "täxt\n", "lone": "\ud800"},
    )


def begin(sessions: SessionStore, repository: str, digest: Digest) -> tuple[Session, Session]:
    """Store a verified session that claims a digest; return it, and as it is to be published."""
    session = a_session(
        repository=repository, state=UploadState.VERIFIED, offset=SIZE, claim=digest
    )
    sessions.create(session)
    committed = replace(
        session,
        state=UploadState.COMMITTED,
        sweep_at=NOW + 4321,
        expires_at=float(int(NOW) + 86400),
    )
    return session, committed


def key_of(session: Session) -> str:
    """Return the canonical key of what a session brings."""
    return f"blobs/{session.claim}/{session.id}"


def always(_key: str) -> bool:
    """Every object is there."""
    return True


def push(
    sessions: SessionStore,
    metadata: MetadataStore,
    repository: str,
    digest: Digest,
    now: float = NOW,
) -> Session:
    """Publish a blob of SIZE bytes in a repository, through a session of its own."""
    before, after = begin(sessions, repository, digest)
    return metadata.publish(before, after, key_of(before), now, is_there=always)


def begin_delete(
    metadata: MetadataStore, repository: str, digest: Digest, sweep_at: float
) -> Manifest:
    """Begin to delete a manifest that is there."""
    seen = metadata.get_manifest(repository, digest)
    assert seen is not None
    return metadata.begin_delete(seen, sweep_at, STAMP)


def push_manifest(metadata: MetadataStore, manifest: Manifest, *tags: str) -> Manifest:
    """Make a manifest live with tags that nothing else has, and with a row if it has a subject."""
    assert metadata.put_pending(manifest) == manifest
    subject = manifest.subject
    row = a_referrer(manifest, subject) if subject is not None else None
    metadata.make_live(manifest, dict.fromkeys(tags), row, STAMP)
    return replace(manifest, state=ManifestState.LIVE, sweep_at=None)
