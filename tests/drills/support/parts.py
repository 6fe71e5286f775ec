"""A run in parts: which jobs a part has, the file of its figures, and the sum of all parts.

A whole run is the part 1/1. This module must never add up parts that are not one whole run: each
job of one state of the program, once.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from chalicelib.registry.session import UploadState
from chalicelib.registry.upload.states import Event
from moorage.common.project import PROJECT
from tests.drills.figures import Figures, Loss

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

CHANGED = " and changes"
"""What stands behind the commit of a work tree whose files are not the commit's."""


class PartsError(ValueError):
    """Files of figures that are not the parts of one whole run; the text says which, and why."""


@dataclass(frozen=True)
class Part:
    """The part `number` of 1 to `of`."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read K/N; raises ValueError if there is no such part."""
        number, _, of = text.partition("/")
        part = cls(int(number), int(of))
        if not 1 <= part.number <= part.of:
            raise ValueError(f"{text} is not K/N, with K from 1 to N")
        return part

    def of_jobs(self, costs: Mapping[str, float]) -> list[str]:
        """Return the part's jobs, the dear ones first. `costs`: of all jobs, in any one unit.

        Each job, from the dearest on, is the part's that has the least to do by then.
        """
        loads = dict.fromkeys(range(1, self.of + 1), 0.0)
        mine = []
        for job in sorted(costs, key=lambda job: -costs[job]):
            number = min(loads, key=loads.__getitem__)
            loads[number] += costs[job]
            if number == self.number:
                mine.append(job)
        return mine


@dataclass(frozen=True)
class Run:
    """What the parts of one run have in common."""

    commit: str
    """The commit that the work tree is at, and CHANGED if its files are not the commit's."""
    seed: int
    kills: int


def commit() -> str:
    """Return the state of the program, as in Run."""
    head, changes = (
        subprocess.run(["git", *command], cwd=PROJECT, capture_output=True, text=True, check=True)
        for command in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    )
    return head.stdout.strip() + (CHANGED if changes.stdout.strip() else "")


def save(path: Path, run: Run, part: Part, done: Mapping[str, Figures]) -> None:
    """Write a part's figures, job by job."""
    jobs = {job: _plain(figures) for job, figures in done.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"part": str(part), "run": asdict(run), "jobs": jobs}
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def total(paths: Sequence[Path], here: str, jobs: Iterable[str]) -> Figures:
    """Add up the parts of one whole run: all `jobs`, at the commit `here`. Raises PartsError."""
    files = {path: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    for path, file in files.items():
        _require_alike(path, file, next(iter(files.values())), here)
    parts = {path: Part.parse(file["part"]) for path, file in files.items()}
    wanted = range(1, parts[paths[0]].of + 1)
    numbers = sorted(part.number for part in parts.values())
    if numbers != list(wanted):
        raise PartsError(f"of the parts 1 to {wanted[-1]} there are {numbers}: run what is missing")
    done = [job for file in files.values() for job in file["jobs"]]
    if sorted(done) != sorted(jobs):
        odd = sorted(set(done) ^ set(jobs)) or "some jobs twice"
        raise PartsError(f"the parts' jobs are not those of a whole run: {odd}")
    whole = Figures()
    for file in files.values():
        for figures in file["jobs"].values():
            whole.add(_figures(figures))
    return whole


def _require_alike(
    path: Path, file: Mapping[str, Any], first: Mapping[str, Any], here: str
) -> None:
    state = file["run"]["commit"]
    if state.endswith(CHANGED):
        raise PartsError(f"{path} is of files that no commit has: commit, and run the parts again")
    if state != here:
        raise PartsError(f"{path} is of {state}, and here is {here}: check out that commit")
    if file["run"] != first["run"]:
        raise PartsError(f"{path} has other options than the first part: {file['run']}")
    if Part.parse(file["part"]).of != Part.parse(first["part"]).of:
        raise PartsError(f"{path} is {file['part']}, and the first one is {first['part']}")


def _plain(figures: Figures) -> dict[str, Any]:
    rows = sorted([str(state), str(event)] for state, event in figures.rows)
    return vars(figures) | {"rows": rows, "losses": [asdict(loss) for loss in figures.losses]}


def _figures(plain: Mapping[str, Any]) -> Figures:
    rows = {(UploadState(state), Event(event)) for state, event in plain["rows"]}
    losses = [Loss(**loss) for loss in plain["losses"]]
    return Figures(**{**plain, "rows": rows, "losses": losses})
