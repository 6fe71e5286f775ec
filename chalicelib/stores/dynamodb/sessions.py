"""The session store on DynamoDB: one item for each upload session.

Each operation is one conditional write that knows its own repeat. This module must never read
before it writes, nor write without a condition.
"""

# ruff: noqa: D102 - registry.ports says what each method of the store does

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from chalicelib.digest import Digest
from chalicelib.errors import UploadBusyError, UploadOffsetError, UploadUnknownError
from chalicelib.registry.outcomes import SessionMovedError
from chalicelib.registry.session import (
    MAX_CLAIMS,
    Owner,
    Session,
    UploadState,
    taken_over,
    with_late_writer,
)
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.client import ConditionFailedError, Dynamo
from chalicelib.stores.dynamodb.expressions import Clause, Put, Update
from chalicelib.stores.dynamodb.items import SESSION, session_item
from chalicelib.stores.dynamodb.keys import searched_key, session_key
from chalicelib.telemetry.tally import StoreEvent, note

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

_GIVEN_UP = ("next_part", "burned", "earlier_claims", "disturbed")
"""The attributes that `taken_over` changes."""

NEVER_CREATED = Clause("attribute_not_exists(#session)")
"""No session has this id: not even the one that a lost answer left behind."""

NOBODY_HOLDS = Clause("attribute_not_exists(#holder)")
"""No request is appending, and none has died while it was."""


def in_state(state: UploadState) -> Clause:
    """The session has this state; an absent item has none."""
    return Clause("#state = :state", {"state": codec.TEXT.encode(state)})


def under_fence(fence: int) -> Clause:
    """No lease and no seal has come since the fence was read."""
    return Clause("#fence = :fence", {"fence": codec.WHOLE.encode(fence)})


def of_repository(repository: str) -> Clause:
    """The session is this repository's, and its id was not put into another one's URL."""
    return Clause("#repository = :repository", {"repository": codec.TEXT.encode(repository)})


def opened_by(principal: str) -> Clause:
    """The caller opened the session: nobody else can use an id that they have overheard."""
    return Clause("#principal = :principal", {"principal": codec.TEXT.encode(principal)})


def alive_at(now: float) -> Clause:
    """The session's life has not ended: its bytes are safe from every lifecycle rule."""
    return Clause("#life_until > :now", {"now": codec.TIME.encode(now)})


def at_offset(offset: int) -> Clause:
    """The bytes before this one are durable, and no other ones."""
    return Clause("#offset = :offset", {"offset": codec.WHOLE.encode(offset)})


def held_by(holder: str) -> Clause:
    """The request that was seen to hold the session still does: it has not ended."""
    return Clause("#holder = :seen", {"seen": codec.TEXT.encode(holder)})


def creation_of(table: str, session: Session) -> Put:
    """Return the write that puts an item where there was none."""
    return Put(table, session_key(session.id), session_item(session), NEVER_CREATED)


def further_than(key: str) -> Clause:
    """Nobody has looked for strays up to this key yet."""
    return Clause("attribute_not_exists(#until) OR #until < :key", {"key": codec.TEXT.encode(key)})


def update_of(table: str, before: Session, after: Session) -> Update:
    """Return the write of what differs, under `before`'s state and fence."""
    return _update(table, before, session_item(after))


def _update(table: str, before: Session, new: codec.Item) -> Update:
    old = session_item(before)
    return Update(
        table,
        session_key(before.id),
        in_state(before.state) & under_fence(before.fence),
        set={name: value for name, value in new.items() if old.get(name) != value},
        remove=tuple(name for name in old if name not in new),
    )


class _Lease(NamedTuple):
    """What a request asks for when it takes a lease; times in seconds since the epoch."""

    owner: Owner
    at: int | None
    claim: Digest | None
    holder: str
    now: float
    until: float


class DynamoSessionStore:
    """`SessionStore` over the table `uploads`."""

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._dynamo = Dynamo(client, sleep)
        self._table = table

    def create(self, session: Session) -> None:
        try:
            self._dynamo.write(creation_of(self._table, session))
        except ConditionFailedError as failed:
            current = _session(failed)
            if current is None or current.nonce != session.nonce:
                raise SessionMovedError(current) from failed

    def get(self, session_id: str) -> Session | None:
        return SESSION.decode_found(self._dynamo.get(self._table, session_key(session_id)))

    def take_lease(  # noqa: PLR0913 - the port's own list
        self,
        session_id: str,
        *,
        owner: Owner,
        at: int | None,
        claim: Digest | None,
        holder: str,
        now: float,
        until: float,
    ) -> Session:
        """See SessionStore.take_lease.

        Raises UploadUnknownError before UploadOffsetError before UploadBusyError.
        """
        lease = _Lease(owner, at, claim, holder, now, until)
        clause = (
            in_state(UploadState.OPEN)
            & of_repository(owner.repository)
            & opened_by(owner.principal)
        )
        clause &= alive_at(now) & NOBODY_HOLDS
        if at is not None:
            clause &= at_offset(at)
        try:
            leased = self._write(_lease_write(self._table, session_id, lease, clause))
        except ConditionFailedError as failed:
            found = _leasable(lease, failed)
            leased = found if found.holder == holder else self._take_over(found, lease)
        # A request takes one lease, so a saved hash state is another invocation's.
        if leased.offset and leased.hashed:
            note(StoreEvent.RESUMED)
        return leased

    def due(self, now: float) -> Iterator[str]:
        for item in self._dynamo.query_due(self._table, now):
            yield str(item["session"]["S"])

    def searched(self) -> str:
        item = self._dynamo.get(self._table, searched_key())
        return codec.TEXT.decode(item["until"]) if item else ""

    def mark_searched(self, key: str) -> None:
        attributes = {"until": codec.TEXT.encode(key)}
        with suppress(ConditionFailedError):
            self._dynamo.write(Put(self._table, searched_key(), attributes, further_than(key)))

    def write(self, before: Session, after: Session) -> Session:
        new = session_item(after)
        update, stored = _update(self._table, before, new), SESSION.decode(new)
        if not update.set and not update.remove:
            return stored
        try:
            self._dynamo.write(update)
        except ConditionFailedError as failed:
            current = _session(failed)
            if current != stored:
                raise SessionMovedError(current) from failed
        if before.hashed and not after.hashed:
            note(StoreEvent.UNHASHED)
        return stored

    def _take_over(self, dead: Session, lease: _Lease) -> Session:
        """Take the lease of a request that died, and burn the part number it may still write."""
        # A write that takes a part number also frees the lease, or raises the fence.
        clause = in_state(UploadState.OPEN) & held_by(dead.holder or "") & under_fence(dead.fence)
        update = _lease_write(self._table, dead.id, lease, clause)
        item = session_item(taken_over(dead))
        changed = {name: item[name] for name in _GIVEN_UP}
        try:
            taken = self._write(update._replace(set={**update.set, **changed}))
        except ConditionFailedError as failed:
            current = _session(failed)
            if current is None or current.holder != lease.holder:
                raise UploadBusyError(
                    "another request has just taken this upload", offset=dead.offset, retry_after=1
                ) from failed
            taken = current
        note(StoreEvent.TAKEN_OVER)
        return taken

    def _write(self, update: Update) -> Session:
        return SESSION.decode(self._dynamo.write(update))


def _lease_write(table: str, session_id: str, lease: _Lease, clause: Clause) -> Update:
    attributes = {
        "holder": codec.TEXT.encode(lease.holder),
        "lease_until": codec.TIME.encode(lease.until),
    }
    if lease.claim is not None:
        attributes["claim"] = codec.DIGEST.encode(lease.claim)
    return Update(table, session_key(session_id), clause, set=attributes, add={"fence": 1})


def _leasable(lease: _Lease, failed: ConditionFailedError) -> Session:
    """Return the session found if its lease is this request's already, or dead.

    Raises UploadUnknownError, UploadOffsetError, UploadBusyError for every other one.
    """
    found = _session(failed)
    if (
        found is None
        or found.owner != lease.owner
        or found.state is not UploadState.OPEN
        or found.life_until <= lease.now
    ):
        raise UploadUnknownError from failed
    if found.holder == lease.holder:
        return found
    if lease.at is not None and found.offset != lease.at:
        raise UploadOffsetError(
            f"the upload has {found.offset} bytes, the chunk begins at {lease.at}",
            offset=found.offset,
        ) from failed
    if found.leased(lease.now):
        rest = math.ceil(found.lease_until - lease.now)
        raise UploadBusyError(
            "another request is appending to this upload",
            offset=found.offset,
            retry_after=rest,
        ) from failed
    if len(with_late_writer(found).earlier_claims) > MAX_CLAIMS:
        raise UploadUnknownError("too many digests were claimed for this upload: start a new one")
    return found


def _session(failed: ConditionFailedError) -> Session | None:
    return SESSION.decode_found(failed.item)
