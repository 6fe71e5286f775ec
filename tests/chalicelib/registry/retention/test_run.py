"""The runs of retention: just what was previewed goes, through the trash, and they go on."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from chalicelib.errors import UnavailableError
from chalicelib.registry.model import ManifestState
from chalicelib.registry.retention.judging import Stop
from chalicelib.registry.retention.reading import TooManyError
from chalicelib.registry.retention.run import RetentionReport
from chalicelib.registry.service import Limits
from chalicelib.registry.undo import Restoration
from tests.chalicelib.registry.retention.keeping import CI_RULE, KEEP_RULE, Kept, in_memory
from tests.chalicelib.registry.retention.repositories import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def filled(kept: Kept) -> None:
    """Fill a repository with old and new units."""
    kept.rules(CI_RULE, KEEP_RULE)
    for at in ("1", "2"):
        kept.push(f"amd64 {at}")
        kept.push(f"arm64 {at}")
        kept.push(f"index {at}", f"pr-{at}", names=[f"amd64 {at}", f"arm64 {at}"])
        kept.push(f"signature {at}", subject=f"index {at}")
        kept.push(f"sbom {at}", subject=f"amd64 {at}")
        kept.push(f"own {at}", subject=f"sbom {at}")
        kept.push(f"release {at}", f"v{at}")
        kept.push(f"untagged {at}")
        if at == "1":
            kept.push("shared", f"v{at}-shared", names=["amd64 1"])
            kept.wait(10)


@pytest.fixture
def kept() -> Kept:
    """An empty registry, whose clock stands but where a test moves it."""
    return in_memory()


OLD = {f"{name} 1" for name in ("arm64", "index", "signature", "untagged")}
"""What goes of it after 14 days; an image stays with the release that names it."""


def test_a_run_removes_what_was_previewed(kept: Kept) -> None:
    """Exactly those digests go to the trash, with the rule in history; a second run has none.

    It comes back whole, and stays for as long as if it had been pushed then.
    """
    filled(kept)
    kept.wait(5)
    everything = kept.live()
    assert kept.previewed() == OLD
    report = kept.run()
    assert (report.images, report.manifests, report.finished) == (2, len(OLD), True)
    assert kept.live() == everything - OLD
    assert all(kept.manifest(name).state is ManifestState.TRASHED for name in OLD)
    rows = kept.memory.metadata.list_history(NAME, None, None, 99).items
    assert {row.by for row in rows} == {"retention:CI"}
    assert {row.was for row in rows} == set(map(kept.digest, OLD))
    again = kept.run()
    assert (again.images, again.manifests, again.repositories) == (0, 0, 1)
    kept.memory.registry.undo.restore(Restoration(NAME, kept.digest("index 1"), "ann"))
    assert kept.live() == everything - OLD | {"index 1", "arm64 1"}
    kept.wait(13)
    assert "index 1" in kept.live() - kept.previewed()
    kept.wait(1)
    assert {"index 1", "arm64 1"} <= kept.previewed()


def test_without_rules_nothing_is_removed(kept: Kept) -> None:
    """Only the rules are read."""
    filled(kept)
    kept.wait(900)
    kept.put({"pk": "RULES", "sk": "CURRENT"}, {"text": {"S": '{"immutable": []}'}})
    everything = kept.live()
    report = kept.run()
    assert (report.finished, report.repositories, kept.live()) == (True, 0, everything)
    assert kept.memory.metadata.retention_state() is None
    kept.put({"pk": "RULES", "sk": "CURRENT"}, {"text": {"S": '{"of a later version": []}'}})
    report = kept.run()
    assert (report.finished, report.errors, kept.live()) == (False, 1, everything)


def test_an_index_is_never_without_its_images(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Roots are deleted first, and a shared image after both of its indexes."""
    filled(kept)
    kept.push("twin", "pr-twin", names=["amd64 2", "arm64 2"])
    kept.wait(20)
    wrong: list[str] = []
    write = kept.memory.tables.transact_write_items

    def looking(**request: object) -> object:
        answer = write(**request)
        live = kept.live()
        for name in live:
            owned = {"index 1": ["amd64 1", "arm64 1"], "index 2": ["amd64 2", "arm64 2"]}
            owned["twin"] = owned["index 2"]
            wrong.extend(each for each in owned.get(name, ()) if each not in live)
        return answer

    monkeypatch.setattr(kept.memory.tables, "transact_write_items", looking)
    assert kept.run().manifests > len(OLD)
    assert not wrong
    assert not {"twin", "index 2", "amd64 2", "arm64 2"} & kept.live()


def test_an_image_in_use_stays_and_an_overdue_source_stops_its_repositories(kept: Kept) -> None:
    """In the repositories that it names."""
    filled(kept)
    kept.push("elsewhere", "pr-1", repository="team/other")
    kept.wait(20)
    everything = kept.live()
    kept.use("sbom 1", "untagged 2")
    assert not {"index 1", "untagged 2"} & kept.previewed()
    kept.use("sbom 1", until=kept.memory.clock.now() - 1)
    report = kept.run()
    assert kept.live() == everything
    assert {name: each.why for name, each in report.stopped.items()} == {NAME: Stop.OVERDUE}
    assert (report.images, kept.live("team/other")) == (1, set())
    kept.use("sbom 1", "untagged 2")
    gone = kept.previewed()
    assert kept.run().manifests == len(gone)
    assert kept.live() == everything - gone


def test_the_brake_stops_one_repository(kept: Kept) -> None:
    """The report says so, and the others continue."""
    filled(kept)
    kept.push("elsewhere", "pr-1", repository="team/other")
    kept.wait(5)
    kept.rules(CI_RULE, KEEP_RULE, brake=28)
    everything = kept.live()
    report = kept.run()
    assert (kept.live(), report.stopped[NAME].why) == (everything, Stop.BRAKE)
    assert report.stopped[NAME].text == (
        "2 of 7 images would go, which is more than the brake of 28 %"
    )
    kept.rules(CI_RULE, KEEP_RULE, brake=29)
    assert not kept.run().stopped
    assert kept.live() == everything - OLD


def push_root(kept: Kept) -> None:
    """Push the index again."""
    kept.push("index 1", "pr-1", names=["amd64 1", "arm64 1"])


def move_tag(kept: Kept) -> None:
    """Let a tag name one of its images."""
    kept.push("arm64 1", "latest")


def pull(kept: Kept) -> None:
    """Pull one of its images."""
    manifests = kept.memory.registry.manifests
    manifests.get(NAME, kept.digest("arm64 1"), is_use=True)


def name_it(kept: Kept) -> None:
    """Push an index that names one of its images."""
    kept.push("new index", names=["arm64 1"])


def sign(kept: Kept) -> None:
    """Push a signature of it."""
    kept.push("new signature", subject="index 1")


def delete_and_restore(kept: Kept) -> None:
    """Delete the index, and bring it back."""
    kept.memory.registry.removals.delete(NAME, kept.digest("index 1"), "ann")
    kept.memory.registry.undo.restore(Restoration(NAME, kept.digest("index 1"), "ann"))


def run_it(kept: Kept) -> None:
    """Let a source say that one of its images runs."""
    kept.use("arm64 1")


USES = [push_root, move_tag, pull, name_it, sign, delete_and_restore, run_it]


@pytest.mark.parametrize("use", USES)
def test_an_image_used_after_its_mark_stays(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, use: Callable[[Kept], None]
) -> None:
    """The whole unit stays and is reported; its marks are removed."""
    filled(kept)
    kept.wait(5)
    metadata = kept.memory.metadata
    read = metadata.in_use
    reads: list[str] = []

    def using(repository: str) -> object:
        # The first read is before the marks, the second after them.
        reads.append(repository)
        if len(reads) == 2:
            use(kept)
        return read(repository)

    monkeypatch.setattr(metadata, "in_use", using)
    report = kept.run()
    assert {"index 1", "amd64 1", "arm64 1", "signature 1"} <= kept.live()
    assert "untagged 1" not in kept.live()
    assert (report.images, report.used_meanwhile) == (1, 1)
    assert all(kept.manifest(name).mark is None for name in OLD - {"untagged 1"})


@pytest.mark.parametrize("use", [use for use in USES if use is not run_it])
def test_an_image_used_right_before_its_deletion_stays(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, use: Callable[[Kept], None]
) -> None:
    """The deletion of the root requires all marks of the unit.

    A signature that is pushed so late is no use: it is no part of what was judged.
    """
    filled(kept)
    kept.wait(5)
    retire = kept.memory.metadata.retire

    def using(manifest: object, *rest: object) -> object:
        if manifest.digest == kept.digest("index 1"):  # type: ignore[attr-defined]
            use(kept)
        return retire(manifest, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(kept.memory.metadata, "retire", using)
    report = kept.run()
    assert {"index 1", "amd64 1", "arm64 1", "signature 1"} <= kept.live()
    assert (report.images, report.used_meanwhile) == (1, 1)


@pytest.mark.parametrize("use", [pull, move_tag, name_it])
def test_a_member_used_after_the_deletion_of_its_root_stays(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, use: Callable[[Kept], None]
) -> None:
    """Its own members stay too; the others follow the root."""
    filled(kept)
    kept.rules({**CI_RULE, "untagged": False}, KEEP_RULE)
    kept.push("of arm64", subject="arm64 1")
    kept.wait(15)
    retire = kept.memory.metadata.retire

    def using(manifest: object, *rest: object) -> object:
        if manifest.digest == kept.digest("arm64 1"):  # type: ignore[attr-defined]
            use(kept)
        return retire(manifest, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(kept.memory.metadata, "retire", using)
    kept.run()
    assert {"arm64 1", "of arm64"} <= kept.live()
    assert not {"index 1", "signature 1"} & kept.live()


class DiedError(BaseException):
    """A process that is gone; nothing catches it."""


CALLS = ("transact_write_items", "put_item", "update_item", "delete_item", "query", "get_item")


def test_a_run_continues_after_one_that_died_at_any_call() -> None:
    """In the end exactly the previewed images are gone."""
    for died_at in itertools.count(1):
        kept = in_memory()
        filled(kept)
        kept.wait(5)
        staying = kept.live() - kept.previewed()
        with pytest.MonkeyPatch.context() as patch:
            calls = itertools.count(1)
            for name in CALLS:
                call = getattr(kept.memory.tables, name)
                patch.setattr(kept.memory.tables, name, dying(call, calls, died_at))
            with suppress(DiedError):
                kept.run(anew=False)
                assert died_at > 30
                return
        kept.run(anew=False)
        kept.memory.clock.offset += 3700
        kept.memory.registry.sweeper.sweep(kept.memory.clock.now() + 600)
        kept.run(anew=True)
        assert kept.live() == staying, died_at


def dying(call: Callable[..., object], calls: Iterator[int], died_at: int) -> Callable[..., object]:
    """Return a call that is not made where its turn among all `calls` is this one."""

    def made(**request: object) -> object:
        if next(calls) == died_at:
            raise DiedError
        return call(**request)

    return made


def test_a_run_out_of_time_is_continued_by_the_next(kept: Kept) -> None:
    """The pass is the same, and each of its repositories is judged."""
    filled(kept)
    for at in range(5):
        kept.push(f"other {at}", "pr-1", repository=f"team/other-{at}")
    kept.wait(20)
    now = kept.memory.clock.now
    reports: list[RetentionReport] = []
    while not reports or not reports[-1].finished:
        ticks = itertools.count()
        kept.memory.clock.now = lambda ticks=ticks: now() + next(ticks)  # type: ignore[method-assign, misc]
        reports.append(kept.retention.run(now() + 12))
        kept.memory.clock.now = now  # type: ignore[method-assign]
        assert len(reports) < 50
    assert len(reports) > 2
    assert sum(report.repositories for report in reports) == 6
    assert sum(report.images for report in reports) == 9
    assert not any(kept.live(f"team/other-{at}") for at in range(5))


def test_a_pass_begins_once_a_day_or_with_new_rules(kept: Kept) -> None:
    """A run in between reads the rules and the state of the last pass."""
    filled(kept)
    kept.run(anew=False)
    kept.wait(0.9)
    assert kept.run(anew=False).repositories == 0
    kept.wait(0.1)
    assert kept.run(anew=False).repositories == 1
    assert kept.run(anew=False).repositories == 0
    kept.rules(CI_RULE)
    assert kept.run(anew=False).repositories == 1


def test_two_runs_at_once_remove_no_more_than_one(kept: Kept) -> None:
    """The one that is behind stops, and counts nothing that it did not remove."""
    filled(kept)
    kept.wait(5)
    put = kept.memory.metadata.put_retention_state
    runs: list[object] = []

    def racing(before: object, after: object) -> bool:
        if not runs:
            runs.append(None)
            runs[0] = kept.run(anew=False)
        return put(before, after)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept.memory.metadata, "put_retention_state", racing)
        late = kept.run(anew=False)
    first = runs[0]
    assert isinstance(first, RetentionReport)
    assert (first.manifests, late.manifests, late.repositories) == (len(OLD), 0, 0)


def test_changed_rules_apply_at_once(kept: Kept) -> None:
    """An image that the old rules marked stays if the new rules keep it."""
    filled(kept)
    kept.wait(5)
    everything = kept.live()
    mark = kept.memory.metadata.mark_manifest

    def changing(*given: object) -> bool:
        kept.rules({**CI_RULE, "name": "slow", "expire": {"days_since_push": 90}})
        return mark(*given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept.memory.metadata, "mark_manifest", changing)
        report = kept.run()
    assert (kept.live(), report.images, report.finished) == (everything, 0, True)


def test_a_failing_repository_does_not_stop_the_others(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report has the error, and the next pass tries again."""
    filled(kept)
    kept.push("elsewhere", "pr-1", repository="team/other")
    kept.wait(20)
    read = kept.memory.metadata.list_tag_rows

    def failing(repository: str, *rest: object) -> object:
        if repository == NAME:
            raise UnavailableError("the storage below is away")
        return read(repository, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(kept.memory.metadata, "list_tag_rows", failing)
    report = kept.run()
    assert (report.errors, report.images, report.finished) == (1, 1, True)
    monkeypatch.undo()
    assert kept.run().images > 1


def test_many_images_are_removed_in_rounds(kept: Kept) -> None:
    """An image that all of them share is deleted last."""
    kept.rules(CI_RULE)
    kept.push("base")
    for at in range(130):
        kept.push(f"index {at}", f"pr-{at}", names=["base"])
    kept.wait(15)
    report = kept.run()
    assert (report.images, report.manifests, kept.live()) == (130, 131, set())


def test_a_unit_larger_than_a_transaction_goes_as_a_whole(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays as a whole if any of its signatures was pushed again."""
    kept.rules(CI_RULE)
    kept.push("a", "pr-1")
    for at in range(120):
        kept.push(f"signature {at:03}", subject="a")
    kept.wait(15)
    # The last of them by digest is one of those that the transaction has no room for.
    last = max(set(kept.bodies) - {"a"}, key=lambda name: str(kept.digest(name)))
    read = kept.memory.metadata.get_manifests

    def pushing(*given: object) -> object:
        monkeypatch.undo()
        kept.push(last, subject="a")
        return read(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(kept.memory.metadata, "get_manifests", pushing)
    report = kept.run()
    assert (report.images, len(kept.live())) == (0, 121)
    kept.wait(15)
    report = kept.run()
    assert (report.images, report.manifests, kept.live()) == (1, 121, set())


def test_an_index_that_is_too_large_for_its_item_keeps_its_images(kept: Kept) -> None:
    """Its manifests are read from its body; if that is lost, its repository is left alone."""
    filled(kept)
    kept.push("large", "v9", names=["amd64 1", "arm64 1"])
    kept.edit("large", references=None)
    kept.wait(5)
    assert kept.previewed() == {"index 1", "signature 1", "untagged 1"}
    kept.edit("large", references=None, body=None)
    assert kept.previewed() == set()
    assert kept.run().stopped[NAME].why is Stop.UNREADABLE


def test_images_that_can_not_be_judged_stay_and_are_counted(kept: Kept) -> None:
    """An earlier version stored them, and nobody has pulled them since."""
    unused = {**CI_RULE, "name": "unused", "expire": {"days_since_pull": 14}}
    filled(kept)
    kept.rules(unused, KEEP_RULE)
    kept.edit("untagged 1", pushed_by=None)
    kept.wait(5)
    report = kept.run()
    assert (report.unknown, report.images) == (1, 1)
    assert "untagged 1" in kept.live()
    assert "index 1" not in kept.live()


def test_without_a_trash_an_image_is_gone_at_once() -> None:
    """No row of it remains."""
    bare = in_memory(Limits(part_minimum=8, trash=0))
    filled(bare)
    bare.wait(5)
    staying = bare.live() - bare.previewed()
    assert bare.run().manifests == len(OLD)
    found = bare.memory.metadata.get_manifests(NAME, list(map(bare.digest, bare.bodies)))
    assert set(found) == set(map(bare.digest, staying))


def test_a_preview_adds_up_what_would_be_freed(kept: Kept) -> None:
    """Blobs that nothing else names, here and elsewhere; unknown where an item doesn't say."""
    filled(kept)
    other = kept.blob("team/other")
    kept.rules({**CI_RULE, "tags": ["*"]})
    kept.wait(900)

    def freed() -> int | None:
        rules = kept.retention.rules()
        return kept.retention.preview(NAME, rules, sizes=True).bytes_freed

    assert freed() == 0
    kept.memory.metadata.delete_link("team/other", other)
    assert freed() == len(b"{}")
    kept.push("new", "v3")
    assert freed() == 0
    kept.edit("new", references=None)
    assert freed() is None
    with pytest.raises(TooManyError):
        kept.retention.preview(NAME, kept.retention.rules(), most=5)
