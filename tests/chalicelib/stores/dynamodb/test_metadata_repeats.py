"""Every write knows its own repeat: the SDK sends a request again whose answer was lost.

moto ignores the token of a transaction: there the item says so, and on MiniStack the token.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.registry.model import ManifestState
from chalicelib.registry.session import Session, UploadState
from tests.chalicelib.stores.dynamodb.blobs import link_to, pushed, record_of
from tests.emulators.lost_answers import answer_lost
from tests.support.values import (
    NOW,
    a_manifest,
    a_referrer,
    a_session,
    begin,
    fresh_digest,
    fresh_name,
    key_of,
    push,
    push_manifest,
)

if TYPE_CHECKING:
    from tests.chalicelib.stores.conftest import Stores


def leased(dynamo: Stores, session: Session, now: float = NOW) -> Session:
    """Take a lease of ten seconds."""
    return dynamo.sessions.take_lease(
        session.id,
        owner=session.owner,
        at=session.offset,
        claim=None,
        holder="me",
        now=now,
        until=now + 10,
    )


def test_create(dynamo: Stores) -> None:
    """A creation that is sent twice makes the session."""
    session = a_session()
    with answer_lost(dynamo.client, "PutItem"):
        dynamo.sessions.create(session)
    assert dynamo.sessions.get(session.id) == session


def test_take_lease(dynamo: Stores) -> None:
    """A lease that is sent twice is the caller's, under one fence."""
    session = a_session()
    dynamo.sessions.create(session)
    with answer_lost(dynamo.client, "UpdateItem"):
        taken = leased(dynamo, session)
    assert taken == replace(session, holder="me", lease_until=NOW + 10, fence=1)
    assert dynamo.sessions.get(session.id) == taken


def test_take_over(dynamo: Stores) -> None:
    """A lease that is taken over by a write sent twice burns one part number."""
    session = a_session(holder="dead", lease_until=NOW, fence=4)
    dynamo.sessions.create(session)
    with answer_lost(dynamo.client, "UpdateItem", nth=2):
        taken = leased(dynamo, session)
    assert (taken.holder, taken.fence, taken.burned) == ("me", 5, (1,))
    assert dynamo.sessions.get(session.id) == taken


def test_write(dynamo: Stores) -> None:
    """A write that is sent twice succeeds, also when it moves state and fence."""
    session = a_session()
    dynamo.sessions.create(session)
    after = replace(session, state=UploadState.SEALED, fence=1, hash_state=None, expires_at=NOW)
    with answer_lost(dynamo.client, "UpdateItem"):
        written = dynamo.sessions.write(session, after)
    assert written == replace(after, expires_at=NOW // 1 + 1)
    assert dynamo.sessions.get(session.id) == written


@pytest.mark.parametrize("world", ["all new", "record live", "link there"])
def test_publish(dynamo: Stores, repository: str, world: str) -> None:
    """A publication that is sent twice counts its link once, in every form that it takes."""
    digest = fresh_digest()
    if world != "all new":
        first = repository if world == "link there" else fresh_name()
        push(dynamo.sessions, dynamo.metadata, first, digest)
    before, after = begin(dynamo.sessions, repository, digest)
    nth = 1 if world == "all new" else 2
    with answer_lost(dynamo.client, "TransactWriteItems", nth):
        written = dynamo.metadata.publish(before, after, key_of(before), NOW)
    assert written.state is UploadState.COMMITTED
    assert dynamo.sessions.get(before.id) == written
    assert record_of(dynamo, digest).links == (2 if world == "record live" else 1)


def test_add_link(dynamo: Stores, repository: str) -> None:
    """A mount that is sent twice is counted once."""
    digest = pushed(dynamo)
    with answer_lost(dynamo.client, "TransactWriteItems"):
        link = dynamo.metadata.add_link(repository, digest, NOW)
    assert link == dynamo.metadata.get_link(repository, digest)
    assert record_of(dynamo, digest).links == 2


def test_delete_link(dynamo: Stores, repository: str) -> None:
    """A deletion that is sent twice has deleted, and is counted once."""
    digest = pushed(dynamo, repository)
    dynamo.metadata.add_link(fresh_name(), digest, NOW)
    with answer_lost(dynamo.client, "TransactWriteItems"):
        assert dynamo.metadata.delete_link(repository, digest)
    assert dynamo.metadata.get_link(repository, digest) is None
    assert record_of(dynamo, digest).links == 1


def test_put_pending(dynamo: Stores) -> None:
    """A pending manifest that is sent twice is the caller's own."""
    manifest = a_manifest()
    with answer_lost(dynamo.client, "PutItem"):
        assert dynamo.metadata.put_pending(manifest) == manifest


def test_make_live(dynamo: Stores, repository: str) -> None:
    """A manifest that is made live twice has its tags and its row."""
    old = push_manifest(dynamo.metadata, a_manifest(repository=repository), "v1")
    new = a_manifest(repository=repository, subject=(subject := fresh_digest()))
    dynamo.metadata.put_pending(new)
    with answer_lost(dynamo.client, "TransactWriteItems"):
        dynamo.metadata.make_live(new, {"v1": old.digest, "v2": None}, a_referrer(new, subject))
    tags = dynamo.metadata.get_tags(repository, ["v1", "v2"])
    assert tags == {"v1": new.digest, "v2": new.digest}
    there = dynamo.metadata.get_manifest(repository, new.digest)
    assert there == replace(new, state=ManifestState.LIVE, sweep_at=None)


def test_the_end_of_a_manifest(dynamo: Stores) -> None:
    """A deletion that is sent twice at every step deletes tag, row and item."""
    live = push_manifest(dynamo.metadata, a_manifest(subject=fresh_digest()), "v1")
    with answer_lost(dynamo.client, "UpdateItem"):
        begun = dynamo.metadata.begin_delete(live, NOW)
    with answer_lost(dynamo.client, "TransactWriteItems"):
        assert dynamo.metadata.drop_tag(begun, "v1")
    assert dynamo.metadata.tags_of(live.repository, live.digest) == []
    with answer_lost(dynamo.client, "TransactWriteItems"):
        dynamo.metadata.finish_delete(begun)
    assert dynamo.metadata.get_manifest(live.repository, live.digest) is None


def test_remove_pending_and_touch(dynamo: Stores, repository: str) -> None:
    """A removal that is sent twice removes, and a touch that is sent twice touches."""
    manifest = a_manifest()
    dynamo.metadata.put_pending(manifest)
    with answer_lost(dynamo.client, "DeleteItem"):
        dynamo.metadata.remove_pending(manifest)
    assert dynamo.metadata.get_manifest(manifest.repository, manifest.digest) is None
    digest = pushed(dynamo, repository)
    link = link_to(dynamo, repository, digest)
    with answer_lost(dynamo.client, "UpdateItem"):
        assert dynamo.metadata.touch_link(link, NOW + 1)
