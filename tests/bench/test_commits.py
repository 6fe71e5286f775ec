"""How long commits take in simulated time, and that the documents say the same."""

from __future__ import annotations

import tracemalloc
from functools import cache
from typing import TYPE_CHECKING

import pytest

from bench import cloud, commits
from bench.commits import CHUNKED, DIRECT, GB, STARTS, Commit, computed, in_parts, table
from moorage.common.project import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 1.5


@cache
def all_commits(start: str) -> list[Commit]:
    """Compute all commits, once."""
    return computed(STARTS[start])


def of(start: str, way: str, size: int) -> Commit:
    """Return one of them."""
    (found,) = [each for each in all_commits(start) if (each.way, each.size) == (way, size)]
    return found


def test_a_direct_commit_hardly_grows_with_the_blob() -> None:
    """10 GB take at most half as long again as 1 GB, and 100 GB end well within a function's time.

    The time of a commit is from its PUT on; as the registry is mostly found, functions start.
    """
    one, ten, hundred = (of("cold", DIRECT, size * GB) for size in (1, 10, 100))
    assert ten.seconds <= LIMIT * one.seconds
    assert hundred.seconds < cloud.WORKER_SECONDS / 10
    assert of("warm", DIRECT, 10 * GB).seconds < 2.5


def test_a_copy_in_a_commit_is_parallel() -> None:
    """10 GB are one round of copies; 80 GB, the most in chunks, end well within the time."""
    one, ten, most = (of("cold", CHUNKED, size * GB) for size in (1, 10, 80))
    assert ten.seconds - one.seconds < 1.5
    assert most.seconds < cloud.WORKER_SECONDS / 10


def test_a_commit_makes_as_many_requests_to_the_tables_at_any_size() -> None:
    """S3 lists a thousand parts in a page, and reads at least 24 MiB a request."""
    for way in (DIRECT, CHUNKED):
        found = [each for each in all_commits("cold") if each.way == way]
        assert len({each.dynamodb for each in found}) == 1
    for each in (each for each in all_commits("cold") if each.way == DIRECT):
        pages = -(-each.size // (1000 * commits.DIRECT_PART))
        assert each.s3 <= each.size // (24 * 2**20) + pages + 4


def test_the_documents_say_what_is_computed() -> None:
    """`python -m bench.commits` prints the table again."""
    text = (PROJECT / "docs" / "direct-uploads.md").read_text(encoding="utf-8")
    assert table(all_commits("cold"), all_commits("warm")) in text
    assert f"({commits.PICTURE.name})" in text


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    """The diagram shows each way of uploading, and the limit of a function's time."""
    drawn = tmp_path / "commits.svg"
    commits.draw(all_commits("cold"), all_commits("warm"), drawn)
    text = drawn.read_text(encoding="utf-8")
    for words in (DIRECT, CHUNKED, "15 minutes"):
        assert words in text


@pytest.mark.parametrize("size", [60 * GB + 12_345])
def test_60_gb_are_committed_in_bounded_memory_and_requests(size: int) -> None:
    """A sparse layer has thousands of parts: each is read once, and none is kept in memory."""
    tracemalloc.start()
    try:
        commit = in_parts(size, 0.0)
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    parts = -(-size // commits.DIRECT_PART)
    assert parts > 3000
    assert commit.s3 < parts / 5
    assert commit.dynamodb <= 10
    assert commit.verifications <= 2 * 64
    assert most < 40 * 2**20
