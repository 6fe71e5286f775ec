"""The preview of a deletion: what depends on the images, and how many bytes deleting them frees.

This module must never change anything, nor return a guessed number: a number that would take too
long to compute is None.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

from chalicelib.descriptor import INDEXES, parse_manifest
from chalicelib.digest import Digest
from chalicelib.errors import ManifestUnknownError
from chalicelib.registry.manifests.reading import Manifests
from chalicelib.registry.model import InUse, Manifest, ManifestState, bodies_of
from chalicelib.registry.overviews import Runs, runs_of
from chalicelib.registry.service import Limits, Ports

MOST_CHOSEN = 100
"""Most manifests of one deletion: their digests stand in a URL."""

MOST_READS = 60
"""Most requests for the manifests of a repository, and for its tags: of 1 MB each."""

MOST_BODIES = 20
"""Most bodies that are read, of manifests that name more than their items hold."""

_PAGE, _AT_ONCE = 100_000, 8
_STAYS = frozenset({ManifestState.LIVE, ManifestState.PENDING})


class ChosenImage(NamedTuple):
    """A manifest that is to be deleted, with its tags and what would miss it.

    `runs` says where it runs: then it is deleted by force alone. `referrers` counts what refers to
    it, `named_by` has the indexes that would lack it. None: unknown.
    """

    manifest: Manifest
    tags: Sequence[str]
    runs: Sequence[Runs]
    referrers: int | None
    named_by: Sequence[Digest] | None


class Deletion(NamedTuple):
    """What a deletion would do.

    `alone` are other manifests without a tag that nothing but the chosen leads to: the images of
    an index, signatures; none that runs, unless one of the chosen does. `unused` are bytes of blobs
    that no image of the repository would name any more; `freed` those of them that no other
    repository links to. None: unknown. Until `until` (epoch seconds) it can be undone; None: it
    can't.
    """

    images: Sequence[ChosenImage]
    alone: Sequence[Digest] | None
    unused: int | None
    freed: int | None
    until: float | None


class _Repository(NamedTuple):
    """All that a repository has and nobody has deleted: manifests, what each names, tags."""

    manifests: Mapping[Digest, Manifest]
    references: Mapping[Digest, Sequence[Digest]]
    tags: Mapping[Digest, Sequence[str]]

    def parents(self) -> Mapping[Digest, set[Digest]]:
        """Return the indexes that name each manifest."""
        found: defaultdict[Digest, set[Digest]] = defaultdict(set)
        for manifest in self.manifests.values():
            if manifest.media_type in INDEXES:
                for digest in self.references[manifest.digest]:
                    found[digest].add(manifest.digest)
        return found

    def named(self, digests: Iterable[Digest]) -> set[Digest]:
        """Return what these manifests name."""
        return set(chain.from_iterable(self.references[digest] for digest in digests))


class Deletions:
    """Deletions in all repositories, looked at beforehand."""

    def __init__(self, ports: Ports, limits: Limits, manifests: Manifests) -> None:
        self._ports = ports
        self._limits = limits
        self._manifests = manifests

    def preview(
        self, repository: str, digests: Sequence[Digest], *, with_alone: bool = False
    ) -> Deletion:
        """Return what a deletion of these would do; `with_alone`: and of what only they name.

        Raises ManifestUnknownError if one of them is not there.
        """
        chosen = list(dict.fromkeys(digests))
        until = self._ports.clock.now() + self._limits.trash if self._limits.trash else None
        whole, leases = self._whole(repository), self._ports.metadata.in_use(repository)
        if whole is None:
            return Deletion(self._chosen(repository, chosen, leases), None, None, None, until)
        _require(chosen, whole.manifests)
        parents = whole.parents()
        running = {digest for lease in leases for digest in lease.digests}
        alone = _alone(whole, parents, chosen)
        if running.isdisjoint(chosen):
            alone = [digest for digest in alone if digest not in running]
        goes = {*chosen, *(alone if with_alone else ())}
        referrers = Counter(manifest.subject for manifest in whole.manifests.values())
        images = [
            ChosenImage(
                whole.manifests[digest],
                sorted(whole.tags.get(digest, ())),
                runs_of(leases, digest),
                referrers[digest],
                sorted(parents.get(digest, set()) - goes, key=str),
            )
            for digest in chosen
        ]
        unused, freed = self._bytes(repository, whole, goes)
        return Deletion(images, alone, unused, freed, until)

    def _whole(self, repository: str) -> _Repository | None:
        """Read all manifests and tags; None if there are too many."""
        metadata = self._ports.metadata
        manifests: dict[Digest, Manifest] = {}
        after: Digest | None = None
        for _ in range(MOST_READS):
            page = metadata.list_manifests(repository, after, _PAGE)
            manifests |= {each.digest: each for each in page.items if each.state in _STAYS}
            if not page.more:
                break
            after = page.items[-1].digest
        else:
            return None
        references = self._all_references(manifests.values())
        tags: defaultdict[Digest, list[str]] = defaultdict(list)
        last: str | None = None
        for _ in range(MOST_READS):
            rows = metadata.list_tag_rows(repository, last, _PAGE)
            for tag, row in rows.items:
                tags[row.digest].append(tag)
            if not rows.more:
                return None if references is None else _Repository(manifests, references, tags)
            last = rows.items[-1][0]
        return None

    def _all_references(
        self, manifests: Iterable[Manifest]
    ) -> Mapping[Digest, Sequence[Digest]] | None:
        """Return what each manifest names; None where too many bodies say it, or one is gone."""
        large = [each for each in manifests if each.references is None]
        if len(large) > MOST_BODIES:
            return None
        found: dict[Digest, Sequence[Digest]] = {}
        for each in large:
            whole = self._ports.metadata.get_manifest(each.repository, each.digest)
            try:
                body = self._manifests.body(whole) if whole else b""
            except ManifestUnknownError:
                return None
            parsed = parse_manifest(body, each.media_type) if body else None
            if parsed is None:
                return None
            found[each.digest] = [item.digest for item in (*parsed.blobs, *parsed.manifests)]
        known = {each.digest: each.references for each in manifests if each.references is not None}
        return {**known, **found}

    def _chosen(
        self, repository: str, chosen: Sequence[Digest], leases: Sequence[InUse]
    ) -> Sequence[ChosenImage]:
        metadata = self._ports.metadata
        found = metadata.get_manifests(repository, chosen)
        _require(chosen, found)
        reads = [partial(metadata.tags_of, repository, digest) for digest in chosen]
        tags = self._ports.at_once(_AT_ONCE, reads)
        return [
            ChosenImage(found[digest], sorted(named), runs_of(leases, digest), None, None)
            for digest, named in zip(chosen, tags, strict=True)
        ]

    def _bytes(self, repository: str, whole: _Repository, goes: set[Digest]) -> tuple[int, int]:
        """Return how many bytes the repository would use no more, and how many would be freed."""
        large = {d for d in goes if whole.manifests[d].size > self._limits.body_inline}
        blobs = (whole.named(goes) | large) - whole.named(whole.manifests.keys() - goes)
        metadata = self._ports.metadata
        # A large manifest's body is a blob, too: under a link of its own, or (of 0.1) among others.
        links = [
            *metadata.get_links(repository, list(blobs)).values(),
            *metadata.get_links(bodies_of(repository), list(large)).values(),
        ]
        sizes = {link.digest: link.size for link in links}
        records = metadata.get_records(list(sizes))
        counted = [each for each in links if each.digest in records]
        own = Counter(each.digest for each in counted if records[each.digest].counts(each))
        freed = [digest for digest, record in records.items() if record.links <= own[digest]]
        return sum(sizes.values()), sum(sizes[digest] for digest in freed)


def _alone(
    whole: _Repository, parents: Mapping[Digest, set[Digest]], chosen: Sequence[Digest]
) -> Sequence[Digest]:
    """Return the manifests without a tag that nothing but the chosen leads to."""
    goes = set(chosen)
    untagged = [
        each
        for digest, each in whole.manifests.items()
        if _is_live(each) and digest not in goes and not whole.tags.get(digest)
    ]
    while more := {
        each.digest
        for each in untagged
        if each.digest not in goes
        and (each.subject in goes or parents.get(each.digest))
        and parents.get(each.digest, set()) <= goes
    }:
        goes |= more
    return sorted(goes - {*chosen}, key=str)


def _require(chosen: Sequence[Digest], manifests: Mapping[Digest, Manifest]) -> None:
    for digest in chosen:
        if not _is_live(manifests.get(digest)):
            raise ManifestUnknownError(f"this repository has no manifest {digest}")


def _is_live(manifest: Manifest | None) -> bool:
    return manifest is not None and manifest.state is ManifestState.LIVE
