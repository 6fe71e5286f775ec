"""The collector: what a pass deletes and what it leaves, how runs go on, previews and lists.

No test may wait: the clock is moved.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from chalicelib.digest import Digest
from chalicelib.errors import UnavailableError
from chalicelib.registry.collector.collector import Collector
from chalicelib.registry.collector.records import is_its_turn
from chalicelib.registry.collector.report import FindingKind, GarbageFinding, RepositoryFacts
from chalicelib.registry.keys import canonical_key, direct_key, timed_id
from chalicelib.registry.model import (
    CollectorPhase,
    CollectorState,
    ManifestState,
    Record,
    bodies_of,
)
from chalicelib.registry.service import Limits
from chalicelib.stores.dynamodb.items import RECORD
from chalicelib.stores.dynamodb.keys import link_key, manifest_key, record_key
from tests.chalicelib.registry.collector.pushing import (
    DAY,
    HOUR,
    LIMITS,
    NAME,
    OTHER,
    Shop,
    image,
    index,
)
from tests.support.registries import REGISTRY, UPLOADS
from tests.support.values import a_manifest, a_session, begin_delete

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.collector.report import CollectReport

GRACE = LIMITS.record_grace
LARGE = "x" * 5000
"""A note that makes a manifest large."""


def record(shop: Shop, digest: Digest) -> Record:
    """Return a record that must be there."""
    found = shop.metadata.get_record(digest)
    assert found is not None
    return found


# what goes, and what stays


def test_what_nothing_names_goes_when_its_time_of_grace_is_over(shop: Shop) -> None:
    """Link, record, object and row of garbage go in one pass; nothing of them is left."""
    digest = shop.blob(b"nobody names this")
    shop.wait(LIMITS.link_grace - 1)
    assert shop.collect().links == 0
    shop.wait(1)
    early = shop.collect()
    assert (early.links, early.records, early.objects) == (1, 0, 0)
    assert record(shop, digest).links == 0
    shop.wait(GRACE - LIMITS.link_grace)
    done = shop.collect()
    assert (done.links, done.records, done.objects, done.freed) == (0, 1, 1, 17)
    assert done.finished
    assert (done.left, done.skipped, done.lost, done.errors) == ((), {}, (), 0)
    assert shop.objects == {}
    assert shop.keys("COLLECTOR") == []


def test_all_goes_in_one_pass_once_both_times_are_over(shop: Shop) -> None:
    """The record's time runs from the last use of its last link, not from the pass before."""
    shop.blob(b"1")
    shop.blob(b"1", OTHER)
    shop.wait(GRACE)
    done = shop.collect()
    assert (done.links, done.records, done.objects) == (2, 1, 1)
    assert shop.objects == {}


@pytest.mark.parametrize("state", ManifestState)
def test_a_manifest_of_any_state_keeps_its_blobs(shop: Shop, state: ManifestState) -> None:
    """Pending ones too, whose client has no answer yet; and deleted ones, which may come back."""
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
            shop.registry.manifests.delete(NAME, digest, "ann")
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


def test_a_large_manifest_keeps_its_body_in_any_state_but_gone(shop: Shop) -> None:
    """The body stands under a link that no route finds, and goes when its manifest is gone."""
    digest = shop.push(b"layer", note=LARGE)
    assert shop.linked(bodies_of(NAME)) == {digest}
    shop.wait(GRACE)
    assert shop.collect().links == 0
    shop.registry.manifests.delete(NAME, digest, "ann")
    shop.wait(LIMITS.trash - 1)
    assert shop.collect().links == 0
    shop.drop(manifest_key(NAME, digest))
    assert shop.collect().links == 3
    assert shop.objects == {}


def test_references_that_a_row_cannot_hold_are_read_from_the_body(shop: Shop) -> None:
    """Of a small body in its row, and of a large one in the bucket."""
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
def test_nothing_of_a_repository_goes_while_what_a_manifest_names_is_unknown(
    shop: Shop, why: str
) -> None:
    """It is reported, the other repositories are collected, and no link stays marked."""
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
    """The look that counts is the one after the mark: what it can't read un-marks all."""
    kept = shop.blob(b"nobody names this")
    unknown = a_manifest(repository=NAME, references=None, body=None)
    shop.wait(GRACE)
    with before(shop, "list_manifests", lambda: shop.metadata.put_pending(unknown)):
        done = shop.collect()
    assert list(done.skipped) == [NAME]
    link = shop.metadata.get_link(NAME, kept)
    assert link is not None
    assert link.mark is None


def before(shop: Shop, call: str, act: Callable[[], object]) -> mock._patch[object]:
    """Do something right before the store is asked for something."""
    original = getattr(shop.metadata, call)

    def acting(*arguments: object) -> object:
        act()
        return original(*arguments)

    return mock.patch.object(shop.metadata, call, acting)


@pytest.mark.parametrize("call", ["list_manifests", "sweep_link"])
def test_a_manifest_put_while_the_collector_looks_keeps_its_blobs(shop: Shop, call: str) -> None:
    """Without an upload, after a HEAD long ago: it is whole, or it is refused."""
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


# records


def test_a_record_that_was_never_released_has_its_time_from_now_on(shop: Shop) -> None:
    """As 0.1 has left them: nobody knows when the last link went."""
    digest = shop.blob(b"deleted by a client of 0.1")
    shop.registry.blobs.delete(NAME, digest)
    shop.change(record_key(digest), released_at=None)
    shop.wait(100 * DAY)
    assert shop.collect().records == 0
    assert record(shop, digest).released_at == shop.time
    shop.wait(GRACE - 1)
    assert shop.collect().records == 0
    shop.wait(1)
    assert shop.collect().records == 1
    assert shop.objects == {}


def test_a_client_that_deletes_a_blob_starts_its_record_s_time(shop: Shop) -> None:
    """From when the link was relied on last."""
    digest = shop.blob(b"deleted")
    shop.wait(GRACE - 1)
    shop.registry.blobs.delete(NAME, digest)
    assert shop.collect().objects == 0
    shop.wait(1)
    assert shop.collect().objects == 1


def test_a_blob_that_is_pushed_again_after_its_record_is_gone_is_new(shop: Shop) -> None:
    """It has another key, which the garbage of the first one does not name."""
    digest = shop.blob(b"layer")
    first = record(shop, digest).key
    shop.wait(GRACE)
    deleting = mock.patch.object(shop.memory.objects, "delete", side_effect=UnavailableError)
    with deleting:
        failed = shop.collect()
    assert (failed.records, failed.objects) == (1, 0)
    assert failed.errors > 0
    shop.blob(b"layer")
    assert record(shop, digest).key != first
    assert sorted(shop.objects) == sorted([first, record(shop, digest).key])
    assert shop.collect().objects == 1
    assert list(shop.objects) == [record(shop, digest).key]


def test_garbage_that_a_record_names_stays(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """That can't be, but by a hand at the table: bytes that are named are never deleted."""
    digest = shop.blob(b"layer")
    found = record(shop, digest)
    shop.metadata.delete_link(NAME, digest)
    shop.wait(GRACE)
    assert shop.metadata.drop_record(record(shop, digest), shop.time)
    shop.change(record_key(digest), **RECORD.encode(found))
    assert shop.collect().objects == 0
    assert shop.objects
    assert shop.metadata.garbage(10) == []
    assert [each.levelno for each in caplog.records if "garbage" in each.message] == [40]


# what is damaged


def test_a_link_without_a_record_goes_alone(shop: Shop) -> None:
    """Nothing counts it, and no manifest names it."""
    digest = shop.blob(b"layer")
    shop.drop(record_key(digest))
    shop.wait(GRACE)
    done = shop.collect()
    assert (done.links, done.healed, done.records) == (1, 1, 0)
    assert shop.linked() == set()


def a_month(shop: Shop) -> list[CollectReport]:
    """Make a pass on each day of a month."""
    reports = []
    for _ in range(30):
        shop.wait(DAY)
        reports.append(shop.collect())
    return reports


@pytest.mark.parametrize("what", ["object", "record"])
def test_what_is_lost_is_reported_once_a_month_and_healed_by_a_push(
    shop: Shop, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A blob that a manifest names, and whose object or record is gone: an error in the log."""
    shop.push(b"layer")
    digest = Digest.of(b"layer")
    if what == "object":
        del shop.objects[record(shop, digest).key]
    else:
        shop.drop(record_key(digest))
    lost = [text for report in a_month(shop) for text in report.lost]
    assert len(lost) == 1
    assert str(digest) in lost[0]
    assert [each.message for each in caplog.records if each.levelno == logging.ERROR] == [
        f"lost: {lost[0]}"
    ]
    if what == "object":
        shop.blob(b"layer", OTHER)
        assert [report.lost for report in a_month(shop) if report.lost] == []


def test_each_digest_has_its_turn_on_one_day_of_thirty() -> None:
    """Whatever the time of the day."""
    digest = Digest.of(b"any")
    turns = [day for day in range(300) if is_its_turn(digest, day * DAY + 5 * HOUR)]
    assert len(turns) == 10
    assert {later - earlier for earlier, later in itertools.pairwise(turns)} == {30}


def test_a_record_whose_object_is_gone_is_collected_like_any_other(shop: Shop) -> None:
    """There is nothing to delete, which is no error."""
    shop.blob(b"layer")
    shop.objects.clear()
    shop.wait(GRACE)
    done = shop.collect()
    assert (done.links, done.records, done.errors, done.lost) == (1, 1, 0, ())
    assert shop.keys("COLLECTOR") == []


# strays


def test_an_object_is_counted_once_though_the_same_pass_lists_the_bucket(shop: Shop) -> None:
    """Its record is gone before the listing, which must not find it any more."""
    found = record(shop, shop.blob(b"nobody names this"))
    _, session, _ = found.key.split("/")
    # DynamoDB drops the session's item two days after its end.
    shop.memory.tables.delete_item(TableName=UPLOADS, Key={"session": {"S": session}})
    shop.wait(30 * DAY)
    done = shop.collect()
    assert (done.records, done.objects, done.freed) == (1, 1, 17)


def test_a_pass_that_lists_the_bucket_deletes_strays(shop: Shop) -> None:
    """At canonical keys of both kinds; not what is named, nor what a session may still publish."""
    kept = record(shop, shop.blob(b"kept"))
    digest = Digest.of(b"stray")
    gone = [canonical_key(digest, "c0ffee"), direct_key(digest, timed_id(shop.time, "-" * 36))]
    live = a_session(life_until=shop.time + 7 * DAY, sweep_at=shop.time + 7 * DAY)
    shop.memory.sessions.create(live)
    stay = [kept.key, canonical_key(digest, live.id), f"direct/{live.id}/parts", "uploads/x/data"]
    for key in (*gone, *stay):
        shop.objects[key] = b"stray"
    shop.objects[kept.key] = b"kept"
    shop.registry.blobs.stat(NAME, kept.digest)
    shop.wait(LIMITS.stray_age + 60)
    shop.registry.blobs.stat(NAME, kept.digest)
    done = shop.collect()
    assert (done.objects, done.freed) == (2, 10)
    assert sorted(shop.objects) == sorted(stay)


def test_the_bucket_is_listed_once_a_month(shop: Shop) -> None:
    """The first pass lists it, and then each that begins 30 days later."""
    lists = []
    for _ in range(65):
        with mock.patch.object(
            shop.memory.objects, "list_between", wraps=shop.memory.objects.list_between
        ) as listing:
            assert shop.collector.run(shop.time + 600).finished
        lists.append(listing.called)
        shop.wait(DAY)
    assert [day for day, listed in enumerate(lists) if listed] == [0, 30, 60]


def test_a_bucket_of_many_pages_is_listed_to_its_end(shop: Shop) -> None:
    """Page by page, and gone on with by the next run."""
    keys = [canonical_key(Digest.of(b"%d" % number), "c0ffee") for number in range(2500)]
    shop.objects.update(dict.fromkeys(keys, b"stray"))
    reports: list[CollectReport] = []
    original = shop.memory.objects.list_between

    def slow(*arguments: object) -> object:
        shop.wait(400)
        return original(*arguments)  # type: ignore[arg-type]

    with mock.patch.object(shop.memory.objects, "list_between", slow):
        while not (reports and reports[-1].finished):
            reports.append(shop.collector.run(shop.time + 600))
    assert [report.objects for report in reports] == [2000, 500, 0][: len(reports)]
    assert shop.objects == {}


# runs


def test_a_pass_begins_a_day_after_the_last_one_began(shop: Shop) -> None:
    """A run in between has nothing to do, for two requests."""
    assert shop.collector.run(shop.time + 600).finished
    shop.blob(b"layer")
    shop.wait(GRACE)
    state = shop.metadata.collector_state()
    assert state is not None
    for waited, walks in ((0.0, True), (LIMITS.collect_every - 1, False), (1.0, True)):
        shop.wait(waited)
        with mock.patch.object(shop.metadata, "scan", wraps=shop.metadata.scan) as scan:
            assert shop.collector.run(shop.time + 600).finished
        assert scan.called is walks


def test_a_run_goes_on_where_the_last_one_stopped(shop: Shop) -> None:
    """With time for one repository a run, each is judged once, and all is done at the end."""
    names = [f"team/{number}" for number in range(7)]
    for name in names:
        shop.push(b"layer", name=name)
        shop.blob(b"nobody names this", name)
    shop.wait(GRACE)
    judged: list[str] = []

    def noted(facts: RepositoryFacts) -> None:
        judged.append(facts.name)
        shop.wait(60)

    collector = Collector(shop.ports, LIMITS, noted)
    reports: list[CollectReport] = []
    while not (reports and reports[-1].finished):
        reports.append(collector.run(shop.time + 60))
        assert len(reports) < 20
    assert sorted(judged) == names
    assert sum(report.links for report in reports) == 7
    state = shop.metadata.collector_state()
    assert state is not None
    assert (state.phase, state.repositories, state.links) == (CollectorPhase.IDLE, 7, 7)
    assert (state.records, state.freed) == (1, 17)
    assert state.finished_at == shop.time


def test_a_repository_too_large_for_one_run_is_done_in_batches(shop: Shop) -> None:
    """What was swept is gone: the next run has less to do."""
    for number in range(25):
        shop.blob(b"%d" % number)
    shop.wait(GRACE)
    swept: list[CollectReport] = []
    small = mock.patch("chalicelib.registry.collector.collector._BATCH", 10)
    with small, before(shop, "list_manifests", lambda: shop.wait(40)):
        while not (swept and swept[-1].finished):
            swept.append(shop.collector.run(shop.time + 60))
    assert [report.links for report in swept] == [20, 5]
    assert shop.linked() == set()


def test_a_second_collector_stops_and_the_first_one_goes_on(shop: Shop) -> None:
    """The state is written by who has read it last; what the other one did stays done."""
    shop.blob(b"nobody names this")
    shop.wait(GRACE)
    others: list[CollectReport] = []
    waiting = [lambda: others.append(shop.collector.pass_now(shop.time + 600))]

    def another() -> None:
        while waiting:
            waiting.pop()()

    with before(shop, "list_manifests", another):
        first = shop.collector.run(shop.time + 600)
    assert not first.finished
    assert others[0].finished
    assert shop.linked() == set()
    assert shop.collector.run(shop.time + 600).finished
    assert shop.objects == {}


@pytest.mark.parametrize("call", ["mark_link", "list_manifests", "sweep_link", "get_records"])
def test_an_error_in_one_repository_leaves_the_others(shop: Shop, call: str) -> None:
    """It is counted, and the next pass does what was left."""
    for name in (NAME, OTHER):
        shop.blob(name.encode(), name)
    shop.wait(GRACE)
    original, failures = getattr(shop.metadata, call), [UnavailableError("no")]

    def failing(*arguments: object) -> object:
        if failures:
            raise failures.pop()
        return original(*arguments)

    with mock.patch.object(shop.metadata, call, failing):
        done = shop.collect()
    assert (done.errors, done.finished) == (1, True)
    assert done.links == (2 if call == "get_records" else 1)
    assert shop.collect().errors == 0
    assert shop.objects == {}


def test_a_walk_that_cannot_be_read_ends_the_run(shop: Shop) -> None:
    """The next run goes on."""
    with mock.patch.object(shop.metadata, "scan", side_effect=UnavailableError):
        done = shop.collector.run(shop.time + 600)
    assert (done.errors, done.finished) == (1, False)
    assert shop.collector.run(shop.time + 600).finished


def test_facts_are_noted_of_each_repository(shop: Shop) -> None:
    """Tags, manifests by state, bytes linked and wasted, the last push and pull."""
    noted: list[RepositoryFacts] = []
    shop.push(b"layer", tag="v1")
    pushed = shop.time
    shop.push(b"layer", tag="v2")
    first = shop.push(b"another layer", tag="v3")
    shop.registry.manifests.delete(NAME, first, "ann")
    shop.registry.manifests.get(NAME, Digest.of(image(b"layer")), is_use=True)
    shop.blob(b"waste")
    shop.wait(GRACE)
    Collector(shop.ports, LIMITS, noted.append).pass_now(shop.time + 600)
    states = {ManifestState.LIVE: 1, ManifestState.TRASHED: 1}
    linked = len(b"{}") + len(b"layer") + len(b"another layer") + len(b"waste")
    assert noted == [RepositoryFacts(NAME, 2, states, linked, 5, pushed, pushed)]


def test_a_note_that_fails_stops_nothing(shop: Shop) -> None:
    """It is counted."""
    shop.push(b"layer")
    broken = Collector(shop.ports, LIMITS, mock.Mock(side_effect=ValueError))
    done = broken.pass_now(shop.time + 600)
    assert (done.errors, done.finished) == (1, True)


# previews and lists


def full(shop: Shop) -> None:
    """Fill a registry with one of everything that a pass deletes, and of what it leaves."""
    shop.push(b"layer", b"shared")
    shop.blob(b"shared", OTHER)
    shop.blob(b"wasted")
    shop.blob(b"wasted", OTHER)
    deleted = shop.blob(b"deleted by its client")
    shop.registry.blobs.delete(NAME, deleted)
    garbage = shop.blob(b"half gone")
    shop.registry.blobs.delete(NAME, garbage)
    shop.wait(GRACE)
    shop.metadata.drop_record(record(shop, garbage), shop.time)
    shop.objects[canonical_key(Digest.of(b"stray"), "c0ffee")] = b"stray"
    shop.registry.blobs.stat(NAME, Digest.of(b"layer"))


def test_a_preview_writes_nothing_and_says_what_goes(shop: Shop) -> None:
    """Each link, and each object with its bytes, once."""
    full(shop)
    rows, objects = shop.memory.tables.rows(REGISTRY), dict(shop.objects)
    findings = list(shop.collector.preview())
    assert shop.memory.tables.rows(REGISTRY) == rows
    assert shop.objects == objects
    assert sorted((each.kind.value, each.size) for each in findings) == [
        ("blob", 6), ("blob", 21), ("garbage", 9),
        ("link", 6), ("link", 6), ("link", 6), ("stray", 5),
    ]  # fmt: skip
    before_it = sum(map(len, shop.objects.values()))
    done = shop.collect()
    assert done.freed == sum(each.frees for each in findings)
    assert sum(map(len, shop.objects.values())) == before_it - done.freed
    assert list(shop.collector.preview()) == []


def test_a_list_is_deleted_and_nothing_else(shop: Shop) -> None:
    """A run with a preview deletes what it names, though more may go by then."""
    full(shop)
    findings = list(shop.collector.preview())
    shop.wait(-GRACE)
    shop.blob(b"in no preview")
    shop.wait(GRACE)
    stay = set(shop.objects) - {each.key for each in findings if each.key}
    done = shop.collector.run(shop.time + 600, only=findings)
    assert done.finished
    assert done.left == ()
    assert (done.links, done.freed) == (3, sum(each.frees for each in findings))
    assert set(shop.objects) == stay
    assert shop.collect().links == 1


@pytest.mark.parametrize("number", range(7))
def test_one_finding_alone_is_deleted_alone(shop: Shop, number: int) -> None:
    """Only a link's record, whose last link it is, has to wait for its own finding."""
    full(shop)
    finding = list(shop.collector.preview())[number]
    links, objects = shop.linked(NAME) | shop.linked(OTHER), set(shop.objects)
    rows = len(shop.keys())
    done = shop.collector.run(shop.time + 600, only=[finding])
    if finding.kind is FindingKind.LINK:
        assert (done.links, done.objects) == (1, 0)
        assert set(shop.objects) == objects
        assert len(shop.keys()) == rows - 1
    elif finding.kind is FindingKind.BLOB and finding.digest in links:
        assert done.left == (replace(finding, reason=done.left[0].reason),)
        assert set(shop.objects) == objects
    else:
        assert objects - set(shop.objects) == {finding.key}


def test_what_was_used_since_the_preview_is_left_and_said(shop: Shop) -> None:
    """A touch, a push of a manifest, a push of the bytes: each keeps what it relies on."""
    names = (b"touched", b"named", b"pushed again", b"deleted, and pushed again", b"unused")
    for data in (*names, b"{}"):
        shop.blob(data)
    shop.registry.blobs.delete(NAME, Digest.of(names[3]))
    shop.wait(GRACE)
    findings = list(shop.collector.preview())
    shop.registry.blobs.stat(NAME, Digest.of(names[0]))
    shop.put(image(names[1]))
    shop.blob(names[2])
    shop.blob(names[3])
    done = shop.collector.run(shop.time + 600, only=findings)
    kept = {Digest.of(data) for data in (*names[:4], b"{}")}
    assert shop.linked() == kept
    assert {each.digest for each in done.left} == kept
    assert (done.links, done.objects) == (1, 1)
    assert {each.kind for each in done.left} == {FindingKind.LINK, FindingKind.BLOB}


def test_a_list_can_be_deleted_again(shop: Shop) -> None:
    """A run that died is repeated with the same list: what is gone is no error."""
    full(shop)
    findings = list(shop.collector.preview())
    with mock.patch.object(shop.memory.objects, "delete", side_effect=UnavailableError):
        assert shop.collector.run(shop.time + 600, only=findings).errors > 0
    again = shop.collector.run(shop.time + 600, only=findings)
    assert (again.errors, again.left, again.finished) == (0, (), True)
    assert again.freed == sum(each.frees for each in findings)
    assert shop.collector.run(shop.time + 600, only=findings).errors == 0
    assert list(shop.collector.preview()) == []


def test_a_list_longer_than_the_time_is_not_finished(shop: Shop) -> None:
    """It says so."""
    full(shop)
    findings = list(shop.collector.preview())
    assert not shop.collector.run(shop.time, only=findings).finished


def test_a_preview_says_which_repositories_are_skipped(shop: Shop) -> None:
    """And a list that has such a finding deletes nothing of it."""
    shop.blob(b"nobody names this")
    shop.metadata.put_pending(a_manifest(repository=NAME, references=None, body=None))
    shop.wait(GRACE)
    (finding,) = shop.collector.preview()
    assert (finding.kind, finding.repository) == (FindingKind.SKIPPED, NAME)
    listed = GarbageFinding(FindingKind.LINK, NAME, Digest.of(b"nobody names this"), None, 17, "")
    done = shop.collector.run(shop.time + 600, only=[finding, listed])
    assert done.links == 0
    assert list(done.skipped) == [NAME]


# the end


def test_nothing_is_left_of_what_was_deleted(shop: Shop) -> None:
    """Bytes 0, and of rows the history, the catalog, and the collector's own."""
    digests = [
        shop.push(b"layer %d" % number, b"shared", name=name, note=note, tag=f"v{number}")
        for number in range(3)
        for name in (NAME, OTHER)
        for note in ("", LARGE)
    ]
    shop.put(index(image(b"layer 0", b"shared")), "all")
    for name in (NAME, OTHER):
        page = shop.metadata.list_manifests(name, None, 100)
        for manifest in page.items:
            shop.registry.manifests.delete(name, manifest.digest, "ann")
    assert digests
    shop.wait(LIMITS.trash)
    shop.sweep()
    shop.collect()
    assert shop.objects == {}
    kinds = {(pk.partition("#")[0], sk.partition("#")[0]) for pk, sk in shop.keys("CATALOG")}
    assert kinds == {("REPO", "HISTORY"), ("COLLECTOR", "STATE")}
    assert shop.metadata.garbage(10) == []


def test_records_outlive_every_request_that_may_still_bring_them() -> None:
    """The default times fit together."""
    assert Limits().record_grace >= max(Limits().link_grace, Limits().stray_age)


def test_the_state_says_when_a_pass_began_and_ended(shop: Shop) -> None:
    """And when the bucket was listed."""
    began = shop.time
    shop.collect()
    state = shop.metadata.collector_state()
    assert state == CollectorState(
        version=state.version if state else "",
        began_at=began,
        finished_at=shop.time,
        listed_at=began,
    )


def test_a_link_that_cannot_be_read_keeps_its_repository_whole(shop: Shop) -> None:
    """Nobody knows what it is."""
    digest = shop.blob(b"x")
    other = shop.blob(b"nobody names this")
    shop.change(link_key(NAME, digest), size={"S": "much"})
    shop.wait(GRACE)
    done = shop.collect()
    assert list(done.skipped) == [NAME]
    assert shop.metadata.get_link(NAME, other) is not None
