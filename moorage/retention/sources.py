"""`moorage retention protect`, `unprotect` and `sources`: in-use leases, as clusters and lists say.

A tag is resolved to its digest at once, and an index to its manifests. A source that can't be read
completely changes nothing: the existing leases stay, and become overdue in time. This module must
never write a lease that names fewer images than were found running.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from botocore.exceptions import ClientError

from chalicelib.descriptor import INDEXES, parse_manifest
from chalicelib.digest import Digest
from chalicelib.registry.model import InUse, Manifest, ManifestState, UseSource, bodies_of
from chalicelib.registry.retention.run import hold
from chalicelib.stores.dynamodb.in_use import (
    DynamoInUseStore,
    InUseTooLargeError,
    UseSourceMovedError,
)
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.s3.objects import S3ObjectStore
from moorage.access.commands import table_name
from moorage.access.signing_key import moment
from moorage.common.aws import Aws, explained
from moorage.common.data import DataNames
from moorage.common.errors import CommandError, UsageError
from moorage.common.listing import Listing
from moorage.retention import ecs, kubernetes
from moorage.retention.running import Hosts, Inventory, Running, UsesOf, inventory, listed, said

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)

_LOCAL = ("localhost", "127.0.0.1", "[::1]")
"""The names of a local registry, on any port."""

_READERS: Mapping[str, Callable[[str], Iterable[Running]]] = {
    "k8s": kubernetes.running,
    "file": listed,
}
ORIGINS = ("ecs", *_READERS)
"""What a source may be."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where to look what runs: a text, or clusters of ECS in a region and account."""

    origin: str
    text: str = ""
    clusters: Sequence[str] = ()
    region: str | None = None
    profile: str | None = None


@dataclass(slots=True)
class _Found:
    """What runs of one repository, and messages about it."""

    digests: dict[Digest, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class InUseSources:
    """The sources of a registry, in its table `registry`; names, errors: as in AccessTable."""

    stack: str
    table: str | None = None
    endpoint: str | None = None

    def protect(
        self,
        name: str,
        where: Where,
        *,
        ttl: float,
        registries: Sequence[str] = (),
        may_be_empty: bool = False,
    ) -> Sequence[str]:
        """Let a source name what runs there now, for `ttl` seconds; returns what to tell a person.

        Raises CommandError, and then every lease is as it was, or as it is to be.
        """
        _require_name(name)
        if ttl <= 0:
            raise UsageError("the leases would be overdue at once: give --ttl as 48h")
        with explained():
            hosts = Hosts.of(registries or self._hosts())
            found = inventory(self._running(where), hosts)
        with self._opened() as (store, resolver):
            every = {
                repository: resolver.resolved(repository, of)
                for repository, of in found.of_repositories.items()
            }
            now = time.time()
            leases = [
                InUse(repository, name, where.origin, each.digests, now, now + ttl)
                for repository, each in every.items()
                if each.digests
            ]
            messages = [*found.unreadable, *(line for each in every.values() for line in each.said)]
            if found.others:
                messages.append(f"not of this registry: {_others(found)}")
            if not leases and not may_be_empty:
                raise CommandError("\n".join([*messages, _nothing(hosts)]))
            count = sum(len(lease.digests) for lease in leases)
            names = tuple(lease.repository for lease in leases)
            try:
                store.refresh(
                    UseSource(name, where.origin, names, count, now, now + ttl, ""), leases
                )
            except InUseTooLargeError as error:
                raise CommandError(f"{error}; nothing was changed") from None
            except UseSourceMovedError:
                raise CommandError(
                    f"another refresh of source {name} has begun meanwhile, and its leases hold"
                ) from None
            messages += [line for lease in leases for line in resolver.missed(lease, messages)]
        done = f"source {name}: {count} digests of {len(leases)} repositories are in use"
        return [*messages, f"{done}; refresh it before {moment(now + ttl)}"]

    def unprotect(self, name: str) -> str:
        """Remove a source with its leases."""
        _require_name(name)
        with self._opened() as (store, _):
            try:
                removed = store.remove(name)
            except UseSourceMovedError:
                raise CommandError(
                    f"source {name} is being refreshed at this moment: stop that, and try again"
                ) from None
        if removed is None:
            raise CommandError(
                f"there is no source {name!r}: `moorage retention sources` shows them"
            )
        return f"removed source {name}, which named {len(removed.repositories)} repositories"

    def sources(self) -> Listing:
        """List the sources."""
        with self._opened() as (store, _):
            found = store.sources()
        now = time.time()
        head = ("NAME", "FROM", "REFRESHED", "UNTIL", "DIGESTS", "REPOSITORIES")
        rows = [
            (
                each.name,
                each.origin,
                moment(each.refreshed_at),
                moment(each.until) + (", overdue: retention waits" if each.until < now else ""),
                str(each.count),
                str(len(each.repositories)),
            )
            for each in found
        ]
        values = [
            {
                "name": each.name,
                "from": each.origin,
                "refreshed_at": each.refreshed_at,
                "until": each.until,
                "overdue": each.until < now,
                "digests": each.count,
                "repositories": each.repositories,
            }
            for each in found
        ]
        return Listing(head, rows, values)

    def _running(self, where: Where) -> Iterable[Running]:
        if where.origin != "ecs":
            return _READERS[where.origin](where.text)
        aws = Aws(self.endpoint, where.region, where.profile)
        return ecs.running(aws.client("ecs"), where.clusters)

    def _hosts(self) -> Sequence[str]:
        """Return the names under which a stage's registry is reached, as its stacks have them."""
        if self.endpoint is not None:
            return _LOCAL
        client = Aws().client("cloudformation")
        stage = self.stack.removesuffix("-data")
        hosts: list[str] = []
        for stack in (stage, f"{stage}-edge"):
            try:
                (found,) = client.describe_stacks(StackName=stack)["Stacks"]
            except ClientError as error:
                if "does not exist" in str(error):
                    continue
                raise
            parameters = {
                each["ParameterKey"]: each.get("ParameterValue") for each in found["Parameters"]
            }
            outputs = {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}
            hosts += filter(
                None,
                (
                    parameters.get("PublicUrl"),
                    parameters.get("DomainName"),
                    outputs.get("EndpointURL"),
                    outputs.get("Host"),
                ),
            )
        if not hosts:
            raise CommandError(
                f"no stack {stage} says by which names images have this registry: give --registry"
                " HOST"
            )
        return hosts

    @contextlib.contextmanager
    def _opened(self) -> "Iterator[tuple[DynamoInUseStore, _Resolver]]":
        with explained():
            aws, local = Aws(self.endpoint), DataNames()
            table = self.table or table_name(
                aws, self.stack, "RegistryTableName", local.registry_table
            )
            client = aws.client("dynamodb")
        metadata = DynamoMetadataStore(client, table, local.uploads_table)

        def read(key: str) -> bytes:
            bucket = table_name(aws, self.stack, "BucketName", local.bucket)
            return S3ObjectStore(aws.client("s3"), bucket).get(key)

        with explained(table, "MOORAGE_REGISTRY_TABLE"):
            yield DynamoInUseStore(client, table), _Resolver(metadata, read)


class _Resolver:
    """Finds digests of tags, and the manifests of indexes, in the table."""

    def __init__(self, metadata: DynamoMetadataStore, read: Callable[[str], bytes]) -> None:
        self._metadata, self._read = metadata, read

    def resolved(self, repository: str, uses: UsesOf) -> _Found:
        """Return all digests that run of one repository, and what can't be found of them."""
        found = _Found({digest: said(by) for digest, by in uses.digests.items()})
        there = self._metadata.get_manifests(repository, [*uses.digests, *uses.guesses])
        for digest, by in uses.guesses.items():
            if digest in there:
                found.digests.setdefault(digest, said(by))
        tags = dict(uses.tags)
        for digest in uses.digests.keys() - there.keys():
            # A runtime may say a digest that is no manifest's: what the tag names counts, too.
            tags = dict.fromkeys(uses.fallbacks[digest], uses.digests[digest]) | tags
        rows = self._metadata.get_tags(repository, list(tags))
        for tag, row in rows.items():
            found.digests.setdefault(row.digest, said(tags[tag]))
        found.said += [
            f"{_runs(f'{repository}:{tag}', said(by))}, and there is no such tag: push it again"
            for tag, by in uses.tags.items()
            if tag not in rows
        ]
        self._add_children(repository, found)
        return found

    def missed(self, lease: InUse, messages: Sequence[str]) -> Iterator[str]:
        """Say what a run of retention removed meanwhile, unless a message names it already."""
        live = hold(self._metadata, lease.repository, list(lease.digests))
        for digest, by in lease.digests.items():
            place = f"{lease.repository}@{digest}"
            if digest not in live and not any(place in line for line in messages):
                manifest = self._metadata.get_manifest(lease.repository, digest)
                yield from _gone(place, manifest, by)

    def _add_children(self, repository: str, found: _Found) -> None:
        """Add the manifests of indexes, and of the indexes among those; say which are gone."""
        named = list(found.digests)
        while named:
            there = self._metadata.get_manifests(repository, named)
            children: dict[Digest, str] = {}
            for digest in named:
                manifest, by = there.get(digest), found.digests[digest]
                found.said += _gone(f"{repository}@{digest}", manifest, by)
                if manifest is not None and manifest.media_type in INDEXES:
                    children |= dict.fromkeys(self._named_by(manifest), by)
            named = [child for child in children if child not in found.digests]
            found.digests |= {child: children[child] for child in named}

    def _named_by(self, index: Manifest) -> Iterable[Digest]:
        if index.references is not None:
            return index.references
        repository, digest = index.repository, index.digest
        whole = self._metadata.get_manifest(repository, digest)
        body = whole and whole.body
        for home in (bodies_of(repository), repository):
            link = None if body else self._metadata.get_link(home, digest)
            body = self._read(link.key) if link else body
        if not body:
            raise CommandError(
                f"{repository}@{digest} runs, and what it names can't be read: push it again, or"
                " name its images one by one"
            )
        return [each.digest for each in parse_manifest(body, index.media_type).manifests]


def _runs(place: str, by: str) -> str:
    return f"{place} runs ({by})" if by else f"{place} runs"


def _gone(place: str, manifest: Manifest | None, by: str) -> Iterator[str]:
    """Say of what runs and can't be pulled how to bring it back."""
    running = _runs(place, by)
    if manifest is None or manifest.state is ManifestState.PENDING:
        yield f"{running}, and is not in the registry: push it again"
    elif manifest.state is not ManifestState.LIVE:
        yield f"{running}, and was deleted: `moorage repo restore REGISTRY/{place}` brings it back"


def _others(found: Inventory) -> str:
    """Say what runs of other registries."""
    counted = [f"{host} ({count})" for host, count in found.others.most_common(10)]
    more = ", and others" if len(found.others) > len(counted) else ""
    return f"{', '.join(counted)}{more}"


def _nothing(hosts: Hosts) -> str:
    return (
        f"nothing that runs there is in this registry, which is {', '.join(sorted(hosts.names))}"
        " (--registry says otherwise): nothing was changed. Give --empty if that is so"
    )


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name[:100]!r} is no name of a source: up to 64 letters, digits, `._-`")
