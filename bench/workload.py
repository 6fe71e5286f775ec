"""The images that are moved, and each timed move of one by a client program.

Layers are random and uncompressed, and digests are kept, so that no client packs anything: what is
timed is reading, sending and storing.
"""

from __future__ import annotations

import random
import shutil
import tarfile
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.clients import images
from tests.clients.adapters.storing import named_archive
from tests.clients.tools import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.registries import RunningRegistry

MB = 1_000_000

_CLIENT_SECONDS = 600
"""How long a client may take: the peer needs minutes for 3 GB."""


@dataclass(frozen=True)
class Image:
    """An image of `layers` layers of `size` random bytes."""

    name: str
    layers: int
    size: int


ONE_LARGE = Image("1 x 100 MB", 1, 100 * MB)
FOUR = Image("4 x 25 MB", 4, 25 * MB)
MANY_SMALL = Image("30 x 200 KB", 30, 200_000)
LARGEST = Image("1 x 300 MB", 1, 300 * MB)
NO_LAYER = Image("no layer", 0, 0)
"""What an image costs whatever its layers: config and manifest."""

WARM_UP = Image("warm-up", 2, 10_000)
"""Moved before anything is timed: code and connections are loaded then."""


@dataclass(frozen=True)
class Copy:
    """A layout on disk whose every layer nobody has pushed before, and a name for it."""

    path: Path
    name: str

    @property
    def source(self) -> str:
        """The layout's image, as skopeo and moorage name it."""
        return f"oci:{self.path}:{images.TAG}"

    def reference(self, host: str, *, elsewhere: bool = False) -> str:
        """Return where it goes in a registry; `elsewhere`: in a second repository."""
        return f"{host}/bench/{self.name}{'/second' if elsewhere else ''}:{images.TAG}"


class Layouts:
    """Layouts of all images asked for, made once, below a folder that ends with the block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[Image, Path] = {}

    @classmethod
    @contextmanager
    def in_folder(cls) -> Iterator[Layouts]:
        """Make a folder for them."""
        with tempfile.TemporaryDirectory(prefix="moorage-bench-") as folder:
            yield cls(Path(folder))

    def copy(self, image: Image) -> Copy:
        """Return a copy of an image that is new throughout."""
        name = uuid4().hex
        if not image.layers:
            # Only its config can differ.
            return Copy(_layout(image, self._folder / name, name), name)
        if image not in self._made:
            self._made[image] = _layout(image, self._folder / f"image-{len(self._made)}")
        return Copy(images.stamp(self._made[image], self._folder / name, name), name)

    @contextmanager
    def once(self, image: Image) -> Iterator[Copy]:
        """Give an image that nothing is kept of when the block ends: for large ones."""
        name = uuid4().hex
        layout = _layout(image, self._folder / name)
        try:
            yield Copy(layout, name)
        finally:
            shutil.rmtree(layout)


def _layout(image: Image, layout: Path, architecture: str = "amd64") -> Path:
    layout.mkdir()
    layers = [_random_layer(layout, image.size) for _ in range(image.layers)]
    return images.finish_layout(layout, images.write_manifest(layout, layers, architecture))


@dataclass(frozen=True)
class _Noise:
    """Random bytes without end, to read as a file: a layer is never in memory whole."""

    source: random.Random

    def read(self, size: int = 0, /) -> bytes:
        """Return so many."""
        return self.source.randbytes(size)


def _random_layer(layout: Path, size: int) -> images.Layer:
    noise = _Noise(random.Random(uuid4().int))  # noqa: S311  incompressible bytes, not a secret
    member = tarfile.TarInfo("data")
    member.size = size
    return images.write_layer(layout, lambda tar: tar.addfile(member, noise), compress=False)


def by_skopeo(registry: RunningRegistry, copy: Copy, *, elsewhere: bool = False) -> float:
    """Push by skopeo, at Moorage through the push proxy; returns the seconds it took."""
    target = f"docker://{copy.reference(registry.host, elsewhere=elsewhere)}"
    return _timed("skopeo", *_SKOPEO, "--dest-tls-verify=false", copy.source, target)


def by_moorage(registry: RunningRegistry, copy: Copy, *, elsewhere: bool = False) -> float:
    """Push by `moorage push` where the registry is Moorage, by skopeo to any other."""
    if registry.gateway_host is None:
        return by_skopeo(registry, copy, elsewhere=elsewhere)
    target = copy.reference(registry.gateway_host, elsewhere=elsewhere)
    # What it keeps of interrupted uploads is no user's.
    state = {"XDG_STATE_HOME": str(copy.path)}
    return _timed("moorage", "push", "--quiet", copy.source, target, env=state)


def by_oras(registry: RunningRegistry, copy: Copy, *, elsewhere: bool = False) -> float:
    """Push by oras, which PUTs each blob whole: at Moorage through the edge."""
    target = copy.reference(registry.edge_host or registry.host, elsewhere=elsewhere)
    source = f"{copy.path}:{images.TAG}"
    return _timed("oras", "cp", "--from-oci-layout", "--to-plain-http", source, target)


def pull_by_oras(registry: RunningRegistry, copy: Copy) -> float:
    """Pull into a layout by oras: from Moorage through the edge."""
    with tempfile.TemporaryDirectory(dir=copy.path.parent) as folder:
        source = copy.reference(registry.edge_host or registry.host)
        target = f"{folder}/copy:{images.TAG}"
        return _timed("oras", "cp", "--from-plain-http", "--to-oci-layout", source, target)


def pull_by_skopeo(registry: RunningRegistry, copy: Copy) -> float:
    """Pull into a folder by skopeo; returns the seconds it took."""
    with tempfile.TemporaryDirectory(dir=copy.path.parent) as folder:
        source = f"docker://{copy.reference(registry.host)}"
        return _timed("skopeo", *_SKOPEO, "--src-tls-verify=false", source, f"dir:{folder}/copy")


def pull_by_moorage(registry: RunningRegistry, copy: Copy) -> float:
    """Pull by `moorage pull` where the registry is Moorage, by skopeo from any other."""
    if registry.gateway_host is None:
        return pull_by_skopeo(registry, copy)
    with tempfile.TemporaryDirectory(dir=copy.path.parent) as folder:
        source = copy.reference(registry.gateway_host)
        return _timed("moorage", "pull", "--quiet", source, f"oci:{folder}/copy:{images.TAG}")


def by_ctr(registry: RunningRegistry, copy: Copy, *, elsewhere: bool = False) -> float:
    """Push by containerd's ctr, which PUTs each blob whole: at Moorage through the edge.

    That it takes the image into its own store first is not counted.
    """
    reference = copy.reference(registry.edge_host or registry.host, elsewhere=elsewhere)
    archive = named_archive(copy.path, copy.path / "archive.tar", reference)
    run("ctr", "images", "import", "--no-unpack", "--all-platforms", str(archive))
    archive.unlink()
    try:
        return _timed("ctr", "images", "push", "--plain-http", reference)
    finally:
        run("ctr", "images", "rm", "--sync", reference)


def pull_by_ctr(registry: RunningRegistry, copy: Copy) -> float:
    """Pull by ctr into its store, which holds nothing, and unpack nothing."""
    reference = copy.reference(registry.edge_host or registry.host)
    if run("ctr", "content", "ls", "--quiet").strip():
        raise RuntimeError("containerd already holds content")
    try:
        return _timed("ctr", "content", "fetch", "--plain-http", "--all-platforms", reference)
    finally:
        run("ctr", "images", "rm", "--sync", reference)


_SKOPEO = ("--insecure-policy", "copy", "--preserve-digests")


def _timed(program: str, *arguments: str, env: dict[str, str] | None = None) -> float:
    started = time.perf_counter()
    run(program, *arguments, env=env, timeout=_CLIENT_SECONDS)
    return time.perf_counter() - started
