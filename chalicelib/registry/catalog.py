"""The facts of a repository as a whole: its size, the bytes it shares with others, its last use.

The collector's walk sees each repository once a day. This module notes the facts in the catalog, so
that one read of the catalog is a list with all facts. It must never note facts that have not
changed, nor a number that may be wrong: an unknown number is None.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from chalicelib.digest import Digest
from chalicelib.errors import NameUnknownError
from chalicelib.registry.model import CatalogFacts, CatalogRow, Link, ManifestState
from chalicelib.registry.service import Ports

if TYPE_CHECKING:
    from chalicelib.registry.collector.report import RepositoryFacts

STALE = 7 * 24 * 3600.0
"""How long unchanged facts are not noted again, in seconds.

What other repositories link to may have changed by then.
"""

MOST = 100_000
"""Of a repository with more links, or more manifests, its bytes are not divided: it takes reads."""

_LINKS, _MANIFESTS = 100, 10_000


class Catalog:
    """All repositories, with what is known of them."""

    def __init__(self, ports: Ports) -> None:
        self._metadata = ports.metadata
        self._clock = ports.clock

    def of(self, repository: str) -> CatalogRow:
        """Read what is known; raises NameUnknownError."""
        row = self._metadata.get_repository(repository)
        if row is None:
            raise NameUnknownError
        return row

    def note(self, seen: "RepositoryFacts") -> None:
        """Note what a walk has seen, unless the catalog says so already."""
        row = self._metadata.get_repository(seen.name)
        if row is None:
            return
        found = CatalogFacts(
            noted_at=self._clock.now(),
            tags=seen.tags,
            images=seen.manifests.get(ManifestState.LIVE, 0),
            trashed=seen.manifests.get(ManifestState.TRASHED, 0),
            linked_bytes=seen.linked_bytes,
            pushed_at=seen.pushed_at,
            pulled_at=seen.pulled_at,
        )
        # What the walk has found to be waste is gone by now.
        if seen.waste or row.facts is None or _is_news(row.facts, found):
            self._metadata.note_facts(seen.name, self._divided(seen.name, found))

    def _divided(self, repository: str, facts: CatalogFacts) -> CatalogFacts:
        """Look up what its images name and what others link to; too much of it stays unknown."""
        sizes: dict[Digest, int] = {}
        own = billed = 0
        for links in self._links(repository):
            sizes |= {link.digest: link.size for link in links}
            if len(sizes) > MOST:
                return facts
            records = self._metadata.get_records([link.digest for link in links])
            for link in links:
                record = records.get(link.digest)
                users = max(record.links, 1) if record else 1
                billed += link.size // users
                own += link.size if users == 1 else 0
        return replace(
            facts,
            # Of one reading, so that no part is more than the whole.
            linked_bytes=sum(sizes.values()),
            own_bytes=own,
            billed_bytes=billed,
            unused_bytes=self._unused(repository, sizes),
        )

    def _unused(self, repository: str, sizes: Mapping[Digest, int]) -> int | None:
        """Return the bytes that no manifest names, in whatever state; None if that is unknown."""
        unnamed = dict(sizes)
        after: Digest | None = None
        count = 0
        while count <= MOST:
            page = self._metadata.list_manifests(repository, after, _MANIFESTS)
            for manifest in page.items:
                if manifest.references is None:
                    return None
                # A large one's body may be among the links, as 0.1 stored it.
                for digest in (*manifest.references, manifest.digest):
                    unnamed.pop(digest, None)
            if not page.more:
                return sum(unnamed.values())
            count += len(page.items)
            after = page.items[-1].digest
        return None

    def _links(self, repository: str) -> Iterator[Sequence[Link]]:
        after: Digest | None = None
        while True:
            page = self._metadata.list_links(repository, after, _LINKS)
            yield page.items
            if not page.more:
                return
            after = page.items[-1].digest


def _is_news(known: CatalogFacts, found: CatalogFacts) -> bool:
    """Whether a walk has seen something else than what is noted, or that is stale."""
    same = replace(
        found,
        noted_at=known.noted_at,
        unused_bytes=known.unused_bytes,
        own_bytes=known.own_bytes,
        billed_bytes=known.billed_bytes,
    )
    return same != known or known.noted_at + STALE <= found.noted_at
