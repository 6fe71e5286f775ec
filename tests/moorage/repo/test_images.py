"""`moorage repo list` and `show`, at a registry in this process."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from chalicelib.digest import Digest
from chalicelib.registry.model import CatalogFacts, InUse

if TYPE_CHECKING:
    from tests.moorage.repo.conftest import Run, Served


def test_repositories_are_listed(served: Served, run: Run) -> None:
    """All pages of those that begin with a prefix; what nobody noted is unknown."""
    names = sorted([*(f"team/{number:04}" for number in range(1003)), "other"])
    for name in names:
        served.memory.metadata.add_repository(name)
    listed = json.loads(run(f"repo list {served.host} --json")[0])
    assert [row["name"] for row in listed] == names
    some = run(f"repo list {served.host}/team/000")[0].splitlines()
    assert [line.split()[0] for line in some[1:]] == [f"team/{number:04}" for number in range(10)]
    assert some[1].split()[1] == "unknown"
    assert "no repository that you may pull" in run(f"repo list {served.host}/none")[1]


def test_sizes_and_times_are_written_for_people(served: Served, run: Run) -> None:
    """Unknown facts are shown as unknown, and are null in JSON."""
    for name in ("a/b", "a/c"):
        served.memory.metadata.add_repository(name)
    whole = CatalogFacts(1.7e9, 3, 4, 1, 10**10, 1.6e9, None, 10**9, 4 * 10**9, 7 * 10**9)
    served.memory.metadata.note_facts("a/b", whole)
    head, one, two = run(f"repo list {served.host}")[0].splitlines()
    columns = ["a/b", "10.0 GB", "6.0 GB", "0.16", "1.0 GB", "3", "2020-09-13 12:26:40Z"]
    assert re.split(r"\s{2,}", one) == [*columns, "none noted"]
    assert re.split(r"\s{2,}", two) == ["a/c", *["unknown"] * 7]
    assert head.split()[0] == "NAME"
    rows = json.loads(run(f"repo list {served.host} --json")[0])
    assert rows[1] == {"name": "a/c", "facts": None}
    assert rows[0]["facts"]["as_of"] == "2023-11-14T22:13:20Z"


def test_a_repository_shows_its_tags(served: Served, run: Run) -> None:
    """All pages, with size, platforms and times; a tag whose manifest is gone says so."""
    one = served.image("v1", b"layer of a hundred bytes".ljust(98), artifactType="application/x")
    for number in range(101):
        served.memory.clock.sleep(1)
        served.ask("PUT", f"a/b/manifests/w{number}", served.body("v1"))
    listed = json.loads(run(f"repo show {served.host}/a/b --json")[0])
    assert len(listed) == 102
    first = run(f"repo show {served.host}/a/b")[0].splitlines()[1].split("  ")
    shown = [word.strip() for word in first if word.strip()]
    assert shown[:4] == ["v1", one[:19], "100 B", "application/x"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ", shown[4])


def test_why_an_image_stays_is_in_words(served: Served, run: Run) -> None:
    """In the row of its tag, and among the facts of one: where it runs, and by which rules."""
    digest = served.image("v1", b"layer")
    served.image("w1", b"other")
    of_it = {"repositories": ["a/*"], "tags": ["v*"]}
    rules = {
        "immutable": [{"name": "releases", **of_it}],
        "retention": {
            "rules": [
                {"name": "named", **of_it, "keep": "always"},
                {"name": "ten", **of_it, "keep": {"last": 10}},
            ]
        },
    }
    served.rules(json.dumps(rules))
    for source, origin, what, until in (("list", "file", "", 4e9), ("prod", "ecs", "web", 1.6e9)):
        served.runs(InUse("a/b", source, origin, {Digest.parse(digest): what}, 1.5e9, until))
    stays = [
        "runs in list, lease until 2096-10-02 07:06:40Z",
        "runs in ECS prod: web, lease overdue since 2020-09-13 12:26:40Z",
        "may not move, by rule releases",
        "kept by rule named",
        "kept while among the last 10, by rule ten",
    ]
    head, one, other = run(f"repo show {served.host}/a/b")[0].splitlines()
    assert (head.split()[-1], other.rstrip()[-1]) == ("STAYS", "d")  # none noted
    assert one.endswith("; ".join(stays))
    shown = run(f"repo show {served.host}/a/b:v1")[0].splitlines()
    assert [line.removeprefix("stays").strip() for line in shown if line[:5] == "stays"] == stays
    served.rules('{"of": "tomorrow"}')
    assert "the rules can't be read" in run(f"repo show {served.host}/a/b:w1")[0]


@pytest.mark.parametrize(
    ("media_type", "extra", "shown"),
    [
        ("application/vnd.oci.image.config.v1+json", {}, "image"),
        ("application/vnd.docker.container.image.v1+json", {}, "image"),
        (
            "application/vnd.cncf.helm.config.v1+json",
            {},
            "application/vnd.cncf.helm.config.v1+json",
        ),
        ("application/vnd.oci.empty.v1+json", {"artifactType": "text/x"}, "text/x"),
    ],
)
def test_an_image_is_named_by_its_kind(
    served: Served, run: Run, media_type: str, extra: dict[str, str], shown: str
) -> None:
    """The type of an image's config says nothing; that of any other artifact what it is."""
    served.image("v1", config={**served.blob(b"{}"), "mediaType": media_type}, **extra)
    assert f" {shown} " in run(f"repo show {served.host}/a/b")[0].splitlines()[1]
    facts = dict(
        line.split(None, 1) for line in run(f"repo show {served.host}/a/b:v1")[0].splitlines()
    )
    assert facts["what"].strip() == shown


def test_an_image_shows_all_that_is_known(served: Served, run: Run) -> None:
    """By its tag or digest: layers, platforms, what refers to it. It is no pull."""
    one = served.image("v1", b"layer")
    two = served.image(
        None,
        b"layer",
        b"two",
        subject={
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": one,
            "size": len(served.body(one)),
        },
    )
    both = served.index("all", one, two)
    pulls = [
        row["image"]["pulled_at"]
        for row in json.loads(run(f"repo show {served.host}/a/b --json")[0])
    ]
    served.blob(b"layer", "other/app")
    by_tag = run(f"repo show {served.host}/a/b:v1")[0]
    assert by_tag == run(f"repo show {served.host}/a/b@{one}")[0]
    assert f"digest     {one}" in by_tag
    assert "5 B, in 2 repositories" in by_tag
    assert f"referrer   {two}" in by_tag
    index = run(f"repo show {served.host}/a/b:all")[0]
    assert all(f"platform   {each}" in index for each in (one, two))
    document = json.loads(run(f"repo show {served.host}/a/b:all --json")[0])
    assert document["digest"] == both
    rows = json.loads(run(f"repo show {served.host}/a/b --json")[0])
    assert [row["image"]["pulled_at"] for row in rows] == pulls


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("repo show {}/no/where", 1, "not known"),
        ("repo show {}/a/b:none", 1, "to look at none is refused"),
        ("repo show {}/a/b@sha256:" + "0" * 64, 1, "is refused"),
        ("repo show a/b", 2, "names no registry"),
        ("repo list nowhere", 2, "names no registry"),
    ],
)
def test_an_image_that_can_not_be_shown_is_an_error_with_advice(
    served: Served, run: Run, words: str, status: int, said: str
) -> None:
    """With what to look at."""
    served.put("v1", "one")
    assert said in run(words.format(served.host), status)[1]
