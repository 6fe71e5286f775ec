"""The stores as a deployment has them: those of DynamoDB, which also note what they saw.

What a request went through (a hash state read back, a dead request's lease) stands in the sessions
that it reads and writes, and in no answer. This module must never change what a store does.
"""

from chalicelib.digest import Digest
from chalicelib.registry.model import Link
from chalicelib.registry.session import Owner, Session
from chalicelib.stores.metadata import DynamoMetadataStore
from chalicelib.stores.sessions import DynamoSessionStore, _Lease
from chalicelib.telemetry import Happening, current, note


class ToldSessionStore(DynamoSessionStore):
    """`SessionStore` that notes resumes, leases taken over, and hash states lost."""

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
        """Take the lease; a request holds one, so that a saved hash state is another one's."""
        session = super().take_lease(
            session_id, owner=owner, at=at, claim=claim, holder=holder, now=now, until=until
        )
        if session.offset and session.hashed:
            note(Happening.RESUMED)
        return session

    def write(self, before: Session, after: Session) -> Session:
        """Write what differs."""
        written = super().write(before, after)
        if before.hashed and not after.hashed:
            note(Happening.UNHASHED)
        return written

    def _take_over(self, met: Session, lease: _Lease) -> Session:
        session = super()._take_over(met, lease)
        note(Happening.TAKEN_OVER)
        return session


class ToldMetadataStore(DynamoMetadataStore):
    """`MetadataStore` that notes publications, and how large the blob is that was looked for."""

    def get_link(self, repository: str, digest: Digest) -> Link | None:
        """Read a repository's link to a blob."""
        link = super().get_link(repository, digest)
        tally = current()
        if link is not None and tally is not None:
            tally.linked_bytes = link.size
        return link

    def publish(self, before: Session, after: Session, key: str | None, now: float) -> Session:
        """Publish a blob."""
        published = super().publish(before, after, key, now)
        note(Happening.COMMITTED)
        return published
