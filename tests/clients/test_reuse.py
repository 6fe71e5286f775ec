"""What the registry already holds isn't sent again: repeated pushes, copies in the registry.

Each test listens between client and registry, since a client's success says nothing about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.clients.adapters.copying import Skopeo
from tests.clients.contents import read_layout
from tests.clients.images import read_json, root_of
from tests.clients.recipes import FEW_LAYERS
from tests.clients.tap import tap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.clients.adapters.base import Client, Workspace
    from tests.clients.daemons import RegistryProcess
    from tests.clients.tap import Tap

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

SKOPEO = ("skopeo", "--insecure-policy", "copy", "--preserve-digests")
SKOPEO_PLAIN_HTTP = ("--src-tls-verify=false", "--dest-tls-verify=false")


@dataclass(frozen=True)
class Copy:
    """A client's command that copies, and whether it can mount the config as well as layers."""

    command: tuple[str, ...]
    mounts_config: bool = True


COPIES = {
    # skopeo sends a config anew, always: a few KB.
    "skopeo": Copy(
        (*SKOPEO, *SKOPEO_PLAIN_HTTP, "docker://{source}", "docker://{target}"),
        mounts_config=False,
    ),
    "crane": Copy(("crane", "copy", "--insecure", "{source}", "{target}")),
    "regctl": Copy(
        ("regctl", "--host", "reg={host},tls=disabled", "image", "copy", "{source}", "{target}")
    ),
}


@pytest.fixture
def listening(registry: RegistryProcess) -> Iterator[Tap]:
    """Give a tap before the registry's proxy."""
    with tap(registry.proxy) as between:
        yield between


@pytest.mark.parametrize(
    "name", ["skopeo", "podman", "buildah", "crane", "regctl", "oras", "oras-py", "docker", "ctr"]
)
def test_a_repeated_push_uploads_nothing(
    name: str,
    listening: Tap,
    client: Callable[[str], Client],
    image: Callable[[str], Path],
    repository: str,
) -> None:
    """The second push of an image asks for its blobs and sends none of them."""
    layout = image("few-small")
    reference = f"{listening.host}/{repository}:latest"
    pushing = client(name)
    pushing.push(layout, reference)
    assert listening.blob_bytes > 0

    listening.exchanges.clear()
    pushing.push(layout, reference)

    assert listening.exchanges
    assert listening.blob_bytes == 0


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_to_another_repository_mounts_every_layer(
    name: str,
    listening: Tap,
    image: Callable[[str], Path],
    repository: str,
    workspace: Workspace,
) -> None:
    """A copy within the registry sends no layer, and the copy can be pulled whole."""
    layout = image("few-small")
    source = f"{listening.host}/{repository}:latest"
    target = f"{listening.host}/{repository}-copy:latest"
    Skopeo(workspace).push(layout, source)
    listening.exchanges.clear()

    copy = COPIES[name]
    workspace.run(
        *(w.format(source=source, target=target, host=listening.host) for w in copy.command)
    )

    config = read_json(layout, root_of(layout))["config"]
    assert listening.blob_bytes == (0 if copy.mounts_config else config["size"])
    assert len(listening.mounts) == FEW_LAYERS + copy.mounts_config
    assert Skopeo(workspace).pull(target) == read_layout(layout)
