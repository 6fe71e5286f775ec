"""The images that clients push, made on this machine once and kept under ``.tools/images``.

It downloads nothing itself: debootstrap asks the mirror that this machine's own apt uses.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clients import images
from tests.clients.tools import TOOLS, program

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable

CACHE = TOOLS / "images"
MIB = 1 << 20
SUITE = "bookworm"
FEW_LAYERS = 3
_DEBOOTSTRAP_TIMEOUT = 600
# Part of the cache's folder names: raise it when a recipe changes.
_EDITION = "1"


class CannotMakeError(Exception):
    """This machine can't make an image; the message says what it lacks."""


def layout(name: str) -> Path:
    """OCI layout of the image called ``name``, made now if it isn't cached.

    Raises CannotMakeError when the machine lacks what the recipe needs.
    """
    kept = CACHE / f"{name}-{_EDITION}"
    if not kept.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        # Made beside its place and renamed: a run that is interrupted leaves no half image.
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="making-") as folder:
            making = Path(folder) / name
            making.mkdir()
            RECIPES[name](making)
            making.rename(kept)
    return kept


def _debian(target: Path) -> None:
    """Make a whole Debian root file system in one gzipped layer, above 50 MB."""
    debootstrap = program("debootstrap")
    if debootstrap is None or os.geteuid() != 0:
        raise CannotMakeError("a Debian root file system needs debootstrap, run as root")
    with tempfile.TemporaryDirectory(prefix="moorage-debian-") as folder:
        root = Path(folder) / "root"
        made = subprocess.run(
            [debootstrap, "--variant=minbase", SUITE, str(root), _debian_mirror()],
            capture_output=True,
            text=True,
            timeout=_DEBOOTSTRAP_TIMEOUT,
            check=False,
        )
        if made.returncode:
            raise CannotMakeError(f"debootstrap failed:\n{made.stdout[-2000:]}{made.stderr}")
        layer = images.write_layer(target, lambda tar: _add_tree(tar, root), compress=True)
    images.finish_layout(target, images.write_manifest(target, [layer]))


def _debian_mirror() -> str:
    """URL that apt uses for Debian itself, read from this machine's sources."""
    folder = Path("/etc/apt")
    sources = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    for source in sources:
        text = source.read_text() if source.is_file() else ""
        for stanza in re.split(r"\n\s*\n", text):
            found = re.search(r"(?:^URIs:|^deb(?: \[.*?\])?)\s+(\S+)", stanza, re.MULTILINE)
            if found and re.search(rf"\s{SUITE}(\s|$)", stanza):
                return found[1]
    raise CannotMakeError(f"no apt source on this machine offers Debian {SUITE}")


def _add_tree(tar: tarfile.TarFile, root: Path) -> None:
    """Add a tree in name order with one time, so that two runs differ in little."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        # Device nodes can't be unpacked without privileges; a runtime brings its own /dev.
        member.mtime = 0
        return None if member.isdev() and not member.isfile() else member

    for path in sorted(root.iterdir()):
        tar.add(path, path.name, filter=plain)


def _random(target: Path, seeds: range, size: int, *, compress: bool = True) -> None:
    """Make a layer of random bytes for each seed."""
    made = [_random_layer(target, seed, size, compress=compress) for seed in seeds]
    images.finish_layout(target, images.write_manifest(target, made))


def _two_platforms(target: Path) -> None:
    """Make an index of an amd64 and an arm64 image of two layers each."""
    manifests = []
    for seed, architecture in ((1000, "amd64"), (2000, "arm64")):
        layers = [_random_layer(target, seed + step, 50_000) for step in range(2)]
        manifests.append(images.write_manifest(target, layers, architecture))
    images.finish_layout(target, images.write_index(target, manifests))


def _random_layer(target: Path, seed: int, size: int, *, compress: bool = True) -> images.Layer:
    source = random.Random(seed)  # noqa: S311  repeatable bytes, not a secret
    # In pieces: randbytes overflows at 256 MiB.
    content = b"".join(source.randbytes(min(MIB, size - at)) for at in range(0, size, MIB))
    return images.write_layer(
        target, lambda tar: images.add_file(tar, f"data-{seed}", content), compress=compress
    )


RECIPES: dict[str, Callable[[Path], None]] = {
    "debian": _debian,
    "many-small": lambda target: _random(target, range(30), 200_000),
    # For tests of which requests a client makes.
    "few-small": lambda target: _random(target, range(FEW_LAYERS), 200_000),
    # For tests of who may push it.
    "tiny": lambda target: _random(target, range(1), 100),
    # One layer, stored as a plain tar: more than Lambda takes, and more than API Gateway.
    "one-6-mb": lambda target: _random(target, range(6, 7), 6_000_000, compress=False),
    "one-20-mb": lambda target: _random(target, range(20, 21), 20_000_000, compress=False),
    # One layer of 300 MB, stored as a plain tar.
    "one-big": lambda target: _random(target, range(300, 301), 300_000_000, compress=False),
    "two-platforms": _two_platforms,
}
