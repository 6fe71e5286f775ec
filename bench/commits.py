"""``python -m bench.commits``: how long a commit takes, by the size of its blob, in simulated time.

The registry's own driver runs, over `bench.simulation`. A commit is counted from the PUT that
closes the upload until the blob is live; every function that it needs has to start, as if nobody
had pushed for hours. Writes docs/commits.svg, and prints a table.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.figure import Figure

from bench import cloud
from bench.simulation import SimulatedRegistry
from chalicelib.digest import Algorithm, Digest, Hasher
from chalicelib.errors import CommitRunningError
from chalicelib.limits import MIB, PART_COUNT
from chalicelib.registry.keys import data_key, parts_key
from chalicelib.registry.session import UploadState
from chalicelib.registry.upload.segments import PartReport, Report
from tests.support.values import a_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chalicelib.registry.session import Session

GB = 10**9
PICTURE = Path(__file__).parent.parent / "docs" / "commits.svg"

CHUNKED_PART = 8 * MIB
"""A chunk of 4 MiB is a tail, the next one makes it a part. So 10,000 parts are 84 GB."""


DIRECT_PART = 8 * MIB
"""Bytes of a part of `moorage push`; from 78 GiB on they are twice as large."""


@dataclass(frozen=True)
class Commit:
    """A commit of `size` bytes: its seconds, its requests, and how many functions were at work."""

    way: str
    size: int
    seconds: float
    s3: int
    dynamodb: int
    verifications: int


def chunked(size: int, start: float) -> Commit:
    """Commit an upload that came in chunks: its parts become an object, which is copied."""
    world = SimulatedRegistry(start)
    whole = size - size % CHUNKED_PART
    words = Hasher(Algorithm.SHA256).words()
    hasher = Hasher.from_words(Algorithm.SHA256, words, whole)  # of bytes that nobody has
    session = a_session(
        offset=whole,
        hash_state=hasher.state(),
        upload_id="open",
        next_part=whole // CHUNKED_PART + 1,
        life_until=world.clock.now() + 86_400,
    )
    world.s3.uploads[data_key(session.id), "open"] = dict.fromkeys(
        range(1, session.next_part), (CHUNKED_PART, '"part"')
    )
    world.ports.sessions.create(session)

    def close() -> None:
        deadline = world.clock.now() + 29
        world.registry.uploads.commit(
            session.owner, session.id, hasher.digest(), b"", None, deadline
        )

    return _timed(CHUNKED, size, world, session, close)


def in_parts(size: int, start: float) -> Commit:
    """Commit a direct upload in parts: they are hashed side by side, and stay where they are."""
    world = SimulatedRegistry(start)
    opened = world.registry.direct.start_parts("team/app", "ann", Algorithm.SHA256).session
    report = reported(size)
    world.s3.uploads[parts_key(opened.id), opened.upload_id or ""] = {
        part.number: (part.size, '"part"') for part in report.parts
    }
    digest = Digest.of(b"of bytes that nobody has")

    def close() -> None:
        deadline = world.clock.now() + 29
        world.registry.direct.commit(opened.owner, opened.id, digest, report.dump(), deadline)

    return _timed(DIRECT, size, world, opened, close)


def reported(size: int) -> Report:
    """Return the report of a blob of `size` bytes, cut as `moorage push` cuts it."""
    words = Hasher(Algorithm.SHA256).words()
    part = DIRECT_PART if size <= DIRECT_PART * PART_COUNT else 2 * DIRECT_PART
    full, rest = divmod(size, part)
    inner = [PartReport(number, part, words) for number in range(1, full + 1)]
    return Report((*inner, PartReport(full + 1, rest, None)))


def _timed(
    way: str, size: int, world: SimulatedRegistry, session: Session, close: Callable[[], None]
) -> Commit:
    """Close an upload and drive its commit to the end; the clock is looked at before and after."""
    world.s3.requests.clear()
    before, dynamodb = world.clock.now(), world.dynamodb.requests
    try:
        close()
    except CommitRunningError:
        world.clock.sleep(world.workers.start)
        (asked,) = world.workers.asked
        world.registry.commits.resume(asked, world.clock.now() + cloud.WORKER_SECONDS)
    found = world.ports.sessions.get(session.id)
    if found is None or found.state is not UploadState.COMMITTED:
        raise AssertionError(f"{size} bytes {way} are not committed: {found}")
    return Commit(
        way,
        size,
        world.clock.now() - before,
        world.s3.requests.total(),
        world.dynamodb.requests - dynamodb,
        world.workers.calls,
    )


DIRECT, CHUNKED = "directly, in parts", "in chunks, copied"
WAYS: Mapping[str, Callable[[int, float], Commit]] = {DIRECT: in_parts, CHUNKED: chunked}
SIZES: Mapping[str, Sequence[int]] = {
    DIRECT: (GB, 3 * GB, 10 * GB, 30 * GB, 100 * GB),
    CHUNKED: (GB, 3 * GB, 10 * GB, 30 * GB, 80 * GB),
}
STARTS: Mapping[str, float] = {"cold": cloud.WORKER_START_SECONDS, "warm": 0.0}


def computed(start: float) -> list[Commit]:
    """Compute all commits; `start`: seconds until a new process of a function runs."""
    return [WAYS[way](size, start) for way, sizes in SIZES.items() for size in sizes]


def table(cold: Sequence[Commit], warm: Sequence[Commit]) -> str:
    """Return a table in Markdown."""
    lines = [
        "| upload | blob | seconds | where functions run | S3 | DynamoDB | calls of `verify` |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.way} | {each.size / GB:.0f} GB | {each.seconds:.1f} | {other.seconds:.1f}"
        f" | {each.s3:,} | {each.dynamodb} | {each.verifications} |"
        for each, other in zip(cold, warm, strict=True)
    ]
    return "\n".join(lines)


def draw(cold: Sequence[Commit], warm: Sequence[Commit], path: Path) -> None:
    """Write the picture to `path`: seconds by size, both on scales of powers of ten."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for way, colour in ((DIRECT, "#1f6f8b"), (CHUNKED, "#c1666b")):
        for commits, style, words in ((cold, "o-", ""), (warm, "o:", ", functions running")):
            points = [(each.size / GB, each.seconds) for each in commits if each.way == way]
            axes.plot(*zip(*points, strict=True), style, color=colour, label=way + words)
    axes.axhline(cloud.WORKER_SECONDS, color="black", linestyle="dashed", linewidth=1)
    axes.annotate("Lambda's 15 minutes", (1, cloud.WORKER_SECONDS), va="bottom")
    axes.set(xscale="log", yscale="log", xlabel="GB", ylabel="seconds from the PUT to a live blob")
    axes.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    axes.set_yticks(
        [0.3, 1, 3, 10, 30, 100, 300, 900], map(str, (0.3, 1, 3, 10, 30, 100, 300, 900))
    )
    axes.minorticks_off()
    axes.set_ylim(0.2, 2000)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(0.03, 0.85))
    axes.set_title("A commit, in simulated time")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> int:
    """Compute, print, draw."""
    parser = argparse.ArgumentParser(prog="python -m bench.commits", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=PICTURE, help=f"the picture (default {PICTURE})"
    )
    options = parser.parse_args()
    cold, warm = (computed(start) for start in STARTS.values())
    print(table(cold, warm))
    # The same picture for the same figures: text stays text, and no line has a date or a chance.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "moorage"}):
        draw(cold, warm, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
