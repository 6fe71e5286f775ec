"""Checks of states of the tables that no client and no order of requests leads to.

Each makes one, as a fault elsewhere or a bad restore may.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from chalicelib.digest import Digest
from chalicelib.registry.collector.records import Records
from chalicelib.registry.model import (
    CatalogFacts,
    CatalogRow,
    CollectorState,
    Garbage,
    ManifestState,
    RetentionState,
    Stamp,
)
from chalicelib.registry.outcomes import (
    CollectorMovedError,
    ManifestMovedError,
)
from chalicelib.stores.dynamodb.expressions import Clause, Delete, Update
from chalicelib.stores.dynamodb.keys import (
    link_key,
    record_key,
    session_key,
)
from tests.drills import (
    garbage,
    images,
    operations,
    retained,
)
from tests.drills.support.client import AWAY, HOME, TEXT, Stage, Upload
from tests.drills.support.ledger import Ledger, Violation
from tests.drills.support.points import Gate
from tests.drills.support.requests import expect
from tests.drills.support.worlds import SMALL, TablesWorld

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.model import Record
    from chalicelib.registry.ports import MetadataStore
    from tests.drills.support.points import Call

    Original = Callable[..., Any]


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
