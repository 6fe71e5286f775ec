"""Corrupt items: states of the tables that no client and no order of requests leads to.

Each function makes one, as a fault elsewhere or a bad restore may, and notes a loss if the store
does not detect it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.stores.dynamodb.codec import CorruptItemError
from chalicelib.stores.dynamodb.keys import record_key
from tests.drills import images
from tests.drills.figures import Figures
from tests.drills.steps import AWAY, HOME, TEXT
from tests.drills.support.client import Stage, Upload
from tests.drills.support.ledger import Ledger
from tests.drills.support.points import Gate
from tests.drills.support.worlds import TablesWorld

if TYPE_CHECKING:
    from tests.drills.support.points import Call


def a_link_without_count() -> Figures:
    """Delete a link that its record does not count: refused."""
    figures, world = Figures(), TablesWorld()
    metadata = world.ports(Gate()).metadata
    Stage(world, Ledger()).client().push(HOME, Upload(TEXT, whole=True))
    digest = Digest.of(TEXT)
    world.spoil(record_key(digest), links={"N": "0"})
    try:
        metadata.delete_link(HOME, digest)
    except CorruptItemError:
        return figures
    figures.lose(
        "corrupt/tables/uncounted link", AssertionError("a record counts less than no link")
    )
    return figures


def a_record_renamed() -> Figures:
    """Link to a record that is changed to another object meanwhile: it is read anew."""
    figures, world = Figures(), TablesWorld()
    Stage(world, Ledger()).client().push(HOME, Upload(TEXT, whole=True))
    digest = Digest.of(TEXT)

    def renamed(call: Call) -> Any:  # noqa: ANN401 - as any act
        world.spoil(record_key(digest), key={"S": "blobs/another"})
        return call()

    metadata = world.ports(Gate({1: renamed})).metadata
    link, record = metadata.add_link(AWAY, digest, world.clock.now()), metadata.get_record(digest)
    if link is None or record is None or (link.key, record.links) != (record.key, 2):
        figures.lose(
            "corrupt/tables/renamed record", AssertionError(f"{link} is counted by {record}")
        )
    return figures


def a_deletion_never_begun() -> Figures:
    """End the deletion of a manifest that is live: nothing is done."""
    figures, stage = Figures(), Stage.over(TablesWorld(), TablesWorld().limits)
    body = images.live(stage)
    metadata = stage.world.ports(Gate()).metadata
    live = metadata.get_manifest(HOME, Digest.of(body))
    if live is None or metadata.drop_tag(live, images.TAGS[0]):
        figures.lose("corrupt/tables/live tag", AssertionError(f"a tag of {live} was dropped"))
        return figures
    metadata.finish_delete(live)
    if metadata.get_manifest(HOME, live.digest) != live:
        figures.lose("corrupt/tables/live manifest", AssertionError(f"{live} was deleted"))
    return figures
