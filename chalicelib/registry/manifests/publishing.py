"""How a manifest comes to be live, by a push or out of the trash.

All that it refers to is looked up, the rules are asked about its tags, and then transactions make
it live under them. This module must never make a manifest live that can't be pulled whole.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from chalicelib.descriptor import Descriptor, ParsedManifest
from chalicelib.digest import Digest
from chalicelib.errors import (
    DeniedError,
    ManifestBlobUnknownError,
    ManifestContradictsError,
    quoted,
)
from chalicelib.limits import TRANSACTION_TAGS
from chalicelib.registry.model import (
    FoundByPush,
    Link,
    Manifest,
    ManifestState,
    Referrer,
    Stamp,
    TagRow,
)
from chalicelib.registry.quotas import Quotas
from chalicelib.registry.service import Limits, Ports
from chalicelib.rules.document import rules_in_force


class Publisher:
    """Checks manifests, and makes them live."""

    def __init__(self, ports: Ports, limits: Limits) -> None:
        self._ports = ports
        self._limits = limits
        self._quotas = Quotas(ports)

    def check(
        self,
        repository: str,
        parsed: ParsedManifest,
        links: Mapping[Digest, Link],
        *,
        may_pull: bool,
    ) -> int | None:
        """Require all that a manifest refers to, in the sizes that it gives.

        `links` are those to its blobs. Returns how many bytes of blobs that is, None where that is
        not known of a manifest.
        """
        limits = self._limits
        sizes = {digest: link.size for digest, link in links.items()}
        _require(_needed(parsed.blobs, sizes, sparse=limits.sparse_image), sizes)
        now = self._ports.clock.now()
        for link in links.values():
            self._unmark(link, now)
        # A subject may be missing, but one that is here must have the size that is given. A client
        # that learns the size from a HEAD may have been told 0, and means no other manifest.
        # Who may not pull would learn whether it is here.
        subject = [parsed.subject] if parsed.subject and parsed.subject.size and may_pull else []
        named = dict.fromkeys(item.digest for item in (*parsed.manifests, *subject))
        manifests = self._ports.metadata.get_manifests(repository, list(named))
        live = {d: m.size for d, m in manifests.items() if m.state is ManifestState.LIVE}
        for digest in live:
            if manifests[digest].mark is not None:
                self._ports.metadata.unmark_manifest(manifests[digest])
        _require(_needed(parsed.manifests, live, sparse=limits.sparse_index), live)
        for item in parsed.manifests:
            if item.digest in live and manifests[item.digest].media_type != item.media_type:
                raise of_another_type(manifests[item.digest])
        _require(_needed(subject, live, sparse=True), live)
        children = [manifests.get(item.digest) for item in parsed.manifests]
        return _total(parsed, children)

    def require_movable(self, repository: str, found: FoundByPush, digest: Digest) -> None:
        """Raise DeniedError where a rule holds a tag that is to name another manifest."""
        rules = rules_in_force(found.rules.text if found.rules else "")
        for tag, row in found.tags.items():
            rule = rules.holding(repository, tag) if row.digest != digest else None
            if rule is not None:
                raise DeniedError(
                    f"tag {tag} is immutable by the rule {rule!r} and names {row.digest}: push"
                    " under another tag",
                    detail={"rule": rule, "tag": tag, "digest": str(row.digest)},
                )

    def make_live(
        self,
        manifest: Manifest,
        parsed: ParsedManifest,
        tags: Mapping[str, TagRow | None],
        stamp: Stamp,
    ) -> None:
        """Make a manifest live with tags that name what `tags` gives.

        It takes as many transactions as the tags need. Raises ManifestMovedError where something is
        not as it was read.

        The first one asks for room for all tags. Those of a restoration that are to come stand
        in the manifest until the last one, so that a repeat finds them.
        """
        referrer = _referrer(manifest, parsed)
        names, is_restored = list(tags), manifest.deleted_tags is not None
        new = [tag for tag in names if tags[tag] is None]
        for start in range(0, len(names) or 1, TRANSACTION_TAGS):
            end = start + TRANSACTION_TAGS
            rest = tuple(names[end:]) if is_restored else ()
            self._quotas.make_live(
                replace(manifest, deleted_tags=rest or None),
                {tag: tags[tag] for tag in names[start:end]},
                referrer,
                stamp,
                new_tags=0 if start else len(new),
            )

    def _unmark(self, link: Link, now: float) -> None:
        if link.mark is not None and not self._ports.metadata.touch_link(link, now):
            raise ManifestBlobUnknownError(f"blob {link.digest} is not in this repository")


def of_another_type(manifest: Manifest) -> ManifestContradictsError:
    """Return the error that a digest is here under another media type."""
    return ManifestContradictsError(
        f"this repository has {manifest.digest} as {manifest.media_type}, and a digest has one type"
    )


def _total(parsed: ParsedManifest, manifests: Iterable[Manifest | None]) -> int | None:
    """Return the bytes of all blobs, each once where one manifest names it twice."""
    total = sum({item.digest: item.size for item in parsed.blobs}.values())
    for child in {child and child.digest: child for child in manifests}.values():
        if child is None or child.total_bytes is None:
            return None
        total += child.total_bytes
    return total


def _needed(
    items: Iterable[Descriptor], sizes: Mapping[Digest, int], *, sparse: bool
) -> list[Descriptor]:
    """Return the items whose size is checked: those that are here, and those that must be."""
    return [item for item in items if item.digest in sizes or not (sparse or item.foreign)]


def _require(items: Iterable[Descriptor], sizes: Mapping[Digest, int]) -> None:
    """Require every descriptor's content, in the size that it gives."""
    for item in items:
        size = sizes.get(item.digest)
        if size is None:
            raise ManifestBlobUnknownError(
                f"{item.digest} ({quoted(item.media_type)}) is not in this repository: push it"
                " first",
                detail={"digest": str(item.digest)},
            )
        if size != item.size:
            raise ManifestContradictsError(
                f"the manifest says that {item.digest} has {item.size} bytes, it has {size}"
            )


def _referrer(manifest: Manifest, parsed: ParsedManifest) -> Referrer | None:
    if manifest.subject is None:
        return None
    return Referrer(
        repository=manifest.repository,
        subject=manifest.subject,
        digest=manifest.digest,
        media_type=manifest.media_type,
        size=manifest.size,
        artifact_type=parsed.artifact_type,
        annotations=parsed.annotations,
    )
