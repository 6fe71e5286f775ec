"""Blobs on DynamoDB: links, records, and the transaction that publishes a session's bytes.

A record's `links` is exact: it changes only in the transaction that makes or removes a link.
Publishing writes record, link and session in one transaction, which has a form for each case: all
new, record live, link there. The likeliest is tried first without reading, and the items that it
finds say which is next. This module must never write one of the three without the others.
"""

# ruff: noqa: D102 - registry.ports says what each method of the store does

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from chalicelib.digest import Digest
from chalicelib.errors import UnavailableError
from chalicelib.registry.model import Link, Record
from chalicelib.registry.outcomes import RecordMissingError, SessionMovedError
from chalicelib.registry.session import Session
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.client import (
    ConditionFailedError,
    Dynamo,
    TransactionRefusedError,
)
from chalicelib.stores.dynamodb.codec import CorruptItemError
from chalicelib.stores.dynamodb.expressions import Change, Clause, Delete, Put, Update
from chalicelib.stores.dynamodb.items import LINK, RECORD, SESSION, session_item
from chalicelib.stores.dynamodb.keys import link_key, record_key
from chalicelib.stores.dynamodb.sessions import update_of
from chalicelib.telemetry.tally import StoreEvent, current, note

TRIES = 8
"""How often an operation is tried while others keep changing link and record."""

ABSENT = Clause("attribute_not_exists(#pk)")
"""Nobody has linked, or published, this digest yet."""

STILL_COUNTED = Clause("#links >= :one", {"one": codec.WHOLE.encode(1)})
"""The record is there and counts the link that goes."""

_SESSION, _LINK, _RECORD = range(3)
"""The place of each action in the transaction that publishes."""


def naming(key: str) -> Clause:
    """The link, or the record, is there and still names this object, not a later push's."""
    return Clause("#key = :key", {"key": codec.TEXT.encode(key)})


def at_version(version: str) -> Clause:
    """Nobody has written the item since it was read."""
    return Clause("#version = :version", {"version": codec.TEXT.encode(version)})


class _LinkAndRecord(NamedTuple):
    """What is known of a blob's link and record; None: no such item was found yet."""

    link: Link | None = None
    record: Record | None = None

    @property
    def key(self) -> str | None:
        """The object that is live already."""
        if self.link is not None:
            return self.link.key
        return None if self.record is None else self.record.key


class _Publication(NamedTuple):
    """What is to be published: `claim` with `after.offset` bytes, under `key` if it is new."""

    before: Session
    after: Session
    claim: Digest
    key: str | None
    now: float

    def session(self, live: str) -> Session:
        """The session as it is written when `live` is the key that the record names."""
        written = replace(self.after, published_key=live)
        if live == self.key:
            return written
        # Its own bytes are not those published: the sweeper has to see it until they are gone.
        at = self.after.sweep_at or self.before.sweep_at
        return replace(written, sweep_at=at, expires_at=None)

    def check_size(self, size: int) -> None:
        if size != self.after.offset:
            raise CorruptItemError(
                f"{self.claim} is stored with {size} bytes, and session {self.after.id}"
                f" has it with {self.after.offset}: one of them is not this digest's"
            )


class BlobItems:
    """The part of `MetadataStore` that knows blobs: their links and records."""

    _dynamo: Dynamo
    _registry: str
    _uploads: str
    _new_id: Callable[[], str]

    def get_link(self, repository: str, digest: Digest) -> Link | None:
        link = LINK.decode_found(self._dynamo.get(self._registry, link_key(repository, digest)))
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

    def add_link(self, repository: str, digest: Digest, now: float) -> Link | None:
        """See MetadataStore.add_link; raises UnavailableError if others keep changing both."""
        for _ in range(TRIES):
            link, record = self._look(repository, digest)
            if link is not None:
                added = self._touched(link, now)
            elif record is not None:
                added = self._linked(repository, record, now)
            else:
                return None
            if added is not None:
                return added
        raise UnavailableError(f"others keep changing the links to {digest}")

    def touch_link(self, link: Link, now: float) -> bool:
        """See MetadataStore.touch_link; a link that names another object by now is another link."""
        return self._touched(link, now) is not None

    def delete_link(self, repository: str, digest: Digest) -> bool:
        link = self.get_link(repository, digest)
        if link is None:
            return False
        for _ in range(TRIES):
            try:
                self._dynamo.transact(self._deletion(link))
            except TransactionRefusedError as refused:
                # Gone since it was read: this very deletion took effect, or another one did.
                if (found := self._link_found(refused, link)) is None:
                    return True
                link = found
            else:
                return True
        raise UnavailableError(f"others keep changing the link to {digest}")

    def publish(self, before: Session, after: Session, key: str | None, now: float) -> Session:
        """See MetadataStore.publish; raises UnavailableError if others keep changing both."""
        if after.claim is None:
            raise ValueError(f"session {after.id} has no claim to publish")
        publication = _Publication(before, after, after.claim, key, now)
        known = _LinkAndRecord()
        if key is None:
            known = self._look(after.repository, after.claim)
        for _ in range(TRIES):
            written, changes = self._form(publication, known)
            try:
                self._dynamo.transact(changes)
            except TransactionRefusedError as refused:
                if _SESSION not in refused.items:
                    known = _learnt(known, refused)
                    continue
                written = _already_published(after, refused)
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
        return Update(
            self._registry,
            link_key(link.repository, link.digest),
            naming(link.key),
            set={
                "touched_at": codec.TIME.encode(now),
                "version": codec.TEXT.encode(self._new_id()),
            },
            remove=("mark",),
        )

    def _touched(self, link: Link, now: float) -> Link | None:
        try:
            return LINK.decode(self._dynamo.write(self._touch(link, now)))
        except ConditionFailedError:
            return None

    def _link_put(self, link: Link) -> Put:
        key = link_key(link.repository, link.digest)
        return Put(self._registry, key, LINK.encode(link), ABSENT)

    def _counted(self, digest: Digest, key: str) -> Update:
        return Update(self._registry, record_key(digest), naming(key), add={"links": 1})

    def _linked(self, repository: str, record: Record, now: float) -> Link | None:
        """Link to a live record; None if link or record are no longer as they were read."""
        link = Link(repository, record.digest, record.size, record.key, now, self._new_id())
        try:
            self._dynamo.transact([self._link_put(link), self._counted(record.digest, record.key)])
        except TransactionRefusedError:
            return None
        return link

    def _deletion(self, link: Link) -> tuple[Delete, Update]:
        key = link_key(link.repository, link.digest)
        return (
            Delete(self._registry, key, at_version(link.version)),
            Update(self._registry, record_key(link.digest), STILL_COUNTED, add={"links": -1}),
        )

    def _link_found(self, refused: TransactionRefusedError, link: Link) -> Link | None:
        """Return the link as it is now, not as it was read; None if it is gone."""
        if 0 not in refused.items:
            raise CorruptItemError(
                f"{link.repository} links to {link.digest}, which has no record that counts it"
            ) from refused
        return LINK.decode_found(refused.items[0])

    def _form(
        self, publication: _Publication, known: _LinkAndRecord
    ) -> tuple[Session, list[Change]]:
        """Return the transaction for what is known, and the session as it writes it."""
        repository, claim = publication.after.repository, publication.claim
        live = known.key or publication.key
        if live is None:
            raise RecordMissingError(f"no record of {claim} is live")
        for stored in known:
            if stored is not None:
                publication.check_size(stored.size)
        size, now = publication.after.offset, publication.now
        written = SESSION.decode(session_item(publication.session(live)))
        changes: list[Change] = [update_of(self._uploads, publication.before, written)]
        if known.link is not None:
            # The record counts this link already.
            return written, [*changes, self._touch(known.link, now)]
        changes.append(self._link_put(Link(repository, claim, size, live, now, self._new_id())))
        if known.record is not None:
            return written, [*changes, self._counted(claim, live)]
        record = RECORD.encode(Record(claim, live, size, links=1))
        return written, [*changes, Put(self._registry, record_key(claim), record, ABSENT)]


def _learnt(known: _LinkAndRecord, refused: TransactionRefusedError) -> _LinkAndRecord:
    """Return what is known once the refused actions have said which items they found."""
    items = refused.items
    if _LINK in items:
        known = known._replace(link=LINK.decode_found(items[_LINK]))
    if _RECORD in items:
        known = known._replace(record=RECORD.decode_found(items[_RECORD]))
    return known


def _already_published(after: Session, refused: TransactionRefusedError) -> Session:
    """Return the session found if this claim was published in it: by this call, or its equal."""
    current = SESSION.decode_found(refused.items[_SESSION])
    if current is None or (current.state, current.claim) != (after.state, after.claim):
        raise SessionMovedError(current) from refused
    return current
