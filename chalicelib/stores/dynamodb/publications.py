"""Publishing on DynamoDB: record, link and session in one transaction.

The transaction has a form for each world: all new, record live, link there. The likeliest is
tried first without reading, and what it meets says which is next. This module must never write
one of the three without the others.
"""

from dataclasses import replace
from typing import NamedTuple

from chalicelib.digest import Digest
from chalicelib.errors import UnavailableError
from chalicelib.registry.model import Link, Record
from chalicelib.registry.outcomes import RecordMissingError, SessionMovedError
from chalicelib.registry.session import Session
from chalicelib.stores.dynamodb.client import TransactionRefusedError
from chalicelib.stores.dynamodb.codec import CorruptItemError, Item
from chalicelib.stores.dynamodb.expressions import Change, Put
from chalicelib.stores.dynamodb.items import LINK, RECORD, SESSION, session_item
from chalicelib.stores.dynamodb.keys import record_key
from chalicelib.stores.dynamodb.links import ABSENT, TRIES, LinkItems
from chalicelib.stores.dynamodb.sessions import update_of
from chalicelib.telemetry.tally import Happening, note

_SESSION, _LINK, _RECORD = range(3)
"""Which action of the transaction is about what."""


class _World(NamedTuple):
    """What is known of link and record: None is what has not been met."""

    link: Link | None = None
    record: Record | None = None

    @property
    def key(self) -> str | None:
        """The object that is live already."""
        if self.link is not None:
            return self.link.key
        return None if self.record is None else self.record.key


_ALL_NEW = _World()


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


class PublicationItems(LinkItems):
    """The part of `MetadataStore` that makes a session's bytes a blob."""

    def publish(self, before: Session, after: Session, key: str | None, now: float) -> Session:
        """In one transaction make `after.claim` live in its repository; see the port.

        Raises RecordMissingError, SessionMovedError, UnavailableError if link and record keep
        changing.
        """
        if after.claim is None:
            raise ValueError(f"session {after.id} has no claim to publish")
        publication = _Publication(before, after, after.claim, key, now)
        world = _ALL_NEW
        if key is None:
            world = _World(*self._look(after.repository, after.claim))
        for _ in range(TRIES):
            written, changes = self._form(publication, world)
            try:
                self._dynamo.transact(changes)
            except TransactionRefusedError as refused:
                if _SESSION not in refused.met:
                    world = _learnt(world, refused)
                    continue
                written = _already_published(after, refused)
            note(Happening.COMMITTED)
            return written
        raise UnavailableError(f"others keep changing the links to {after.claim}")

    def _form(self, publication: _Publication, world: _World) -> tuple[Session, list[Change]]:
        """Return the transaction for a world, and the session as it writes it."""
        repository, claim = publication.after.repository, publication.claim
        live = world.key or publication.key
        if live is None:
            raise RecordMissingError(f"no record of {claim} is live")
        for stored in (world.link, world.record):
            if stored is not None:
                publication.check_size(stored.size)
        size, now = publication.after.offset, publication.now
        written = SESSION.decode(session_item(publication.session(live)))
        changes: list[Change] = [update_of(self._uploads, publication.before, written)]
        if world.link is not None:
            # The record counts this link already.
            return written, [*changes, self._touch(world.link, now)]
        changes.append(self._link_put(Link(repository, claim, size, live, now, self._new_id())))
        if world.record is not None:
            return written, [*changes, self._counted(claim, live)]
        record = RECORD.encode(Record(claim, live, size, links=1))
        return written, [*changes, Put(self._registry, record_key(claim), record, ABSENT)]


def _learnt(world: _World, refused: TransactionRefusedError) -> _World:
    """Return the world that the refused actions have met."""
    if _LINK in refused.met:
        item = refused.met[_LINK]
        world = world._replace(link=None if item is None else LINK.decode(item))
    if _RECORD in refused.met:
        world = world._replace(record=_record(refused.met[_RECORD]))
    return world


def _record(item: Item | None) -> Record | None:
    return None if item is None else RECORD.decode(item)


def _already_published(after: Session, refused: TransactionRefusedError) -> Session:
    """Return the session met if this claim was published in it: by us, or by our equal."""
    item = refused.met[_SESSION]
    current = None if item is None else SESSION.decode(item)
    if current is None or (current.state, current.claim) != (after.state, after.claim):
        raise SessionMovedError(current) from refused
    return current
