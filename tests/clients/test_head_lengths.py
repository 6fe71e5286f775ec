"""Real clients before a gateway that says a length of 0 on every HEAD: what they push stays right.

API Gateway may be such a gateway. A push is listened to, since a client that never asked by HEAD
would show nothing, and what is stored is read by GET alone. The last third has what such a gateway
breaks: all that the wrong setting does, which shows that the other tests can fail, and what no
answer to a HEAD mends, so that nobody takes it for supported.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from moorage.local import ports
from tests.clients import daemons
from tests.clients.adapters.copying import COPIES
from tests.clients.contents import described, over_http, read_layout, untrue
from tests.clients.images import root_of
from tests.clients.tap import tap
from tests.clients.tools import ClientError
from tests.emulators.backends import moto_backend
from tests.support.servers import request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clients.daemons import RegistryProcess
    from tests.clients.workshop import Workshop

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

NAMED_CLIENTS = ("docker", "podman", "skopeo", "ctr", "ctr2", "crane")
CLIENTS = (*NAMED_CLIENTS, "buildah", "regctl", "oras", "oras-py")
# docker 20.10 and oras-py push no index; buildah pushes one as podman does; the others copy one.
INDEX_CLIENTS = ("podman", "skopeo", "ctr", "ctr2", "crane")
PUSHES = [
    *((name, "few-small", "proxy") for name in CLIENTS),
    *((name, "two-platforms", "proxy") for name in INDEX_CLIENTS),
    # The proxy makes true lengths of its own: two clients hear what the gateway says.
    *((name, "few-small", "gateway") for name in ("docker", "ctr")),
    *(
        pytest.param(name, "few-small", door, marks=pytest.mark.nightly)
        for name in ("docker29", "nerdctl")
        for door in ("proxy", "gateway")
    ),
]
BY_DIGEST = [
    *((name, "few-small") for name in (*NAMED_CLIENTS, "regctl", "oras")),
    *((name, "two-platforms") for name in ("ctr", "ctr2")),
]


@pytest.fixture(scope="module")
def zero() -> Iterator[RegistryProcess]:
    """Give a registry whose gateway says 0, set as `moorage local` sets it: to redirect."""
    with daemons.start_moorage("--head-mode", "zero") as running:
        yield running


@contextmanager
def gateway(head_mode: str, strategy: str) -> Iterator[str]:
    """Run a gateway of any head mode before a registry of any head strategy, and give its URL.

    `moorage local` offers only the pairs that work.
    """
    url = f"http://{ports.LOOPBACK}:{(port := ports.free_port())}"
    command = [
        *(sys.executable, "-m", "moorage", "gateway", "--stop-with-input"),
        *("--port", str(port), "--head-mode", head_mode),
    ]

    def answers() -> bool:
        with suppress(OSError):
            return request(url, "GET", "/v2/")[0] == 200
        return False

    with moto_backend(strict=False) as backend:
        environment = {**os.environ, **backend.environment, "MOORAGE_HEAD_STRATEGY": strategy}
        with daemons.running(command, answers, 60, env=environment):
            yield url


@pytest.fixture(scope="module")
def honest() -> Iterator[str]:
    """Give a gateway that tells true lengths, before a registry that redirects."""
    with gateway("body", "redirect") as url:
        yield url


@pytest.fixture(scope="module")
def lying() -> Iterator[str]:
    """Give a gateway that says 0 before a registry that relies on it: the wrong setting."""
    with gateway("zero", "body") as url:
        yield url


def check_pushes(workshop: Workshop, url: str, name: str, image_name: str) -> None:
    """Push twice, and fail unless all that the registry holds afterwards is what was pushed."""
    layout = workshop.image(image_name)
    sent = read_layout(layout)
    pushing = workshop.client(name)
    with tap(url) as listening:
        reference = f"{listening.host}/{workshop.repository}:latest"
        pushing.push(layout, reference)
        listening.exchanges.clear()
        pushing.push(layout, reference)
        heads = [seen for seen in listening.exchanges if seen.method == "HEAD"]
        assert any(seen.status < 400 for seen in heads), "nothing was learnt by HEAD"
        assert listening.blob_bytes == 0
        pulled = pushing.pull(reference)

    found = described(over_http(url, workshop.repository), "latest")
    assert found
    assert untrue(found) == []
    assert pulled.unpacked() == sent.unpacked()
    if pushing.keeps_digests:
        assert pulled == sent


@pytest.mark.parametrize(("name", "image_name", "door"), PUSHES)
def test_a_repeated_push_stays_right_where_heads_have_no_length(  # noqa: PLR0913  fixtures
    name: str,
    image_name: str,
    door: str,
    zero: RegistryProcess,
    workshop: Workshop,
    record_property: Callable[[str, object], None],
) -> None:
    """A second push, which meets all its blobs by HEAD, stores true sizes and is pulled whole."""
    record_property("client", name)
    record_property("image", f"{image_name} by {door}, HEAD says 0")
    check_pushes(workshop, zero.proxy if door == "proxy" else zero.gateway, name, image_name)


@pytest.mark.parametrize("name", NAMED_CLIENTS)
def test_redirects_are_right_with_true_lengths(name: str, honest: str, workshop: Workshop) -> None:
    """Nothing changes then, so a deployment may begin with them."""
    check_pushes(workshop, honest, name, "few-small")


@pytest.mark.parametrize(("name", "image_name"), BY_DIGEST)
def test_a_digest_is_pulled_where_heads_have_no_length(
    name: str, image_name: str, zero: RegistryProcess, workshop: Workshop
) -> None:
    """A pull by digest brings the very image, also from containerd, which HEADs and believes."""
    layout = workshop.image(image_name)
    target = f"{zero.gateway_host}/{workshop.repository}"
    workshop.skopeo.push(layout, f"{target}:latest")

    pulled = workshop.client(name).pull(f"{target}@{root_of(layout)['digest']}")

    assert pulled.unpacked() == read_layout(layout).unpacked()


@pytest.mark.parametrize("name", COPIES)
def test_a_repeated_copy_stays_right_where_heads_have_no_length(
    name: str, zero: RegistryProcess, workshop: Workshop
) -> None:
    """Copied twice within the registry, an index is the same and every size is true."""
    layout = workshop.image("two-platforms")
    copy = f"{workshop.repository}-copy"
    source = f"{zero.proxy_host}/{workshop.repository}:latest"
    target = f"{zero.proxy_host}/{copy}:latest"
    workshop.skopeo.push(layout, source)

    for _ in range(2):
        workshop.copy(name, source, target)

    assert workshop.skopeo.pull(target) == read_layout(layout)
    assert untrue(described(over_http(zero.proxy, copy), "latest")) == []


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("docker", "config needs a size in bytes"),
        ("podman", "has 0 bytes, it has"),
        ("buildah", "has 0 bytes, it has"),
    ],
)
def test_the_wrong_setting_makes_repeated_pushes_fail(
    name: str, complaint: str, lying: str, workshop: Workshop
) -> None:
    """Told 0, docker, podman and buildah write no size or 0, which the registry refuses."""
    pushing = workshop.client(name)
    layout = workshop.image("tiny")  # larger layers are redirected, and S3 says their size
    reference = f"{lying.removeprefix('http://')}/{workshop.repository}:latest"

    def push_twice() -> None:
        for _ in range(2):
            pushing.push(layout, reference)

    with pytest.raises(ClientError, match=complaint):
        push_twice()


# By a tag, and by a digest: {at} is either, with its separator.
ATTACHING = {
    "oras": "oras attach --plain-http --artifact-type a/note {name}{at} --annotation key=value",
    "regctl": "regctl --host reg={host},tls=disabled artifact put --artifact-type a/note"
    " --file {file} --subject {name}{at}",
}


class Pushed:
    """An image in a repository of its own, to which something can be attached."""

    def __init__(self, workshop: Workshop, url: str) -> None:
        layout = workshop.image("few-small")
        self.digest = root_of(layout)["digest"]
        self._workspace = workshop.workspace
        self._host = url.removeprefix("http://")
        self._fetch = over_http(url, workshop.repository)
        self.name = f"{self._host}/{workshop.repository}"
        workshop.skopeo.push(layout, f"{self.name}:latest")

    def attach(self, client: str, at: str) -> None:
        """Attach a note with a client to what ``at`` names."""
        note = self._workspace.fresh("note")
        note.write_text("a note")
        line = ATTACHING[client]
        self._workspace.run_line(line, host=self._host, name=self.name, at=at, file=note)

    def attached(self) -> list[str]:
        """Digests of what refers to the image."""
        listed = json.loads(self._fetch("referrers", self.digest))["manifests"]
        return [entry["digest"] for entry in listed]

    def refuses(self, client: str, at: str, complaint: str) -> None:
        """Fail unless nothing can be attached, and the client says why."""
        with pytest.raises(ClientError, match=complaint):
            self.attach(client, at)
        assert self.attached() == []


def test_the_wrong_setting_makes_containerd_fail(lying: str, workshop: Workshop) -> None:
    """Told a digest and 0, containerd believes both, and refuses what it then fetches."""
    pushed = Pushed(workshop, lying)
    with pytest.raises(ClientError, match="content size of zero"):
        workshop.client("ctr").pull(f"{pushed.name}:latest")


@pytest.mark.parametrize("name", ATTACHING)
def test_the_wrong_setting_leaves_attaching_alone(
    name: str, lying: str, workshop: Workshop
) -> None:
    """Told 0, oras and regctl write a subject of size 0, which is not judged."""
    pushed = Pushed(workshop, lying)
    pushed.attach(name, ":latest")
    assert len(pushed.attached()) == 1


def test_oras_fails_without_a_tags_digest(zero: RegistryProcess, workshop: Workshop) -> None:
    """It takes the digest only from a HEAD, and stores nothing wrong."""
    Pushed(workshop, zero.gateway).refuses("oras", ":latest", "missing required header")


@pytest.mark.parametrize("by", ["tag", "digest"])
@pytest.mark.parametrize("name", ATTACHING)
def test_the_proxy_provides_what_attaching_needs(
    name: str, by: str, zero: RegistryProcess, workshop: Workshop
) -> None:
    """Oras and regctl attach to a tag and to a digest, with true sizes."""
    pushed = Pushed(workshop, zero.proxy)
    pushed.attach(name, ":latest" if by == "tag" else f"@{pushed.digest}")
    (attached,) = pushed.attached()
    assert untrue(described(over_http(zero.proxy, workshop.repository), attached)) == []


def test_regctl_gets_a_missing_digest_by_get(zero: RegistryProcess, workshop: Workshop) -> None:
    """It GETs the tag's manifest, and attaches to its true size."""
    pushed = Pushed(workshop, zero.gateway)
    pushed.attach("regctl", ":latest")
    (attached,) = pushed.attached()
    assert untrue(described(over_http(zero.gateway, workshop.repository), attached)) == []


@pytest.mark.parametrize("name", ATTACHING)
def test_a_digest_with_a_size_of_zero_can_be_attached_to(
    name: str, zero: RegistryProcess, workshop: Workshop
) -> None:
    """Oras and regctl, who know the digest, take the gateway's 0 for the size."""
    pushed = Pushed(workshop, zero.gateway)
    pushed.attach(name, f"@{pushed.digest}")
    assert len(pushed.attached()) == 1
