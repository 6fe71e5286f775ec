"""Every client pushes real images and pulls them back; what arrives equals what was sent.

After a client has pushed, skopeo fetches everything the registry holds with digests preserved, and
every blob is hashed again here: a client's own word that all is well is not enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import pytest

from tests.clients.adapters.copying import Skopeo
from tests.clients.contents import read_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.clients.adapters.base import Client, Workspace
    from tests.clients.daemons import RegistryProcess

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

EVERYTHING = ("debian", "many-small", "one-big", "two-platforms")
ONE_PLATFORM = ("debian", "many-small", "one-big")


class Door(Enum):
    """Where a client knocks: the proxy takes bodies of any size, the gateway only small ones."""

    PROXY = "proxy"
    GATEWAY = "gateway"


@dataclass(frozen=True)
class Row:
    """A client, the door it uses, and the images it pushes and pulls."""

    client: str
    door: Door
    images: tuple[str, ...]


ROWS = (
    Row("skopeo", Door.PROXY, EVERYTHING),
    Row("crane", Door.PROXY, EVERYTHING),
    Row("regctl", Door.PROXY, EVERYTHING),
    Row("regctl-chunked", Door.GATEWAY, EVERYTHING),
    Row("oras", Door.PROXY, EVERYTHING),
    Row("oras-py", Door.PROXY, ("debian", "many-small")),
    Row("oras-py-chunked", Door.GATEWAY, ONE_PLATFORM),
    Row("podman", Door.PROXY, EVERYTHING),
    Row("buildah", Door.PROXY, ("debian", "many-small", "two-platforms")),
    Row("docker", Door.PROXY, ONE_PLATFORM),
    Row("ctr", Door.PROXY, EVERYTHING),
)
CASES = [
    pytest.param(row, image, id=f"{row.client}-{image}") for row in ROWS for image in row.images
]


@pytest.mark.parametrize(("row", "image_name"), CASES)
def test_what_a_client_pulls_equals_what_it_pushed(  # noqa: PLR0913  fixtures, not options
    row: Row,
    image_name: str,
    registry: RegistryProcess,
    client: Callable[[str], Client],
    image: Callable[[str], Path],
    repository: str,
    workspace: Workspace,
    record_property: Callable[[str, object], None],
) -> None:
    """Manifest, config and every layer come back as they were pushed, byte for byte."""
    record_property("client", row.client)
    record_property("image", image_name)
    host = registry.proxy_host if row.door is Door.PROXY else registry.gateway_host
    reference = f"{host}/{repository}:latest"
    pushing = client(row.client)
    layout = image(image_name)
    sent = read_layout(layout)

    pushing.push(layout, reference)
    held = Skopeo(workspace).pull(reference)
    pulled = pushing.pull(reference)

    assert pulled.unpacked() == sent.unpacked() == held.unpacked()
    if pushing.keeps_digests:
        assert pulled == sent == held


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_a_client_finds_its_platform_in_an_index(  # noqa: PLR0913  fixtures, not options
    name: str,
    registry: RegistryProcess,
    client: Callable[[str], Client],
    image: Callable[[str], Path],
    repository: str,
    workspace: Workspace,
) -> None:
    """Pulling a two-platform tag on amd64 brings the amd64 image's config and layers, no other."""
    reference = f"{registry.proxy_host}/{repository}:latest"
    layout = image("two-platforms")
    Skopeo(workspace).push(layout, reference)

    pulled = client(name).pull(reference)

    amd64 = read_layout(layout).images[0]
    assert pulled.unpacked() == {(amd64.config, amd64.diff_ids)}
