"""Mutants of the collector, and of the search for strays."""

from __future__ import annotations

import math
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from chalicelib.errors import (
    RegistryError,
)
from chalicelib.registry.blobs import Blobs
from chalicelib.registry.collector import collector, links, strays
from chalicelib.registry.collector.collector import Collector
from chalicelib.registry.collector.links import Links, UnknownReferencesError
from chalicelib.registry.collector.records import Records
from chalicelib.registry.collector.seen import Day, SeenHome
from chalicelib.registry.collector.strays import Strays
from chalicelib.registry.manifests.publishing import Publisher
from chalicelib.registry.manifests.pushing import Pushes
from chalicelib.registry.model import (
    Garbage,
    ManifestState,
)
from chalicelib.registry.sweeper import Sweeper
from chalicelib.stores.dynamodb import (
    blobs,
    collection,
)
from chalicelib.stores.dynamodb.blobs import BlobItems
from chalicelib.stores.dynamodb.collection import CollectedItems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chalicelib.registry.model import Link, Manifest, Record
    from chalicelib.stores.dynamodb.expressions import Update

    Original = Callable[..., Any]
from tests.drills.mutants.checks import (
    a_collector_that_was_overtaken,
    a_publication_that_is_days_late,
    a_record_that_is_lost,
    a_record_that_is_made_anew,
    garbage_that_is_named,
)
from tests.drills.mutants.conditions import always
from tests.drills.mutants.mutant import ALWAYS, Change, Mutant, rules_of

RULES: list[Mutant] = []
rule = rules_of(RULES)


@rule("no stray is looked for", "_searches", Sweeper, crashed=["POST, PUT"])
def _(_: Original, _self: Sweeper, _now: float) -> Iterator[object]:
    return iter(())


@rule(
    "what a record names is a stray",
    "among",
    Strays,
    crashed=["sweep past a blob that came whole"],
)
def _(_: Original, _self: Strays, listed: list[object], *, end: bool) -> list[object]:
    del end
    return list(listed)


@rule(
    "a stray is deleted while it may be published",
    "_searches",
    Sweeper,
    raced=["PUT, sweeper, nobody has begun", "PUT, sweeper, at the end of the ticket"],
)
def _(searches: Original, self: Sweeper, now: float) -> object:
    return searches(self, now + 48 * 3600)


@rule(
    "a stray is deleted while its request is on its way",
    "_given_up",
    Strays,
    checked=[a_publication_that_is_days_late],
)
def _(_: Original, _self: Strays, _session: str, _key: str, *, end: bool) -> bool:
    del end
    return True


@rule("a search that failed is done", "_search", Sweeper, failed=["sweep a stray"])
def _(search: Original, self: Sweeper, first: str, last: str) -> object:
    self._ports.sessions.mark_searched(last)
    return search(self, first, last)


@rule(
    "a link is swept in any version",
    "sweep_link",
    CollectedItems,
    raced=["collect, HEAD and manifest PUT", "late collect, HEAD and manifest PUT"],
)
def _(sweep: Original, *arguments: object) -> object:
    with mock.patch.object(blobs, "at_version", return_value=ALWAYS):
        return sweep(*arguments)


@rule(
    "a late collector sweeps in any version",
    "sweep_link",
    CollectedItems,
    raced=["late collect, collect and push"],
)
def _(sweep: Original, *arguments: object) -> object:
    with mock.patch.object(blobs, "at_version", return_value=ALWAYS):
        return sweep(*arguments)


@rule(
    "a link is marked in any version",
    "_rewritten",
    CollectedItems,
    raced=["collect, HEAD"],
)
def _(rewritten: Original, *arguments: object) -> object:
    with mock.patch.object(collection, "at_version", return_value=ALWAYS):
        return rewritten(*arguments)


@rule(
    "all versions are one text",
    "_touch",
    BlobItems,
    raced=["collect, HEAD and manifest PUT"],
)
def _(touch: Original, self: BlobItems, link: Link, now: float) -> Update:
    update: Update = touch(self, link, now)
    return update._replace(set={**update.set, "version": {"S": link.version}})


def _counted_versions() -> Mutant:
    """Let each version be the number of the link's writes, which begins anew with a new link."""
    names = ("_touch", "_link_put", "_rewritten")
    touch, put, rewritten = (getattr(CollectedItems, name) for name in names)

    def touched(self: BlobItems, link: Link, now: float) -> Update:
        update: Update = touch(self, link, now)
        version = {"S": str(int(link.version) + 1)}
        return update._replace(set={**update.set, "version": version})

    def marked(self: CollectedItems, link: Link, mark: str | None) -> object:
        version = mock.Mock(return_value=str(int(link.version) + 1))
        with mock.patch.object(self, "_new_id", version):
            return rewritten(self, link, mark)

    changes = [
        Change(BlobItems, "_touch", touched),
        Change(BlobItems, "_link_put", lambda self, link: put(self, replace(link, version="0"))),
        Change(CollectedItems, "_rewritten", marked),
    ]
    return Mutant("a version is a counter", changes, raced=["late collect, collect and push twice"])


RULES.append(_counted_versions())


@rule(
    "manifests are read before the mark",
    "sweep",
    Links,
    raced=["collect, HEAD and manifest PUT", "collect, manifest PUT"],
)
def _(sweep: Original, self: Links, home: str, links: Sequence[Link]) -> object:
    named = self._named(home, {link.digest for link in links})
    with mock.patch.object(self, "_named", return_value=named):
        return sweep(self, home, links)


@rule(
    "a manifest is pending after its links are read",
    "_put_once",
    Pushes,
    raced=["collect, manifest PUT"],
)
def _(put: Original, self: Pushes, push: object, manifest: Manifest, *parsed: Any) -> None:  # noqa: ANN401 - as _put_once
    found = self._found(manifest.repository, *parsed)
    with mock.patch.object(self, "_found", return_value=found):
        put(self, push, manifest, *parsed)


@rule("a HEAD does not touch", "_fresh", Blobs, raced=["collect, HEAD and manifest PUT"])
def _(_: Original, _self: Blobs, _link: Link) -> bool:
    return True


@rule("a push takes no mark away", "_unmark", Publisher, raced=["collect, manifest PUT"])
def _(_: Original, _self: Publisher, _link: Link, _now: float) -> None:
    return


def _no_root(state: ManifestState, crashed: str) -> Mutant:
    """Let manifests of a state keep no blobs."""
    name, named_by = "_add_manifest", Links.named_by
    add = getattr(SeenHome, name)

    def added(self: SeenHome, manifest: Manifest) -> None:
        if manifest.state is not state:
            add(self, manifest)

    def named(self: Links, manifest: Manifest) -> object:
        return () if manifest.state is state else named_by(self, manifest)

    changes = [Change(SeenHome, name, added), Change(Links, "named_by", named)]
    return Mutant(f"{state} manifests keep nothing", changes, crashed=[crashed])


RULES += [
    _no_root(ManifestState.PENDING, "collect beside a pending manifest"),
    _no_root(ManifestState.DELETING, "collect beside a manifest half deleted"),
    _no_root(ManifestState.TRASHED, "collect beside the trash"),
    _no_root(ManifestState.LIVE, "collect beside a build cache"),
]


@rule(
    "what stands in a body is not named",
    "named_by",
    Links,
    crashed=["collect beside references in a body"],
)
def _(_: Original, _self: Links, manifest: Manifest) -> object:
    return manifest.references or ()


@rule(
    "what is unknown is nothing",
    "named_by",
    Links,
    crashed=["collect beside a manifest whose body has not come"],
)
def _(named_by: Original, *arguments: object) -> object:
    with suppress(UnknownReferencesError):
        return named_by(*arguments)
    return ()


@rule(
    "a large manifest of 0.1 does not name its body",
    "named_by",
    Links,
    crashed=["collect beside a large manifest of 0.1"],
)
def _(named_by: Original, self: Links, manifest: Manifest) -> object:
    return [digest for digest in named_by(self, manifest) if digest != manifest.digest]


@rule(
    "bodies are kept like layers",
    "owner_of_bodies",
    links,
    collector,
    crashed=["collect beside a large manifest"],
)
def _(_: Original, _home: str) -> None:
    return


@rule(
    "a link has no time of grace",
    "homes_and_rows",
    collector,
    crashed=["collect new layers"],
)
def _(homes: Original, rows: object, day: Day) -> object:
    return homes(rows, day._replace(before=math.inf))


@rule("a record has no time of grace", "is_over", Records, crashed=["collect what is just deleted"])
def _(_: Original, _self: Records, record: Record, _now: float) -> bool:
    return not record.links


@rule(
    "objects are deleted before their records",
    "drop",
    Records,
    raced=["collect, push to another repository"],
)
def _(drop: Original, self: Records, records: Sequence[Record]) -> object:
    now = self._ports.clock.now()
    self._ports.objects.delete([each.key for each in records if self.is_over(each, now)])
    return drop(self, records)


@rule(
    "a row of garbage goes before its object",
    "delete",
    Records,
    crashed=["collect a blob that was deleted"],
)
def _(delete: Original, self: Records, rows: Sequence[Garbage]) -> object:
    self._metadata.forget_garbage(rows)
    return delete(self, rows)


@rule("a record goes without a row", "drop_record", CollectedItems, crashed=["collect old layers"])
def _(drop: Original, self: CollectedItems, record: Record, now: float) -> object:
    dropped = drop(self, record, now)
    self.forget_garbage([Garbage(record.key, record.digest, record.size, now)])
    return dropped


@rule("garbage is deleted whatever names it", "delete", Records, checked=[garbage_that_is_named])
def _(_: Original, self: Records, rows: Sequence[Garbage]) -> object:
    self._ports.objects.delete([row.key for row in rows])
    return rows


@rule(
    "a state is written by whoever comes",
    "save_collector_state",
    CollectedItems,
    checked=[a_collector_that_was_overtaken],
)
def _(save: Original, *arguments: object) -> object:
    with mock.patch.multiple(collection, ABSENT=ALWAYS, at_version=always):
        return save(*arguments)


@rule(
    "a session that may publish owns no object",
    "_given_up",
    Strays,
    crashed=["collect beside a commit"],
)
def _(_: Original, _self: Strays, _session: str, _key: str, *, end: bool) -> bool:
    del end
    return True


@rule(
    "a link that is counted raises no count",
    "count_link",
    BlobItems,
    raced=["collect, collect, a link that no record counts"],
)
def _(_: Original, self: BlobItems, link: Link, record: Record, now: float) -> object:
    self._dynamo.write(self._touch(replace(link, key=record.key, count_id=record.count_id), now))
    return link


@rule(
    "no link is uncounted",
    "uncounted",
    Links,
    checked=[a_record_that_is_lost, a_record_that_is_made_anew],
)
def _(_: Original, *_what: object) -> list[object]:
    return []


@rule(
    "a run forgets what it missed", "_look_for_records", Collector, checked=[a_record_that_is_lost]
)
def _(look: Original, self: Collector, seen: object, run: Any) -> None:  # noqa: ANN401 - a run
    look(self, seen, run)
    run.all_recorded = True


@rule("a stray has no age", "opened_at", strays, raced=["collect, PUT, nobody has begun"])
def _(_: Original, _session: str) -> None:
    return


@rule(
    "a pass that failed is over",
    "_surviving",
    Collector,
    failed=["collect old layers"],
)
@contextmanager
def _(_: Original, _self: Collector, _what: str, _run: object) -> Iterator[None]:
    with suppress(RegistryError):
        yield


@rule(
    "a preview's list is what it was",
    "_sweep_listed",
    Collector,
    crashed=["collect what a preview lists, used since"],
)
def _(_: Original, self: Collector, home: str, findings: Sequence[Any], _run: object) -> None:
    metadata = self._metadata
    for link in metadata.get_links(home, [each.digest for each in findings]).values():
        metadata.sweep_link(link)
