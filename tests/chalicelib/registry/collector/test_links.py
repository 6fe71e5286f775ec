"""Which links a pass sweeps, and which it leaves: for what names them, and when it looks."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import pytest

from chalicelib.digest import Digest
from chalicelib.registry.collector.report import FindingKind
from chalicelib.registry.model import (
    ManifestState,
    bodies_of,
)
from chalicelib.stores.dynamodb.keys import link_key, manifest_key
from tests.chalicelib.registry.collector.pushing import (
    DAY,
    LIMITS,
    NAME,
    OTHER,
    Shop,
    before,
    image,
    index,
    record,
)
from tests.support.values import a_manifest, begin_delete

GRACE = LIMITS.record_grace
LARGE = "x" * 5000
"""A note that makes a manifest large."""


@pytest.mark.parametrize("state", ManifestState)
def test_a_manifest_of_any_state_keeps_its_blobs(shop: Shop, state: ManifestState) -> None:
    """Pending manifests too, and those in the trash."""
    kept, gone = shop.blob(b"layer"), shop.blob(b"nobody names this")
    body = image(b"layer")
    if state is ManifestState.PENDING:
        shop.blob(b"{}")
        manifest = a_manifest(
            repository=NAME, digest=Digest.of(body), references=(Digest.of(b"{}"), kept), body=body
        )
        shop.metadata.put_pending(manifest)
    else:
        digest = shop.push(b"layer")
        if state is ManifestState.DELETING:
            begin_delete(shop.metadata, NAME, digest, shop.time + 100 * DAY)
        if state is ManifestState.TRASHED:
            shop.registry.removals.delete(NAME, digest, "ann")
    shop.wait(GRACE)
    shop.collect()
    assert shop.linked() == {kept, Digest.of(b"{}")}
    assert shop.metadata.get_record(gone) is None


def test_a_build_cache_keeps_the_blobs_that_its_index_names(shop: Shop) -> None:
    """BuildKit writes an index whose descriptors are blobs."""
    layers = (b"layer one", b"layer two")
    named = {shop.blob(data) for data in layers}
    shop.blob(b"another")
    shop.put(index(blobs=layers), "cache")
    shop.wait(GRACE)
    assert shop.collect().links == 1
    assert shop.linked() == named


def test_a_blob_of_two_repositories_stays_while_one_names_it(shop: Shop) -> None:
    """The other one loses its link; the object stays."""
    digest = shop.blob(b"layer", OTHER)
    shop.push(b"layer")
    shop.wait(GRACE)
    done = shop.collect()
    assert (done.links, done.objects) == (1, 0)
    assert shop.linked(OTHER) == set()
    assert record(shop, digest).links == 1
    link = shop.registry.blobs.stat(NAME, digest)
    assert shop.registry.blobs.read(link) == b"layer"


def test_a_large_manifest_keeps_its_body_until_it_is_gone(shop: Shop) -> None:
    """The link of the body is in a namespace of its own."""
    digest = shop.push(b"layer", note=LARGE)
    assert shop.linked(bodies_of(NAME)) == {digest}
    shop.wait(GRACE)
    assert shop.collect().links == 0
    shop.registry.removals.delete(NAME, digest, "ann")
    shop.wait(LIMITS.trash - 1)
    assert shop.collect().links == 0
    shop.drop(manifest_key(NAME, digest))
    assert shop.collect().links == 3
    assert shop.objects == {}


def test_references_that_a_row_cannot_hold_are_read_from_the_body(shop: Shop) -> None:
    """A small body is in the manifest's row, and a large one in the bucket."""
    many = [b"layer %d" % number for number in range(25)]
    few = LIMITS._replace(references_inline=1)
    for each, layers, note in ((shop, many, LARGE), (Shop(few), many[:3], "")):
        digest = each.push(*layers, note=note)
        row = each.metadata.get_manifest(NAME, digest)
        assert row is not None
        assert (row.references, row.body is None) == (None, bool(note))
        each.blob(b"nobody names this")
        each.wait(GRACE)
        assert each.collect().links == 1
        assert each.linked() == {Digest.of(data) for data in (b"{}", *layers)}


@pytest.mark.parametrize("why", ["pending", "body gone", "unreadable row", "unreadable body"])
def test_an_unreadable_manifest_keeps_all_blobs_of_its_repository(shop: Shop, why: str) -> None:
    """It is reported, other repositories are collected, and no mark stays."""
    kept = shop.blob(b"nobody names this")
    shop.blob(b"nor this", OTHER)
    unknown = a_manifest(repository=NAME, references=None, body=None)
    if why == "unreadable body":
        unknown = replace(unknown, body=b"[")
    shop.metadata.put_pending(unknown)
    key = manifest_key(NAME, unknown.digest)
    if why == "body gone":
        shop.metadata.make_live(unknown, {}, None, mock.Mock(at=0.0, by=None))
        shop.blob(b"x", bodies_of(NAME))
    if why == "unreadable row":
        shop.change(key, state={"S": "unheard-of"})
    shop.wait(GRACE)
    done = shop.collect()
    assert list(done.skipped) == [NAME]
    assert str(unknown.digest) in done.skipped[NAME]
    assert done.finished
    assert shop.linked(OTHER) == set()
    link = shop.metadata.get_link(NAME, kept)
    assert link is not None
    assert link.mark is None
    shop.drop(key)
    assert shop.collect().skipped == {}
    assert shop.linked() == set()


def test_a_manifest_that_appears_unreadable_after_the_mark_keeps_all(shop: Shop) -> None:
    """The collector then removes all marks of the repository."""
    kept = shop.blob(b"nobody names this")
    unknown = a_manifest(repository=NAME, references=None, body=None)
    shop.wait(GRACE)
    with before(shop, "list_manifests", lambda: shop.metadata.put_pending(unknown)):
        done = shop.collect()
    assert list(done.skipped) == [NAME]
    link = shop.metadata.get_link(NAME, kept)
    assert link is not None
    assert link.mark is None


@pytest.mark.parametrize("call", ["list_manifests", "sweep_link"])
def test_a_manifest_put_during_the_look_is_whole_or_refused(shop: Shop, call: str) -> None:
    """Its client sent no layer, because of a HEAD long ago."""
    layer = shop.blob(b"layer")
    shop.blob(b"{}")
    shop.wait(GRACE)
    with before(shop, call, lambda: shop.put(image(b"layer"))):
        done = shop.collect()
    assert done.links == 0
    assert {finding.digest for finding in done.left} == {layer, Digest.of(b"{}")}
    assert {finding.kind for finding in done.left} == {FindingKind.LINK}
    link = shop.registry.blobs.stat(NAME, layer)
    assert shop.registry.blobs.read(link) == b"layer"


def test_a_link_that_cannot_be_read_keeps_its_repository_whole(shop: Shop) -> None:
    """What it names is unknown, so nothing of the repository is deleted."""
    digest = shop.blob(b"x")
    other = shop.blob(b"nobody names this")
    shop.change(link_key(NAME, digest), size={"S": "much"})
    shop.wait(GRACE)
    done = shop.collect()
    assert list(done.skipped) == [NAME]
    assert shop.metadata.get_link(NAME, other) is not None
