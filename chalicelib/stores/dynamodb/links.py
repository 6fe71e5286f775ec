"""Links and records on DynamoDB: which repository holds which blob.

A record's `links` is exact: it changes only in the transaction that makes or removes a link. This
module must never put or remove one of them alone.
"""

from collections.abc import Mapping, Sequence

from chalicelib.digest import Digest
from chalicelib.errors import UnavailableError
from chalicelib.registry.model import Link, Record
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.client import ConditionFailedError, TransactionRefusedError
from chalicelib.stores.dynamodb.codec import CorruptItemError
from chalicelib.stores.dynamodb.expressions import Clause, Delete, Put, Update
from chalicelib.stores.dynamodb.items import LINK, RECORD
from chalicelib.stores.dynamodb.keys import link_key, record_key
from chalicelib.stores.dynamodb.parts import MetadataPart
from chalicelib.telemetry.tally import current

TRIES = 8
"""How often an operation looks anew at a world that others keep changing."""

ABSENT = Clause("attribute_not_exists(#pk)")
"""Nobody has linked, or published, this digest yet."""

STILL_COUNTED = Clause("#links >= :one", {"one": codec.WHOLE.encode(1)})
"""The record is there and counts the link that goes."""


def naming(key: str) -> Clause:
    """The link, or the record, is there and still names this object, not a later push's."""
    return Clause("#key = :key", {"key": codec.TEXT.encode(key)})


def at_version(version: str) -> Clause:
    """Nobody has written the item since it was read."""
    return Clause("#version = :version", {"version": codec.TEXT.encode(version)})


class LinkItems(MetadataPart):
    """The part of `MetadataStore` that knows links and records."""

    def get_link(self, repository: str, digest: Digest) -> Link | None:
        """Read a repository's link to a blob."""
        item = self._dynamo.get(self._registry, link_key(repository, digest))
        link = None if item is None else LINK.decode(item)
        tally = current()
        if link is not None and tally is not None:
            # A redirect's bytes stand in no answer of ours.
            tally.linked_bytes = link.size
        return link

    def get_links(self, repository: str, digests: Sequence[Digest]) -> Mapping[Digest, Link]:
        """Read many links, 100 a request; absent ones are left out."""
        keys = [link_key(repository, digest) for digest in digests]
        links = [LINK.decode(item) for item in self._dynamo.get_many(self._registry, keys)]
        return {link.digest: link for link in links}

    def get_record(self, digest: Digest) -> Record | None:
        """Read the record of a blob, whatever repositories link to it."""
        item = self._dynamo.get(self._registry, record_key(digest))
        return None if item is None else RECORD.decode(item)

    def add_link(self, repository: str, digest: Digest, now: float) -> Link | None:
        """Link a live blob into a repository; a link that is there already is touched.

        None if no record is live. Raises UnavailableError if others keep changing both.
        """
        for _ in range(TRIES):
            link, record = self._look(repository, digest)
            if link is not None:
                touched = self._touched(link, now)
            elif record is not None:
                touched = self._linked(repository, record, now)
            else:
                return None
            if touched is not None:
                return touched
        raise UnavailableError(f"others keep changing the links to {digest}")

    def touch_link(self, link: Link, now: float) -> bool:
        """Set touched_at, a fresh version, and un-mark; False if the link is gone.

        A link that names another object by now is another link.
        """
        return self._touched(link, now) is not None

    def delete_link(self, repository: str, digest: Digest) -> bool:
        """Remove a link and take 1 from the record's links in one transaction; False if absent."""
        link = self.get_link(repository, digest)
        if link is None:
            return False
        for _ in range(TRIES):
            try:
                self._dynamo.transact(self._deletion(link))
            except TransactionRefusedError as refused:
                # Gone since it was read: this very deletion took effect, or another one did.
                if (met := self._link_met(refused, link)) is None:
                    return True
                link = met
            else:
                return True
        raise UnavailableError(f"others keep changing the link to {digest}")

    def _look(self, repository: str, digest: Digest) -> tuple[Link | None, Record | None]:
        """Read link and record in one request."""
        link = record = None
        keys = [link_key(repository, digest), record_key(digest)]
        for item in self._dynamo.get_many(self._registry, keys):
            if item["sk"] == {"S": record_key(digest)["sk"]}:
                record = RECORD.decode(item)
            else:
                link = LINK.decode(item)
        return link, record

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

    def _link_met(self, refused: TransactionRefusedError, link: Link) -> Link | None:
        """Return the link as it is instead of as it was read; None if it is gone."""
        if 0 not in refused.met:
            raise CorruptItemError(
                f"{link.repository} links to {link.digest}, which has no record that counts it"
            ) from refused
        item = refused.met[0]
        return None if item is None else LINK.decode(item)
