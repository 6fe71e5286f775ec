"""Which images are a registry's, however their runtimes write them."""

from __future__ import annotations

import pytest

from chalicelib.digest import Digest
from moorage.common.errors import UsageError
from moorage.retention.running import (
    Hosts,
    ImageNameError,
    Running,
    inventory,
    listed,
    said,
)

HOST = "registry.example.com"
ONE, TWO = Digest.of(b"one"), Digest.of(b"two")


@pytest.mark.parametrize(
    ("image", "is_ours"),
    [
        (f"{HOST}/team/app:v1", True),
        (f"{HOST.upper()}/team/app:v1", True),
        (f"{HOST}:443/team/app@{ONE}", True),
        (f"docker-pullable://{HOST}/team/app@{ONE}", True),
        (f"proxy.internal:5000/team/app:v1@{ONE}", True),
        ("proxy.internal:5001/team/app:v1", False),
        ("localhost:5000/team/app:v1", True),
        ("localhost/team/app", True),
        (f"other.{HOST}/team/app:v1", False),
        (f"{HOST}.evil.example/team/app:v1", False),
        (f"docker.io/{HOST}/app:v1", False),
        ("team/app:v1", False),
        ("nginx", False),
    ],
)
def test_a_host_says_whose_image_it_is(image: str, *, is_ours: bool) -> None:
    """Whatever its case, and its port where the registry's name has none."""
    hosts = Hosts.of([f"https://{HOST}/v2/", "proxy.internal:5000", "localhost"])
    found = inventory([Running(image, "")], hosts)
    assert list(found.of_repositories) == (["team/app"] if is_ours else [])
    assert found.others.total() == (not is_ours)


def test_tags_and_digests_are_kept_apart() -> None:
    """A digest counts where there is one, and a tag beside it in its absence; else the tag."""
    running = [
        Running(f"{HOST}/a:v1", "x", str(ONE)),
        Running(f"{HOST}/a:v2@{TWO}", "y", str(ONE)),
        Running(f"{HOST}/a@{ONE}", "z"),
        Running(f"{HOST}/a:v3", "x"),
        Running(f"{HOST}/a", "x"),
    ]
    of = inventory(running, Hosts.of([HOST])).of_repositories["a"]
    assert of.digests == {ONE: ["x", "z"], TWO: ["y"]}
    assert of.fallbacks == {ONE: {"v1"}, TWO: {"v2"}}
    assert of.tags == {"v3": ["x"], "latest": ["x"]}


def test_an_impossible_name_is_reported_and_left_out() -> None:
    """One wrong name does not keep all other images from being protected."""
    running = [Running(f"{HOST}/Team/App:v1", "k8s prod/bad"), Running(f"{HOST}/a:v1", "")]
    found = inventory(running, Hosts.of([HOST]))
    assert list(found.of_repositories) == ["a"]
    assert "k8s prod/bad" in found.unreadable[0]


def test_a_list_has_an_image_a_line() -> None:
    """With what runs it behind it; a name without a host is the registry's own."""
    text = f"# all that runs\n{HOST}/a@{ONE}  nomad\tweb\n\n  team/b:v1 # a comment\nfar.test/x:1\n"
    found = inventory(listed(text), Hosts.of([HOST]))
    assert found.of_repositories["a"].digests == {ONE: ["nomad web"]}
    assert found.of_repositories["team/b"].tags == {"v1": [""]}
    assert found.others == {"far.test": 1}


@pytest.mark.parametrize(
    "line", ["team/app", f"{HOST}/team/app", "Team:v1", "a@sha256:1", "a:v 1 :", "a::b"]
)
def test_a_line_that_names_no_image_is_an_error(line: str) -> None:
    """A misspelt line would else be an image that nobody keeps; `latest` has to be said."""
    if line == "a:v 1 :":
        assert inventory(listed(line), Hosts.of([HOST])).of_repositories["a"].tags == {"v": ["1 :"]}
        return
    with pytest.raises(ImageNameError):
        inventory(listed(line), Hosts.of([HOST]))


def test_a_registry_needs_a_name() -> None:
    """An empty one would be no registry's."""
    with pytest.raises(UsageError):
        Hosts.of(["https://"])


def test_the_users_of_a_digest_are_a_short_text() -> None:
    """The first of them and how many more, in plain characters."""
    assert said([]) == said([""]) == ""
    assert said(["ecs prod/web", "ecs prod/web"]) == "ecs prod/web"
    assert said(["a", "b", "a", "c"]) == "a, and 2 more"
    long = said(["é\n" * 200, "b"])
    assert len(long) == 100
    assert long.endswith("?, and 1 more")
