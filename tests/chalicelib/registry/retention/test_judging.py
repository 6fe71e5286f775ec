"""What the rules of retention decide: a keep wins, units are whole, and nothing is guessed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.registry.model import ManifestState
from chalicelib.registry.retention.judging import MARK_LIFE, Mark, RetentionReason, Stop
from tests.chalicelib.registry.retention.repositories import (
    CI,
    DAY,
    RELEASES,
    Repository,
    braked,
    digest_of,
    expiring,
    going,
    immutable,
    keeping,
    owned,
    repositories,
    rule,
)
from tests.support.values import NOW

if TYPE_CHECKING:
    from chalicelib.rules.retention import RetentionRule

UNUSED = rule("unused", "*", untagged=True, days_since_pull=30)


# One image


@pytest.mark.parametrize(
    ("rules", "tags", "facts", "reason"),
    [
        ([CI], ["pr-1"], {"days": 15}, RetentionReason.EXPIRED),
        ([CI], ["pr-1"], {"days": 13.9}, RetentionReason.YOUNG),
        ([CI], [], {"days": 15}, RetentionReason.EXPIRED),
        ([CI, RELEASES], ["v1"], {"days": 900}, RetentionReason.KEPT),
        ([CI, RELEASES], ["pr-1", "v1"], {"days": 900}, RetentionReason.KEPT),
        (
            [rule("CI", "pr-*", days_since_push=14)],
            ["pr-1", "v1"],
            {"days": 90},
            RetentionReason.NO_RULE,
        ),
        ([rule("CI", "pr-*", days_since_push=14)], [], {"days": 90}, RetentionReason.NO_RULE),
        (
            [rule("old", untagged=True, days_since_push=1)],
            ["v1"],
            {"days": 90},
            RetentionReason.NO_RULE,
        ),
        ([rule("old", untagged=True, days_since_push=1)], [], {"days": 2}, RetentionReason.EXPIRED),
        ([rule("k", untagged=True, keep_always=True), CI], [], {"days": 90}, RetentionReason.KEPT),
        ([CI], ["pr-1"], {"days": 90, "pulled_at": NOW}, RetentionReason.EXPIRED),
        ([CI], ["pr-1"], {"days": 90, "restored_at": NOW - 60}, RetentionReason.YOUNG),
        ([UNUSED], ["v1"], {"days": 31}, RetentionReason.EXPIRED),
        ([UNUSED], ["v1"], {"days": 29}, RetentionReason.YOUNG),
        ([UNUSED], ["v1"], {"days": 90, "pulled_at": NOW - 30.5 * DAY}, RetentionReason.YOUNG),
        ([UNUSED], ["v1"], {"days": 90, "pulled_at": NOW - 31 * DAY}, RetentionReason.EXPIRED),
        ([UNUSED], ["v1"], {"days": 90, "restored_at": NOW - DAY}, RetentionReason.YOUNG),
        ([UNUSED], ["v1"], {"days": 90, "pushed_by": None}, RetentionReason.UNKNOWN),
        ([CI], ["v1"], {"days": 90, "pushed_by": None}, RetentionReason.EXPIRED),
        (
            [UNUSED],
            ["v1"],
            {"days": 90, "pushed_by": None, "pulled_at": NOW - 40 * DAY},
            RetentionReason.EXPIRED,
        ),
        ([CI], ["v1"], {"days": 90, "state": ManifestState.PENDING}, RetentionReason.PUSHING),
    ],
)
def test_an_image_stays_or_goes_by_its_tags_and_its_age(
    rules: list[RetentionRule], tags: list[str], facts: dict[str, object], reason: RetentionReason
) -> None:
    """A pull may have been a day later than it was noted."""
    repository = Repository()
    digest = repository.add("a", *tags, **facts)  # type: ignore[arg-type]
    repository.add("index", "main", names=["a"], state=ManifestState.DELETING)
    judged = repository.judge(*rules)
    if reason is RetentionReason.PUSHING:
        assert (judged.decisions, judged.images) == ({}, 0)
    else:
        assert judged.decisions[digest].reason is reason


def test_a_reason_names_the_rule_the_source_and_the_tag() -> None:
    """It also says when the image will go."""
    repository = Repository()
    repository.add("a", "v1", days=90)
    repository.add("b", "main", days=90)
    repository.add("c", "pr-1", days=13)
    repository.add("d", "x", days=90)
    repository.add("e", "pr-2", days=90)
    repository.use("d", source="prod")
    judged = repository.judge(CI, RELEASES, immutable=[immutable("fixed", "main")])
    said = {
        name: judged.decisions[digest_of(name)][0:1] + judged.decisions[digest_of(name)][2:]
        for name in "abcde"
    }
    assert said == {
        "a": (RetentionReason.KEPT, "releases", "v1", None, None),
        "b": (RetentionReason.IMMUTABLE, "fixed", "main", None, None),
        "c": (RetentionReason.YOUNG, "CI", "pr-1", NOW + DAY, None),
        "d": (RetentionReason.IN_USE, "prod", None, None, None),
        "e": (RetentionReason.EXPIRED, "CI", "pr-2", None, 100),
    }
    assert (len(judged.going), judged.images) == (1, 5)


def test_keep_last_counts_by_the_time_of_the_push() -> None:
    """Images that were pushed together are all kept; a signature makes none newer."""
    repository = Repository()
    for name, days in (("a", 50), ("b", 40), ("c", 40), ("d", 30)):
        repository.add(name, f"main-{name}", days=days)
    repository.add("e", "pr-1", days=20)
    repository.add("f", days=1, subject="a")
    last = rule("last", "main-*", keep_last=2)
    old = rule("old", "*", days_since_push=15)
    repository.add("g", "pr-2", days=99, restored_at=NOW)
    assert repository.going(last, old) == {"e"}
    repository.manifests[digest_of("f")] = replace(
        repository.manifests[digest_of("f")], pushed_at=NOW - 20 * DAY
    )
    assert repository.going(last, old) == {"a", "e", "f"}


# Units


@pytest.mark.parametrize(
    ("young", "goes"),
    [("", "abcd"), ("a", ""), ("b", ""), ("c", ""), ("d", "")],
)
def test_a_unit_is_as_old_as_its_youngest_use(young: str, goes: str) -> None:
    """An index, its image, the image's signature and that signature's own are one unit."""
    repository = Repository()
    for name, options in {
        "a": {"names": ["b"]},
        "b": {},
        "c": {"subject": "b"},
        "d": {"subject": "c"},
    }.items():
        repository.add(name, days=1 if name == young else 90, **options)  # type: ignore[arg-type]
    repository.tags["pr-1"] = digest_of("a")
    assert repository.going(CI) == set(goes)


def test_a_manifest_of_two_units_stays_with_either() -> None:
    """It goes only if both go."""
    repository = Repository()
    repository.add("a", "pr-1", days=90, names=["c", "d"])
    repository.add("b", "v1", days=90, names=["d"])
    for name in "cd":
        repository.add(name, days=90)
    assert repository.going(CI, RELEASES) == {"a", "c"}
    assert repository.going(CI) == set("abcd")


def test_every_tag_of_a_unit_counts() -> None:
    """Also an image's own tag, where its index has another: each must be let go."""
    repository = Repository()
    repository.add("a", "pr-1", days=90, names=["b"])
    repository.add("b", "amd64", days=90)
    pull_requests = rule("PR", "pr-*", days_since_push=14)
    assert repository.going(pull_requests) == set()
    assert repository.going(pull_requests, rule("x", "amd64", days_since_push=30)) == {"a", "b"}
    assert repository.going(CI, rule("keep", "amd64", keep_always=True)) == set()


@pytest.mark.parametrize("end", [".sig", ".att", ".sbom", ""])
def test_a_signature_under_a_tag_belongs_to_its_image(end: str) -> None:
    """As cosign names it: it goes with the image, and not before; alone, it is an image itself."""
    repository = Repository()
    image = repository.add("a", "v1", days=90)
    tag = f"{str(image).replace(':', '-')}{end}"
    repository.add("b", tag, days=90)
    assert repository.going(CI, RELEASES) == set()
    assert repository.going(CI) == {"a", "b"}
    del repository.manifests[image]
    del repository.tags["v1"]
    assert repository.going(CI, RELEASES) == {"b"}


def test_a_pending_manifest_keeps_its_unit() -> None:
    """A pending index or referrer makes its unit young."""
    for options in ({"names": ["a"]}, {"subject": "a"}):
        repository = Repository()
        repository.add("a", "pr-1", days=90)
        pending = ManifestState.PENDING
        repository.add("b", days=90, state=pending, **options)
        judged = repository.judge(CI)
        assert judged.decisions[digest_of("a")].reason is RetentionReason.PUSHING
        assert repository.going(CI) == set()
        for state in (ManifestState.TRASHED, ManifestState.DELETING):
            repository.add("b", days=90, state=state, **options)
            assert repository.going(CI) == {"a"}


def test_a_circle_of_manifests_is_one_unit() -> None:
    """An index whose subject is one of its own images."""
    repository = Repository()
    repository.add("a", "pr-1", days=90, names=["b"], subject="b")
    repository.add("b", days=90)
    repository.add("c", days=90, subject="b")
    assert repository.going(CI) == set("abc")
    repository.add("c", days=1, subject="b")
    assert repository.going(CI) == set()


# What is in use, and what stops a run


def test_an_image_in_use_is_kept() -> None:
    """Its whole unit is kept, also the index that names it."""
    repository = Repository()
    repository.add("a", "pr-1", days=900, names=["b", "c"])
    for name in "bc":
        repository.add(name, days=900)
    repository.add("d", "pr-2", days=900)
    assert repository.going(CI) == set("abcd")
    repository.use("c", "gone long ago")
    assert repository.going(CI) == {"d"}


@pytest.mark.parametrize(("late", "goes"), [(0, {"a"}), (0.001, set())])
def test_an_overdue_source_stops_its_repository(late: float, goes: set[str]) -> None:
    """It is unknown what runs; the decisions still show what would go."""
    repository = Repository()
    repository.add("a", "pr-1", days=90)
    repository.use("b", source="late", until=NOW - late)
    judged = repository.judge(CI)
    assert repository.going(CI) == goes
    assert judged.decisions[digest_of("a")].goes
    assert (judged.stopped is not None) is bool(late)
    if judged.stopped:
        assert (judged.stopped.why, judged.going) == (Stop.OVERDUE, ())
        assert "'late'" in judged.stopped.text


def test_an_index_that_cant_be_read_stops_its_repository() -> None:
    """Any manifest may belong to it."""
    repository = Repository()
    repository.add("a", "pr-1", days=90)
    repository.unreadable = repository.add("b", "v1")
    judged = repository.judge(CI)
    assert judged.stopped is not None
    assert (judged.stopped.why, repository.going(CI)) == (Stop.UNREADABLE, set())


@pytest.mark.parametrize(
    ("old", "new", "other", "is_stopped"),
    [
        (2, 8, 0, False),
        (3, 8, 0, True),
        (1, 4, 0, False),
        (1, 3, 0, True),
        (2, 4, 4, False),
        (3, 4, 4, True),
    ],
)
def test_the_brake_stops_a_run_that_would_remove_too_much(
    old: int, new: int, other: int, *, is_stopped: bool
) -> None:
    """It counts images; a rule can have a larger brake."""
    repository = Repository()
    for at in range(old):
        repository.add(f"old {at}", f"pr-{at}", days=90, names=[f"child {at}"])
        repository.add(f"child {at}", days=90)
    for at in range(new):
        repository.add(f"new {at}", f"pr-new-{at}")
    for at in range(other):
        repository.add(f"other {at}", f"ci-{at}", days=90)
    judged = repository.judge(
        rule("PR", "pr-*", days_since_push=14, brake=20),
        rule("CI", "ci-*", days_since_push=14, brake=100),
    )
    assert judged.images == old + new + other
    assert len(judged.expired) == old + other
    if is_stopped:
        assert judged.stopped is not None
        assert judged.stopped.text.startswith(f"{old} of {old + new + other} images would go")
    assert len(judged.going) == (0 if is_stopped else old + other)


# What a run that was stopped has left


@pytest.mark.parametrize(
    ("mark", "rules", "goes"),
    [
        (Mark("n", NOW - 60, is_root=False, rule="PR"), [rule("PR", "pr-*", days_since_push=9)], 1),
        (Mark("n", NOW - 60, is_root=True, rule="PR"), [rule("PR", "pr-*", days_since_push=9)], 0),
        (Mark("n", NOW - 60, is_root=False, rule="old"), [rule("PR", "*", days_since_push=9)], 0),
        (
            Mark("n", NOW - MARK_LIFE - 9, is_root=False, rule="PR"),
            [rule("PR", "pr-*", days_since_push=9)],
            0,
        ),
        (
            Mark("n", NOW - 60, is_root=False, rule="PR"),
            [rule("PR", "pr-*", days_since_push=9), rule("k", untagged=True, keep_always=True)],
            0,
        ),
    ],
)
def test_an_image_follows_its_deleted_index(
    mark: Mark, rules: list[RetentionRule], goes: int
) -> None:
    """By the rule of the index, if nobody has used it since, and no rule keeps it."""
    repository = Repository()
    repository.add("a", days=90, mark=mark.text)
    assert Mark.parse(mark.text) == replace(mark, at=round(mark.at))
    assert len(repository.going(*rules)) == goes
    repository.add("b", "v1", names=["a"])
    assert repository.going(*rules) == set()


# Whatever the repository


@given(repositories(), expiring, keeping, st.randoms(use_true_random=False))
def test_the_order_of_rules_does_not_matter(
    repository: Repository,
    expire: list[RetentionRule],
    keep: list[RetentionRule],
    random: st.DrawFn,
) -> None:
    """Neither the decisions nor their reasons change."""
    rules = [*expire, *keep]
    before = repository.judge(*rules)
    random.shuffle(rules)  # type: ignore[attr-defined]
    after = repository.judge(*rules)
    assert after.decisions == before.decisions


@given(repositories(), expiring, keeping)
def test_a_unit_stays_or_goes_as_a_whole(
    repository: Repository, expire: list[RetentionRule], keep: list[RetentionRule]
) -> None:
    """All members of a unit that stays stay, and a unit that goes leaves nothing.

    Unless another one needs it.
    """
    judged = repository.judge(*expire, *keep)
    gone = going(judged)
    for owner, belonging in owned(repository.facts).items():
        assert owner in gone or not belonging & gone
    staying = set().union(*(u.members for u in judged.units.units if u not in judged.expired))
    for unit in judged.expired:
        assert set(unit.members) - staying <= gone
        assert unit.root in gone
    assert {digest for unit in judged.units.units for digest in unit.members} == set(
        repository.manifests
    )


@given(repositories(), expiring, keeping)
def test_a_rule_that_keeps_wins_over_rules_that_expire(
    repository: Repository, expire: list[RetentionRule], keep: list[RetentionRule]
) -> None:
    """Another rule that keeps never makes more images go."""
    without, judged = repository.judge(*expire), repository.judge(*expire, *keep)
    assert going(judged) <= going(without)
    always = [rule for rule in keep if rule.keep_always]
    for tag, digest in repository.tags.items():
        if any(rule.covers(tag) for rule in always) and not tag.startswith("sha256-"):
            assert digest not in going(judged)


@given(repositories(), expiring, keeping, st.sampled_from("abcdefgh"), st.data())
def test_a_later_use_makes_no_image_go(
    repository: Repository,
    expire: list[RetentionRule],
    keep: list[RetentionRule],
    name: str,
    data: st.DataObject,
) -> None:
    """A pull, a restoration, a lease, or an unknown pull."""
    digest = digest_of(name)
    before = repository.judge(*expire, *keep)
    manifest = repository.manifests.get(digest)
    if manifest is None:
        return
    change = data.draw(st.sampled_from(("pulled", "restored", "in use", "unknown", "pushed")))
    if change == "pulled":
        at = max(manifest.pulled_at or 0, NOW - data.draw(st.integers(0, 40)) * DAY)
        manifest = replace(manifest, pulled_at=at)
    elif change == "restored":
        at = max(manifest.restored_at or 0, NOW - data.draw(st.integers(0, 40)) * DAY)
        manifest = replace(manifest, restored_at=at)
    elif change == "in use":
        repository.use(name)
    elif change == "unknown":
        manifest = replace(manifest, pulled_at=None, pushed_by=None)
    else:
        # A push can put another image out of the last ones.
        keep = [rule for rule in keep if rule.keep_last is None]
        before = repository.judge(*expire, *keep)
        manifest = replace(manifest, pushed_at=NOW - 60)
    repository.manifests[digest] = manifest
    after = repository.judge(*expire, *keep)
    assert going(after) <= going(before)
    if change in {"in use", "pushed"}:
        assert digest not in going(after)


@given(repositories(), expiring, keeping, st.integers(0, 60))
def test_an_image_that_goes_today_goes_on_any_later_day(
    repository: Repository, expire: list[RetentionRule], keep: list[RetentionRule], days: int
) -> None:
    """A young image goes at the time that was announced."""
    today = repository.judge(*expire, *keep)
    later = repository.judge(*expire, *keep, now=NOW + days * DAY)
    assert going(today) <= going(later)
    for digest, decision in today.decisions.items():
        if decision.due is not None and decision.root == digest:
            then = repository.judge(*expire, *keep, now=decision.due).decisions[digest]
            just_before = repository.judge(*expire, *keep, now=decision.due - 1)
            assert then.reason is not RetentionReason.YOUNG or then.root != digest
            assert not just_before.decisions[digest].goes


@given(repositories(), braked, keeping)
def test_no_run_removes_more_than_the_brake_allows(
    repository: Repository, expire: list[RetentionRule], keep: list[RetentionRule]
) -> None:
    """Either nothing goes, or at most the share of the largest brake."""
    judged = repository.judge(*expire, *keep)
    largest = max(rule.brake for rule in expire)
    assert len(judged.going) * 100 <= largest * judged.images
    assert judged.stopped is None or not judged.going
