"""Looks at a store by itself: what no client and no order of requests can bring about.

Each puts items in a state that a fault elsewhere, or a bad restore, may leave, and tallies a loss
if the store does not notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.stores.dynamodb.codec import CorruptItemError
from chalicelib.stores.dynamodb.keys import record_key
from tests.drills import images
from tests.drills.steps import AWAY, HOME, TEXT
from tests.drills.support.client import Stage, Upload
from tests.drills.support.ledger import Ledger
from tests.drills.support.points import Gate
from tests.drills.support.worlds import TablesWorld
from tests.drills.tally import Tally

if TYPE_CHECKING:
    from tests.drills.support.points import Call


def a_link_without_count() -> Tally:
    """Delete a link that its record does not count: refused."""
    tally, world = Tally(), TablesWorld()
    metadata = world.ports(Gate()).metadata
    Stage(world, Ledger()).client().push(HOME, Upload(TEXT, whole=True))
    digest = Digest.of(TEXT)
    world.spoil(record_key(digest), links={"N": "0"})
    try:
        metadata.delete_link(HOME, digest)
    except CorruptItemError:
        return tally
    tally.lose("look/tables/uncounted link", AssertionError("a record counts less than no link"))
    return tally


def a_record_renamed() -> Tally:
    """Link to a record that comes to name another object meanwhile: it is looked at anew."""
    tally, world = Tally(), TablesWorld()
    Stage(world, Ledger()).client().push(HOME, Upload(TEXT, whole=True))
    digest = Digest.of(TEXT)

    def renamed(call: Call) -> Any:  # noqa: ANN401 - as any act
        world.spoil(record_key(digest), key={"S": "blobs/another"})
        return call()

    metadata = world.ports(Gate({1: renamed})).metadata
    link, record = metadata.add_link(AWAY, digest, world.clock.now()), metadata.get_record(digest)
    if link is None or record is None or (link.key, record.links) != (record.key, 2):
        tally.lose("look/tables/renamed record", AssertionError(f"{link} is counted by {record}"))
    return tally


def a_deletion_never_begun() -> Tally:
    """End the deletion of a manifest that is live: nothing is done."""
    tally, stage = Tally(), Stage.over(TablesWorld(), TablesWorld().limits)
    body = images.live(stage)
    metadata = stage.world.ports(Gate()).metadata
    live = metadata.get_manifest(HOME, Digest.of(body))
    if live is None or metadata.drop_tag(live, images.TAGS[0]):
        tally.lose("look/tables/live tag", AssertionError(f"a tag of {live} was dropped"))
        return tally
    metadata.finish_delete(live)
    if metadata.get_manifest(HOME, live.digest) != live:
        tally.lose("look/tables/live manifest", AssertionError(f"{live} was deleted"))
    return tally
