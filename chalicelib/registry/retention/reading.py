"""Reads all that is known of a repository, page by page, for the rules of retention.

This module must never treat a row that can't be read as absent.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from chalicelib.descriptor import INDEXES, parse_manifest
from chalicelib.digest import Digest
from chalicelib.errors import RegistryError
from chalicelib.page import Page
from chalicelib.registry.manifests.reading import Manifests
from chalicelib.registry.model import Manifest, ManifestState
from chalicelib.registry.retention.judging import Facts
from chalicelib.registry.service import Ports

PAGE = 1000
"""Rows that are requested at once; DynamoDB ends a page at 1 MB."""

T = TypeVar("T")
K = TypeVar("K")


class TooManyError(Exception):
    """A repository has more manifests or tags than were to be read."""


def read_facts(
    ports: Ports, manifests: Manifests, repository: str, most: int | None = None
) -> Facts:
    """Read all facts of a repository; raises TooManyError, or UnavailableError.

    The manifests first: a push that has put its own meanwhile finds those that are marked.
    """
    metadata = ports.metadata
    seen = {
        each.digest: each
        for each in _all(
            lambda after: metadata.list_manifests(repository, after, PAGE),
            lambda each: each.digest,
            most,
        )
    }
    tags = _all(
        lambda after: metadata.list_tag_rows(repository, after, PAGE), lambda row: row[0], most
    )
    named = {tag: row.digest for tag, row in tags}
    children: dict[Digest, Sequence[Digest]] = {}
    unreadable: Digest | None = None
    for digest, each in seen.items():
        if each.media_type not in INDEXES:
            continue
        if each.state in {ManifestState.LIVE, ManifestState.PENDING}:
            found: Sequence[Digest] | None = each.references
            if found is None:
                found = _read_children(manifests, metadata.get_manifest(repository, digest))
            if found is None:
                unreadable = digest
            else:
                children[digest] = found
    in_use = metadata.in_use(repository)
    return Facts(repository, seen, children, named, in_use, unreadable)


def _read_children(manifests: Manifests, manifest: Manifest | None) -> Sequence[Digest] | None:
    """Read what an index names that is too large for its item; None if that can't be."""
    if manifest is None:
        return ()
    try:
        parsed = parse_manifest(manifests.body(manifest), manifest.media_type)
    except RegistryError:
        return None
    return [item.digest for item in parsed.manifests]


def _all(
    read: Callable[[K | None], Page[T]], place: Callable[[T], K], most: int | None
) -> Iterator[T]:
    """Yield the items of all pages; raises TooManyError before the one that is too many."""
    after: K | None = None
    count = 0
    while True:
        page = read(after)
        count += len(page.items)
        if most is not None and count > most:
            raise TooManyError
        yield from page.items
        if not page.more:
            return
        after = place(page.items[-1])
