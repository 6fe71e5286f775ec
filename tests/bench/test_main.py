"""A run of parts: what fails takes nothing with it, what is measured is kept, time is heeded."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench import report
from bench.__main__ import Kept, Part, measured
from bench.growth import Point
from bench.report import Results
from bench.workload import Layouts

FOREVER = float("inf")
VERSIONS = dict.fromkeys(("docker-registry", "skopeo", "moto", "ministack"), "1")


class Parts:
    """Parts that note when they are measured; those in `failing` fail so often."""

    def __init__(self, **failing: int) -> None:
        self.failing = failing
        self.begun: list[str] = []

    def made(self, *names: str, seconds: float = 1) -> list[Part]:
        """Return parts, each of which measures a point of its own series."""
        return [Part(name, seconds, partial(self._measure, name)) for name in names]

    def _measure(self, name: str) -> Results:
        self.begun.append(name)
        if self.failing.get(name, 0):
            self.failing[name] -= 1
            raise RuntimeError(f"{name} broke\nand more")
        return Results(points=[Point(name, "moorage", 1, 1.0)])


@pytest.fixture(autouse=True)
def code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the state of the code, and the versions of the registries, by fixed values."""
    monkeypatch.setattr(bench, "code", lambda: "a commit")
    monkeypatch.setattr(report, "versions", lambda: VERSIONS)


def kept_in(folder: Path, repeats: int = 5, *, anew: bool = False) -> Kept:
    """Return what is kept in a folder."""
    return Kept.opened(folder / "build" / "kept.json", repeats, anew=anew)


def series(results: Results) -> list[str]:
    """Return what was measured."""
    return [each.series for each in results.points]


@pytest.mark.parametrize("times", [1, 2])
def test_a_part_that_fails_is_tried_once_more_when_all_others_are_done(
    times: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said at once, and in the results if it fails again."""
    parts = Parts(a=times)
    results = measured(parts.made("a", "b", "c"), kept_in(tmp_path), FOREVER)
    assert parts.begun == ["a", "b", "c", "a"]
    assert series(results) == ["b", "c", *(["a"] if times == 1 else [])]
    failed = {each.name: each.failed for each in results.parts}
    assert failed == {"a": None if times == 1 else "RuntimeError: a broke", "b": None, "c": None}
    assert capsys.readouterr().out.count("!!! a FAILED") == times


def test_an_interrupted_run_goes_on_after_the_parts_that_are_kept(tmp_path: Path) -> None:
    """One that failed is measured then, and nothing twice."""
    first = Parts(b=2)
    measured(first.made("a", "b"), kept_in(tmp_path), FOREVER)
    second = Parts()
    results = measured(second.made("a", "b", "c"), kept_in(tmp_path), FOREVER)
    assert second.begun == ["b", "c"]
    assert series(results) == ["a", "b", "c"]
    assert all(each.failed is None for each in results.parts)


@pytest.mark.parametrize("change", ["code", "rounds", "anew"])
def test_kept_parts_are_not_used_for_other_code_or_rounds(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor after --anew: a run is of one commit, and of one number of rounds."""
    measured(Parts().made("a"), kept_in(tmp_path), FOREVER)
    if change == "code":
        monkeypatch.setattr(bench, "code", lambda: "another")
    kept = kept_in(tmp_path, 3 if change == "rounds" else 5, anew=change == "anew")
    parts = Parts()
    assert series(measured(parts.made("a"), kept, FOREVER)) == ["a"]
    assert parts.begun == ["a"]


def test_a_part_that_no_time_is_left_for_is_not_begun(tmp_path: Path) -> None:
    """The results say that it was not measured; shorter parts are still measured."""
    parts = Parts()
    chosen = [*parts.made("long", seconds=100), *parts.made("short", seconds=0.001)]
    results = measured(chosen, kept_in(tmp_path), 10)
    assert parts.begun == ["short"]
    assert [each.failed for each in results.parts] == ["There was no time left.", None]
    found = report.document(results, repeats=5)
    assert "**Not measured: long.** There was no time left." in report.tables(found, results)


def test_the_parts_of_a_run_have_names_of_their_own() -> None:
    """Results are kept by these names. All parts together take about what the documents say."""
    parts = bench.parts(Layouts(Path()), bench.REPEATS)
    assert len({each.name for each in parts}) == len(parts) > 20
    assert 25 * 60 < sum(each.seconds for each in parts) < 45 * 60
