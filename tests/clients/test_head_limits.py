"""What a gateway that says a length of 0 breaks: all that the wrong setting does, and what is left.

The first half shows that the tests of test_head_lengths.py can fail; the second half is what no
answer to a HEAD mends, so that nobody takes it for supported.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.clients import daemons, head_modes
from tests.clients.adapters.copying import Skopeo
from tests.clients.held import described, over_http, untrue
from tests.clients.images import root_of
from tests.clients.tools import ClientError
from tests.emulators.backends import moto_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.clients.adapters.base import Client, Workspace

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

# By a tag, and by a digest: {at} is either, with its separator.
ATTACHING = {
    "oras": (
        *("oras", "attach", "--plain-http", "--artifact-type", "a/note"),
        *("{host}/{repository}{at}", "--annotation", "key=value"),
    ),
    "regctl": (
        *("regctl", "--host", "reg={host},tls=disabled", "artifact", "put"),
        *("--artifact-type", "a/note", "--file", "{file}", "--subject", "{host}/{repository}{at}"),
    ),
}


@pytest.fixture(scope="module")
def lying() -> Iterator[str]:
    """Give a gateway that says 0 before a registry that relies on it: the wrong setting."""
    with moto_backend(strict=False) as backend, head_modes.gateway(backend, "zero", "body") as url:
        yield url


@pytest.fixture(scope="module")
def zero() -> Iterator[str]:
    """Give a gateway that says 0 before a registry that is set for it."""
    with daemons.start_moorage("--head-mode", "zero") as running:
        yield running.gateway


class Pushed:
    """An image in a repository of its own, to which something can be attached."""

    def __init__(self, layout: Path, repository: str, workspace: Workspace) -> None:
        self.digest = root_of(layout)["digest"]
        self._layout = layout
        self._repository = repository
        self._workspace = workspace

    def push(self, url: str) -> str:
        """Push the image under a tag and return its name with the tag."""
        name = f"{url.removeprefix('http://')}/{self._repository}:latest"
        Skopeo(self._workspace).push(self._layout, name)
        return name

    def attach(self, url: str, name: str, at: str) -> None:
        """Attach a note with the client called ``name`` to what ``at`` names."""
        note = self._workspace.fresh("note")
        note.write_text("a note")
        values = {
            "host": url.removeprefix("http://"),
            "repository": self._repository,
            "at": at,
            "file": note,
        }
        self._workspace.run(*(word.format(**values) for word in ATTACHING[name]))

    def attached(self, url: str) -> list[str]:
        """Digests of what refers to the image."""
        fetch = over_http(url, self._repository)
        listed = json.loads(fetch("referrers", self.digest))["manifests"]
        return [entry["digest"] for entry in listed]

    def sizes_of_subject(self, url: str) -> list[object]:
        """Size of the image according to each thing attached to it that has it wrong."""
        fetch = over_http(url, self._repository)
        found = [each for digest in self.attached(url) for each in untrue(described(fetch, digest))]
        assert {each.digest for each in found} <= {self.digest}
        return [each.said for each in found]


@pytest.fixture
def pushed(image: Callable[[str], Path], repository: str, workspace: Workspace) -> Pushed:
    """Give an image that is still to be pushed."""
    return Pushed(image("few-small"), repository, workspace)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("docker", "config needs a size in bytes"),
        ("podman", "has 0 bytes, it has"),
        ("buildah", "has 0 bytes, it has"),
    ],
)
def test_the_wrong_setting_makes_repeated_pushes_fail(  # noqa: PLR0913  fixtures, not options
    name: str,
    complaint: str,
    lying: str,
    client: Callable[[str], Client],
    image: Callable[[str], Path],
    repository: str,
) -> None:
    """Told 0, docker, podman and buildah write no size or 0, which the registry refuses."""
    pushing = client(name)
    layout = image("few-small")
    reference = f"{lying.removeprefix('http://')}/{repository}:latest"

    def push_twice() -> None:
        for _ in range(2):
            pushing.push(layout, reference)

    with pytest.raises(ClientError, match=complaint):
        push_twice()


def test_the_wrong_setting_makes_containerd_fail(
    lying: str, pushed: Pushed, client: Callable[[str], Client]
) -> None:
    """Told a digest and 0, containerd believes both, and refuses what it then fetches."""
    reference = pushed.push(lying)
    with pytest.raises(ClientError, match="content size of zero"):
        client("ctr").pull(reference)


@pytest.mark.parametrize("name", ATTACHING)
def test_the_wrong_setting_makes_attaching_fail(name: str, lying: str, pushed: Pushed) -> None:
    """Told 0, oras and regctl write a subject of size 0, which the registry refuses."""
    pushed.push(lying)
    with pytest.raises(ClientError, match="has 0 bytes, it has"):
        pushed.attach(lying, name, ":latest")
    assert pushed.attached(lying) == []


def test_oras_says_that_it_misses_a_tags_digest(zero: str, pushed: Pushed) -> None:
    """Oras takes a tag's digest from a HEAD or not at all: it fails, and stores nothing wrong."""
    pushed.push(zero)
    with pytest.raises(ClientError, match="missing required header"):
        pushed.attach(zero, "oras", ":latest")
    assert pushed.attached(zero) == []


def test_regctl_gets_what_a_head_does_not_tell(zero: str, pushed: Pushed) -> None:
    """Regctl, told no digest, GETs the tag's manifest and attaches to its true size."""
    pushed.push(zero)
    pushed.attach(zero, "regctl", ":latest")
    assert len(pushed.attached(zero)) == 1
    assert pushed.sizes_of_subject(zero) == []


@pytest.mark.parametrize("name", ATTACHING)
def test_nothing_is_attached_to_a_digest_with_a_size_of_zero(
    name: str, zero: str, pushed: Pushed
) -> None:
    """Oras and regctl, who know the digest, take the gateway's 0 for the size, and are refused."""
    pushed.push(zero)
    with pytest.raises(ClientError, match="has 0 bytes, it has"):
        pushed.attach(zero, name, f"@{pushed.digest}")
    assert pushed.attached(zero) == []
