"""`moorage repo history` and `restore` at a registry in this process, over HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.moorage.repo.conftest import Run, Served


def test_history_of_a_repository_a_tag_and_a_manifest(served: Served, run: Run) -> None:
    """All pages of it, for people and as JSON."""
    digests = [served.put("v1", str(number)) for number in range(103)]
    served.put("v2", "another")
    served.delete("v2")
    served.delete(digests[0])
    place = f"{served.host}/a/b"
    whole = json.loads(run(f"repo history {place} --json")[0])
    assert [row["tag"] for row in whole] == [None, *["v1"] * 102, "v2"]
    assert [row["digest"] for row in whole[1:103]] == digests[101::-1]
    assert json.loads(run(f"repo history {place}:v2 --json")[0]) == whole[-1:]
    assert json.loads(run(f"repo history {place}@{digests[0]} --json")[0]) == whole[:1]
    shown = run(f"repo history {place}")[0]
    assert "(manifest)" in shown
    assert "in the trash until" in shown
    assert digests[50][:19] in shown
    assert json.loads(run(f"repo history {place}:v3 --json")[0]) == []


def test_a_deleted_image_is_restored(served: Served, run: Run) -> None:
    """By its tag, or by its digest with all its tags; a second time it is there."""
    digest = served.put("v1", "one")
    served.put("v2", "one")
    served.delete(digest)
    out, err = run(f"repo restore {served.host}/a/b:v1")
    assert out == f"{digest}\n"
    assert f"{served.host}/a/b@{digest} is back, under v1" in err
    assert [served.named(tag) for tag in ("v1", "v2")] == [digest, None]
    served.delete(digest)
    document = json.loads(run(f"repo restore {served.host}/a/b@{digest} --json")[0])
    image = f"{served.host}/a/b@{digest}"
    assert document == {"image": image, "digest": digest, "tags": ["v1"], "moved_on": {}}
    assert "is back, without a tag" in run(f"repo restore {served.host}/a/b@{digest}")[1]


def test_a_tag_goes_back_to_a_time(served: Served, run: Run) -> None:
    """To what it named then, which takes --force where it names another image by now."""
    times, digests = [], []
    before = served.now()
    for text in ("one", "two", "three"):
        served.memory.clock.sleep(60)
        digests.append(served.put("v1", text))
        times.append(served.now())
    place = f"{served.host}/a/b:v1"
    refused = run(f"repo restore {place}@{times[0]}", 1)[1]
    assert f"names {digests[2]} by now" in refused
    for number in (0, 1):
        assert run(f"repo restore {place}@{times[number]} --force")[0] == f"{digests[number]}\n"
        assert served.named("v1") == digests[number]
    assert "named nothing then" in run(f"repo restore {place}@{before}", 1)[1]
    last = served.now()
    assert "has neither moved nor been deleted since" in run(f"repo restore {place}@{last}", 1)[1]
    # Without a time, to what it named before its last change.
    assert run(f"repo restore {place} --force")[0] == f"{digests[0]}\n"


def test_tags_that_moved_are_reported(served: Served, run: Run) -> None:
    """The image is restored beside them."""
    digest = served.put("v1", "one")
    served.delete(digest)
    other = served.put("v1", "two")
    said = run(f"repo restore {served.host}/a/b@{digest}")[1]
    assert f"tag v1 names {other} by now" in said
    assert served.named("v1") == other
    assert served.named(digest) == digest


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("repo restore {}/a/b", 2, "say what to restore"),
        ("repo restore {}/a/b:v1@yesterday", 2, "neither a digest nor a time"),
        ("repo history {}/a/b:v1@2026-11-30", 2, "takes no time"),
        ("repo history a/b", 2, "names no registry"),
        ("repo history {}/no/where", 1, "not known"),
        ("repo restore {}/a/b:v1", 1, "neither moved nor been deleted in the last year"),
        ("repo restore {}/a/b@sha256:" + "0" * 64, 1, "gone for good"),
    ],
)
def test_an_undo_that_is_impossible_is_an_error_with_advice(
    served: Served, run: Run, words: str, status: int, said: str
) -> None:
    """With what to write instead, or what is missing."""
    served.put("v1", "one")
    assert said in run(words.format(served.host), status)[1]
