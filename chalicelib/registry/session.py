"""The upload session as a value: its one item, of the same size however long the upload.

This module must never do I/O; a session changes by `dataclasses.replace` and is written by a store.
"""

import enum
from dataclasses import replace

from chalicelib.dataclass import dataclass
from chalicelib.digest import Algorithm, Digest
from chalicelib.limits import PART_COUNT

LAST_PART = PART_COUNT
"""S3's highest part number, kept for the tail: no chunk takes it, so it is never burned."""

MAX_CLAIMS = 64
"""Most claims of requests that died; a session with more is unknown to clients."""

WORKER = "worker"
"""The holder of a session that was handed over to a worker which has not come yet."""


class UploadState(enum.StrEnum):
    """The states of a session; `chalicelib.registry.upload.states.TABLE` has its moves."""

    UNBEGUN = "unbegun"
    """It has no item: see `chalicelib.registry.upload.unbegun`."""
    OPEN = "open"
    DIRECT = "direct"
    SEALED = "sealed"
    ASSEMBLED = "assembled"
    VERIFIED = "verified"
    COPIED = "copied"
    COMMITTED = "committed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({UploadState.COMMITTED, UploadState.CANCELLED})


@dataclass(frozen=True)
class StoredObject:
    """Bytes in S3 that a session names: key, size in bytes, and the ETag of the write."""

    key: str
    size: int
    etag: str


@dataclass(frozen=True)
class Reading:
    """How far a staged object was read and hashed: `state` is the hash of its first bytes."""

    algorithm: Algorithm
    offset: int
    state: bytes


@dataclass(frozen=True)
class Owner:
    """Who opened a session, and for which repository: it is unknown to all others."""

    repository: str
    principal: str


@dataclass(frozen=True)
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
    """How many bytes are durable; clients see it in Range."""
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
    """The digest that the client gave last; it is part of the session's canonical key."""
    earlier_claims: tuple[Digest, ...] = ()
    """Claims of requests that died or failed: their bytes may stand at canonical keys."""
    fence: int = 0
    """Rises with every lease, seal, new claim and end; a write under an earlier one is refused."""
    holder: str | None = None
    """The nonce of who holds the lease, or WORKER; None while the lease is free.

    The lease of an open session is that of a request that appends, of a closed one the driver's.
    """
    lease_until: float = 0.0
    last_fence: int = 0
    """The fence of the last append that was accepted."""
    staged: StoredObject | None = None
    """The assembled bytes, from `assembled` on."""
    missed_at: float | None = None
    """When S3 first had neither the multipart upload nor the object that may come of it."""
    reading: Reading | None = None
    """How far the staged object was read, while that is not done (unhashed sessions only)."""
    computed: tuple[Digest, ...] = ()
    """Digests read from the staged object so far (unhashed sessions only)."""
    published_key: str | None = None
    """The key that the blob's record names, from `committed` on: its own or an earlier push's."""
    direct_size: int | None = None
    """The size of the blob that a direct upload brings in one PUT; None for every other upload."""
    by_parts: bool | None = None
    """True for a direct upload in parts, whose client reports what it sent; None for all others."""
    report: Digest | None = None
    """The SHA-256 of the report that the claim came with: of the stored bytes (by parts only)."""
    verified_segments: bytes | None = None
    """Which segments of the report hold, as bits: segment n is bit n % 8 of byte n // 8."""
    refusal: str | None = None
    """Why the upload was refused: the message for its client, also for a repeat."""
    denied: bool | None = None
    """True where it was refused for a quota, and not for its bytes."""
    disturbed: bool = False
    """Whether a late writer may exist: then clean-up works by prefix, not by the keys named."""
    sweep_at: float | None = None
    """When the sweeper is to look at it; None once there is nothing left to clean up."""
    expires_at: float | None = None
    """The TTL attribute: set only when over and cleaned up."""
    ticket: str | None = None
    """What names it in a path while it is unbegun; never stored."""

    @property
    def owner(self) -> Owner:
        """Who opened it."""
        return Owner(self.repository, self.principal)

    @property
    def hashed(self) -> bool:
        """Whether the digest of all accepted bytes is known from the saved state."""
        return self.hash_state is not None

    @property
    def is_direct(self) -> bool:
        """Whether the client puts the bytes to their canonical key itself: see `direct.py`."""
        return self.direct_size is not None or bool(self.by_parts)

    @property
    def takes_bytes(self) -> bool:
        """Whether its client may still bring bytes: there is nothing to drive yet."""
        return self.state in {UploadState.OPEN, UploadState.DIRECT}

    @property
    def takes_claims(self) -> bool:
        """Whether another claim may replace this one: it is closed, and not verified yet."""
        closed = self.state in {UploadState.SEALED, UploadState.ASSEMBLED}
        return closed and not self.hashed and not self.by_parts

    @property
    def stands(self) -> bool:
        """Whether its bytes are proven, and stand where they are to stay: it can be published."""
        proven_in_place = self.state is UploadState.VERIFIED and self.by_parts
        return self.state is UploadState.COPIED or bool(proven_in_place)

    def over_by(self, now: float) -> bool:
        """Whether the session's life has ended."""
        return self.life_until <= now

    @property
    def settled(self) -> bool:
        """Whether no driver has anything to do: it is over, or waits for another claim."""
        return self.state in TERMINAL or self.mismatched

    def leased(self, now: float) -> bool:
        """Whether a request or a driver that may still be alive holds the lease."""
        return self.holder is not None and now < self.lease_until

    def driven(self, now: float) -> bool:
        """Whether it is closed, and a driver that has begun may still be alive."""
        return self.state is not UploadState.OPEN and self.leased(now) and self.holder != WORKER

    @property
    def claimed_digest(self) -> Digest:
        """The claim of a session that must have one; ValueError, a fault in the program, if not."""
        if self.claim is None:
            raise ValueError(f"session {self.id} has no claim")
        return self.claim

    @property
    def staged_object(self) -> StoredObject:
        """The staged object of a session that must have one; ValueError, a fault, if not."""
        if self.staged is None:
            raise ValueError(f"session {self.id} has no staged object")
        return self.staged

    @property
    def computed_digest(self) -> Digest | None:
        """The digest read from the staged bytes in the claim's algorithm; None before that."""
        algorithm = self.claim and self.claim.algorithm
        return next((found for found in self.computed if found.algorithm is algorithm), None)

    @property
    def mismatched(self) -> bool:
        """Whether the staged bytes were read and do not have the digest claimed."""
        assembled = self.state is UploadState.ASSEMBLED
        return assembled and self.computed_digest not in {None, self.claim}


def with_late_writer(session: Session) -> Session:
    """Return a session whose holder may still write to keys that no other request uses.

    Those are the tail's key, which has the holder's fence, and the canonical key of its claim.
    Clean-up has to know of both; no part number is burned.
    """
    claims = (session.claim,) if session.claim else ()
    return replace(
        session,
        earlier_claims=tuple(dict.fromkeys((*session.earlier_claims, *claims))),
        disturbed=True,
    )


def taken_over(session: Session) -> Session:
    """Return a session after the takeover of its lease: its next part number is burned too.

    The holder may still store a part under that number. The tail's number is never burned.
    """
    late = with_late_writer(session)
    if session.next_part >= LAST_PART:
        return late
    return replace(
        late, next_part=session.next_part + 1, burned=(*session.burned, session.next_part)
    )


def passed_on(session: Session, holder: str | None, until: float = 0.0) -> Session:
    """Return a closed session whose driver's lease goes to another holder, or to nobody.

    A driver that leaves a sealed session may have a CompleteMultipartUpload under way.
    """
    driven = session.holder not in {None, WORKER} and session.state is UploadState.SEALED
    return replace(
        session,
        holder=holder,
        lease_until=until,
        fence=session.fence + 1,
        disturbed=session.disturbed or driven,
    )
