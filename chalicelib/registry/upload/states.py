"""The state table of an upload session: every move there is, and why the protocol is right.

A move that is not in TABLE raises IllegalMoveError. This module must never do I/O. Tests hold the
table and the diagram in docs/ to TABLE, and fail where no drill reaches one of its rows.

The theory. A client sends chunks, and S3 stores parts, each of at least 5 MiB but the last. A
request may die at any call, may be slower than its successor, and the SDK may send any call twice.
So every write of an item has a condition, and a write that finds its own result has succeeded
before.

- A *lease* is the right of one request to change an open session. One conditional write takes it,
  and the write that moves the offset frees it. The lease of a request that died ends by time, when
  that request can no longer live; then the next request takes it over.
- The lease of a closed session is its *driver's*: nobody else drives, nobody asks for a worker, and
  requests only look on. The write that seals gives it to the request itself, or to a worker that
  is asked for next and is awaited for a minute. Each step renews it, and is bounded far below it.
  A driver that stops frees it, or gives it to a worker; that of a driver that died ends by time.
- A *fence* is a number that rises with each lease, seal, new claim and cancellation. Every write
  but the one that takes a lease requires the fence that its writer saw, so a request or a driver
  whose lease was taken over changes no session. It can still write to S3, which knows no fence.
- So a late write to S3 must be of no use. A tail's key has its writer's fence in it. A part number
  is *burned* at a takeover: no later request stores a part under it, and the object is completed
  without it. A takeover costs one of S3's 10,000 numbers; the last one is kept for the tail.
- A *claim* is the digest that a closing PUT names. It is in the item before any byte is at the
  canonical key, which is made of claim and session: clean-up knows all keys that there can be.
- A session is *hashed* while the digest of its accepted bytes is known, since each chunk was hashed
  as it came. It is unhashed where the saved hash can't be used, or the claim has another algorithm.

- An *unbegun* session has no item. Its ticket, which the POST's Location carries, says all that the
  item would, and a MAC says who made it. The write that begins or ends it requires that there is no
  item, so of all that are sent one takes effect. The item of one that is over stays longer than its
  ticket is good: a session is begun once. A whole blob is put to a key that no item names yet; so
  the sweeper looks through the keys of each hour, when no request can publish them any more, and
  deletes what no record names. The edge puts blobs there, too: what S3 has compared is published by
  one look and one transaction; what it has not is taken for staged, and read like any such bytes.
- A *direct* session has no lease and no driver. Its claim is in the item when it is created, and
  its client puts the bytes to the canonical key by a URL that lets through nothing else. S3
  compares their SHA-256 with the claim before it keeps them, and keeps what it has compared. So a
  commit is one look at the object and one transaction, which any number of requests may try.
- A direct session *in parts* has no claim before its commit, which brings a report of the parts
  besides. Both are pinned by the write that seals it, and from then on it has a driver. S3 compares
  nothing, and lets a part be put anew until the upload is completed. So nothing counts but what is
  read of the object, by the ETag that S3 gave it: no URL lets through a write to that.

Who may die where, and what the next one finds:

- unbegun: the session as it was, and perhaps an object that the repeated request writes once more,
  or that the sweeper finds.
- open: the holder of the lease dies. Offset, hash and accepted parts are as they were before it.
- sealed to copied: a driver dies, or is late: another one drives already. An effect on S3 comes
  before the move that records it and can be repeated; what is done of a read is in the item, what
  is done of a copy in S3. Whoever comes next goes on: a repeat of the PUT, a worker, or the sweeper
  (a quarter of an hour after the seal).
- A late driver can do no harm in S3. It completes an upload that is over, or copies the same bytes
  to the session's own key, which clean-up deletes twice where the session does not publish it.
- S3 may put an object together for minutes after a driver that asked for it has died, and has
  neither the upload nor the object meanwhile. So only a driver says `lost`: at once if nobody can
  have asked before it (a driver that leaves a sealed session marks it disturbed), and else when
  both are missed for longer than S3 can take.
- direct: a client dies before its PUT, in it, or before the commit. It comes back, or the session
  ends with its life. A URL that was given out can't be taken back: a PUT may still land when the
  session is over, or a part that outlives the abort of its upload. A commit that dies before it
  seals leaves a report. So clean-up comes again when the last URL has expired and the longest PUT
  ended.
- committed, cancelled: clean-up dies, and the sweeper does it again. Where a late writer may exist,
  it deletes by prefix, and once more an hour later, and only then may the item expire.

Why these states. `sealed` takes no more bytes; its claim is the hash, or it is unhashed.
`assembled` has one staged object, which can be read, as parts can't be. A hashed session is copied
from there. An unhashed one is read whole and published only by way of `verified`; after a
mismatch it stays, since another claim may be right. `copied` has the bytes at a key of its own, and
one transaction writes record, link and session; bytes that came in parts stand at theirs from the
beginning, and are published from `verified`. `direct` is no kind of `open`: it takes no chunk.
After `refuse` no other claim may follow, as it may after `mismatch`: the report was wrong, too.
Nobody gets a blob by naming its digest: `already live` and `whole` are moves of hashed sessions
alone, and a direct one has to have its own object.

Tried and left: a limit of 64 burned numbers ended every upload in some minutes of throttling. A 409
of CompleteMultipartUpload taken for `lost` ended uploads that another driver was completing. With
any number of drivers at once, each repeat of a PUT copied the blob again. A blob without parts that
was sealed first cost five more calls, hence `whole`. See docs/decisions.md.
"""

import enum
from collections.abc import Mapping

from chalicelib.registry.session import UploadState


class Event(enum.StrEnum):
    """What can happen to a session."""

    SEAL = "seal"
    """The closing PUT ended the session: every byte is in S3, and no digest is known to differ."""
    BEGIN = "begin"
    """The first chunk has come: the item was created, with the lease of its request."""
    WHOLE = "whole"
    """No chunk had become a part: what there is was hashed and published by one request."""
    MISMATCH = "mismatch"
    """An unhashed session's staged object has another digest: the client may claim that one."""
    ASSEMBLE = "assemble"
    """One staged object holds exactly the bytes that were accepted."""
    VERIFY = "verify"
    """An unhashed session's staged object was read, and has the digest claimed."""
    COPY = "copy"
    """The staged bytes were copied to the session's canonical key."""
    ALREADY_LIVE = "already live"
    """A hashed session's blob is live already: only a link was written."""
    PUBLISH = "publish"
    """The blob's record, the link and the session were written in one transaction."""
    REFUSE = "refuse"
    """A direct upload's parts are not those reported, or its bytes have another digest.

    Or, of any upload, its repository has no room for the blob.
    """
    LOST = "lost"
    """The bytes that the session names are not in S3."""
    CANCEL = "cancel"
    """The client cancelled the upload."""
    EXPIRE = "expire"
    """The session's life has ended, and the sweeper found it."""


class IllegalMoveError(Exception):
    """A move that the table does not have: a fault in the program."""


TABLE: Mapping[tuple[UploadState, Event], UploadState] = {
    (UploadState.UNBEGUN, Event.BEGIN): UploadState.OPEN,
    (UploadState.UNBEGUN, Event.WHOLE): UploadState.COMMITTED,
    (UploadState.UNBEGUN, Event.PUBLISH): UploadState.COMMITTED,
    (UploadState.UNBEGUN, Event.ASSEMBLE): UploadState.ASSEMBLED,
    (UploadState.UNBEGUN, Event.REFUSE): UploadState.CANCELLED,
    (UploadState.UNBEGUN, Event.CANCEL): UploadState.CANCELLED,
    (UploadState.OPEN, Event.SEAL): UploadState.SEALED,
    (UploadState.OPEN, Event.WHOLE): UploadState.COMMITTED,
    (UploadState.OPEN, Event.REFUSE): UploadState.CANCELLED,
    (UploadState.OPEN, Event.LOST): UploadState.CANCELLED,
    (UploadState.OPEN, Event.CANCEL): UploadState.CANCELLED,
    (UploadState.OPEN, Event.EXPIRE): UploadState.CANCELLED,
    (UploadState.DIRECT, Event.SEAL): UploadState.SEALED,
    (UploadState.DIRECT, Event.PUBLISH): UploadState.COMMITTED,
    (UploadState.DIRECT, Event.REFUSE): UploadState.CANCELLED,
    (UploadState.DIRECT, Event.CANCEL): UploadState.CANCELLED,
    (UploadState.DIRECT, Event.EXPIRE): UploadState.CANCELLED,
    (UploadState.SEALED, Event.ASSEMBLE): UploadState.ASSEMBLED,
    (UploadState.SEALED, Event.ALREADY_LIVE): UploadState.COMMITTED,
    (UploadState.SEALED, Event.REFUSE): UploadState.CANCELLED,
    (UploadState.SEALED, Event.LOST): UploadState.CANCELLED,
    (UploadState.SEALED, Event.EXPIRE): UploadState.CANCELLED,
    (UploadState.ASSEMBLED, Event.COPY): UploadState.COPIED,
    (UploadState.ASSEMBLED, Event.VERIFY): UploadState.VERIFIED,
    (UploadState.ASSEMBLED, Event.MISMATCH): UploadState.ASSEMBLED,
    (UploadState.ASSEMBLED, Event.REFUSE): UploadState.CANCELLED,
    (UploadState.ASSEMBLED, Event.LOST): UploadState.CANCELLED,
    (UploadState.ASSEMBLED, Event.EXPIRE): UploadState.CANCELLED,
    (UploadState.VERIFIED, Event.COPY): UploadState.COPIED,
    (UploadState.VERIFIED, Event.PUBLISH): UploadState.COMMITTED,
    (UploadState.VERIFIED, Event.REFUSE): UploadState.CANCELLED,
    (UploadState.VERIFIED, Event.LOST): UploadState.CANCELLED,
    (UploadState.VERIFIED, Event.EXPIRE): UploadState.CANCELLED,
    (UploadState.COPIED, Event.PUBLISH): UploadState.COMMITTED,
    (UploadState.COPIED, Event.REFUSE): UploadState.CANCELLED,
    (UploadState.COPIED, Event.EXPIRE): UploadState.CANCELLED,
}


def after(state: UploadState, event: Event) -> UploadState:
    """Return where an event leads; raises IllegalMoveError if the table does not have it."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise IllegalMoveError(f"a session that is {state} can't {event}") from None
