"""Links that nothing names are swept in three moves: mark, look, delete.

First each link is marked, which gives it a fresh version. Only then all manifests of the repository
are read, in every state. Then each link that none of them names is deleted, on condition that it
still has the version of its mark; the others lose their marks. A push writes its manifest as
pending before it reads its links. So either the collector sees that manifest, or the push sees the
mark and touches the link, and the deletion's condition fails. This module must never delete a link
without that condition, nor a link of a repository that has a manifest whose references are
unknown.
"""

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from chalicelib.dataclass import dataclass
from chalicelib.descriptor import parse_manifest
from chalicelib.digest import Digest
from chalicelib.errors import ManifestInvalidError
from chalicelib.registry.model import Link, Manifest, Record, bodies_of, owner_of_bodies
from chalicelib.registry.outcomes import ObjectMissingError, Sweep
from chalicelib.registry.service import Ports

_AT_ONCE = 8
"""Requests that write to links of one repository at once."""

_PAGE = 1000
"""Manifests that are read in one request."""


class UnknownReferencesError(Exception):
    """What a manifest names is not known: any link of its repository may be among it."""


@dataclass(frozen=True)
class SweptLinks:
    """What became of some links: deleted, deleted without a record, or used meanwhile."""

    swept: Sequence[Link]
    uncounted: Sequence[Link]
    used: Sequence[Link]


class Links:
    """The links of all repositories."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._metadata = ports.metadata

    def sweep(self, home: str, links: Sequence[Link]) -> SweptLinks:
        """Delete links of one home that nothing names.

        Raises UnknownReferencesError: then all of them stay, and none is marked.
        """
        nonce = self._ports.clock.new_id()
        marking = [partial(self._metadata.mark_link, link, nonce) for link in links]
        tried = self._ports.at_once(_AT_ONCE, marking)
        marked = [link for link in tried if link is not None]
        try:
            named = self._named(home, {link.digest for link in marked})
        except UnknownReferencesError:
            self._unmark(marked)
            raise
        self._unmark([link for link in marked if link.digest in named])
        free = [link for link in marked if link.digest not in named]
        sweeping = [partial(self._metadata.sweep_link, link) for link in free]
        became = dict(zip(free, self._ports.at_once(_AT_ONCE, sweeping), strict=True))
        gone = {link.digest for link in free if became[link] is not Sweep.USED}
        return SweptLinks(
            [link for link in free if became[link] is Sweep.SWEPT],
            [link for link in free if became[link] is Sweep.UNCOUNTED],
            [link for link in links if link.digest not in gone],
        )

    def named_by(self, manifest: Manifest) -> Collection[Digest]:
        """Return the digests that a manifest's repository must hold for it.

        Raises UnknownReferencesError.
        """
        if manifest.references is not None:
            return manifest.references
        whole = self._metadata.get_manifest(manifest.repository, manifest.digest)
        if whole is None:
            return ()
        if whole.references is not None:
            return whole.references
        try:
            parsed = parse_manifest(self._body(whole), whole.media_type)
        except (ManifestInvalidError, ObjectMissingError) as error:
            raise UnknownReferencesError(
                f"what the {whole.state} manifest {whole.digest} names is not known: {error}"
            ) from error
        # 0.1 stored a large body as a blob of the repository, which nothing else names.
        return {whole.digest, *(each.digest for each in (*parsed.blobs, *parsed.manifests))}

    def without_manifest(self, repository: str, links: Collection[Link]) -> list[Link]:
        """Return those of the links to bodies whose manifests are gone."""
        kept = self._metadata.get_manifests(repository, [link.digest for link in links])
        return [link for link in links if link.digest not in kept]

    def uncounted(self, home: str, links: Sequence[Link]) -> list[tuple[Link, Record | None]]:
        """Return those of a home's links that no record counts, with the record that there is."""
        suspects = [link.digest for link, _ in self._not_counted(links)]
        now = self._metadata.get_links(home, suspects) if suspects else {}
        # A link that has come meanwhile has brought its record.
        return self._not_counted(list(now.values()))

    def count(self, link: Link, record: Record) -> bool:
        """Let a record count a link that it does not know; False if its object is not there.

        False, too, if one of them changes meanwhile. The link names that object from then on.
        """
        if not self._ports.is_there(record.key):
            return False
        return self._metadata.count_link(link, record, link.touched_at) is not None

    def _not_counted(self, links: Sequence[Link]) -> list[tuple[Link, Record | None]]:
        digests = [link.digest for link in links]
        records = self._metadata.get_records(digests) if digests else {}
        found = [(link, records.get(link.digest)) for link in links]
        return [(link, record) for link, record in found if not (record and record.counts(link))]

    def _named(self, home: str, digests: set[Digest]) -> AbstractSet[Digest]:
        """Return which of some digests a home's manifests name now, strongly consistent."""
        repository = owner_of_bodies(home)
        if repository is not None:
            return self._metadata.get_manifests(repository, list(digests)).keys()
        named: set[Digest] = set()
        after = None
        more = bool(digests)
        while more:
            page = self._metadata.list_manifests(home, after, _PAGE)
            for manifest in page.items:
                named.update(digests.intersection(self.named_by(manifest)))
                after = manifest.digest
            more = page.more
        return named

    def _body(self, manifest: Manifest) -> bytes:
        """Return a manifest's bytes, whatever its state; raises ObjectMissingError."""
        if manifest.body is not None:
            return manifest.body
        for home in (bodies_of(manifest.repository), manifest.repository):
            link = self._metadata.get_link(home, manifest.digest)
            if link is not None:
                return self._ports.objects.get(link.key)
        raise ObjectMissingError("it has no body yet")

    def _unmark(self, links: Sequence[Link]) -> None:
        unmarking = [partial(self._metadata.unmark_link, link) for link in links]
        self._ports.at_once(_AT_ONCE, unmarking)
