"""The targets' arithmetic: medians and counts, and a verdict that can't flatter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench import coldstart, workload
from bench.backends import Counts, Tally
from bench.commits import CHUNKED, DIRECT, GB, Commit
from bench.counting import WHOLE_PUT, Asked
from bench.measure import MOORAGE, PULL, PUSH, SKOPEO, Run, Scenario
from bench.registries import PEER
from bench.relay import Kind
from bench.targets import (
    CLOUD,
    RATIO,
    Target,
    budgets,
    cold_targets,
    commit_targets,
    pull_targets,
    ratio,
    time_targets,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = "moorage"
LARGE = Scenario(workload.ONE_LARGE, SKOPEO)


def runs(registry: str, *seconds: float, backend: str = CLOUD, slowed: bool = True) -> list[Run]:
    """Make runs of one push."""
    return [
        Run(backend, slowed, LARGE.name, PUSH, registry, repeat, each)
        for repeat, each in enumerate(seconds)
    ]


def test_a_ratio_is_of_medians() -> None:
    """One slow and one fast run move neither the medians nor the ratio."""
    both = [*runs(OURS, 100.0, 3.0, 0.001), *runs(PEER, 0.001, 2.0, 100.0)]
    assert ratio(both, CLOUD, LARGE, PUSH) == 1.5


def test_backends_and_speeds_are_never_mixed() -> None:
    """Runs on one backend, or as it is, have no part in another's medians."""
    slow = [*runs(OURS, 9.0), *runs(PEER, 1.0)]
    others = [
        *runs(OURS, 1.0, backend="moto", slowed=False),
        *runs(PEER, 1.0, backend="moto", slowed=False),
        *runs(OURS, 5.0, slowed=False),
    ]
    assert ratio(slow + others, CLOUD, LARGE, PUSH) == 9.0
    assert ratio(slow + others, "moto", LARGE, PUSH, slowed=False) == 1.0
    assert ratio(slow + others, CLOUD, LARGE, PUSH, slowed=False) is None


@pytest.mark.parametrize(
    ("measured", "holds"), [(1.0, True), (0.0, True), (1.0001, False), (None, False)]
)
def test_a_target_holds_when_it_is_reached_exactly(*, measured: float | None, holds: bool) -> None:
    """The least bit above misses it, and so does what nobody measured."""
    row = Target("a", 1.0, measured, RATIO).row()
    assert row == {"name": "a", "limit": 1.0, "measured": measured, "unit": RATIO, "holds": holds}


def test_every_target_on_time_is_there_whatever_was_measured() -> None:
    """None is left out for want of runs; names are unique."""
    found = list(time_targets([*runs(OURS, 1.0), *runs(PEER, 4.0)]))
    assert [target.measured for target in found if target.measured is not None] == [0.25]
    assert len({target.name for target in found}) == len(found) > 15


@pytest.mark.parametrize(
    ("seconds", "measured"),
    [({1: 2.0, 10: 3.0, 100: 40.0}, [1.5, 40.0]), ({1: 2.0}, [None, None]), ({}, [None, None])],
)
def test_a_commits_growth_is_that_of_direct_uploads(
    seconds: dict[int, float], measured: list[float | None]
) -> None:
    """An upload in chunks is no part of it."""
    commits = [
        Commit(way, size * GB, took * factor, 1, 1, 1)
        for size, took in seconds.items()
        for way, factor in ((DIRECT, 1), (CHUNKED, 100))
    ]
    assert [target.measured for target in commit_targets(commits)] == measured


def test_a_cold_start_is_held_to_the_baselines_median() -> None:
    """Nothing measured is nothing that holds."""
    cold = {coldstart.BASELINE: [1.0, 2.0, 9.0], coldstart.LAYER_PULL: [1.0, 0.9, 5.0]}
    assert [target.measured for target in cold_targets(cold)] == [None, None, 0.5]
    assert [target.holds for target in cold_targets({})] == [False] * 3


def counted(**operations: int) -> Counts:
    """Return requests, small ones of the registry's own; DynamoDB's are those of items."""
    services = {name: "dynamodb" if "Item" in name else "s3" for name in operations}
    return Counts(
        {
            Kind(services[name], name, by_url=False, size="none"): Tally(number)
            for name, number in operations.items()
        }
    )


def everything(**changes: Counts) -> list[Asked]:
    """Return what each step of each image asks: nothing, but for `changes` by `_` and client."""
    images = (workload.NO_LAYER, workload.ONE_LARGE, workload.FOUR, workload.MANY_SMALL)
    scenarios = [Scenario(image, client).name for image in images for client in (SKOPEO, MOORAGE)]
    asked: Mapping[tuple[str, str], Counts] = {
        (Scenario(workload.ONE_LARGE, SKOPEO).name, PUSH): changes.get("streamed", counted()),
        (Scenario(workload.NO_LAYER, SKOPEO).name, PUSH): changes.get("bare", counted()),
        (WHOLE_PUT, PUSH): changes.get("whole", counted()),
    }
    return [
        Asked(
            name, step, OURS, asked.get((name, step), counted()), changes.get("gateway", counted())
        )
        for name in (*scenarios, WHOLE_PUT)
        for step in (PUSH, PULL)
    ]


def measured(asked: list[Asked], part: str) -> list[tuple[float, float | None]]:
    """Return limit and figure of the budgets that have this in their names."""
    return [(each.limit, each.measured) for each in budgets(asked) if part in each.name]


def test_a_target_that_was_not_counted_is_not_measured_and_does_not_hold() -> None:
    """Each target is there all the same, by the same name as ever but for the number of parts."""
    named = [{each.name for each in find(everything())} for find in (budgets, pull_targets)]
    for find, names in zip((budgets, pull_targets), named, strict=True):
        found = list(find([]))
        assert {each.measured for each in found} == {None}
        assert not any(each.holds for each in found)
        assert {each.name for each in found} == {each.replace(", 0 parts", "") for each in names}


def test_a_layers_requests_are_those_beyond_an_image_without_one() -> None:
    """And a stream may take two for each part, and six more."""
    asked = everything(streamed=counted(UploadPart=7, HeadObject=3), bare=counted(PutObject=1))
    assert measured(asked, "2 x parts + 6") == [(20, 9)]


def test_reads_are_no_part_of_what_a_whole_put_may_ask() -> None:
    """One put and one transaction, besides."""
    whole = counted(PutObject=1, HeadObject=4, GetItem=2, TransactWriteItems=1, UpdateItem=1)
    assert measured(everything(whole=whole), WHOLE_PUT) == [(1, 1), (1, 2)]


def test_bytes_of_layers_are_those_of_large_requests_to_uploads() -> None:
    """A manifest, a blob that is pulled, and what an upload says in words are none."""
    rows = {
        Kind("gateway", "PATCH blobs/uploads", by_url=False, size="up to 5 MiB"): Tally(2, 8_000),
        Kind("gateway", "POST blobs/uploads", by_url=False, size="up to 64 KiB"): Tally(1, 500),
        Kind("gateway", "PUT manifests", by_url=False, size="up to 5 MiB"): Tally(1, 90_000),
        Kind("gateway", "GET blobs", by_url=False, size="up to 5 MiB"): Tally(1, 90_000),
    }
    assert measured(everything(gateway=Counts(rows)), "bytes of layers") == [(0, 16_000)] * 2
