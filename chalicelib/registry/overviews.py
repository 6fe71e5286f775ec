"""Overviews, for people: a repository's tags and images, with all that is known of them.

This module reads the facts that pushes and pulls have noted in the rows. A fact that nobody noted
is None, and is never guessed. This module must never change anything, nor note a pull.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from chalicelib.descriptor import INDEXES, Descriptor, ParsedManifest, parse_manifest
from chalicelib.digest import Digest
from chalicelib.errors import ManifestUnknownError, NameUnknownError
from chalicelib.page import Page
from chalicelib.registry.blobs import bytes_of
from chalicelib.registry.lists import PAGE
from chalicelib.registry.manifests.reading import Manifests
from chalicelib.registry.model import InUse, Manifest, ManifestState, Referrer, TagRow
from chalicelib.registry.outcomes import ObjectMissingError
from chalicelib.registry.service import Ports
from chalicelib.rules.document import KeepingRule, Rules, parse_rules
from chalicelib.rules.reading import RulesInvalidError
from chalicelib.strict_json import JsonInvalidError, read_object

ROWS = 100
"""Most rows of a page: as many manifests as DynamoDB reads in one request."""

CONFIG_BYTES = 1024 * 1024
"""Most bytes of a config that is read."""


class Runs(NamedTuple):
    """That an image runs somewhere, as a source says: `what` in a few words, "" where it has none.

    `until` is when the source has to be read again, in seconds since the epoch.
    """

    source: str
    origin: str
    what: str
    until: float


class TaggedImage(NamedTuple):
    """A tag, and the manifest that it names; None if that was deleted meanwhile.

    `kept_by` are the rules that keep it, None where the rules can't be read.
    """

    tag: str
    row: TagRow
    manifest: Manifest | None
    runs: Sequence[Runs]
    kept_by: Sequence[KeepingRule] | None


class ImagesPage(NamedTuple):
    """A page of images; `rest_after` is where the next one begins, None after the last."""

    items: Sequence[Manifest]
    rest_after: Digest | None


class NamedManifest(NamedTuple):
    """What an index names, and the manifest if the repository has it."""

    descriptor: Descriptor
    manifest: Manifest | None


class Layer(NamedTuple):
    """A layer, the command that made it, and how many repositories link to it; None: unknown."""

    descriptor: Descriptor
    command: str | None
    repositories: int | None


class Image(NamedTuple):
    """All about one manifest. `config` is its config, if that is a JSON object of a sane size.

    `kept_by` are the rules that keep it for one of its tags, None where the rules can't be read.
    `referrers` are the first thousand, and `more_referrers` says whether there are others.
    """

    manifest: Manifest
    runs: Sequence[Runs]
    kept_by: Sequence[KeepingRule] | None
    annotations: Mapping[str, str]
    tags: Sequence[str]
    referrers: Sequence[Referrer]
    more_referrers: bool
    children: Sequence[NamedManifest]
    config: Mapping[str, Any] | None
    layers: Sequence[Layer]


class Overviews:
    """The overviews of all repositories."""

    def __init__(self, ports: Ports, manifests: Manifests) -> None:
        self._metadata = ports.metadata
        self._objects = ports.objects
        self._manifests = manifests

    def tags(
        self, repository: str, after: str | None, limit: int, prefix: str = ""
    ) -> Page[TaggedImage]:
        """Tags that begin with `prefix`, in byte order after `after`, at most `limit`.

        Raises NameUnknownError.

        Four requests: for the tags, the manifests that they name, what runs of them, and the rules.
        """
        page = self._metadata.list_tag_rows(repository, after, min(limit, ROWS), prefix)
        if not page.items:
            self._require(repository)
        digests = list(dict.fromkeys(row.digest for _, row in page.items))
        found = self._metadata.get_manifests(repository, digests) if digests else {}
        live = {digest: item for digest, item in found.items() if _is_live(item)}
        runs, rules = self._runs(repository), self._rules(repository)
        items = [
            TaggedImage(
                tag,
                row,
                live.get(row.digest),
                runs(row.digest),
                None if rules is None else rules.keeping([tag]),
            )
            for tag, row in page.items
        ]
        return Page(items, page.more)

    def images(self, repository: str, after: Digest | None, limit: int) -> ImagesPage:
        """Live manifests by digest after `after`, at most `limit`; raises NameUnknownError.

        One request: what is on its way in or out is left out, so that a page may be short.
        """
        page = self._metadata.list_manifests(repository, after, min(limit, ROWS))
        if not page.items:
            self._require(repository)
        rest_after = page.items[-1].digest if page.more else None
        return ImagesPage([item for item in page.items if _is_live(item)], rest_after)

    def image(self, repository: str, digest: Digest) -> Image:
        """Read all about a live manifest; raises ManifestUnknownError."""
        manifest = self._metadata.get_manifest(repository, digest)
        if manifest is None or not _is_live(manifest):
            raise ManifestUnknownError
        body = self._manifests.body(manifest)
        parsed = parse_manifest(body, manifest.media_type)
        referrers = self._metadata.list_referrers(repository, digest, None, PAGE)
        is_index = parsed.media_type in INDEXES
        config = None if is_index else self._config(repository, parsed.blobs[0])
        tags = sorted(self._metadata.tags_of(repository, digest))
        rules = self._rules(repository)
        return Image(
            manifest,
            self._runs(repository)(digest),
            None if rules is None else rules.keeping(tags),
            parsed.annotations,
            tags,
            referrers.items,
            referrers.more,
            self._children(repository, parsed),
            config,
            [] if is_index else self._layers(parsed.blobs[1:], config or {}),
        )

    def _runs(self, repository: str) -> Callable[[Digest], Sequence[Runs]]:
        """Read what runs of a repository; returns what says it of a digest."""
        leases = self._metadata.in_use(repository)
        return lambda digest: runs_of(leases, digest)

    def _rules(self, repository: str) -> Rules | None:
        """Read the rules of a repository; None for those of another version of Moorage."""
        text = self._metadata.get_rules()
        try:
            return parse_rules(text).of(repository)
        except RulesInvalidError:
            return None

    def _require(self, repository: str) -> None:
        if not self._metadata.has_repository(repository):
            raise NameUnknownError

    def _children(self, repository: str, parsed: ParsedManifest) -> list[NamedManifest]:
        digests = list(dict.fromkeys(item.digest for item in parsed.manifests))
        found = self._metadata.get_manifests(repository, digests) if digests else {}
        live = {digest: item for digest, item in found.items() if _is_live(item)}
        return [NamedManifest(item, live.get(item.digest)) for item in parsed.manifests]

    def _layers(self, descriptors: Sequence[Descriptor], config: Mapping[str, Any]) -> list[Layer]:
        digests = list(dict.fromkeys(item.digest for item in descriptors))
        records = self._metadata.get_records(digests) if digests else {}
        commands = _commands(config, len(descriptors))
        return [
            Layer(item, command, records[item.digest].links if item.digest in records else None)
            for item, command in zip(descriptors, commands, strict=True)
        ]

    def _config(self, repository: str, descriptor: Descriptor) -> Mapping[str, Any] | None:
        if descriptor.size > CONFIG_BYTES:
            return None
        link = self._metadata.get_link(repository, descriptor.digest)
        if link is None or link.size > CONFIG_BYTES:
            return None
        try:
            return read_object(bytes_of(link, self._objects))
        except (JsonInvalidError, ObjectMissingError):
            return None


def runs_of(leases: Sequence[InUse], digest: Digest) -> Sequence[Runs]:
    """Return where an image runs, as the leases of its repository say."""
    return [
        Runs(lease.source, lease.origin, lease.digests[digest], lease.until)
        for lease in leases
        if digest in lease.digests
    ]


def _is_live(manifest: Manifest) -> bool:
    return manifest.state is ManifestState.LIVE


def _commands(config: Mapping[str, Any], layers: int) -> list[str | None]:
    """Return the command of each layer; of none, where the history is not of these layers."""
    history = config.get("history")
    steps = history if isinstance(history, list) else []
    made = [
        step.get("created_by")
        for step in steps
        if isinstance(step, dict) and step.get("empty_layer") is not True
    ]
    if len(made) != layers:
        return [None] * layers
    return [command if isinstance(command, str) else None for command in made]
