"""The upload session as a value: what its one item holds, however long the upload.

This module must never do I/O; a session changes by `dataclasses.replace` and is written by a store.
"""

import enum
from dataclasses import dataclass, replace

from chalicelib.digest import Algorithm, Digest

LAST_PART = 10_000
"""S3's highest part number. It is the tail's: no chunk takes it, and so no late writer does."""

MAX_CLAIMS = 64
"""Most digests that requests which died may have claimed, before a session is given up itself."""


class UploadState(enum.StrEnum):
    """Where a session stands; `chalicelib.registry.upload.states.TABLE` says how it moves."""

    OPEN = "open"
    SEALED = "sealed"
    ASSEMBLED = "assembled"
    VERIFIED = "verified"
    COPIED = "copied"
    COMMITTED = "committed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({UploadState.COMMITTED, UploadState.CANCELLED})


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Bytes in S3 that a session names: key, size in bytes, and the ETag its writer was told."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a session is: nobody else finds it, and under no other name."""

    repository: str
    principal: str


@dataclass(frozen=True, slots=True)
class Session:
    """One upload session. Times are seconds since the epoch, sizes and offsets bytes."""

    id: str
    repository: str
    principal: str
    nonce: str
    """Fresh at creation: a creation repeated by the SDK recognises its own item by it."""
    created_at: float
    life_until: float
    """No request is served after this; fixed at creation, below every lifecycle period."""
    state: UploadState = UploadState.OPEN
    offset: int = 0
    """How many bytes are durable: what Range tells clients."""
    algorithm: Algorithm = Algorithm.SHA256
    hash_state: bytes | None = None
    """The hash of the first `offset` bytes, resumable; None when the session is unhashed."""
    upload_id: str | None = None
    next_part: int = 1
    """The number of the next part to store; every lower one not in `burned` is accepted."""
    burned: tuple[int, ...] = ()
    """Part numbers a late writer may still write to, rising: left out of what is assembled."""
    tail: StoredObject | None = None
    """Accepted bytes not yet in a part: the last ones before `offset`."""
    tail_part: int | None = None
    """The number that the tail takes as the last part, from sealing on."""
    claim: Digest | None = None
    """The digest the client gave last; it names the session's canonical key."""
    earlier_claims: tuple[Digest, ...] = ()
    """Claims of requests that died or failed: their bytes may stand at canonical keys."""
    fence: int = 0
    """Rises with every lease and seal; a write of an earlier fence is refused."""
    holder: str | None = None
    """The nonce of the request that holds the lease; None when nobody does."""
    lease_until: float = 0.0
    last_fence: int = 0
    """The fence of the last append that was accepted."""
    staged: StoredObject | None = None
    """The assembled bytes, from `assembled` on."""
    computed: tuple[Digest, ...] = ()
    """Digests read from the staged object so far (unhashed sessions only)."""
    published_key: str | None = None
    """The key that the blob's record names, from `committed` on; ours or an earlier push's."""
    disturbed: bool = False
    """Whether a late writer may exist: then clean-up works by prefix, not by the keys named."""
    sweep_at: float | None = None
    """When the sweeper has something to do; None once there is nothing left to clean up."""
    expires_at: float | None = None
    """The TTL attribute: set only when over and cleaned up."""

    @property
    def owner(self) -> Owner:
        """Whose it is."""
        return Owner(self.repository, self.principal)

    @property
    def hashed(self) -> bool:
        """Whether the digest of all accepted bytes is known from the saved state."""
        return self.hash_state is not None

    @property
    def takes_claims(self) -> bool:
        """Whether it is closed, and another digest may be the right one: its bytes decide."""
        return not self.hashed and self.state in {UploadState.SEALED, UploadState.ASSEMBLED}

    def over_by(self, now: float) -> bool:
        """Whether the session's life has ended."""
        return self.life_until <= now

    def leased(self, now: float) -> bool:
        """Whether a request other than a dead one holds the session."""
        return self.holder is not None and now < self.lease_until


def left_behind(session: Session) -> Session:
    """Return a session with the objects that its holder may still write to noted for clean-up.

    A tail's key is the fence's own, and a canonical key the claim's: nobody else reads them.
    """
    claims = (session.claim,) if session.claim else ()
    return replace(
        session,
        earlier_claims=tuple(dict.fromkeys((*session.earlier_claims, *claims))),
        disturbed=True,
    )


def overtaken(session: Session) -> Session:
    """Return a session with all that its holder may still write to given up.

    That is what `left_behind` notes, and the number of its next part.
    """
    behind = left_behind(session)
    if session.next_part >= LAST_PART:
        return behind
    return replace(
        behind, next_part=session.next_part + 1, burned=(*session.burned, session.next_part)
    )
