"""Every client pushes real images and pulls them back; what arrives equals what was sent.

After a client has pushed, skopeo fetches everything the registry holds with digests preserved, and
every blob is hashed again here: a client's own word that all is well is not enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clients.contents import read_layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clients.daemons import RegistryProcess
    from tests.clients.workshop import Workshop

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

EVERYTHING = ("debian", "many-small", "one-big", "two-platforms")
ONE_PLATFORM = ("debian", "many-small", "one-big")


IMAGES = {
    "skopeo": EVERYTHING,
    "crane": EVERYTHING,
    "regctl": EVERYTHING,
    "regctl-chunked": EVERYTHING,
    "oras": EVERYTHING,
    "oras-py": ("debian", "many-small"),
    "oras-py-chunked": ONE_PLATFORM,
    "podman": EVERYTHING,
    "buildah": ("debian", "many-small", "two-platforms"),
    "docker": ONE_PLATFORM,
    "ctr": EVERYTHING,
}
"""The images that each client pushes and pulls. Those that send chunks knock at the gateway, which
takes only small bodies; the others at the proxy."""
CASES = [(name, image) for name, names in IMAGES.items() for image in names]


@pytest.mark.parametrize(("name", "image_name"), CASES)
def test_what_a_client_pulls_equals_what_it_pushed(
    name: str,
    image_name: str,
    registry: RegistryProcess,
    workshop: Workshop,
    record_property: Callable[[str, object], None],
) -> None:
    """Manifest, config and every layer come back as they were pushed, byte for byte."""
    record_property("client", name)
    record_property("image", image_name)
    host = registry.gateway_host if name.endswith("-chunked") else registry.proxy_host
    reference = f"{host}/{workshop.repository}:latest"
    pushing = workshop.client(name)
    layout = workshop.image(image_name)
    sent = read_layout(layout)

    pushing.push(layout, reference)
    held = workshop.skopeo.pull(reference)
    pulled = pushing.pull(reference)

    assert pulled.unpacked() == sent.unpacked() == held.unpacked()
    if pushing.keeps_digests:
        assert pulled == sent == held


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_a_client_finds_its_platform_in_an_index(
    name: str, registry: RegistryProcess, workshop: Workshop
) -> None:
    """Pulling a two-platform tag on amd64 brings the amd64 image's config and layers, no other."""
    reference = f"{registry.proxy_host}/{workshop.repository}:latest"
    layout = workshop.image("two-platforms")
    workshop.skopeo.push(layout, reference)

    pulled = workshop.client(name).pull(reference)

    amd64 = read_layout(layout).images[0]
    assert pulled.unpacked() == {(amd64.config, amd64.diff_ids)}
