"""docs/performance.md says what results.json holds, and nothing that is missed is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench import plot, report
from bench.backends import Counts, Tally
from bench.counting import Asked
from bench.relay import Kind
from bench.targets import BYTES, RATIO, SPENT, Target
from chalicelib import prices

if TYPE_CHECKING:
    from pathlib import Path

FOUND, RESULTS = report.read()


def test_the_document_has_the_tables_of_the_results() -> None:
    """`python -m bench.report` writes them."""
    text = report.DOCUMENT.read_text()
    assert report.with_tables(text, report.tables(FOUND, RESULTS)) == text


def test_the_targets_are_computed_from_what_was_measured() -> None:
    """Whoever changes a limit, or a figure, computes them anew."""
    assert FOUND["targets"] == [target.row() for target in RESULTS.targets()]


def test_results_are_read_as_they_are_written(tmp_path: Path) -> None:
    """Nothing is lost on the way, and each row has a line of its own."""
    path = tmp_path / "results.json"
    path.write_text(report.written(FOUND))
    assert report.read(path) == (FOUND, RESULTS)
    rows = sum(len(value) for value in FOUND.values() if isinstance(value, list))
    assert len(path.read_text().splitlines()) > rows > 100


def test_the_plots_are_drawn(tmp_path: Path) -> None:
    """Each, and the document shows them."""
    plot.draw(RESULTS.runs, RESULTS.asked, RESULTS.points, tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {plot.TIMES, plot.REQUESTS, plot.GROWTH}
    assert all(f"]({name})" in report.DOCUMENT.read_text() for name in drawn)
    assert all((report.DOCUMENT.parent / name).exists() for name in drawn)


def test_a_missed_target_is_shown_as_missed() -> None:
    """So is one that nothing measured."""
    shown = report.targets_table(
        [
            Target("a", 0.35, 0.5, RATIO),
            Target("b", 1, None, RATIO),
            Target("c", 0, 2_000_000, BYTES),
            Target("d", 0.35, 0.35, RATIO),
            Target("e", 5, 4.44, SPENT),
        ]
    )
    assert shown.splitlines()[2:] == [
        "| a | 0.35 x | 0.50 x | **missed** |",
        "| b | 1.00 x | not measured | **missed** |",
        "| c | 0 | 2.0 MB | **missed** |",
        "| d | 0.35 x | 0.35 x | holds |",
        "| e | 5.0 ms | 4.4 ms | holds |",
    ]


def passed(operation: str, number: int, moved: int) -> Counts:
    """Return what passed a gateway or an edge."""
    return Counts({Kind("gateway", operation, by_url=False, size="none"): Tally(number, moved)})


def test_the_edge_is_paid_by_request_and_by_what_goes_to_its_origins() -> None:
    """What comes from them costs nothing."""
    request = prices.EDGE_REQUEST + 2 * prices.EDGE_FUNCTION + prices.EDGE_KEY_READ
    pulled, pushed = passed("GET blobs", 3, 10**9), passed("PUT uploads", 2, 10**9)
    for edge, price in ((pulled, 3 * request), (pushed, 2 * request + prices.EDGE_TO_ORIGIN_GB)):
        asked = Asked("a", "push", "moorage", Counts({}), None, edge)
        assert report.dollars(asked) == pytest.approx(price)
