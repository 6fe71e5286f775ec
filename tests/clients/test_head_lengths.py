"""Real clients before a gateway that says a length of 0 on every HEAD: what they push stays right.

API Gateway may be such a gateway. A push is listened to, since a client that never asked by HEAD
would show nothing, and what is stored is read by GET alone. What such a gateway does break is in
test_head_limits.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.clients import daemons, head_modes
from tests.clients.adapters.copying import Skopeo
from tests.clients.contents import read_layout
from tests.clients.held import described, over_http, untrue
from tests.clients.images import root_of
from tests.clients.tap import tap
from tests.emulators.backends import moto_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.clients.adapters.base import Client, Workspace
    from tests.clients.daemons import RegistryProcess

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

NAMED_CLIENTS = ("docker", "podman", "skopeo", "ctr", "crane")
CLIENTS = (*NAMED_CLIENTS, "buildah", "regctl", "oras", "oras-py")
# docker 20.10 and oras-py push no index; buildah pushes one as podman does; the others copy one.
INDEX_CLIENTS = ("podman", "skopeo", "ctr", "crane")
PUSHES = [
    *((name, "few-small", "proxy") for name in CLIENTS),
    *((name, "two-platforms", "proxy") for name in INDEX_CLIENTS),
    # The proxy passes a HEAD on as it came: two clients show that.
    *((name, "few-small", "gateway") for name in ("docker", "ctr")),
]
BY_DIGEST = [
    *((name, "few-small") for name in (*NAMED_CLIENTS, "regctl", "oras")),
    ("ctr", "two-platforms"),
]
COPIES = {
    "skopeo": (
        *("skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests"),
        *("--src-tls-verify=false", "--dest-tls-verify=false"),
        *("docker://{source}", "docker://{target}"),
    ),
    "crane": ("crane", "copy", "--insecure", "{source}", "{target}"),
    "regctl": (
        *("regctl", "--host", "reg={host},tls=disabled"),
        *("image", "copy", "{source}", "{target}"),
    ),
    "oras": ("oras", "cp", "--from-plain-http", "--to-plain-http", "{source}", "{target}"),
}


@pytest.fixture(scope="module")
def zero() -> Iterator[RegistryProcess]:
    """Give a registry whose gateway says 0, set as `moorage local` sets it: to redirect."""
    with daemons.start_moorage("--head-mode", "zero") as running:
        yield running


@pytest.fixture(scope="module")
def honest() -> Iterator[str]:
    """Give a gateway that tells true lengths, before a registry that redirects."""
    with (
        moto_backend(strict=False) as backend,
        head_modes.gateway(backend, "body", "redirect") as url,
    ):
        yield url


@dataclass(frozen=True)
class Pushing:
    """Pushes twice, pulls back and compares: what every client has to stand."""

    client: Callable[[str], Client]
    image: Callable[[str], Path]
    repository: str

    def check(self, url: str, name: str, image_name: str) -> None:
        """Fail unless all that the registry at ``url`` holds afterwards is what was pushed."""
        layout = self.image(image_name)
        sent = read_layout(layout)
        pushing = self.client(name)
        with tap(url) as listening:
            reference = f"{listening.host}/{self.repository}:latest"
            pushing.push(layout, reference)
            listening.exchanges.clear()
            pushing.push(layout, reference)
            heads = [seen for seen in listening.exchanges if seen.method == "HEAD"]
            assert any(seen.status < 400 for seen in heads), "nothing was learnt by HEAD"
            assert listening.blob_bytes == 0
            pulled = pushing.pull(reference)

        found = described(over_http(url, self.repository), "latest")
        assert found
        assert untrue(found) == []
        assert pulled.unpacked() == sent.unpacked()
        if pushing.keeps_digests:
            assert pulled == sent


@pytest.fixture
def pushing(
    client: Callable[[str], Client],
    image: Callable[[str], Path],
    repository: str,
) -> Pushing:
    """Give the check, with a repository of its own."""
    return Pushing(client, image, repository)


@pytest.mark.parametrize(("name", "image_name", "door"), PUSHES)
def test_a_repeated_push_stays_right_where_heads_have_no_length(  # noqa: PLR0913  fixtures
    name: str,
    image_name: str,
    door: str,
    zero: RegistryProcess,
    pushing: Pushing,
    record_property: Callable[[str, object], None],
) -> None:
    """A second push, which meets all its blobs by HEAD, stores true sizes and is pulled whole."""
    record_property("client", name)
    record_property("image", f"{image_name} by {door}, HEAD says 0")
    pushing.check(zero.proxy if door == "proxy" else zero.gateway, name, image_name)


@pytest.mark.parametrize("name", NAMED_CLIENTS)
def test_redirects_are_right_before_an_honest_gateway(
    name: str, honest: str, pushing: Pushing
) -> None:
    """With true lengths beside the redirects nothing changes: a deployment may start with them."""
    pushing.check(honest, name, "few-small")


@pytest.mark.parametrize(("name", "image_name"), BY_DIGEST)
def test_a_digest_is_pulled_where_heads_have_no_length(  # noqa: PLR0913  likewise
    name: str,
    image_name: str,
    zero: RegistryProcess,
    client: Callable[[str], Client],
    image: Callable[[str], Path],
    repository: str,
    workspace: Workspace,
) -> None:
    """A pull by digest brings the very image, also from containerd, which HEADs and believes."""
    layout = image(image_name)
    target = f"{zero.gateway_host}/{repository}"
    Skopeo(workspace).push(layout, f"{target}:latest")

    pulled = client(name).pull(f"{target}@{root_of(layout)['digest']}")

    assert pulled.unpacked() == read_layout(layout).unpacked()


@pytest.mark.parametrize("name", COPIES)
def test_a_repeated_copy_stays_right_where_heads_have_no_length(
    name: str,
    zero: RegistryProcess,
    image: Callable[[str], Path],
    repository: str,
    workspace: Workspace,
) -> None:
    """Copied twice within the registry, an index is the same and every size is true."""
    layout = image("two-platforms")
    host = zero.proxy_host
    source, target = f"{host}/{repository}:latest", f"{host}/{repository}-copy:latest"
    Skopeo(workspace).push(layout, source)

    for _ in range(2):
        command = [w.format(source=source, target=target, host=host) for w in COPIES[name]]
        workspace.run(*command)

    assert Skopeo(workspace).pull(target) == read_layout(layout)
    assert untrue(described(over_http(zero.proxy, f"{repository}-copy"), "latest")) == []
