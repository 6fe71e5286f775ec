"""Blobs in the stores under test: pushing one, and reading its link and its record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.values import fresh_digest, fresh_name, push

if TYPE_CHECKING:
    from chalicelib.digest import Digest
    from chalicelib.registry.model import Link, Record
    from tests.chalicelib.stores.conftest import Stores


def pushed(stores: Stores, repository: str | None = None) -> Digest:
    """Publish a new blob in a repository (None: one of its own); returns its digest."""
    digest = fresh_digest()
    push(stores.sessions, stores.metadata, repository or fresh_name(), digest)
    return digest


def link_to(stores: Stores, repository: str, digest: Digest) -> Link:
    """Return a link that must be there."""
    link = stores.metadata.get_link(repository, digest)
    assert link is not None
    return link


def record_of(stores: Stores, digest: Digest) -> Record:
    """Return a record that must be there."""
    record = stores.metadata.get_record(digest)
    assert record is not None
    return record
