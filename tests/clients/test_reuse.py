"""What the registry already holds isn't sent again: repeated pushes, copies in the registry.

Each test listens between client and registry, since a client's success says nothing about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clients.contents import read_layout
from tests.clients.images import read_json, root_of
from tests.clients.recipes import FEW_LAYERS
from tests.clients.tap import tap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clients.daemons import RegistryProcess
    from tests.clients.tap import Tap
    from tests.clients.workshop import Workshop

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]


@pytest.fixture
def listening(registry: RegistryProcess) -> Iterator[Tap]:
    """Give a tap before the registry's proxy."""
    with tap(registry.proxy) as between:
        yield between


@pytest.mark.parametrize(
    "name", ["skopeo", "podman", "buildah", "crane", "regctl", "oras", "oras-py", "docker", "ctr"]
)
def test_a_repeated_push_uploads_nothing(name: str, listening: Tap, workshop: Workshop) -> None:
    """The second push of an image asks for its blobs and sends none of them."""
    layout = workshop.image("few-small")
    reference = f"{listening.host}/{workshop.repository}:latest"
    pushing = workshop.client(name)
    pushing.push(layout, reference)
    assert listening.blob_bytes > 0

    listening.exchanges.clear()
    pushing.push(layout, reference)

    assert listening.exchanges
    assert listening.blob_bytes == 0


# skopeo sends a config anew, always: a few KB.
@pytest.mark.parametrize(
    ("name", "mounts_config"), [("skopeo", False), ("crane", True), ("regctl", True)]
)
def test_a_copy_to_another_repository_mounts_every_layer(
    name: str, listening: Tap, workshop: Workshop, *, mounts_config: bool
) -> None:
    """A copy within the registry sends no layer, and the copy can be pulled whole."""
    layout = workshop.image("few-small")
    source = f"{listening.host}/{workshop.repository}:latest"
    target = f"{listening.host}/{workshop.repository}-copy:latest"
    workshop.skopeo.push(layout, source)
    listening.exchanges.clear()

    workshop.copy(name, source, target)

    config = read_json(layout, root_of(layout))["config"]
    assert listening.blob_bytes == (0 if mounts_config else config["size"])
    assert len(listening.mounts) == FEW_LAYERS + mounts_config
    assert workshop.skopeo.pull(target) == read_layout(layout)
