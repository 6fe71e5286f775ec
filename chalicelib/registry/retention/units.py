"""Units: an image with all that belongs to it, which retention keeps or removes as a whole.

The manifests that an index names belong to the index. Manifests that have another one as their
subject belong to that one, and so do those whose tag says that they are its signature
(`sha256-<hex>.sig`, as cosign writes it). A manifest that belongs to no other one is the root of a
unit.
This module must never do I/O.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from chalicelib.dataclass import dataclass
from chalicelib.digest import Digest, InvalidDigestError
from chalicelib.registry.model import Manifest, ManifestState

MOST = 500_000
"""Most members of all units of a repository together: manifests that share members count twice."""

_ATTACHED = re.compile(r"(sha256|sha512)-([0-9a-f]+)(\.[a-z]+)?")


class TangledError(Exception):
    """A repository's units have more than MOST members."""


@dataclass(frozen=True)
class Unit:
    """A root, and all that belongs to it, the root first: an index stands before its manifests.

    `tags` are those of all members, but for the tags that say what a member belongs to.
    """

    members: tuple[Digest, ...]
    tags: tuple[str, ...]

    @property
    def root(self) -> Digest:
        """What the unit is named by."""
        return self.members[0]


class Units(NamedTuple):
    """The units of a repository.

    `owned` is what belongs to each manifest directly, and `order` has every manifest before those.
    """

    units: Sequence[Unit]
    order: Sequence[Digest]
    owned: Mapping[Digest, Collection[Digest]]


def units_of(
    manifests: Mapping[Digest, Manifest],
    children: Mapping[Digest, Sequence[Digest]],
    tags: Mapping[str, Digest],
) -> Units:
    """Return the units of a repository: of what is live, or about to be.

    `children` has the manifests that each index names. Raises TangledError.
    """
    there = {
        digest
        for digest, each in manifests.items()
        if each.state in {ManifestState.LIVE, ManifestState.PENDING}
    }
    subjects = {tag: subject for tag in tags if (subject := _attached_to(tag)) in there}
    named: dict[Digest, list[str]] = {}
    for tag, digest in tags.items():
        if tag not in subjects:
            named.setdefault(digest, []).append(tag)
    belonging: dict[Digest, set[Digest]] = {digest: set() for digest in there}
    for digest in there:
        belonging[digest].update(there.intersection(children.get(digest, ())))
        subject = manifests[digest].subject
        if subject in there:
            belonging[subject].add(digest)
    for tag, subject in subjects.items():
        if subject is not None and tags[tag] in there:
            belonging[subject].add(tags[tag])
    components = _components(belonging)
    # A circle is possible: an index may have one of its own manifests as its subject.
    place = {digest: at for at, component in enumerate(components) for digest in component}
    inner = {
        place[each]
        for owner, owned in belonging.items()
        for each in owned
        if place[each] != place[owner]
    }
    units, left = [], MOST
    for at, component in enumerate(components):
        if at in inner:
            continue
        reached = _reached(component, belonging, left)
        left -= len(reached)
        members = sorted(reached, key=lambda digest: (place[digest], str(digest)))
        unit_tags = sorted(tag for digest in members for tag in named.get(digest, ()))
        units.append(Unit(tuple(members), tuple(unit_tags)))
    return Units(units, [digest for component in components for digest in component], belonging)


def _attached_to(tag: str) -> Digest | None:
    """Return the digest to whose manifest a tag says that its own belongs."""
    match = _ATTACHED.fullmatch(tag)
    if match is None:
        return None
    try:
        return Digest.parse(f"{match[1]}:{match[2]}")
    except InvalidDigestError:
        return None


def _reached(
    start: Iterable[Digest], edges: Mapping[Digest, Iterable[Digest]], most: int
) -> set[Digest]:
    reached = set(start)
    waiting = list(reached)
    while waiting:
        new = set(edges[waiting.pop()]) - reached
        reached |= new
        waiting += new
        if len(reached) > most:
            raise TangledError
    return reached


def _components(edges: Mapping[Digest, Collection[Digest]]) -> list[list[Digest]]:
    """Return the strongly connected components, each before those that it leads to.

    Source: Kosaraju's algorithm, with stacks in place of recursion.
    """
    backwards: dict[Digest, set[Digest]] = {digest: set() for digest in edges}
    for owner, owned in edges.items():
        for digest in owned:
            backwards[digest].add(owner)
    found: list[list[Digest]] = []
    placed: set[Digest] = set()
    for start in reversed(_left(edges)):
        component, waiting = [], [start]
        while waiting:
            digest = waiting.pop()
            if digest not in placed:
                placed.add(digest)
                component.append(digest)
                waiting += backwards[digest]
        if component:
            found.append(component)
    return found


def _left(edges: Mapping[Digest, Collection[Digest]]) -> list[Digest]:
    """Return the nodes in the order in which a walk in depth leaves them, always the same."""
    seen: set[Digest] = set()
    left: list[Digest] = []
    for start in sorted(edges, key=str):
        waiting = [(start, False)]
        while waiting:
            digest, is_done = waiting.pop()
            if is_done:
                left.append(digest)
            elif digest not in seen:
                seen.add(digest)
                waiting.append((digest, True))
                waiting += [(each, False) for each in sorted(edges[digest], key=str)]
    return left
