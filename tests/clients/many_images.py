"""Many small images that share layers, each of two platforms, with a signature and an SBOM.

It writes layouts, pushes and deletes them by the usual clients, and never looks at the registry
itself.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.clients import images
from tests.clients.adapters.copying import Crane, Oras, Regctl, Skopeo

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable
    from pathlib import Path

    from tests.clients.adapters.base import Client, Workspace
    from tests.clients.contents import Contents

CLIENTS: tuple[Callable[[Workspace], Client], ...] = (Crane, Oras, Regctl, Skopeo)
DELETING = (
    "crane delete --insecure {name}@{digest}",
    "oras manifest delete --force --plain-http {name}@{digest}",
    "regctl --host reg={host},tls=disabled manifest delete {name}@{digest}",
    "skopeo delete --tls-verify=false docker://{name}@{digest}",
)
ATTACHED = {
    "application/vnd.dev.cosign.artifact.sig.v1+json": "signature",
    "application/spdx+json": "sbom",
}
_FAMILY = 5
"""So many images in a row share a layer."""
_BASE, _OWN = 40_000, 3_000


@dataclass
class PushedImage:
    """An image that a client pushed, and all its manifests: those to delete so that it is gone."""

    name: str
    """Its repository, with the registry's host before it."""
    tag: str
    layout: Path
    attached: list[str] = field(default_factory=list)

    @property
    def reference(self) -> str:
        """How clients name it."""
        return f"{self.name}:{self.tag}"

    @property
    def digests(self) -> list[str]:
        """The digests of its index, its images, and what is attached to it."""
        root = images.root_of(self.layout)
        below = [each["digest"] for each in images.read_json(self.layout, root)["manifests"]]
        return [root["digest"], *below, *self.attached]


def write_image(layout: Path, number: int) -> Path:
    """Write the layout of one image; layers of the base and of its family are those of others."""
    manifests = []
    for architecture in ("amd64", "arm64"):
        seeds = (
            (f"base {architecture}", _BASE),
            (f"family {number // _FAMILY} {architecture}", _OWN),
            (f"image {number} {architecture}", _OWN),
        )
        layers = [images.write_layer(layout, _filling(*seed), compress=True) for seed in seeds]
        manifests.append(images.write_manifest(layout, layers, architecture))
    return images.finish_layout(layout, images.write_index(layout, manifests))


def _filling(seed: str, size: int) -> Callable[[tarfile.TarFile], None]:
    content = random.Random(seed).randbytes(size)  # noqa: S311 - no secret: the same each time
    return lambda tar: images.add_file(tar, seed.replace(" ", "-"), content)


def push(workspace: Workspace, layout: Path, reference: str, number: int) -> PushedImage:
    """Push an image by the client whose turn it is; raises ClientError."""
    CLIENTS[number % len(CLIENTS)](workspace).push(layout, reference)
    name, _, tag = reference.rpartition(":")
    return PushedImage(name, tag, layout)


def attach(workspace: Workspace, pushed: PushedImage, number: int) -> None:
    """Attach a signature and an SBOM to an image; raises ClientError."""
    for artifact_type, kind in ATTACHED.items():
        file = workspace.fresh(kind)
        file.write_text(json.dumps({"number": number, "of": pushed.digests[0]}))
        line = (
            f"oras attach --plain-http --disable-path-validation --artifact-type {artifact_type}"
            f" --format json {pushed.name}@{pushed.digests[0]} {file}:{artifact_type}"
        )
        pushed.attached.append(json.loads(workspace.run_line(line))["digest"])


def pull(workspace: Workspace, image: PushedImage, number: int) -> Contents:
    """Pull an image by the client whose turn it is; every byte is verified."""
    return CLIENTS[number % len(CLIENTS)](workspace).pull(image.reference)


def delete(workspace: Workspace, image: PushedImage, number: int) -> None:
    """Delete all manifests of an image by the client whose turn it is."""
    host = image.name.partition("/")[0]
    for digest in reversed(image.digests):
        line = DELETING[number % len(DELETING)]
        workspace.run_line(line, name=image.name, digest=digest, host=host)
