"""Every client pushes real images and pulls them back; what arrives equals what was sent.

After a client has pushed, skopeo fetches everything the registry holds with digests preserved, and
every blob is hashed again here: a client's own word that all is well is not enough. One push is
measured: how much memory the registry's own processes take for a layer of 300 MB.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients import daemons
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
    "moorage": EVERYTHING,
    "podman": EVERYTHING,
    "buildah": ("debian", "many-small", "two-platforms"),
    "docker": ONE_PLATFORM,
    "ctr": EVERYTHING,
    "ctr2": ("debian", "two-platforms"),
}
"""The images that each client pushes and pulls. Those that send chunks knock at the gateway, which
takes only small bodies; the others at the proxy."""
NIGHTLY = {
    "docker29": ("debian", "many-small", "one-big"),
    "nerdctl": ("debian", "many-small"),
}
"""Those that take long to build."""
CASES = [
    *((name, image) for name, names in IMAGES.items() for image in names),
    *(
        pytest.param(name, image, marks=pytest.mark.nightly)
        for name, names in NIGHTLY.items()
        for image in names
    ),
]


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
    chunked = name.endswith("-chunked") or name == "moorage"
    host = registry.gateway_host if chunked else registry.proxy_host
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


MEASURED = {"gateway": 64_000_000, "proxy": 160_000_000}
"""By how many bytes the peak of each may grow: the proxy has eight parts of 8 MiB under way."""


def peak_memory(pid: int) -> int:
    """Peak resident memory of a process so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found, f"process {pid} has no VmHWM"
    return int(found[1]) * 1024


@pytest.mark.skipif(
    daemons.URLS_VARIABLE in os.environ,
    reason=f"{daemons.URLS_VARIABLE} names a registry whose processes can't be measured from here",
)
def test_proxy_and_gateway_hold_no_layer_in_memory(
    workshop: Workshop, record_property: Callable[[str, object], None]
) -> None:
    """300 MB that pass fresh processes, both ways, raise the peak of neither by as much."""
    layout = workshop.image("one-big")
    with daemons.start_moorage() as registry:
        assert registry.pids["moto"] not in {registry.pids[name] for name in MEASURED}
        before = {name: peak_memory(registry.pids[name]) for name in MEASURED}
        reference = f"{registry.proxy_host}/{workshop.repository}:latest"
        workshop.skopeo.push(layout, reference)
        assert workshop.skopeo.pull(reference) == read_layout(layout)
        growth = {name: peak_memory(registry.pids[name]) - before[name] for name in MEASURED}

    for name, grown in growth.items():
        record_property(f"{name} growth in bytes", grown)
        print(f"{name}: {before[name] / 1e6:.0f} MB before, peak grew by {grown / 1e6:.0f} MB")
    assert {name for name in MEASURED if growth[name] >= MEASURED[name]} == set()
