"""Drill 7: the program is changed where it matters, in this process only, and a drill must fail.

Each mutant names the drills that are to catch it: rows of the other drills, run over the DynamoDB
stores on tables in memory. This module must never change a file, leave out a named clause
(tests/drills/test_mutants.py compares), nor hold a change that nobody could make by mistake.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import math
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

from chalicelib.digest import Digest, Hasher
from chalicelib.errors import (
    DeniedError,
    DirectUploadInvalidError,
    ManifestUnknownError,
    RegistryError,
    TooManyRequestsError,
    UnavailableError,
    UploadBusyError,
    UploadUnknownError,
)
from chalicelib.registry import quotas, tickets
from chalicelib.registry.blobs import Blobs
from chalicelib.registry.collector import collector, links, strays
from chalicelib.registry.collector.collector import Collector
from chalicelib.registry.collector.links import Links, UnknownReferencesError
from chalicelib.registry.collector.records import Records
from chalicelib.registry.collector.seen import Day, SeenHome
from chalicelib.registry.collector.strays import Strays
from chalicelib.registry.keys import parts_key, read_direct_key, report_key
from chalicelib.registry.manifests import publishing, reading, removal
from chalicelib.registry.manifests.publishing import Publisher
from chalicelib.registry.manifests.pushing import Pushes
from chalicelib.registry.manifests.removal import Removals
from chalicelib.registry.model import (
    CatalogFacts,
    CatalogRow,
    CollectorState,
    Garbage,
    ManifestState,
    RetentionState,
    Stamp,
    bodies_of,
)
from chalicelib.registry.outcomes import (
    CheckedObject,
    CollectorMovedError,
    ManifestMovedError,
    ObjectChangedError,
    OverQuotaError,
    PartsChangedError,
    SessionMovedError,
    UnfinishedError,
    WrittenObject,
)
from chalicelib.registry.proof import Segment, Stretch, Verdict, arrives
from chalicelib.registry.quotas import Quotas
from chalicelib.registry.retention import judging
from chalicelib.registry.retention.run import Retention
from chalicelib.registry.retention.units import Unit, Units
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.session import Session, UploadState
from chalicelib.registry.sweeper import Sweeper
from chalicelib.registry.undo import Restoration, Undo
from chalicelib.registry.upload import (
    chunks,
    closing,
    direct_parts,
    effects,
    leases,
    leftovers,
    runner,
    verification,
)
from chalicelib.registry.upload import direct as direct_uploads
from chalicelib.registry.upload.closing import Closing
from chalicelib.registry.upload.direct_parts import DirectParts
from chalicelib.registry.upload.effects import Effects
from chalicelib.registry.upload.leases import Leases
from chalicelib.registry.upload.leftovers import Leftovers
from chalicelib.registry.upload.runner import CommitDriver
from chalicelib.registry.upload.segments import Report
from chalicelib.registry.upload.states import Event
from chalicelib.registry.upload.unbegun import UnbegunSessions
from chalicelib.registry.upload.verification import Verification, Verifier
from chalicelib.rules.document import Rules
from chalicelib.stores.dynamodb import (
    blobs,
    collection,
    in_use,
    manifests,
    metadata,
    retention,
    sessions,
    usage,
)
from chalicelib.stores.dynamodb.blobs import BlobItems
from chalicelib.stores.dynamodb.client import ConditionFailedError, TransactionRefusedError
from chalicelib.stores.dynamodb.collection import CollectedItems
from chalicelib.stores.dynamodb.expressions import Clause, Delete, Update
from chalicelib.stores.dynamodb.in_use import DynamoInUseStore
from chalicelib.stores.dynamodb.keys import (
    link_key,
    manifest_key,
    record_key,
    session_key,
    tag_key,
    tagged_key,
)
from chalicelib.stores.dynamodb.manifests import ManifestItems, tag_names
from chalicelib.stores.dynamodb.retention import RetentionItems
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from chalicelib.stores.s3 import copies, objects
from chalicelib.stores.s3.objects import S3ObjectStore
from tests.drills import (
    crashes,
    direct,
    edge,
    faults,
    garbage,
    images,
    operations,
    pairs,
    races,
    retained,
)
from tests.drills import direct_parts as parts
from tests.drills.direct_parts import BLOB, OTHER
from tests.drills.figures import Figures
from tests.drills.owners import quotas as full_quotas
from tests.drills.support.client import AWAY, HOME, TEXT, Stage, Upload
from tests.drills.support.ledger import Ledger, Violation
from tests.drills.support.points import Gate
from tests.drills.support.requests import expect
from tests.drills.support.worlds import BY_WORKER, PART, SMALL, TablesWorld
from tests.support.memory_objects import MemoryObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import ModuleType

    from chalicelib.registry.model import Covered, InUse, Link, Manifest, Record, UseSource
    from chalicelib.registry.outcomes import Part
    from chalicelib.registry.ports import MetadataStore
    from chalicelib.registry.retention.judging import Facts, Stopped
    from tests.drills.support.points import Call

    Original = Callable[..., Any]

ALWAYS = Clause("attribute_not_exists(#no_item_has_this)")
"""A clause that every item fulfils, and an absent one too."""

_SLOW_STEPS = 5
"""Steps of half a lease each: a copy takes longer than the lease."""

DELETED = ("delete a manifest",)
PATCHES = ("PATCH, PATCH, other bytes", "PATCH, PATCH, parts of other bytes")


@dataclass(frozen=True)
class Change:
    """One attribute of a module or class, and what stands there instead."""

    owner: Any
    name: str
    value: Any


@dataclass(frozen=True)
class Mutant:
    """A changed program, and the rows of other drills that catch the change, likeliest first."""

    name: str
    changes: Sequence[Change]
    crashed: Sequence[str] = ()
    """Operations to be stopped everywhere."""
    failed: Sequence[str] = ()
    """Operations whose calls are to fail in every way."""
    raced: Sequence[str] = ()
    """Races to be run in every order."""
    checked: Sequence[Callable[[], None]] = ()
    """Checks of a store by itself, which raise Violation."""


def drill(mutants: Iterable[Mutant]) -> Figures:
    """Change the program in each way, one after the other; a mutant that survives is a loss."""
    figures = Figures()
    for mutant in mutants:
        figures.mutants += 1
        case = caught(mutant)
        if case is None:
            figures.lose(f"mutant/{mutant.name}", AssertionError("no drill caught it"))
        else:
            figures.caught += 1
    return figures


def caught(mutant: Mutant) -> str | None:
    """Return the first case that catches the mutant; None if it survives."""
    with ExitStack() as stack:
        broken = stack.enter_context(_broken_mutants())
        for change in mutant.changes:
            stack.enter_context(mock.patch.object(change.owner, change.name, change.value))
        for attempt in _attempts(mutant):
            figures = attempt()
            if broken:
                raise AssertionError(f"the mutant {mutant.name!r} does not run: {broken[0]}")
            if figures.losses:
                return f"{figures.losses[0].case}: {figures.losses[0].what}"
    return None


@contextmanager
def _broken_mutants() -> Iterator[list[str]]:
    """Collect errors of a mutant that does not run at all: any drill would catch it."""
    broken: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            if isinstance(error, (TypeError, AttributeError, NameError)):
                broken.append(f"{type(error).__name__}: {error}")

    collector, root = Collector(), logging.getLogger()
    root.addHandler(collector)
    try:
        yield broken
    finally:
        root.removeHandler(collector)


def _attempts(mutant: Mutant) -> Iterator[Callable[[], Figures]]:
    for check in mutant.checked:
        yield lambda check=check: _checked(check)  # type: ignore[misc]
    world = TablesWorld()
    rows = {operation.name: operation for operation in operations.ALL}
    for name in mutant.crashed:
        yield lambda name=name: crashes.drill_one(  # type: ignore[misc]
            world, rows[name], first_loss=True
        )
    for name in mutant.failed:
        yield lambda name=name: faults.drill(  # type: ignore[misc]
            world, [rows[name]], every=True, first_loss=True
        )
    raced = {race.name: race for race in pairs.ALL}
    # Orders with two changes are many, and chance finds most of what they do.
    for changes, chances in ((1, 0), (0, 200), (2, 0)):
        bounds = races.Bounds(changes=changes, chances=chances, first_loss=True)
        for name in mutant.raced:
            yield lambda name=name, bounds=bounds: races.drill_one(  # type: ignore[misc]
                world, raced[name], bounds
            )


def _checked(check: Callable[[], None]) -> Figures:
    figures = Figures()
    try:
        check()
    except Violation as loss:
        figures.lose(f"check/{check.__name__}", loss)
    return figures


# Checks of states of the tables that no client and no order of requests leads to: each makes one,
# as a fault elsewhere or a bad restore may.


def a_link_without_count() -> None:
    """Delete a link that its record does not count: the link goes alone."""
    world = TablesWorld()
    Stage(world, Ledger()).client().push(HOME, Upload(TEXT, whole=True))
    digest = Digest.of(TEXT)
    world.spoil(record_key(digest), links={"N": "0"})
    metadata = world.ports(Gate()).metadata
    deleted, record = metadata.delete_link(HOME, digest), metadata.get_record(digest)
    if not deleted or record is None or record.links != 0:
        raise Violation(f"a link that was not counted was counted off: {record}")


def a_link_counted_meanwhile() -> None:
    """Delete a link that its record did not count, and does by then: it is counted off."""
    world, digest = TablesWorld(), Digest.of(TEXT)
    Stage(world, Ledger()).client().push(HOME, Upload(TEXT, whole=True))
    world.spoil(record_key(digest), links={"N": "0"})

    def restored(call: Call) -> Any:  # noqa: ANN401 - as any act
        world.spoil(record_key(digest), links={"N": "1"})
        return call()

    metadata = world.ports(Gate({2: restored})).metadata
    deleted, record = metadata.delete_link(HOME, digest), metadata.get_record(digest)
    if not deleted or record is None or record.links != 0:
        raise Violation(f"{record} counts a link that was deleted")


def _remade(*, has_id: bool) -> tuple[TablesWorld, MetadataStore]:
    """Lose the record of a blob of two repositories; the push of one of them makes another."""
    world, digest = TablesWorld(), Digest.of(TEXT)
    client, metadata = Stage(world, Ledger()).client(), world.ports(Gate()).metadata
    client.push(HOME, Upload(TEXT, whole=True))
    metadata.add_link(AWAY, digest, world.clock.now())
    store: Any = metadata
    store._dynamo.write(Delete(store._registry, record_key(digest)))  # noqa: SLF001 - no operation does that
    if not has_id:
        row = link_key(AWAY, digest)
        anyhow, gone = Clause("attribute_exists(#pk)"), ("count_id",)
        store._dynamo.write(Update(store._registry, row, anyhow, remove=gone))  # noqa: SLF001 - likewise
    client.push(HOME, Upload(TEXT, whole=True))
    return world, metadata


def a_link_of_a_lost_record() -> None:
    """Delete a link that a record counted which is lost: the record made since counts on."""
    for has_id in (True, False):
        _, metadata = _remade(has_id=has_id)
        deleted = metadata.delete_link(AWAY, Digest.of(TEXT))
        record = metadata.get_record(Digest.of(TEXT))
        if not deleted or record is None or record.links != 1:
            raise Violation(f"{record} counted off a link that it had not counted")


def a_link_whose_record_comes_back() -> None:
    """Delete a link whose lost record comes back meanwhile, by a hand: it is counted off there."""
    world, metadata = _remade(has_id=True)
    digest = Digest.of(TEXT)
    link = metadata.get_link(AWAY, digest)

    def back(call: Call) -> Any:  # noqa: ANN401 - as any act
        count_id = {"S": str(link and link.count_id)}
        world.spoil(record_key(digest), count_id=count_id, links={"N": "2"})
        return call()

    # The third request, number 2, is the deletion that has seen the other record.
    world.ports(Gate({2: back})).metadata.delete_link(AWAY, digest)
    record = metadata.get_record(digest)
    if record is None or record.links != 1:
        raise Violation(f"{record} counts a link that was deleted")


def a_touch_that_is_late() -> None:
    """Touch a link that another request has touched later: the later time stays."""
    world, digest = TablesWorld(), Digest.of(TEXT)
    Stage(world, Ledger()).client().push(HOME, Upload(TEXT, whole=True))
    metadata, now = world.ports(Gate()).metadata, world.clock.now()
    for at in (now + 60, now + 30):
        metadata.add_link(HOME, digest, at)
    link = metadata.get_link(HOME, digest)
    if link is None or link.touched_at != now + 60:
        raise Violation(f"{link} was touched in the past")


def a_release_that_is_late() -> None:
    """Delete the older of two links last: the record is released when the younger was used."""
    world, digest = TablesWorld(), Digest.of(TEXT)
    Stage(world, Ledger()).client().push(HOME, Upload(TEXT, whole=True))
    metadata, now = world.ports(Gate()).metadata, world.clock.now()
    metadata.add_link(AWAY, digest, now + 60)
    for repository in (AWAY, HOME):
        metadata.delete_link(repository, digest)
    record = metadata.get_record(digest)
    if record is None or record.released_at != now + 60:
        raise Violation(f"{record} was released earlier than its last use")


def _unlinked(stage: Stage) -> tuple[MetadataStore, Record]:
    """Prepare a blob that its client has deleted; returns its record."""
    garbage.deleted(stage)
    metadata = stage.world.ports(Gate()).metadata
    record = metadata.get_record(Digest.of(TEXT))
    if record is None:
        raise Violation("a record went with its last link")
    return metadata, record


def a_release_that_is_noted_twice() -> None:
    """Note the release of a record that says when it was released: the time stays."""
    metadata, record = _unlinked(Stage(TablesWorld(), Ledger()))
    metadata.note_release(record, (record.released_at or 0.0) + 60)
    if metadata.get_record(record.digest) != record:
        raise Violation(f"{record} was released anew")


def a_record_that_was_used_since() -> None:
    """Drop a record that was linked, and released again, since it was read: it stays."""
    stage = Stage(TablesWorld(), Ledger())
    metadata, record = _unlinked(stage)
    stage.world.clock.sleep(60)
    garbage.deleted(stage)
    if metadata.drop_record(record, stage.world.clock.now()):
        raise Violation(f"{record} was used since it was read, and is dropped")


def a_collector_that_was_overtaken() -> None:
    """Save how far a collector is after another one has: it is told."""
    metadata = TablesWorld().ports(Gate()).metadata
    first = metadata.save_collector_state(None, CollectorState(""))
    metadata.save_collector_state(first, first)
    for read in (None, first):
        with suppress(CollectorMovedError):
            metadata.save_collector_state(read, first)
            raise Violation("two collectors go on with one pass")


def garbage_that_is_named() -> None:
    """Delete garbage whose key a record names, by a hand at the table: the object stays."""
    stage = Stage(TablesWorld(), Ledger())
    garbage.pushed(HOME)(stage)
    ports = stage.world.ports(Gate())
    record = ports.metadata.get_record(Digest.of(TEXT))
    if record is not None:
        row = Garbage(record.key, record.digest, record.size, 0.0)
        Records(ports, SMALL).delete([row])
    if not stage.world.snapshot().objects:
        raise Violation("an object that a record names was deleted as garbage")


def a_record_that_is_lost() -> None:
    """Lose a record by hand, after a while its session too: nobody deletes what a link names."""
    stage = Stage(TablesWorld(), Ledger())
    images.live(stage)
    ports = stage.world.ports(Gate())
    record = ports.metadata.get_record(Digest.of(images.LAYERS[0]))
    if record is None:
        raise Violation("a layer was pushed, and has no record")
    store: Any = ports.metadata
    store._dynamo.write(Delete(store._registry, record_key(record.digest)))  # noqa: SLF001 - no operation does that
    stage.world.clock.sleep(27 * 3600.0)  # then the sweeper looks at it
    stage.registry().sweeper.sweep(stage.world.clock.now() + 600)
    session = session_key(record.key.split("/")[1])
    store._dynamo.write(Delete(store._uploads, session))  # noqa: SLF001 - as DynamoDB does in time
    stage.world.clock.sleep(garbage.WEEK)
    garbage.once(stage.client(), None)
    if record.key not in stage.world.snapshot().objects:
        raise Violation("an object that a link names was deleted, as its record is lost")


def a_record_that_is_made_anew() -> None:
    """Make a lost record anew by a push, and delete there: another repository keeps its bytes."""
    world, metadata = _remade(has_id=True)
    digest, store = Digest.of(TEXT), cast("Any", metadata)
    (old,) = metadata.get_links(AWAY, [digest]).values()
    session = session_key(old.key.split("/")[1])
    store._dynamo.write(Delete(store._uploads, session))  # noqa: SLF001 - as DynamoDB does in time
    world.clock.sleep(garbage.WEEK)
    for repository in (HOME, AWAY):
        if link := metadata.get_link(repository, digest):
            metadata.touch_link(link, world.clock.now())
    collector = Stage(world, Ledger()).registry().collector
    collector.run(world.clock.now() + 600)
    metadata.delete_link(HOME, digest)
    world.clock.sleep(garbage.WEEK)
    if link := metadata.get_link(AWAY, digest):
        metadata.touch_link(link, world.clock.now())
    collector.run(world.clock.now() + 600)
    left = metadata.get_link(AWAY, digest)
    if left is None or left.key not in world.snapshot().objects:
        raise Violation(f"{left} names bytes that are gone")


def a_record_renamed() -> None:
    """Link to a record that is changed to another object meanwhile: it is read anew."""
    world, digest = TablesWorld(), Digest.of(TEXT)
    Stage(world, Ledger()).client().push(HOME, Upload(TEXT, whole=True))

    def renamed(call: Call) -> Any:  # noqa: ANN401 - as any act
        world.spoil(record_key(digest), key={"S": "blobs/another"})
        return call()

    metadata = world.ports(Gate({1: renamed})).metadata
    link, record = metadata.add_link(AWAY, digest, world.clock.now()), metadata.get_record(digest)
    if link is None or record is None or (link.key, record.links) != (record.key, 2):
        raise Violation(f"{link} is counted by {record}")


def a_deletion_never_begun() -> None:
    """End the deletion of a manifest that is live: nothing is done."""
    stage = Stage(TablesWorld(), Ledger())
    digest, metadata = Digest.of(images.live(stage)), stage.world.ports(Gate()).metadata
    live = metadata.get_manifest(HOME, digest)
    if live is None or metadata.drop_tag(live, images.TAGS[0], None):
        raise Violation(f"a tag of {live} was dropped")
    metadata.finish_delete(live)
    if metadata.get_manifest(HOME, digest) != live:
        raise Violation(f"{live} was deleted")


def a_manifest_not_in_the_trash() -> None:
    """Empty the trash of a manifest that is live, or is being deleted: nothing is done."""
    stage = Stage(TablesWorld(), Ledger())
    digest, metadata = Digest.of(images.live(stage)), stage.world.ports(Gate()).metadata
    for state in (ManifestState.LIVE, ManifestState.DELETING):
        found = metadata.get_manifest(HOME, digest)
        if found is not None and state is ManifestState.DELETING:
            found = metadata.begin_delete(found, stage.world.clock.now(), Stamp(0, None))
        if found is not None:
            metadata.empty_trash(found)
        if metadata.get_manifest(HOME, digest) != found or found is None:
            raise Violation(f"a manifest that is {state} was taken for one in the trash")


def a_pull_that_is_late() -> None:
    """Note a pull after another one has noted a later pull: the later time stays."""
    stage = Stage(TablesWorld(), Ledger())
    digest, metadata = Digest.of(images.live(stage)), stage.world.ports(Gate()).metadata
    seen, now = metadata.get_manifest(HOME, digest), stage.world.clock.now()
    if seen is None:
        raise Violation(f"{digest} was put, and is not there")
    for at in (now + 60, now + 30):
        metadata.note_pull(seen, at, at - SMALL.pull_note)
    found = metadata.get_manifest(HOME, digest)
    if found is None or found.pulled_at != now + 60:
        raise Violation(f"{found} was pulled in the past")


def a_mark_that_is_late() -> None:
    """Mark how far strays were looked for, after another sweeper that was further."""
    sessions = TablesWorld().ports(Gate()).sessions
    for key in ("direct/2", "direct/1"):
        sessions.mark_searched(key)
    if sessions.searched() != "direct/2":
        raise Violation("the sweeper goes back to where it was")


def a_pass_begun_twice() -> None:
    """Begin a pass of retention after another run has begun one: it is left to that."""
    metadata = TablesWorld().ports(Gate()).metadata
    first = RetentionState(1, "rules", "", None, "first")
    if not metadata.put_retention_state(None, first):
        raise Violation("the first pass could not begin")
    second = replace(first, version="second")
    if metadata.put_retention_state(None, second) or metadata.retention_state() != first:
        raise Violation("two runs have begun a pass")


FACTS = CatalogFacts(1e9, 1, 2, 0, 3)


def facts_beside_a_push() -> None:
    """List a repository anew, as each first push does, after its facts were noted: they stay."""
    metadata = TablesWorld().ports(Gate()).metadata
    metadata.add_repository(HOME)
    metadata.note_facts(HOME, FACTS)
    metadata.add_repository(HOME)
    if metadata.get_repository(HOME) != CatalogRow(HOME, FACTS):
        raise Violation("what is known of a repository is lost by a push")


def facts_of_no_repository() -> None:
    """Note facts of a repository that the catalog does not name: nothing comes of it."""
    metadata = TablesWorld().ports(Gate()).metadata
    metadata.note_facts(HOME, FACTS)
    if metadata.list_repositories(None, 9).items:
        raise Violation("the collector has made a repository")


def facts_that_are_late() -> None:
    """Note what an earlier walk has seen after a later one's facts: these stay."""
    metadata = TablesWorld().ports(Gate()).metadata
    metadata.add_repository(HOME)
    later = replace(FACTS, noted_at=FACTS.noted_at + 1)
    for seen in (later, FACTS):
        metadata.note_facts(HOME, seen)
    if metadata.get_repository(HOME) != CatalogRow(HOME, later):
        raise Violation("a walk that was overtaken has the last word on a repository")


def a_use_before_the_mark() -> None:
    """Mark a manifest that was pulled since it was read: it has no mark."""
    stage = Stage(TablesWorld(), Ledger())
    retained.old(stage)
    metadata, now = stage.world.ports(Gate()).metadata, stage.world.clock.now()
    read = metadata.get_manifest(HOME, retained.UNIT["child"])
    if read is None:
        raise Violation("the image was pushed, and is not there")
    metadata.note_pull(read, now, now)
    if metadata.mark_manifest(read, "n 1 root CI"):
        raise Violation("what was used since it was read is marked")


def a_restoration_that_is_late() -> None:
    """Note that an index is brought back whose image is being deleted: that has to be read anew."""
    stage = Stage(TablesWorld(), Ledger())
    retained.old(stage)
    metadata, now = stage.world.ports(Gate()).metadata, stage.world.clock.now()
    read = metadata.get_manifest(HOME, retained.UNIT["child"])
    if read is None:
        raise Violation("the image was pushed, and is not there")
    metadata.begin_delete(read, now, Stamp(now, None))
    with suppress(ManifestMovedError):
        metadata.note_restore(read, now)
        raise Violation("what is being deleted was taken for live")


def a_restoration_is_a_use() -> None:
    """Bring back what the rules let go: the next run leaves it, and so does one a day later."""
    stage = Stage(TablesWorld(), Ledger())
    retained.old(stage)
    client = stage.client()
    retained.running(client, None)
    retained.restoring(client, None)
    for _ in range(2):
        retained.running(client, None)
        if not {retained.UNIT["root"], retained.UNIT["child"]} <= retained.live(stage):
            raise Violation("what was brought back was removed again")
        stage.world.clock.sleep(retained.DAY)


def what_is_left_over() -> None:
    """Let a run die when the root is gone; the next one ends it, though no rule is of the rest."""
    stage = Stage(TablesWorld(), Ledger())
    retained.half_removed(stage)
    retained.ruled(stage, {**retained.BY_PUSH, "untagged": False})
    retained.run(stage.registry(), stage.world.clock.now())
    if set(retained.UNIT.values()) & retained.live(stage):
        raise Violation("what belonged to a root that went is left")


def a_root_goes_before_its_images() -> None:
    """Look after each call of a run: no index that is live lacks an image."""
    stage = Stage(TablesWorld(), Ledger())
    retained.old(stage)

    class Looking(Gate):
        def __call__(self, name: str, call: Call) -> Any:  # noqa: ANN401 - as any gate
            answer = super().__call__(name, call)
            retained.whole(stage.client(), None)
            return answer

    retained.run(stage.registry(Looking()), stage.world.clock.now())


def a_publication_that_is_days_late() -> None:
    """Let the sweeper search between a whole blob's put and its transaction: it is sent again."""
    stage = Stage(TablesWorld(), Ledger())

    def late(call: Call) -> Any:  # noqa: ANN401 - as any act
        operations.sweeping(30 * 3600)(stage.client(), None)
        return call()

    requests = stage.client(Gate({2: late})).requests  # the rules are read, and the bytes put
    target = f"{HOME}/blobs/uploads?digest={Digest.of(TEXT)}"
    expect(requests.ask("POST", target, TEXT), 503)
    if stage.world.snapshot().records:
        raise Violation("a blob was published whose bytes the sweeper had deleted")
    expect(requests.ask("POST", target, TEXT), 201)


# Checks of the one driver: what several of them do can be done again, so that nothing is lost by
# it. It is only done for nothing.


def one_worker_is_asked_for() -> None:
    """Repeat a closing PUT: while a worker is awaited or drives, no other one is asked for."""
    stage = Stage.over(TablesWorld(), BY_WORKER._replace(commit_wait=2.0))
    session = operations.opened(20, 20)(stage)
    asked: list[str] = []
    stage.world.workers.drive = asked.append
    target = f"{HOME}/blobs/uploads/{session}?digest={Digest.of(TEXT[:40])}"
    requests = stage.client().requests
    for _ in range(5):
        expect(requests.ask("PUT", target), 503)
    found = stage.registry().commits.take(operations.held(stage, session))
    stage.world.clock.sleep(BY_WORKER.drive_lease - 10)
    expect(requests.ask("PUT", target), 503)
    if len(asked) != 1 or not found.driven(stage.world.clock.now()):
        raise Violation(f"workers were asked for {len(asked)} times")


def a_deleted_blob_is_gone() -> None:
    """Repeat a closing PUT whose blob was deleted meanwhile: it is 404."""
    stage = Stage(TablesWorld(), Ledger())
    client, session = stage.client(), operations.opened(12)(stage)
    target = f"{HOME}/blobs/uploads/{session}?digest={Digest.of(TEXT[:12])}"
    expect(client.requests.ask("PUT", target), 201)
    expect(client.requests.ask("PUT", target), 201)
    client.delete_blob(HOME, Digest.of(TEXT[:12]))
    expect(client.requests.ask("PUT", target), 404)


def a_deleted_whole_blob_is_gone() -> None:
    """Repeat the PUT of a blob that came whole, by its ticket, before and after its deletion."""
    stage = Stage(TablesWorld(), Ledger())
    client, session = stage.client(), operations.opened()(stage)
    target = f"{HOME}/blobs/uploads/{session}?digest={Digest.of(TEXT)}"
    for _ in range(2):
        expect(client.requests.ask("PUT", target, TEXT), 201)
    client.delete_blob(HOME, Digest.of(TEXT))
    expect(client.requests.ask("PUT", target, TEXT), 404)


def one_worker_copies() -> None:
    """Let a second worker come while the first one copies, however long: it leaves that alone."""
    stage = Stage(TablesWorld(), Ledger())
    session, clock, copy = operations.sealed(stage), stage.world.clock, MemoryObjectStore.copy
    begun: list[float] = []

    def drive() -> None:
        stage.registry().commits.resume(session, clock.now() + 600)

    def slow(self: MemoryObjectStore, *what: Any, until: float) -> None:  # noqa: ANN401 - as copy
        begun.append(clock.now())
        if len(begun) > _SLOW_STEPS:
            copy(self, *what, until=until)
            return
        steps = len(begun)
        drive()
        clock.sleep(SMALL.drive_lease / 2)
        drive()
        if len(begun) > steps:
            raise Violation("a second driver copies what the first one is copying")
        raise UnfinishedError

    with mock.patch.object(MemoryObjectStore, "copy", slow):
        drive()
    if operations.held(stage, session).state is not UploadState.COMMITTED:
        raise Violation("the copy never ended")


def second_driver_beside(seconds: float) -> bool:
    """Let a driver's copy work for so long; return whether a second driver began one, and ended."""
    stage = Stage(TablesWorld(), Ledger())
    session, clock, copy = operations.sealed(stage), stage.world.clock, MemoryObjectStore.copy
    begun: list[float] = []
    taken_by_another: list[bool] = []

    def slow(self: MemoryObjectStore, *what: Any, until: float) -> None:  # noqa: ANN401 - as copy
        begun.append(clock.now())
        if len(begun) > 1:
            copy(self, *what, until=until)
            return
        while clock.now() - begun[0] < seconds:
            clock.sleep(1.0)
        stage.registry().commits.resume(session, clock.now() + 600)
        taken_by_another.append(len(begun) > 1)
        raise UnfinishedError

    with mock.patch.object(MemoryObjectStore, "copy", slow):
        stage.registry().commits.resume(session, clock.now() + 600)
    if operations.held(stage, session).state is not UploadState.COMMITTED:
        raise Violation("the copy never ended")
    return taken_by_another[0]


def a_call_that_outlasts_the_lease() -> None:
    """Let one call of a driver take longer than its lease: no second driver comes."""
    if second_driver_beside(SMALL.drive_lease + SMALL.drive_beat):
        raise Violation("a second driver does what the first one is doing")


def a_call_that_hangs() -> None:
    """Let one take longer than any does: a second driver comes, and commits."""
    if not second_driver_beside(SMALL.drive_longest + SMALL.drive_lease + 1):
        raise Violation("a driver that hangs keeps the lease for ever")


def a_driver_that_wakes_late() -> None:
    """Hold a driver up past its lease: its renewal leaves the next driver's alone."""
    stage = Stage(TablesWorld(), Ledger())
    session, clock = operations.sealed(stage), stage.world.clock
    taken: list[Session] = []

    def held_up(*_: object, until: float) -> None:
        del until
        clock.time += SMALL.drive_lease + 1  # nothing is renewed meanwhile
        taken.append(stage.registry().commits.take(operations.held(stage, session)))
        clock.sleep(SMALL.drive_beat)
        if operations.held(stage, session) != taken[0]:
            raise Violation("a driver that had lost the lease renewed it")
        raise UnfinishedError

    with mock.patch.object(MemoryObjectStore, "copy", held_up):
        stage.registry().commits.resume(session, clock.now() + 600)
    if len(taken) != 1:
        raise Violation("a driver that had lost the lease went on")


def a_claim_that_is_replaced_meanwhile() -> None:
    """Replace the claim while the driver copies, as another PUT may: it has the lease still."""
    stage = Stage(TablesWorld(), Ledger())
    session, clock = operations.sealed(stage), stage.world.clock

    def replaced(*_: object, until: float) -> None:
        del until
        found = operations.held(stage, session)
        claimed = replace(found, claim=Digest.of(b"other"), fence=found.fence + 1)
        stage.world.ports(Gate()).sessions.write(found, claimed)
        for _second in range(int(SMALL.drive_lease + SMALL.drive_beat)):
            clock.sleep(1.0)
        if not operations.held(stage, session).driven(clock.now()):
            raise Violation("a driver that works has lost the lease")
        raise UnavailableError

    with mock.patch.object(MemoryObjectStore, "copy", replaced), suppress(UnavailableError):
        stage.registry().commits.resume(session, clock.now() + 600)


# Checks of direct uploads: S3 lets no such object come, so the drill puts it there behind the URL's
# back.


def refused_beside(found: CheckedObject) -> None:
    """Commit a direct upload at whose key such an object stands: 400, and nothing is published."""
    stage = Stage(TablesWorld(), Ledger())
    client, session = stage.client(), direct.opened(stage)
    target = f"{HOME}/_moorage/uploads/{session}"
    with mock.patch.object(MemoryObjectStore, "check", return_value=found):
        expect(client.requests.ask("PUT", target), 400)
    if stage.world.snapshot().records:
        raise Violation(f"{found} was published")


def bytes_that_s3_has_not_compared() -> None:
    """It stands there without a digest."""
    refused_beside(CheckedObject(len(TEXT), None))


def bytes_of_another_digest() -> None:
    """It has another one."""
    refused_beside(CheckedObject(len(TEXT), Digest.of(b"other")))


def bytes_of_another_size() -> None:
    """It has another size than the session was opened with, which links would tell."""
    refused_beside(CheckedObject(len(TEXT) + 1, Digest.of(TEXT)))


def bytes_with_headers() -> None:
    """It would be downloaded as if it were compressed."""
    refused_beside(CheckedObject(len(TEXT), Digest.of(TEXT), ("ContentEncoding",)))


def the_first_digest_counts() -> None:
    """Seal an upload in parts while another commit is about to, with another digest."""
    stage = Stage.over(TablesWorld(), BY_WORKER._replace(commit_wait=2.0))
    session = parts.put(stage)
    target = f"{HOME}/_moorage/uploads/{session}?digest="
    right, wrong = f"{target}{parts.BLOB.digest}", f"{target}{parts.OTHER.digest}"

    def overtaken(call: Call) -> Any:  # noqa: ANN401 - as any act
        expect(stage.client().requests.ask("PUT", right, parts.BLOB.report), 503)
        return call()

    late = stage.client(Gate({3: overtaken}))  # its fourth call is the write that seals
    expect(late.requests.ask("PUT", wrong, parts.OTHER.report), 400)
    operations.bring_workers(stage)
    stage.world.clock.sleep(BY_WORKER.worker_start + 1)
    expect(stage.client().requests.insist("PUT", right), 201)


def a_blob_that_was_refused() -> None:
    """Refuse what the edge has put: it is deleted at once, and not when the sweeper comes."""
    stage = Stage(TablesWorld(), Ledger())
    ticket = full_quotas.within(edge.put_before, 9)(stage)
    full_quotas.committing_by_edge(stage.client(), ticket)
    if stage.world.snapshot().objects:
        raise Violation("bytes that were refused are left")


# Checks of the verification: what was found belongs to a report and an object, which only a hand at
# the bucket replaces.


def not_published_after(replaced: Callable[[Any, str], None]) -> None:
    """Drive a commit on, half of whose segments hold, when something was replaced meanwhile."""
    stage = Stage(TablesWorld(), Ledger())
    session = parts.half_verified(wrong=True)(stage)
    ports = stage.world.ports(Gate())
    replaced(ports.objects, session)
    CommitDriver(ports, SMALL).resume(session, ports.clock.now() + 600)
    if stage.world.snapshot().records:
        raise Violation("bytes were published that nobody has verified")


def a_report_that_was_replaced() -> None:
    """The segment that is missing holds by another report, whose words begin and end elsewhere."""

    def forge(objects: Any, session: str) -> None:  # noqa: ANN401 - an object store
        report = Report.parse(BLOB.report, BLOB.algorithm, minimum=PART)
        first, second, last = report.parts
        words = b"\1" * BLOB.algorithm.words_size
        hasher = Hasher.from_words(BLOB.algorithm, words, first.size)
        hasher.update(OTHER.parts[2])
        forged = Report((replace(first, state=words), replace(second, state=hasher.words()), last))
        objects.put(report_key(session, direct_parts.named(report)), forged.dump())

    not_published_after(forge)


def an_object_that_was_replaced() -> None:
    """The segment that is missing holds in another object, where the others do not."""

    def put(objects: Any, session: str) -> None:  # noqa: ANN401 - likewise
        other = OTHER.parts
        objects.put(parts_key(session), b"".join((other[1], BLOB.parts[2], other[3])))

    not_published_after(put)


def a_checksum_of_parts() -> None:
    """Look at an object of parts, which has the checksum of its parts' checksums: that is none."""
    checksum = base64.b64encode(hashlib.sha256(TEXT).digest()).decode()
    for value, kind in ((checksum, "COMPOSITE"), (f"{checksum}-1", "FULL_OBJECT")):
        answer = {"ContentLength": 1, "ChecksumSHA256": value, "ChecksumType": kind}
        client: Any = SimpleNamespace(head_object=lambda answer=answer, **_: answer)
        if S3ObjectStore(client, "bucket").check("key") != CheckedObject(1, None):
            raise Violation(f"{value} of {kind} is taken for a digest")


# The mutants that forget a condition of DynamoDB's writes: one row for each named clause.


def _always(*_arguments: object) -> Clause:
    return ALWAYS


def clause(name: str, *modules: ModuleType, **drills: Any) -> Mutant:  # noqa: ANN401 - names of rows
    """Forget a named clause wherever it is used."""
    value = ALWAYS if name.isupper() else _always
    home = modules[0].__name__.rpartition(".")[2]
    changes = [Change(module, name, value) for module in modules]
    return Mutant(f"{home}.{name} forgotten", changes, **drills)


CLAUSES = [
    clause("NEVER_CREATED", sessions, failed=["POST, PATCHes, PUT"]),
    clause("NOBODY_HOLDS", sessions, raced=PATCHES),
    clause("in_state", sessions, raced=["PATCH, PUT", "PUT, PUT", "DELETE, PATCH"]),
    clause("under_fence", sessions, raced=["late tail", *PATCHES]),
    clause("of_repository", sessions, crashed=["append under another name"]),
    clause("opened_by", sessions, crashed=["append as another principal"]),
    clause("alive_at", sessions, crashed=["append after the end"]),
    clause("at_offset", sessions, crashed=["append the same again"]),
    clause("held_by", sessions, raced=["late tail", *PATCHES]),
    clause("further_than", sessions, checked=[a_mark_that_is_late]),
    clause("ABSENT", blobs, failed=["mount"], raced=["mount, mount"]),
    clause("STILL_COUNTED", blobs, checked=[a_link_without_count]),
    clause("NOT_COUNTED", blobs, checked=[a_link_counted_meanwhile]),
    clause("NO_COUNT_ID", blobs, checked=[a_link_of_a_lost_record]),
    clause("counting", blobs, checked=[a_link_of_a_lost_record]),
    clause("not_counting", blobs, checked=[a_link_whose_record_comes_back]),
    clause("ABSENT", collection, checked=[a_collector_that_was_overtaken]),
    clause("NO_LINKS", collection, raced=["collect, push to another repository"]),
    clause("NO_RELEASE", collection, checked=[a_release_that_is_noted_twice]),
    clause("released_at", collection, checked=[a_record_that_was_used_since]),
    clause("not_released_since", blobs, checked=[a_release_that_is_late]),
    clause("naming", blobs, checked=[a_record_renamed], raced=["push, push, object gone"]),
    clause("at_version", blobs, manifests, failed=["delete a blob"], raced=["delete, delete"]),
    clause("ABSENT", manifests, crashed=["put an image that is there"]),
    clause("IS_PENDING", manifests, crashed=["put an image that is there"]),
    clause("IS_LIVE", manifests, raced=["put, delete, no trash"]),
    clause("IS_DELETING", manifests, checked=[a_deletion_never_begun]),
    clause("IS_TRASHED", manifests, checked=[a_manifest_not_in_the_trash]),
    clause("NO_TAG", manifests, raced=["tag, tag"]),
    clause("ABSENT", metadata, checked=[facts_beside_a_push]),
    clause("LISTED", metadata, checked=[facts_of_no_repository]),
    clause("noted_before", metadata, checked=[facts_that_are_late]),
    clause("ABSENT", retention, checked=[a_pass_begun_twice]),
    clause("IS_LIVE", retention, checked=[a_restoration_that_is_late]),
    clause("marked", retention, raced=["retention, put of the index"]),
    clause("unused_since", retention, checked=[a_use_before_the_mark]),
    clause("of_version", manifests, raced=["delete, delete and put and delete"]),
    clause("tagged_by", manifests, raced=["tag, tag"]),
    clause("not_pulled_since", manifests, checked=[a_pull_that_is_late]),
    clause("ABSENT", usage, raced=["push, push, room for one", "push, push, room for two"]),
    clause("at_version", usage, raced=["push, delete, push, full"]),
    clause("counted_under", usage, crashed=["push under a quota that is new"]),
    clause("bytes_at_most", usage, crashed=["no room, mount"]),
    clause("tags_at_most", usage, crashed=["no room for a tag"]),
    clause("ABSENT", in_use, raced=["refresh, refresh, the first time"]),
    clause("as_read", in_use, raced=["refresh, refresh", "refresh, remove"]),
    clause("tag_names", manifests, raced=["tag, tag", "tag moves, tag is deleted"]),
]


# The mutants that break a rule of the program: each function stands in place of another one, which
# is its first argument.

RULES: list[Mutant] = []
FAILURES = (UnavailableError, TooManyRequestsError)
NEVER = Clause("#state = :never", {"never": {"S": "no state of ours"}})


def rule(
    name: str,
    attribute: str,
    *owners: type | ModuleType,
    **drills: Any,  # noqa: ANN401 - fields of a Mutant
) -> Callable[[Original], Original]:
    """Make the function below a mutant: it replaces `attribute` of each owner."""

    def note(changed: Original) -> Original:
        original = getattr(owners[0], attribute)

        def replacement(*args: object, **kwargs: object) -> object:
            return changed(original, *args, **kwargs)

        changes = [Change(owner, attribute, replacement) for owner in owners]
        RULES.append(Mutant(name, changes, **drills))
        return changed

    return note


@rule("published before the copy", "_copy", Effects, crashed=["commit parts"])
def _(_: Original, _self: Effects, session: Session, _until: float) -> tuple[Event, Session]:
    return Event.COPY, session


@rule(
    "published unverified",
    "_from_assembled",
    Effects,
    crashed=["commit as sha512, wrong digest first"],
)
def _(_: Original, self: Effects, session: Session, until: float) -> object:
    return self._copy(session, until)


@rule(
    "a direct upload is published by its digest alone",
    "_fault",
    direct_uploads,
    crashed=["direct, commit before the PUT"],
)
def _(fault: Original, session: Session, found: CheckedObject | None) -> object:
    return fault(session, found) if found else None


@rule(
    "a digest that S3 has not compared is good",
    "_fault",
    direct_uploads,
    checked=[bytes_that_s3_has_not_compared],
)
def _(fault: Original, session: Session, found: CheckedObject | None) -> object:
    unknown = found and found.digest is None
    return fault(session, replace(found, digest=session.claim) if found and unknown else found)


@rule(
    "the digest that S3 has compared is not that of the claim",
    "_fault",
    direct_uploads,
    checked=[bytes_of_another_digest],
)
def _(fault: Original, session: Session, found: CheckedObject | None) -> object:
    compared = found and found.digest
    return fault(session, replace(found, digest=session.claim) if found and compared else found)


@rule("a direct upload has any size", "_fault", direct_uploads, checked=[bytes_of_another_size])
def _(fault: Original, session: Session, found: CheckedObject | None) -> object:
    return fault(session, found and replace(found, size=session.direct_size or 0))


@rule("a pusher's headers are kept", "_fault", direct_uploads, checked=[bytes_with_headers])
def _(fault: Original, session: Session, found: CheckedObject | None) -> object:
    return fault(session, found and replace(found, headers=()))


@rule("the checksum of parts is a digest", "_compared", objects, checked=[a_checksum_of_parts])
def _(compared: Original, answer: dict[str, str]) -> object:
    whole = answer["ChecksumSHA256"].partition("-")[0]
    return compared({"ChecksumSHA256": whole, "ChecksumType": "FULL_OBJECT"})


@rule(
    "a direct upload is cleaned up while its URL lives",
    "comes_again",
    Leftovers,
    crashed=["direct, cancel, the PUT ends late", "parts, cancel, one ends late"],
)
def _(_: Original, self: Leftovers, _session: Session) -> float:
    return self._clock.now() + self._limits.sweep_again


@rule(
    "a direct upload is cleaned up while a PUT may be under way",
    "comes_again",
    Leftovers,
    crashed=["direct, cancel, the PUT ends late"],
)
def _(_: Original, self: Leftovers, _session: Session) -> float:
    return self._clock.now() + self._limits.sweep_again + self._limits.direct_url


@rule(
    "a direct upload is any upload",
    "find",
    Leases,
    crashed=["direct, asked as another upload"],
)
def _(find: Original, self: Leases, owner: object, session_id: str, **how: Any) -> object:  # noqa: ANN401 - as find
    session = self._ports.sessions.get(session_id)
    how["direct"] = session.is_direct if session else how.get("direct", False)
    return find(self, owner, session_id, **how)


@rule(
    "a commit that another one overtook is refused",
    "still_live",
    Closing,
    raced=["direct commit, direct commit, live elsewhere"],
)
def _(_: Original, _self: Closing, _committed: Session) -> object:
    raise DirectUploadInvalidError


@rule(
    "what came in parts is published unread",
    "step",
    Verification,
    crashed=["parts, commit with another digest"],
)
def _(_: Original, _self: Verification, session: Session, *_more: object) -> object:
    return True, session


@rule(
    "what is live is linked, whatever came in parts",
    "_from_sealed",
    Effects,
    crashed=["parts, commit before they come"],
)
def _(from_sealed: Original, self: Effects, session: Session, until: float) -> object:
    live = self._ports.metadata.get_record(session.claimed_digest)
    return (Event.ALREADY_LIVE, session) if live else from_sealed(self, session, until)


@rule(
    "reports have one key",
    "report_key",
    effects,
    direct_parts,
    raced=["parts commit, another report", "late parts commit, another report"],
)
def _(_: Original, session_id: str, _report: object) -> str:
    return f"uploads/{session_id}/report"


@rule(
    "a part put anew is a loss",
    "_assemble",
    Effects,
    raced=["parts commit, a part put anew"],
)
def _(assemble: Original, self: Effects, session: Session) -> object:
    complete = self._ports.objects.complete_multipart

    def strict(*what: object) -> object:
        try:
            return complete(*what)  # type: ignore[arg-type]
        except PartsChangedError as error:
            raise ObjectChangedError from error

    with mock.patch.object(self._ports.objects, "complete_multipart", strict):
        return assemble(self, session)


@rule(
    "a record has the last request's bytes, without the tail before them",
    "_publish_whole",
    Closing,
    crashed=["POST, small PATCH, last chunk in the PUT"],
)
def _(publish: Original, self: Closing, leased: Session, data: bytes) -> object:
    with mock.patch.object(Limits, "inlined", return_value=data or None):
        return publish(self, leased, data)


@rule(
    "a refusal is forgotten",
    "over",
    leases,
    closing,
    crashed=["parts, commit with another digest"],
)
def _(_: Original, _session: Session) -> object:
    return UploadUnknownError()


@rule(
    "parts that were refused stay",
    "_delete_direct",
    Leftovers,
    crashed=["parts, commit with another digest"],
)
def _(delete: Original, self: Leftovers, session: Session) -> None:
    if session.refusal is None:
        delete(self, session)


@rule(
    "what comes late of parts stays",
    "_delete_direct",
    Leftovers,
    crashed=["parts, cancel, one ends late"],
    raced=["parts commit, another report"],
)
def _(delete: Original, self: Leftovers, session: Session) -> None:
    delete(self, replace(session, sweep_at=math.inf, disturbed=False))


@rule(
    "parts that were put together are gone",
    "stored",
    DirectParts,
    raced=["parts commit, status"],
)
def _(stored: Original, self: DirectParts, session: Session) -> object:
    found = stored(self, session)
    if found is None:
        raise UploadUnknownError
    return found


@rule("an upload in parts is opened before its session", "begin", DirectParts, crashed=["parts"])
def _(_: Original, self: DirectParts, opened: Session) -> Session:
    begun = self._ports.objects.begin_multipart(parts_key(opened.id))
    session = replace(opened, by_parts=True, upload_id=begun.id)
    self._ports.sessions.create(session)
    return session


@rule("driven without the lease", "take", CommitDriver, raced=["PUT, worker", "worker, worker"])
def _(_: Original, self: CommitDriver, session: Session, *_times: float, **_more: object) -> object:
    return replace(session, holder=self._ports.clock.new_id())  # which no item names


@rule("every repeat asks for a worker", "_finish", Closing, checked=[one_worker_is_asked_for])
def _(finish: Original, self: Closing, session: Session, *rest: object) -> object:
    self._ports.workers.commit(session.id)
    return finish(self, session, *rest)


@rule("a worker drives beside another one", "driven", Session, checked=[one_worker_copies])
def _(_: Original, _session: Session, _now: float) -> bool:
    return False


@rule(
    "the driver's lease is not renewed", "_lease_until", CommitDriver, checked=[one_worker_copies]
)
def _(lease_until: Original, self: CommitDriver, deadline: float) -> object:
    return vars(self).setdefault("taken until", lease_until(self, deadline))


@rule(
    "the lease is not renewed beside a call",
    "_renewing",
    CommitDriver,
    checked=[a_call_that_outlasts_the_lease],
)
def _(_: Original, _self: CommitDriver, _session: Session, _deadline: float) -> object:
    return nullcontext()


@rule(
    "a driver that hangs renews its lease",
    "_renewing",
    CommitDriver,
    checked=[a_call_that_hangs],
)
def _(renewing: Original, self: CommitDriver, session: Session, deadline: float) -> object:
    with mock.patch.object(self, "_limits", self._limits._replace(drive_longest=math.inf)):
        return renewing(self, session, deadline)


@rule(
    "a claim that is replaced ends the renewals",
    "_renewing",
    CommitDriver,
    checked=[a_claim_that_is_replaced_meanwhile],
)
def _(_: Original, self: CommitDriver, session: Session, deadline: float) -> object:
    def renew() -> bool:
        with suppress(SessionMovedError):
            renewed = replace(session, lease_until=self._lease_until(deadline))
            self._ports.sessions.write(session, renewed)
        return True

    return self._ports.meanwhile(self._limits.drive_beat, renew)


@rule(
    "whoever has the lease, it is renewed",
    "_renewing",
    CommitDriver,
    checked=[a_driver_that_wakes_late],
)
def _(_: Original, self: CommitDriver, session: Session, deadline: float) -> object:
    sessions = self._ports.sessions

    def renew() -> bool:
        found = sessions.get(session.id) or session
        sessions.write(found, replace(found, lease_until=self._lease_until(deadline) + 1))
        return True

    return self._ports.meanwhile(self._limits.drive_beat, renew)


@rule("what an onlooker misses is lost", "_look_again", Effects, raced=["PUT, PUT", "PUT, worker"])
def _(_: Original, _self: Effects, _session: Session, error: Exception) -> object:
    raise error


@rule(
    "a Complete under way is forgotten by the next driver",
    "passed_on",
    runner,
    raced=["PUT, PUT", "PUT, worker"],
)
def _(passed_on: Original, session: Session, *lease: object) -> object:
    return replace(passed_on(session, *lease), disturbed=session.disturbed)


@rule("read on from the wrong place", "_read_on", Effects, crashed=["commit unhashed"])
def _(read_on: Original, self: Effects, session: Session, until: float) -> object:
    read = self._ports.objects.read

    def again(key: str, *, etag: str, chunk_size: int, first: int) -> Iterator[bytes]:
        return read(key, etag=etag, chunk_size=chunk_size, first=max(first - chunk_size, 0))

    with mock.patch.object(self._ports.objects, "read", again):
        return read_on(self, session, until)


@rule("a piece is taken for the whole", "_read_on", Effects, crashed=["commit unhashed"])
def _(read_on: Original, self: Effects, session: Session, until: float) -> object:
    hasher = read_on(self, session, until)
    hasher.offset = session.offset
    return hasher


@rule("201 for a blob that was deleted", "still_live", Closing, checked=[a_deleted_blob_is_gone])
def _(_: Original, _self: Closing, committed: Session) -> Session:
    return committed


@rule("lease freed early", "take", Leases, raced=PATCHES)
def _(take: Original, self: Leases, *arguments: object) -> object:
    leased = take(self, *arguments)
    with suppress(SessionMovedError):
        self._ports.sessions.write(leased, replace(leased, holder=None))
    return leased


@rule("burned number used again", "taken_over", sessions, raced=["late part"])
def _(taken_over: Original, session: Session) -> object:
    return replace(taken_over(session), next_part=session.next_part, burned=session.burned)


@rule(
    "number passed over, not burned", "taken_over", sessions, raced=["late part", "late first part"]
)
def _(taken_over: Original, session: Session) -> object:
    return replace(taken_over(session), burned=session.burned)


@rule("own lease not recognised on a repeat", "_leasable", sessions, failed=["append to a tail"])
def _(leasable: Original, lease: Any, failed: object) -> object:  # noqa: ANN401 - a private type
    return leasable(lease._replace(holder="somebody else"), failed)


@rule(
    "own write not recognised on a repeat",
    "write",
    DynamoSessionStore,
    failed=["cancel", "commit parts"],
)
def _(_: Original, self: DynamoSessionStore, before: Session, after: Session) -> Session:
    try:
        self._dynamo.write(sessions.update_of(self._table, before, after))
    except ConditionFailedError as failed:
        raise SessionMovedError(sessions._session(failed)) from failed  # noqa: SLF001 - as the original
    return after


@rule(
    "own publication not recognised on a repeat",
    "_already_published",
    blobs,
    failed=["commit parts"],
)
def _(_: Original, _before: Session, _after: Session, refused: Exception) -> Session:
    raise SessionMovedError(None) from refused


@rule(
    "201 for a blob that came whole and was deleted",
    "_already_published",
    blobs,
    checked=[a_deleted_whole_blob_is_gone],
)
def _(published: Original, before: Session, after: Session, refused: Exception) -> object:
    return published(replace(before, state=UploadState.OPEN), after, refused)


@rule("a MAC covers no name", "mac_of", tickets, crashed=["a ticket under another name"])
def _(mac_of: Original, key: bytes, purpose: object, _name: str, text: str) -> object:
    return mac_of(key, purpose, "", text)


@rule("a ticket is anybody's", "_hash_of", tickets, crashed=["a ticket of another principal"])
def _(hash_of: Original, session: str, _principal: str) -> object:
    return hash_of(session, "")


@rule("any MAC is good", "_made", tickets.Tickets, crashed=["a forged ticket"])
def _(_: Original, *_arguments: object) -> bool:
    return True


@rule("a ticket has no end", "named", UnbegunSessions, crashed=["a ticket that is too old"])
def _(named: Original, self: UnbegunSessions, *what: object, **_late: float) -> object:
    with mock.patch.object(self._ports.clock, "now", return_value=0.0):
        return named(self, *what)


@rule("a cancelled ticket stays good", "cancel", UnbegunSessions, crashed=["cancel, nothing sent"])
def _(_: Original, _self: UnbegunSessions, _session: Session) -> None:
    return


@rule(
    "what the edge has put is good uncompared",
    "check",
    MemoryObjectStore,
    crashed=["edge, not compared, and not true"],
)
def _(check: Original, self: MemoryObjectStore, key: str) -> object:
    found, named = check(self, key), read_direct_key(key)
    return replace(found, digest=named[1]) if found and named else found


@rule(
    "what was not compared is published where it stands",
    "_copy",
    Effects,
    crashed=["edge, not compared, and changed"],
)
def _(copy: Original, self: Effects, session: Session, until: float) -> object:
    staged = session.staged
    if staged is None or read_direct_key(staged.key) is None:
        return copy(self, session, until)
    return Event.COPY, session


@rule("what the edge has put is anybody's", "_hash_of", tickets, crashed=["edge, commit by others"])
def _(hash_of: Original, session: str, _principal: str) -> object:
    return hash_of(session, "")


@rule(
    "the edge's commit is good for ever",
    "named",
    UnbegunSessions,
    crashed=["edge, commit days later"],
)
def _(named: Original, self: UnbegunSessions, *what: object, late: float = 0.0) -> object:
    return named(self, *what, late=late and 1e9)


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


@rule("any digest closes a sealed session", "_bound", Closing, raced=["PUT, wrong PUT"])
def _(_: Original, _self: Closing, session: Session, _digest: object) -> Session:
    return session


@rule("tails under one key", "tail_key", chunks, leftovers, raced=["late tail"])
def _(_: Original, session_id: str, _fence: int) -> str:
    return f"uploads/{session_id}/tail"


@rule("a failed read is absence", "get_link", BlobItems, failed=["pull a blob"])
def _(get_link: Original, self: BlobItems, *arguments: object) -> object:
    try:
        return get_link(self, *arguments)
    except RegistryError:
        return None


@rule("a failed clean-up is done", "_delete", Leftovers, failed=["commit parts"])
def _(delete: Original, self: Leftovers, session: Session) -> None:
    with suppress(RegistryError):
        delete(self, session)


@rule("disturbed sessions cleaned by name", "_delete", Leftovers, crashed=["append a part"])
def _(delete: Original, self: Leftovers, session: Session) -> None:
    delete(self, replace(session, disturbed=False))


@rule(
    "a copy goes on from the wrong byte",
    "parts",
    copies.PartsCopy,
    crashed=["commit, copy was begun"],
)
def _(parts: Original, self: copies.PartsCopy, known: Sequence[Part]) -> object:
    objects, before = self.objects, sum(part.size for part in known)
    copy_part: Original = objects.copy_part

    def wrong(*place: Any) -> object:  # noqa: ANN401 - as the port's
        span = tuple(max(at - before, 0) for at in place[-1])
        return copy_part(*place[:-1], span)

    with mock.patch.object(objects, "copy_part", wrong):
        return parts(self, known)


@rule(
    "a copy that was begun stays open",
    "_delete",
    Leftovers,
    crashed=["sweep a copy that was begun, at its end"],
)
def _(delete: Original, self: Leftovers, session: Session) -> None:
    delete(self, replace(session, offset=0))


@rule(
    "no writer is late",
    "_may_be_written_late",
    Leftovers,
    raced=["late first part", "late part, and the rest"],
)
def _(_: Original, _self: Leftovers, _session: Session) -> bool:
    return False


@rule("a failed call in a commit is a loss", "step", CommitDriver, failed=["commit parts"])
def _(step: Original, self: CommitDriver, session: Session, *times: float) -> object:
    try:
        return step(self, session, *times)
    except FAILURES:
        return self.end(session, Event.LOST)


@rule(
    "a failed call of a small PUT is a loss", "_publish_leased", Closing, failed=["commit a tail"]
)
def _(publish: Original, self: Closing, leased: Session, data: bytes) -> object:
    try:
        return publish(self, leased, data)
    except FAILURES:
        raise self._leases.lost(leased) from None


@rule("a cancelled upload is published", "_publish_whole", Closing, raced=["DELETE, PUT small"])
def _(publish: Original, self: Closing, leased: Session, data: bytes) -> object:
    try:
        return publish(self, leased, data)
    except (UploadUnknownError, UploadBusyError):
        return leased


@rule(
    "manifest accepted unchecked", "check", Publisher, crashed=["put a manifest that lacks a blob"]
)
def _(_: Original, _self: Publisher, *_found: object, may_pull: bool) -> None:
    del may_pull


@rule("tags survive their manifest", "finish_delete", Removals, crashed=["delete a manifest"])
def _(_: Original, self: Removals, manifest: Manifest) -> None:
    self._ports.metadata.finish_delete(manifest)


@rule(
    "a large manifest's body outlives it",
    "_body_link",
    Removals,
    crashed=["delete a large manifest"],
)
def _(_: Original, _self: Removals, _manifest: Manifest) -> None:
    return


@rule(
    "a body goes before its manifest, in another transaction",
    "_remove",
    ManifestItems,
    raced=["delete, delete and put, large, no trash", "put, delete, large, no trash"],
)
def _(
    remove: Original,
    self: ManifestItems,
    manifest: Manifest,
    state: Clause,
    body: Link | None,
    *rows: Delete,
) -> None:
    if body is not None:
        self.delete_link(body.repository, body.digest)
    remove(self, manifest, state, None, *rows)


@rule(
    "the body that 0.1 stored goes with the blob",
    "_manifest_of_0_1",
    Blobs,
    crashed=["delete the blob of a large manifest of 0.1"],
)
def _(_: Original, _self: Blobs, _repository: str, _digest: Digest) -> None:
    return


@rule(
    "a body is kept for a manifest that goes",
    "keep_body",
    ManifestItems,
    raced=["delete the manifest, delete its blob, of 0.1, no trash"],
)
def _(_: Original, self: ManifestItems, manifest: Manifest, link: Link) -> None:
    self.add_link(bodies_of(manifest.repository), link.digest, link.touched_at)
    self.delete_link(link.repository, link.digest)


@rule(
    "own deletion of a manifest not recognised on a repeat",
    "begin_delete",
    ManifestItems,
    failed=["delete a manifest"],
)
def _(begin_delete: Original, *arguments: object) -> object:
    with mock.patch.object(manifests, "IS_DELETING", NEVER):
        return begin_delete(*arguments)


@rule(
    "a manifest is deleted in whatever version",
    "begin_delete",
    ManifestItems,
    failed=["delete a manifest, put it anew"],
)
def _(begin_delete: Original, *arguments: object) -> object:
    with mock.patch.object(manifests, "of_version", return_value=ALWAYS):
        return begin_delete(*arguments)


@rule(
    "own deletion of a blob not recognised on a repeat",
    "delete_link",
    BlobItems,
    failed=["delete a blob"],
)
def _(_: Original, self: BlobItems, repository: str, digest: Digest) -> bool:
    link = self.get_link(repository, digest)
    if link is None:
        return False
    try:
        self._dynamo.transact(self._deletion(link, blobs.likely_record(link)))
    except TransactionRefusedError:
        return False
    return True


@rule(
    "a record is healed whatever it names by now",
    "_healed",
    BlobItems,
    raced=["push, push, object gone"],
)
def _(healed: Original, *arguments: object, **links: object) -> object:
    with mock.patch.object(blobs, "naming", return_value=ALWAYS):
        return healed(*arguments, **links)


@rule(
    "a record is live whose object is gone",
    "is_there",
    Ports,
    crashed=["POST whole, object gone", "commit parts, object gone"],
)
def _(_: Original, _self: Ports, _key: str) -> bool:
    return True


@rule(
    "a record whose object is there is healed",
    "is_there",
    Ports,
    crashed=["POST whole, already live"],
)
def _(_: Original, _self: Ports, _key: str) -> bool:
    return False


@rule(
    "a healed record counts no link more",
    "_healed",
    BlobItems,
    crashed=["POST whole, object gone elsewhere"],
)
def _(healed: Original, *arguments: object, **_links: object) -> object:
    return healed(*arguments, links=0)


@rule("a link is read by its own key", "_look", BlobItems, crashed=["POST whole, object gone"])
def _(look: Original, self: BlobItems, repository: str, digest: Digest) -> object:
    found = look(self, repository, digest)
    if found.link is None or found.record is None:
        return found
    return found._replace(record=replace(found.record, key=found.link.key))


@rule("a late touch takes the time back", "_touch", BlobItems, checked=[a_touch_that_is_late])
def _(touch: Original, self: BlobItems, link: Any, now: float) -> object:  # noqa: ANN401 - a Link
    return touch(self, replace(link, touched_at=now), now)


@rule(
    "own deletion of a tag not recognised on a repeat",
    "delete_tag",
    ManifestItems,
    failed=["delete a tag"],
)
def _(_: Original, self: ManifestItems, repository: str, tag: str, stamp: Stamp) -> bool:
    found = self.get_tags(repository, [tag]).get(tag)
    if found is None:
        return False
    row = Delete(self._registry, tag_key(repository, tag), tag_names(found.digest))
    gone = self._change(repository, tag, found, None, stamp)
    way_back = Delete(self._registry, tagged_key(repository, found.digest, tag))
    try:
        self._dynamo.transact([row, way_back, gone])
    except TransactionRefusedError:
        return False
    return True


@rule(
    "what comes back from the trash has its old version",
    "make_live",
    ManifestItems,
    failed=["delete a manifest, put it anew", "restore a manifest, delete it again"],
    raced=["restore, delete of what is half deleted"],
)
def _(
    make_live: Original, self: ManifestItems, manifest: Manifest, *what: object, **more: object
) -> object:
    with mock.patch.object(self, "_new_id", return_value=manifest.version):
        return make_live(self, manifest, *what, **more)


@rule("what is in the trash is there", "_require_live", reading, crashed=DELETED)
def _(_: Original, manifest: Manifest | None) -> Manifest:
    if manifest is None or manifest.state is ManifestState.PENDING:
        raise ManifestUnknownError
    return manifest


@rule(
    "the trash keeps no body",
    "put_in_trash",
    ManifestItems,
    crashed=["restore a large manifest"],
)
def _(put_in_trash: Original, self: ManifestItems, manifest: Manifest, sweep_at: float) -> None:
    put_in_trash(self, manifest, sweep_at)
    self.delete_link(bodies_of(manifest.repository), manifest.digest)


@rule(
    "the tags of a deletion are forgotten",
    "put_in_trash",
    ManifestItems,
    crashed=["restore a manifest"],
)
def _(put_in_trash: Original, self: ManifestItems, manifest: Manifest, sweep_at: float) -> None:
    put_in_trash(self, manifest, sweep_at)
    key = manifest_key(manifest.repository, manifest.digest)
    self._dynamo.write(Update(self._registry, key, ALWAYS, remove=("deleted_tags",)))


@rule(
    "rules hold no tag",
    "holding",
    Rules,
    crashed=["move an immutable tag"],
    raced=["tag, tag, immutable"],
)
def _(_: Original, _self: Rules, _repository: str, _tag: str) -> None:
    return


@rule(
    "a tag that a rule holds may not be set again",
    "require_movable",
    Publisher,
    crashed=["put an image that an immutable tag names"],
)
def _(require: Original, self: Publisher, repository: str, found: object, _digest: Digest) -> None:
    require(self, repository, found, Digest.of(b"another"))


@rule(
    "a restoration by force asks no rule",
    "_restore_once",
    Undo,
    raced=["tag, restore by force, immutable"],
)
def _(restore: Original, self: Undo, asked: Restoration) -> object:
    with mock.patch.object(Rules, "holding", return_value=None):
        return restore(self, asked)


@rule(
    "what a rule refused stays pending",
    "remove_pending",
    Removals,
    crashed=["move an immutable tag"],
)
def _(_: Original, _self: Removals, _manifest: Manifest) -> None:
    return


@rule(
    "a restoration takes a tag that has moved on",
    "_restore_once",
    Undo,
    crashed=["restore a tag that has moved on"],
)
def _(restore: Original, self: Undo, asked: Restoration) -> object:
    return restore(self, replace(asked, force=True))


@rule(
    "what is brought back is not listed by its subject",
    "_referrer",
    publishing,
    crashed=["restore a manifest"],
)
def _(_: Original, _manifest: Manifest, _parsed: object) -> None:
    return


@rule(
    "what lacks a layer is brought back",
    "check",
    Publisher,
    crashed=["restore what lacks a layer"],
)
def _(_: Original, _self: Publisher, *_found: object, may_pull: bool) -> None:
    del may_pull


@rule("an index comes back alone", "_bring_back_all", Undo, crashed=["restore an index"])
def _(_: Original, _self: Undo, _repository: str, _digests: object, _stamp: Stamp) -> None:
    return


@rule(
    "a half deleted manifest is brought back as it is",
    "_kept",
    Undo,
    crashed=["restore a manifest half deleted"],
    raced=["restore, delete of what is half deleted"],
)
def _(_: Original, self: Undo, repository: str, digest: Digest) -> object:
    return self._ports.metadata.get_manifest(repository, digest)


@rule(
    "a tag that moves leaves no history",
    "_tagging",
    ManifestItems,
    crashed=["put an image anew, move a tag"],
)
def _(tagging: Original, self: ManifestItems, *what: object, **more: object) -> object:
    history = f"REPO#{HOME}", "HISTORY#"
    return [
        change
        for change in tagging(self, *what, **more)
        if (change.key["pk"], change.key["sk"][:8]) != history
    ]


@rule(
    "a tag's last digest is forgotten",
    "_change",
    ManifestItems,
    crashed=["delete a tag", "delete a manifest"],
)
def _(change: Original, self: ManifestItems, *what: Any) -> object:  # noqa: ANN401 - as _change
    return change(self, *what[:1], "another", *what[2:])


@rule("no quota covers anything", "covering", Quotas, crashed=["no room, mount"])
def _(_: Original, _self: Quotas, _repository: str) -> None:
    return


@rule(
    "what has gone is not noticed",
    "_counted",
    Quotas,
    crashed=["push where there is room again"],
)
def _(counted: Original, self: Quotas, repository: str, covered: Covered) -> object:
    return self._ports.metadata.get_holding(repository) or counted(self, repository, covered)


@rule(
    "what has just come is refused",
    "_within",
    Quotas,
    raced=["tag, tag of the same, room for one", "mount, mount, room for one"],
)
def _(_: Original, self: Quotas, repository: str, work: Any) -> object:  # noqa: ANN401 - as _within
    covered = self.covering(repository)
    for _try in range(9):
        try:
            return work(covered)
        except OverQuotaError as over:
            assert covered is not None
            denied = quotas.refusal(repository, covered, self._counted(repository, covered), over)
            if denied is not None:
                raise denied from over
    return None


@rule(
    "a blob that is there needs room",
    "require_room",
    Quotas,
    crashed=["push what a full repository has"],
)
def _(require: Original, self: Quotas, repository: str, _digest: Digest, size: int) -> None:
    require(self, repository, Digest.of(b"another"), size)


@rule(
    "a session that was refused goes on",
    "denied",
    Leases,
    crashed=["no room, parts and a tail", "no room, direct commit"],
)
def _(_: Original, _self: Leases, _session: Session, error: DeniedError) -> DeniedError:
    return error


@rule(
    "bytes that were refused are left",
    "_deny",
    UnbegunSessions,
    checked=[a_blob_that_was_refused],
)
def _(_: Original, _self: UnbegunSessions, _unbegun: Session, _key: str, _denied: object) -> None:
    return


@rule(
    "a manifest whose tag was refused stays pending",
    "remove_pending",
    Removals,
    crashed=["no room for a tag"],
)
def _(_: Original, _self: Removals, _manifest: Manifest) -> None:
    return


@rule(
    "what is in use is not looked at",
    "_require_unused",
    removal,
    crashed=["delete what is in use"],
)
def _(_: Original, _digest: Digest, _leases: object, _now: float) -> None:
    return


@rule(
    "what is overdue is no longer in use",
    "_require_unused",
    removal,
    crashed=["delete what is in use and overdue"],
)
def _(require: Original, digest: Digest, leases: Iterable[InUse], now: float) -> None:
    require(digest, [lease for lease in leases if lease.until > now], now)


@rule(
    "a refresh begins with nothing",
    "refresh",
    DynamoInUseStore,
    crashed=["refresh a source anew"],
    raced=["refresh, delete of what stays in use"],
)
def _(
    refresh: Original, self: DynamoInUseStore, source: UseSource, leases: Sequence[InUse]
) -> None:
    self.remove(source.name)
    refresh(self, source, leases)


@rule(
    "a source does not name what is being written",
    "_put",
    DynamoInUseStore,
    crashed=["refresh a source anew"],
)
def _(put: Original, self: DynamoInUseStore, before: UseSource | None, after: UseSource) -> object:
    is_last = before is None or not after.version
    return put(self, before, after if is_last else replace(after, repositories=()))


@rule(
    "a link is counted by whatever record is there",
    "_counted",
    BlobItems,
    checked=[a_record_renamed],
)
def _(_: Original, self: BlobItems, digest: Digest, _key: str) -> Update:
    return Update(self._registry, record_key(digest), ALWAYS, add={"links": 1})


@rule(
    "an object that was sent twice arrives once",
    "_publish_whole",
    Closing,
    failed=["commit a body into an old session, live elsewhere"],
)
def _(publish: Original, self: Closing, leased: Session, data: bytes) -> object:
    put = self._ports.objects.put

    def once(key: str, body: bytes) -> WrittenObject:
        return WrittenObject(put(key, body).etag)

    with mock.patch.object(self._ports.objects, "put", once):
        return publish(self, leased, data)


RULES.append(
    Mutant(
        "another digest closes an upload in parts",
        [Change(Session, "takes_claims", property(lambda session: not session.settled))],
        checked=[the_first_digest_counts],
    )
)


@rule(
    "words between segments are not compared",
    "_holds",
    Verifier,
    crashed=["parts, one put anew"],
)
def _(holds: Original, self: Verifier, stretch: Stretch, segment: Segment, stream: object) -> bool:
    return holds(self, stretch, segment, stream) or segment.after is not None


@rule(
    "the digest is not compared", "_holds", Verifier, crashed=["parts, commit with another digest"]
)
def _(holds: Original, self: Verifier, stretch: Stretch, segment: Segment, stream: object) -> bool:
    return holds(self, stretch, segment, stream) or segment.after is None


@rule("the hash is not padded with the object's size", "__init__", Verifier, crashed=["parts"])
def _(init: Original, self: Verifier, ports: Ports, limits: object) -> None:
    def alone(segment: Segment, chunks: Iterable[bytes], _total: int, digest: Digest) -> bool:
        own = replace(segment, start=0, end=segment.size)
        return arrives(own, chunks, segment.size, digest)

    init(self, ports, limits, alone)


@rule("a segment that can't be read is wrong", "_judged", Verifier, failed=["parts"])
def _(
    judged: Original, self: Verifier, stretch: Stretch, run: Sequence[Segment], until: float
) -> Any:  # noqa: ANN401 - as judged
    found = dict(judged(self, stretch, run, until))
    return [(segment.index, found.get(segment.index, False)) for segment in run]


@rule("segments that hold are counted", "as_bits", verification, failed=["parts, one put anew"])
def _(as_bits: Original, indexes: frozenset[int]) -> object:
    return as_bits(range(len(indexes)))


@rule(
    "a worker that does not answer has nothing against it",
    "_asked",
    Verification,
    failed=["parts, one put anew"],
)
def _(asked: Original, self: Verification, stretch: Stretch, until: float) -> object:
    found = asked(self, stretch, until)
    every = frozenset(segment.index for segment in stretch.segments)
    return Verdict(every - found.wrong, found.wrong)


@rule(
    "published before every segment holds",
    "step",
    Verification,
    failed=["parts, one put anew"],
)
def _(step: Original, *arguments: object) -> object:
    _done, session = step(*arguments)
    return True, session


@rule(
    "segments are of whatever report is there",
    "_read_report",
    Effects,
    checked=[a_report_that_was_replaced],
)
def _(_: Original, self: Effects, session: Session, named: Digest) -> Report:
    raw = self._ports.objects.get(report_key(session.id, named))
    return Report.parse(raw, session.algorithm, minimum=PART)


@rule(
    "segments are of whatever object is there",
    "step",
    Verification,
    checked=[an_object_that_was_replaced],
)
def _(step: Original, self: Verification, session: Session, *arguments: object) -> object:
    staged = session.staged_object
    stat = self._ports.objects.stat(staged.key)
    now = replace(session, staged=replace(staged, etag=stat.etag if stat else ""))
    return step(self, now, *arguments)


# The mutants of the collector.


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
    with mock.patch.multiple(collection, ABSENT=ALWAYS, at_version=_always):
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


# Retention


@rule("a keep-rule loses", "_kept", judging._Bench, crashed=["retention of what is kept"])  # noqa: SLF001 - what is changed
def _(_: Original, *_what: object) -> None:
    return None


@rule("leases are ignored", "_held", judging._Bench, crashed=["retention of what runs"])  # noqa: SLF001 - likewise
def _(_: Original, *_what: object) -> None:
    return None


@rule(
    "an overdue source is ignored",
    "_overdue",
    judging,
    crashed=["retention beside an overdue source"],
)
def _(_: Original, _facts: Facts, _now: float) -> Stopped | None:
    return None


@rule("the brake is ignored", "_braked", judging, crashed=["retention of too much"])
def _(_: Original, *_what: object) -> Stopped | None:
    return None


@rule(
    "a unit is torn",
    "units_of",
    judging,
    raced=["retention, put of the index"],
)
def _(units_of: Original, live: object, owned: object, tags: Mapping[str, Digest]) -> Units:
    found: Units = units_of(live, owned, tags)
    alone = [
        Unit((digest,), tuple(tag for tag in tags if tags[tag] == digest)) for digest in found.order
    ]
    return Units(alone, found.order, dict.fromkeys(found.order, ()))


@rule(
    "nothing is read again after the marks",
    "_judged",
    Retention,
    raced=["retention, put of another index"],
)
def _(judged: Original, self: Retention, name: str, going: object) -> object:
    found = vars(self).setdefault("_first", {})
    if name not in found:
        found[name] = judged(self, name, going)
    return found[name]


@rule(
    "a push leaves marks on what it names",
    "unmark_manifest",
    RetentionItems,
    raced=["retention, put of another index"],
)
def _(_: Original, *_what: object) -> None:
    return None


@rule(
    "a restoration is not noted in what the index names",
    "note_restore",
    RetentionItems,
    raced=["retention, restore"],
)
def _(_: Original, *_what: object) -> None:
    return None


@rule(
    "a lease leaves marks on what it names",
    "hold",
    retained,
    raced=["retention, lease"],
)
def _(_: Original, metadata: Any, name: str, digests: Sequence[Digest]) -> object:  # noqa: ANN401 - a store
    found = metadata.get_manifests(name, digests)
    return {digest for digest in found if found[digest].state is ManifestState.LIVE}


@rule(
    "what belongs to a root goes before it",
    "_retired",
    Retention,
    checked=[a_root_goes_before_its_images],
)
def _(_: Original, self: Retention, unit: Unit, marked: Any, _judged: object) -> bool:  # noqa: ANN401 - manifests
    return [self._removed(marked[digest], []) for digest in reversed(unit.members)][-1]


RULES.append(
    Mutant(
        "a restoration is no use",
        [Change(manifests, "_FACTS", manifests._FACTS[:-1])],  # noqa: SLF001 - what is changed
        checked=[a_restoration_is_a_use],
    )
)


@rule("what is left over is not known", "_left_over", judging._Bench, checked=[what_is_left_over])  # noqa: SLF001 - likewise
def _(_: Original, *_what: object) -> None:
    return None
