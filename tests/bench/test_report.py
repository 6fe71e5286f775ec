"""The benchmark's arithmetic: medians, ratios, and a verdict that can't flatter."""

from __future__ import annotations

from bench.report import compare, table
from bench.workload import WORKLOADS, Push


def pushes(backend: str, registry: str, workload: str, *seconds: float) -> list[Push]:
    """Make runs of one kind; the n-th made n + 1 S3 requests where the backend is counted."""
    counted = backend == "moto"
    return [
        Push(backend, registry, workload, n, s, 0.5, n + 1 if counted else None, None)
        for n, s in enumerate(seconds)
    ]


def everything(backend: str, ours: float, peers: float) -> list[Push]:
    """Make three runs of every workload by both registries, with those medians."""
    return [
        push
        for workload in WORKLOADS
        for registry, middle in (("moorage", ours), ("docker-registry", peers))
        for push in pushes(backend, registry, workload.name, 100.0, middle, 0.001)
    ]


def test_a_ratio_is_of_medians() -> None:
    """One slow and one fast run move neither the medians nor the ratio."""
    for row in compare(everything("moto", 3.0, 2.0)):
        assert (row.moorage_seconds, row.peer_seconds, row.ratio) == (3.0, 2.0, 1.5)


def test_each_workload_is_held_to_its_own_target() -> None:
    """A ratio of 1.5 meets the target for one large layer, and misses the one for many small."""
    met = {row.workload: row.met for row in compare(everything("moto", 3.0, 2.0))}
    assert met == {"1x100MB": True, "30x200KB": False}


def test_a_target_is_met_when_it_is_reached_exactly() -> None:
    """A ratio that equals its target meets it, and the least bit above misses it."""
    exactly = compare(everything("moto", 2.0, 2.0))
    above = compare(everything("moto", 2.001, 2.0))
    assert [row.met for row in exactly if row.target == 1.0] == [True]
    assert [row.met for row in above if row.target == 1.0] == [False]


def test_backends_are_never_mixed() -> None:
    """Runs on one backend have no part in another's medians."""
    rows = compare([*everything("moto", 1.0, 1.0), *everything("ministack", 9.0, 1.0)])
    ratios = {(row.backend, row.ratio) for row in rows}
    assert ratios == {("moto", 1.0), ("ministack", 9.0)}


def test_a_missed_target_is_printed_as_missed() -> None:
    """The table says MISSED beside the ratio, and prints no count that nobody took."""
    shown = table(compare(everything("ministack", 9.0, 1.0)))
    assert shown.count("MISSED") == len(WORKLOADS)
    assert "-, -, -" in shown


def test_counts_are_medians_where_a_backend_counts() -> None:
    """S3 requests are the median of the runs that counted them."""
    row = compare(everything("moto", 1.0, 1.0))[0]
    assert (row.moorage_s3_requests, row.peer_s3_requests) == (2, 2)
    assert row.moorage_dynamodb_requests is None
