"""Quotas: what a repository may hold, and what is refused when it is full.

The transaction that adds a blob or a tag also adds it to the repository's count, on condition that
there is room. A deletion lowers no count, so the count may be too high. Before anything is refused,
everything is counted again. This module must never refuse by a count that may be too high, nor make
a request for a repository that no quota covers, except to read the rules once a minute.
"""

from typing import TYPE_CHECKING, TypeVar

from chalicelib.digest import Digest
from chalicelib.errors import DeniedError, UnavailableError
from chalicelib.registry.model import Covered
from chalicelib.registry.outcomes import OverQuotaError
from chalicelib.rules.document import rules_in_force
from chalicelib.rules.quotas import Limit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chalicelib.registry.model import Holding, Link, Manifest, Referrer, Stamp, TagRow
    from chalicelib.registry.service import Ports
    from chalicelib.registry.session import Session

T = TypeVar("T")

RULES_AGE = 60.0
"""How long a process goes by the rules that it has read, in seconds."""

SETTLED = 120.0
"""When every process that adds anything knows rules that were set, in seconds."""

_TRIES = 6


class Quotas:
    """What is added to repositories, within their quotas."""

    def __init__(self, ports: "Ports") -> None:
        self._ports = ports

    def publish(
        self,
        before: "Session",
        after: "Session",
        key: str | None,
        content: bytes | None = None,
    ) -> "Session":
        """Do MetadataStore.publish, now; raises DeniedError where there is no room for the blob."""
        ports, now = self._ports, self._ports.clock.now()
        return self._within(
            after.repository,
            lambda covered: ports.metadata.publish(
                before,
                after,
                key,
                now,
                is_there=ports.is_there,
                content=content,
                covered=covered,
            ),
        )

    def add_link(self, repository: str, digest: Digest) -> "Link | None":
        """Do MetadataStore.add_link, now; raises DeniedError likewise."""
        metadata, now = self._ports.metadata, self._ports.clock.now()
        return self._within(
            repository, lambda covered: metadata.add_link(repository, digest, now, covered=covered)
        )

    def make_live(
        self,
        manifest: "Manifest",
        tags: "Mapping[str, TagRow | None]",
        referrer: "Referrer | None",
        stamp: "Stamp",
        *,
        new_tags: int,
    ) -> None:
        """Do MetadataStore.make_live; raises DeniedError where there is no room for new tags.

        `new_tags` counts those that later transactions add, too: the first makes room for all.
        """
        metadata = self._ports.metadata
        if not new_tags:
            metadata.make_live(manifest, tags, referrer, stamp)
            return
        self._within(
            manifest.repository,
            lambda covered: metadata.make_live(
                manifest, tags, referrer, stamp, covered=covered, new_tags=new_tags
            ),
        )

    def require_room(self, repository: str, digest: Digest, size: int) -> None:
        """Raise DeniedError for a blob that can't be published, before its bytes are stored.

        One read where a quota covers the repository. A blob that is there already needs no room.
        """
        covered = self.covering(repository)
        if covered is None or covered.allowance.bytes is None:
            return
        metadata, over = self._ports.metadata, OverQuotaError(size=size)
        holding = metadata.get_holding(repository)
        if holding is not None and refusal(repository, covered, holding, over) is None:
            return
        denied = refusal(repository, covered, self._counted(repository, covered), over)
        # Looked for last: who has filled the repository may have done it by this very blob.
        if denied is not None and metadata.get_link(repository, digest) is None:
            raise denied

    def covering(self, repository: str) -> Covered | None:
        """Return by what quotas a repository is covered, if any; raises UnavailableError."""
        now = self._ports.clock.now()
        stored = self._ports.metadata.known_rules(now, RULES_AGE)
        if stored is None:
            return None
        allowance = rules_in_force(stored.text).allowance(repository)
        if allowance is None:
            return None
        settled = stored.set_at + SETTLED
        return Covered(allowance, stored.version, settled if settled <= now else 0.0)

    def _within(self, repository: str, work: "Callable[[Covered | None], T]") -> T:
        """Do what adds to a repository; raises DeniedError if it has no room when all is counted.

        It is tried once more after the count: what is to be added may have come meanwhile.
        """
        covered, denied = self.covering(repository), None
        for _ in range(_TRIES):
            try:
                return work(covered)
            except OverQuotaError as over:
                if denied is not None or covered is None:
                    raise denied or UnavailableError from over
                denied = refusal(repository, covered, self._counted(repository, covered), over)
        raise UnavailableError(f"others keep adding to {repository}")

    def _counted(self, repository: str, covered: Covered) -> "Holding":
        now = self._ports.clock.now()
        return self._ports.metadata.count_holding(repository, covered.rules, now)


def refusal(
    repository: str, covered: Covered, holding: "Holding", over: OverQuotaError
) -> DeniedError | None:
    """Return the error for what is to be added to what a repository holds; None if it has room."""
    allowed = covered.allowance
    for limit, used, added, of in (
        (allowed.bytes, holding.bytes, over.size, "bytes"),
        (allowed.tags, holding.tags, over.tags, "tags"),
    ):
        if limit is not None and added and used + added > limit.most:
            return _denied(repository, limit, used, added, of)
    return None


def _denied(repository: str, limit: Limit, used: int, added: int, of: str) -> DeniedError:
    written: Callable[[int], str] = _written if of == "bytes" else "{} tags".format
    wanted = "this blob has" if of == "bytes" else "this push adds"
    return DeniedError(
        f"{repository} is full: the quota {limit.quota!r} allows it {written(limit.most)}, it holds"
        f" {written(used)}, and {wanted} {written(added)}. Delete what nobody needs, or ask the"
        " registry's owner for more",
        detail={
            "quota": limit.quota,
            "of": of,
            "used": used,
            "asked": added,
            "allowed": limit.most,
        },
    )


def _written(size: int) -> str:
    """Return a size for people, and exactly."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB")):
        if size >= 1024**power:
            return f"{size / 1024**power:.2f} {unit} ({size} bytes)"
    return f"{size} bytes"
