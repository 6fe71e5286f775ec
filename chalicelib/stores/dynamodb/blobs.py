"""Blobs on DynamoDB: links, records, and the transaction that publishes a session's bytes.

The record says which object has the bytes. A link names it too, as it was when the link was written
last: where the two differ, the record was healed since by a push to another repository.
A record's `links` is exact: it changes only in the transaction that makes or removes a link with
its `count_id`. A link with another one was counted by a record that is lost: it counts for nothing
until it is written next.
Publishing writes record, link and session in one transaction, which has a form for each case: all
new, record live, record without its object, link there. The likeliest is tried first without
reading, and the items that it finds say which is next. This module must never write one of the
three without the others.
"""

# ruff: noqa: D102 - registry.ports says what each method of the store does

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from chalicelib.digest import Digest
from chalicelib.errors import UnavailableError
from chalicelib.registry.model import Covered, Link, Record
from chalicelib.registry.outcomes import OverQuotaError, RecordMissingError, SessionMovedError
from chalicelib.registry.session import Session, UploadState
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.client import (
    ConditionFailedError,
    Dynamo,
    TransactionRefusedError,
)
from chalicelib.stores.dynamodb.codec import CorruptItemError
from chalicelib.stores.dynamodb.expressions import (
    Change,
    Clause,
    ConditionCheck,
    Delete,
    Put,
    Update,
)
from chalicelib.stores.dynamodb.items import LINK, RECORD, SESSION, session_item
from chalicelib.stores.dynamodb.keys import link_key, record_key
from chalicelib.stores.dynamodb.sessions import creation_of, update_of
from chalicelib.stores.dynamodb.usage import UsageItems
from chalicelib.telemetry.tally import StoreEvent, current, note

TRIES = 8
"""How often an operation is tried while others keep changing link and record."""

ABSENT = Clause("attribute_not_exists(#pk)")
"""Nobody has linked, or published, this digest yet."""

_ONE = {"one": codec.WHOLE.encode(1)}

STILL_COUNTED = Clause("#links >= :one", _ONE)
"""The record is there and counts the link that goes."""

NOT_COUNTED = Clause("attribute_not_exists(#links) OR #links < :one", _ONE)
"""There is no record, or it counts no link."""

NO_COUNT_ID = Clause("attribute_not_exists(#count_id)")
"""The record is one of 0.1."""

_ID = 12
"""Digits of a count_id, which has to differ from those of other records of the same digest."""

_SESSION, _LINK, _RECORD, _HELD = range(4)
"""The place of each action in the transaction that publishes."""

_HELD_OF_LINK = 2
"""The place of what the repository holds in the transaction that links."""

_DELETED, _RELEASED = range(2)
"""The place of link and record in the transaction that deletes a link."""


def naming(key: str) -> Clause:
    """The record is there and still names this object, not a later push's."""
    return Clause("#key = :key", {"key": codec.TEXT.encode(key)})


def at_version(version: str) -> Clause:
    """Nobody has written the item since it was read."""
    return Clause("#version = :version", {"version": codec.TEXT.encode(version)})


def not_released_since(at: float) -> Clause:
    """No link that was relied on as late as that has gone yet."""
    earlier = Clause("#released_at < :at", {"at": codec.TIME.encode(at)})
    return Clause("attribute_not_exists(#released_at)") | earlier


def counting(link: Link) -> Clause:
    """The record counts this link among others, or would if it were there."""
    if link.count_id is None:
        return NO_COUNT_ID
    return Clause("#count_id = :count_id", {"count_id": codec.TEXT.encode(link.count_id)})


def not_counting(link: Link) -> Clause:
    """The record does not know this link: another one, which is lost, has counted it."""
    if link.count_id is None:
        return Clause("attribute_exists(#count_id)")
    return NO_COUNT_ID | Clause("#count_id <> :other", {"other": codec.TEXT.encode(link.count_id)})


def likely_record(link: Link) -> Record:
    """Return a record as it most likely is, where it has not been read: it counts the link."""
    return Record(link.digest, link.key, link.size, links=1, count_id=link.count_id)


class _LinkAndRecord(NamedTuple):
    """What is known of a blob's link and record; None: no such item was found yet."""

    link: Link | None = None
    record: Record | None = None

    @property
    def is_counted(self) -> bool:
        """Whether link and record are both there, and the record counts the link."""
        return self.link is not None and self.record is not None and self.record.counts(self.link)

    @property
    def linked(self) -> Link | None:
        """The link, naming the object that the record names."""
        if self.link is None:
            return None
        if self.record is None:
            return replace(self.link, recorded=False)
        record = self.record
        return replace(
            self.link, key=record.key, recorded=record.counts(self.link), content=record.content
        )


class _Publication(NamedTuple):
    """What is to be published: `claim` with `after.offset` bytes, under `key` if it is new."""

    before: Session
    after: Session
    claim: Digest
    key: str | None
    now: float
    is_there: Callable[[str], bool]
    content: bytes | None
    covered: Covered | None

    def heals(self, record: Record) -> bool:
        """Whether the record's object is gone, which the session's own can stand in for."""
        return self.key not in {None, record.key} and not self.is_there(record.key)

    def session(self, live: str) -> Session:
        """The session as it is written when `live` is the key that the record names."""
        written = replace(self.after, published_key=live)
        if self.before.state is UploadState.UNBEGUN:
            return written
        if live != self.key:
            # Its own bytes are not those published: the sweeper has to see it until they are gone.
            return replace(written, expires_at=None)
        return replace(written, sweep_at=None) if written.expires_at else written

    def check_size(self, size: int) -> None:
        if size != self.after.offset:
            raise CorruptItemError(
                f"{self.claim} is stored with {size} bytes, and session {self.after.id}"
                f" has it with {self.after.offset}: one of them is not this digest's"
            )


class BlobItems(UsageItems):
    """The part of `MetadataStore` that knows blobs: their links and records."""

    _dynamo: Dynamo
    _registry: str
    _uploads: str
    _new_id: Callable[[], str]

    def get_link(self, repository: str, digest: Digest) -> Link | None:
        link = self._look(repository, digest).linked
        tally = current()
        if link is not None and tally is not None:
            # After a redirect S3 sends the bytes: no answer of the registry has them.
            tally.linked_bytes = link.size
        return link

    def get_links(self, repository: str, digests: Sequence[Digest]) -> Mapping[Digest, Link]:
        keys = [link_key(repository, digest) for digest in digests]
        links = [LINK.decode(item) for item in self._dynamo.get_many(self._registry, keys)]
        return {link.digest: link for link in links}

    def get_record(self, digest: Digest) -> Record | None:
        return RECORD.decode_found(self._dynamo.get(self._registry, record_key(digest)))

    def get_records(self, digests: Sequence[Digest]) -> Mapping[Digest, Record]:
        keys = [record_key(digest) for digest in digests]
        records = [RECORD.decode(item) for item in self._dynamo.get_many(self._registry, keys)]
        return {record.digest: record for record in records}

    def add_link(
        self, repository: str, digest: Digest, now: float, *, covered: Covered | None = None
    ) -> Link | None:
        """See MetadataStore.add_link; raises UnavailableError if others keep changing both."""
        for _ in range(TRIES):
            found = self._look(repository, digest)
            if found.link is not None and found.record is not None and not found.is_counted:
                added = self.count_link(found.link, found.record, now)
            elif found.linked is not None:
                added = self._touched(found.linked, now)
            elif found.record is not None:
                added = self._linked(repository, found.record, now, covered)
            else:
                return None
            if added is not None:
                return added
        raise UnavailableError(f"others keep changing the links to {digest}")

    def touch_link(self, link: Link, now: float) -> bool:
        """See MetadataStore.touch_link; raises UnavailableError if others keep changing it."""
        return self._touched(link, now) is not None

    def count_link(self, link: Link, record: Record, now: float) -> Link | None:
        counted = replace(link, key=record.key, count_id=record.count_id, recorded=True)
        try:
            touched = self._touch(counted, now)
            self._dynamo.transact([touched, self._counted(record.digest, record.key)])
        except TransactionRefusedError as refused:
            found = LINK.decode_found(refused.items.get(0))
            # Counted meanwhile: by this very call, or by another.
            return found if found is not None and record.counts(found) else None
        return counted

    def delete_link(self, repository: str, digest: Digest) -> bool:
        key = link_key(repository, digest)
        link = LINK.decode_found(self._dynamo.get(self._registry, key))
        if link is None:
            return False
        record: Record | None = likely_record(link)
        for _ in range(TRIES):
            try:
                self._dynamo.transact(self._deletion(link, record))
            except TransactionRefusedError as refused:
                if _DELETED not in refused.items:
                    record = RECORD.decode_found(refused.items[_RELEASED])
                    continue
                # Gone since it was read: this very deletion took effect, or another one did.
                if (found := LINK.decode_found(refused.items[_DELETED])) is None:
                    return True
                link = found
            else:
                return True
        raise UnavailableError(f"others keep changing the link to {digest}")

    def publish(  # noqa: PLR0913 - as the port has it
        self,
        before: Session,
        after: Session,
        key: str | None,
        now: float,
        *,
        is_there: Callable[[str], bool],
        content: bytes | None = None,
        covered: Covered | None = None,
    ) -> Session:
        """See MetadataStore.publish; raises UnavailableError if others keep changing both."""
        if after.claim is None:
            raise ValueError(f"session {after.id} has no claim to publish")
        publication = _Publication(before, after, after.claim, key, now, is_there, content, covered)
        known = _LinkAndRecord()
        if key is None:
            known = self._look(after.repository, after.claim)
        for _ in range(TRIES):
            written, changes = self._form(publication, known)
            try:
                self._dynamo.transact(changes, crowded=covered is not None)
            except TransactionRefusedError as refused:
                if refused.items.keys() == {_HELD}:
                    raise OverQuotaError(size=after.offset) from refused
                if _SESSION not in refused.items:
                    known = _learnt(known, refused)
                    continue
                written = _already_published(before, after, refused)
            note(StoreEvent.COMMITTED)
            return written
        raise UnavailableError(f"others keep changing the links to {after.claim}")

    def _look(self, repository: str, digest: Digest) -> _LinkAndRecord:
        """Read link and record in one request."""
        found = _LinkAndRecord()
        keys = [link_key(repository, digest), record_key(digest)]
        for item in self._dynamo.get_many(self._registry, keys):
            if item["sk"] == {"S": record_key(digest)["sk"]}:
                found = found._replace(record=RECORD.decode(item))
            else:
                found = found._replace(link=LINK.decode(item))
        return found

    def _touch(self, link: Link, now: float) -> Update:
        """Touch a link that is still as it was read, and let it have `link.key` and its count.

        One that the record does not count keeps its own key: the record may end, and its object.
        """
        named = {"key": codec.TEXT.encode(link.key)} if link.recorded else {}
        counted = {} if link.count_id is None else {"count_id": codec.TEXT.encode(link.count_id)}
        return Update(
            self._registry,
            link_key(link.repository, link.digest),
            at_version(link.version),
            set={
                **named,
                "touched_at": codec.TIME.encode(max(link.touched_at, now)),
                "version": codec.TEXT.encode(self._new_id()),
                **counted,
            },
            remove=("mark",) if counted else ("mark", "count_id"),
        )

    def _touched(self, link: Link, now: float) -> Link | None:
        """Touch a link, unless another touch has come since it was read; None if it is gone."""
        for _ in range(TRIES):
            try:
                return LINK.decode(self._dynamo.write(self._touch(link, now)))
            except ConditionFailedError as failed:
                found = LINK.decode_found(failed.item)
            if found is None or (found.mark is None and found.touched_at >= now):
                return found
            link = found
        raise UnavailableError(f"others keep changing the link to {link.digest}")

    def _link_put(self, link: Link) -> Put:
        key = link_key(link.repository, link.digest)
        return Put(self._registry, key, LINK.encode(link), ABSENT)

    def _counted(self, digest: Digest, key: str) -> Update:
        return Update(self._registry, record_key(digest), naming(key), add={"links": 1})

    def _healed(self, record: Record, key: str, *, links: int) -> Update:
        """Let a record whose object is gone name another one, and count so many links more."""
        named = {"key": codec.TEXT.encode(key)}
        where = record_key(record.digest)
        return Update(self._registry, where, naming(record.key), set=named, add={"links": links})

    def _linked(
        self, repository: str, record: Record, now: float, covered: Covered | None
    ) -> Link | None:
        """Link to a live record; None if link or record are no longer as they were read."""
        link = Link(
            repository,
            record.digest,
            record.size,
            record.key,
            now,
            self._new_id(),
            count_id=record.count_id,
        )
        changes: list[Change] = [
            self._link_put(link),
            self._counted(record.digest, record.key),
        ]
        if covered is not None:
            changes.append(self._added(repository, covered, record.size, 0))
        try:
            self._dynamo.transact(changes, crowded=covered is not None)
        except TransactionRefusedError as refused:
            if refused.items.keys() == {_HELD_OF_LINK}:
                raise OverQuotaError(size=record.size) from refused
            return None
        return link

    def _deletion(
        self, link: Link, record: Record | None
    ) -> tuple[Delete, Update | ConditionCheck]:
        """Delete a link, which a record counts one less then: if both are as they were read."""
        where, at = record_key(link.digest), link.touched_at
        key = link_key(link.repository, link.digest)
        gone = Delete(self._registry, key, at_version(link.version))
        if record is None or record.links < 1 or not record.counts(link):
            uncounted = NOT_COUNTED | not_counting(link)
            return gone, ConditionCheck(self._registry, where, uncounted)
        clause = STILL_COUNTED & counting(link)
        if record.released_at is not None and record.released_at >= at:
            return gone, Update(self._registry, where, clause, add={"links": -1})
        released = {"released_at": codec.TIME.encode(at)}
        clause &= not_released_since(at)
        return gone, Update(self._registry, where, clause, set=released, add={"links": -1})

    def _form(
        self, publication: _Publication, known: _LinkAndRecord
    ) -> tuple[Session, list[Change]]:
        """Return the transaction for what is known, and the session as it writes it."""
        repository, claim = publication.after.repository, publication.claim
        link, record, now = known.link, known.record, publication.now
        for stored in known:
            if stored is not None:
                publication.check_size(stored.size)
        healed = record is not None and publication.heals(record)
        live = publication.key if record is None or healed else record.key
        if live is None:
            raise RecordMissingError(f"no record of {claim} is live")
        size = publication.after.offset
        written = SESSION.decode(session_item(publication.session(live)))
        unbegun = publication.before.state is UploadState.UNBEGUN
        changes: list[Change] = [
            creation_of(self._uploads, written)
            if unbegun
            else update_of(self._uploads, publication.before, written)
        ]
        made = record or Record(
            claim, live, size, 1, count_id=self._new_id()[:_ID], content=publication.content
        )
        if link is not None:
            counted = replace(link, key=live, count_id=made.count_id)
            changes.append(self._touch(counted, now))
        else:
            new = Link(repository, claim, size, live, now, self._new_id(), count_id=made.count_id)
            changes.append(self._link_put(new))
        if record is None:
            changes.append(Put(self._registry, record_key(claim), RECORD.encode(made), ABSENT))
        elif healed:
            changes.append(self._healed(record, live, links=0 if known.is_counted else 1))
        elif not known.is_counted:
            changes.append(self._counted(claim, live))
        if publication.covered is not None and link is None:
            changes.append(self._added(repository, publication.covered, size, 0))
        return written, changes


def _learnt(known: _LinkAndRecord, refused: TransactionRefusedError) -> _LinkAndRecord:
    """Return what is known once the refused actions have said which items they found."""
    items = refused.items
    if _LINK in items:
        known = known._replace(link=LINK.decode_found(items[_LINK]))
    if _RECORD in items:
        known = known._replace(record=RECORD.decode_found(items[_RECORD]))
    return known


def _already_published(
    before: Session, after: Session, refused: TransactionRefusedError
) -> Session:
    """Return the session found if this claim was published in it: by this call, or its equal.

    Of an unbegun session by this call alone: its equal may be old, and its blob gone since.
    """
    current = SESSION.decode_found(refused.items[_SESSION])
    another = before.state is UploadState.UNBEGUN and current and current.nonce != before.nonce
    if not current or another or (current.state, current.claim) != (after.state, after.claim):
        raise SessionMovedError(current) from refused
    return current
