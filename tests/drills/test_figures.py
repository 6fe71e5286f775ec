"""When a whole run of the drills is good, and what its parts add up to."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from chalicelib.registry.upload import states
from chalicelib.registry.upload.states import TABLE
from tests.drills import __main__ as drills
from tests.drills.figures import Figures, Loss
from tests.drills.support import parts
from tests.drills.support.parts import CHANGED, Part, Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WHOLE = Figures(
    points=9, drilled=9, schedules=8, faults=7, kills=6, mutants=5, caught=5, rows=set(TABLE)
)


def test_a_whole_run_without_a_loss_is_good() -> None:
    """All points, all rows, all mutants, something of each kind, and nothing lost."""
    assert WHOLE.good


@pytest.mark.parametrize(
    "changes",
    [
        {"drilled": 8},
        {"points": 0, "drilled": 0},
        {"schedules": 0},
        {"faults": 0},
        {"kills": 0},
        {"caught": 4},
        {"mutants": 0, "caught": 0},
        {"rows": set()},
        {"losses": [Loss("a case", "what was lost")]},
    ],
    ids=str,
)
def test_a_run_that_lacks_one_figure_is_not_good(changes: dict[str, object]) -> None:
    """A run that left something out has not shown that nothing is lost by it."""
    assert not replace(WHOLE, **changes).good  # type: ignore[arg-type]


HERE = "0" * 40
RUN = Run(HERE, seed=0, kills=20)
COSTS = {"long/0": 9.0, "long/1": 8.0, "short/0": 2.0, "short/1": 2.0, "short/2": 1.0}
LOST = Loss("a case", "what was lost")


def done(job: str) -> Figures:
    """Return figures of a job that are unlike every other's, and make WHOLE together."""
    number = list(COSTS).index(job)
    return Figures(points=10**number, drilled=10**number, rows=set(list(TABLE)[number::5]))


def saved(folder: Path, of: int = 2, run: Run = RUN) -> list[Path]:
    """Return the files of a run in so many parts."""
    paths = []
    for part in (Part(number, of) for number in range(1, of + 1)):
        paths.append(folder / "made" / f"{part.number} of {of}.json")
        parts.save(paths[-1], run, part, {job: done(job) for job in part.of_jobs(COSTS)})
    return paths


@pytest.mark.parametrize("of", [1, 2, 3, 8])
def test_the_parts_of_a_run_have_each_job_once_and_about_as_much_to_do(of: int) -> None:
    """Whatever N is, no job of the real run is left out, and none is done twice."""
    costs = drills.costs()
    shares = [Part(number, of).of_jobs(costs) for number in range(1, of + 1)]
    assert sorted(job for share in shares for job in share) == sorted(costs)
    loads = [sum(costs[job] for job in share) for share in shares]
    assert max(loads) <= sum(costs.values()) / of + max(costs.values())
    assert shares == [Part(number, of).of_jobs(costs) for number in range(1, of + 1)]


@pytest.mark.parametrize("of", [1, 2, 3])
def test_the_sum_of_the_parts_is_the_whole(tmp_path: Path, of: int) -> None:
    """Every point, row, mutant, kill and loss of each part is in the sum."""
    whole = parts.total(saved(tmp_path, of)[::-1], HERE, COSTS)
    assert whole == Figures(points=11111, drilled=11111, rows=set(TABLE))
    parts.save(tmp_path / "all.json", RUN, Part(1, 1), {"a/0": replace(WHOLE, losses=[LOST])})
    assert parts.total([tmp_path / "all.json"], HERE, ["a/0"]) == replace(WHOLE, losses=[LOST])


@pytest.mark.parametrize(
    ("which", "run", "of", "error"),
    [
        ([0], RUN, 2, r"of the parts 1 to 2 there are \[1\]"),
        ([0, 3], RUN, 2, "is 2/3, and the first one is 1/2"),
        ([0, 3], replace(RUN, seed=1), 2, "other options"),
        ([0, 3], replace(RUN, kills=5), 2, "other options"),
        ([0, 3], replace(RUN, commit="1" * 40), 2, "check out that commit"),
        ([0, 3], replace(RUN, commit=HERE + CHANGED), 2, "no commit has"),
    ],
)
def test_files_that_are_not_the_parts_of_one_run_have_no_sum(
    tmp_path: Path, which: Sequence[int], run: Run, of: int, error: str
) -> None:
    """A part that is missing, or of another commit, seed or N: the error says which it is."""
    other = 3 if run == RUN else of
    paths = [*saved(tmp_path, of), *saved(tmp_path / "other", other, run)]
    with pytest.raises(parts.PartsError, match=error):
        parts.total([paths[number] for number in which], HERE, COSTS)


@pytest.mark.parametrize("jobs", [[*COSTS, "new/0"], list(COSTS)[1:]])
def test_parts_that_lack_a_job_have_no_sum(tmp_path: Path, jobs: list[str]) -> None:
    """A job that no part has, or that is none of a whole run's, is named."""
    with pytest.raises(parts.PartsError, match=r"'(new|long)/0'"):
        parts.total(saved(tmp_path), HERE, jobs)


def test_a_part_twice_under_two_names_has_no_sum(tmp_path: Path) -> None:
    """A part counts once, however its files are named."""
    first, second = saved(tmp_path)
    second.write_bytes(first.read_bytes())
    with pytest.raises(parts.PartsError, match=r"\[1, 1\]"):
        parts.total([first, second], HERE, COSTS)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1/0"])
def test_a_part_that_is_not_there_is_refused(text: str) -> None:
    """K is from 1 to N."""
    with pytest.raises(ValueError, match="K/N"):
        Part.parse(text)


@pytest.mark.parametrize(("lost", "status"), [([], 0), ([LOST], 1)])
def test_the_command_ends_as_a_whole_run_does(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lost: list[Loss],
    status: int,
) -> None:
    """Parts that are run one after the other add up to the line and the status of the whole."""

    def work(number: int, _: Run) -> Figures:
        for row in TABLE:
            states.TABLE[row]
        return replace(WHOLE, losses=lost if number == 2 else [])

    job = drills.Kind(3, 1.0, work)
    monkeypatch.setattr(drills, "KINDS", {"job": job, "apart": job._replace(jobs=1, apart=True)})
    monkeypatch.setattr(parts, "commit", lambda: HERE)
    files = {f"{number}/2": str(tmp_path / f"{number}.json") for number in (1, 2)}
    ends = [drills.main(["--part", part, "--figures", file]) for part, file in files.items()]
    assert max(ends) == status
    assert drills.main(["--sum", *files.values()]) == status
    *_, last = capsys.readouterr().out.splitlines()
    assert last == sum_of(4, lost).line()
    with pytest.raises(SystemExit, match="1"):
        drills.main(["--sum", files["1/2"]])
    assert "run what is missing" in capsys.readouterr().err
    assert not logging.root.manager.disable


def sum_of(jobs: int, losses: list[Loss]) -> Figures:
    """Return WHOLE so many times, with losses."""
    whole = Figures(losses=[*losses])
    for _ in range(jobs):
        whole.add(WHOLE)
    return whole
