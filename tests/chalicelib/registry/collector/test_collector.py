"""The collector: passes, runs that go on, previews and lists.

No test may wait: the clock is moved.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from chalicelib.digest import Digest
from chalicelib.errors import UnavailableError
from chalicelib.registry.collector.collector import Collector
from chalicelib.registry.collector.report import FindingKind, GarbageFinding, RepositoryFacts
from chalicelib.registry.keys import canonical_key
from chalicelib.registry.model import (
    CollectorPhase,
    CollectorState,
    ManifestState,
)
from chalicelib.registry.service import Limits
from tests.chalicelib.registry.collector.pushing import (
    LIMITS,
    NAME,
    OTHER,
    Shop,
    before,
    image,
    index,
    record,
)
from tests.support.registries import REGISTRY
from tests.support.values import a_manifest

if TYPE_CHECKING:
    from chalicelib.registry.collector.report import CollectReport

GRACE = LIMITS.record_grace
LARGE = "x" * 5000
"""A note that makes a manifest large."""


def test_an_unneeded_blob_is_deleted_after_its_time_of_grace(shop: Shop) -> None:
    """Link, record, object and row of garbage are deleted in one pass."""
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


def test_one_pass_deletes_link_and_record_after_both_times(shop: Shop) -> None:
    """The record's time begins with the last use of its last link."""
    shop.blob(b"1")
    shop.blob(b"1", OTHER)
    shop.wait(GRACE)
    done = shop.collect()
    assert (done.links, done.records, done.objects) == (2, 1, 1)
    assert shop.objects == {}


def test_a_deleted_repository_leaves_no_bytes(shop: Shop) -> None:
    """The bucket is empty; only history, catalog and the collector's state have rows."""
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
            shop.registry.removals.delete(name, manifest.digest, "ann")
    assert digests
    shop.wait(LIMITS.trash)
    shop.sweep()
    shop.collect()
    assert shop.objects == {}
    kinds = {(pk.partition("#")[0], sk.partition("#")[0]) for pk, sk in shop.keys("CATALOG")}
    assert kinds == {("REPO", "HISTORY"), ("COLLECTOR", "STATE")}
    assert shop.metadata.garbage(10) == []


def test_a_record_outlives_every_put_to_its_key() -> None:
    """The default times fit together."""
    assert Limits().record_grace >= max(Limits().link_grace, Limits().stray_age)


def test_the_state_says_when_a_pass_began_and_ended(shop: Shop) -> None:
    """It also has the time of the last listing of the bucket."""
    began = shop.time
    shop.collect()
    state = shop.metadata.collector_state()
    assert state == CollectorState(
        version=state.version if state else "",
        began_at=began,
        finished_at=shop.time,
        listed_at=began,
    )


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


def test_a_run_continues_where_the_last_one_stopped(shop: Shop) -> None:
    """With time for one repository a run, each is judged once, until all are done."""
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
    """Each run deletes some links, so that the next one has less to do."""
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


def test_a_second_collector_stops_and_the_first_one_continues(shop: Shop) -> None:
    """Only the collector that read the state last can write it; deletions stay."""
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
    """The next run continues."""
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
    shop.registry.removals.delete(NAME, first, "ann")
    shop.registry.manifests.get(NAME, Digest.of(image(b"layer")), is_use=True)
    shop.blob(b"waste")
    shop.wait(GRACE)
    Collector(shop.ports, LIMITS, noted.append).pass_now(shop.time + 600)
    states = {ManifestState.LIVE: 1, ManifestState.TRASHED: 1}
    linked = len(b"{}") + len(b"layer") + len(b"another layer") + len(b"waste")
    assert noted == [RepositoryFacts(NAME, 2, states, linked, 5, pushed, pushed)]


def test_a_failed_write_of_facts_stops_nothing(shop: Shop) -> None:
    """The failure is counted."""
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


def test_a_preview_writes_nothing_and_lists_what_a_pass_deletes(shop: Shop) -> None:
    """It has each link, and each object with its bytes, once."""
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


def test_a_run_with_a_list_deletes_only_that(shop: Shop) -> None:
    """It deletes what the preview names, though more could be deleted by then."""
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
    """Only the finding of a record must wait for that of its last link."""
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


def test_content_used_since_the_preview_stays_and_is_reported(shop: Shop) -> None:
    """A touch, a push of a manifest or a push of the bytes keeps it."""
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
    """After a run that died, content that is already deleted is no error."""
    full(shop)
    findings = list(shop.collector.preview())
    with mock.patch.object(shop.memory.objects, "delete", side_effect=UnavailableError):
        assert shop.collector.run(shop.time + 600, only=findings).errors > 0
    again = shop.collector.run(shop.time + 600, only=findings)
    assert (again.errors, again.left, again.finished) == (0, (), True)
    assert again.freed == sum(each.frees for each in findings)
    assert shop.collector.run(shop.time + 600, only=findings).errors == 0
    assert list(shop.collector.preview()) == []


@pytest.mark.parametrize("kind", [FindingKind.GARBAGE, FindingKind.BLOB, FindingKind.STRAY])
def test_a_list_deletes_nothing_that_is_in_use(shop: Shop, kind: FindingKind) -> None:
    """A list is a file, and may be old or written by hand."""
    for data in (b"in use", b"{}"):
        shop.blob(data)
    shop.put(image(b"in use"))
    shop.wait(GRACE)
    (key,) = (key for key, data in shop.objects.items() if data == b"in use")
    listed = GarbageFinding(kind, None, Digest.of(b"another one"), key, 6, "")
    done = shop.collector.run(shop.time + 600, only=[listed])
    assert (done.objects, done.errors) == (0, 0)
    assert shop.objects[key] == b"in use"


def test_a_list_longer_than_the_time_is_not_finished(shop: Shop) -> None:
    """The report says so."""
    full(shop)
    findings = list(shop.collector.preview())
    assert not shop.collector.run(shop.time, only=findings).finished


def test_a_preview_says_which_repositories_are_skipped(shop: Shop) -> None:
    """A list with such a finding deletes nothing of that repository."""
    shop.blob(b"nobody names this")
    shop.metadata.put_pending(a_manifest(repository=NAME, references=None, body=None))
    shop.wait(GRACE)
    (finding,) = shop.collector.preview()
    assert (finding.kind, finding.repository) == (FindingKind.SKIPPED, NAME)
    listed = GarbageFinding(FindingKind.LINK, NAME, Digest.of(b"nobody names this"), None, 17, "")
    done = shop.collector.run(shop.time + 600, only=[finding, listed])
    assert done.links == 0
    assert list(done.skipped) == [NAME]
