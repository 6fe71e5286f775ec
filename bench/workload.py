"""What is pushed, and one timed push of it.

Every push has a repository name and layers that nobody has pushed before, so nothing is skipped.
"""

from __future__ import annotations

import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.clients import images
from tests.clients.tools import run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.backends import Backend
    from bench.registries import RunningRegistry

_PIECE = 1 << 20


@dataclass(frozen=True)
class Workload:
    """An image of ``layers`` layers of ``size`` random bytes; ``target`` is the ratio to reach."""

    name: str
    layers: int
    size: int
    target: float


WORKLOADS = (
    Workload("1x100MB", 1, 100_000_000, 2.0),
    Workload("30x200KB", 30, 200_000, 1.0),
)


@dataclass(frozen=True)
class Push:
    """One timed push; counts are requests to the backend, None where nobody counts."""

    backend: str
    registry: str
    workload: str
    repeat: int
    seconds: float
    local_copy_seconds: float
    s3_requests: int | None
    dynamodb_requests: int | None


def make_layout(workload: Workload, folder: Path) -> Path:
    """Write the image of a workload as an OCI layout with uncompressed layers."""
    layout = folder / workload.name
    layout.mkdir()
    made = [_random_layer(layout, workload.size) for _ in range(workload.layers)]
    return images.finish_layout(layout, images.write_manifest(layout, made))


def timed_push(
    backend: Backend, registry: RunningRegistry, workload: Workload, repeat: int, base: Path
) -> Push:
    """Push a variant of the layout ``base`` that is new throughout, by skopeo.

    Digests are preserved, so the client compresses nothing: what is timed is sending and storing.
    The same copy into a local folder is timed beside it, as the floor under any push.
    """
    nonce = uuid4().hex
    with tempfile.TemporaryDirectory(dir=base.parent) as folder:
        fresh = images.stamp(base, Path(folder) / "image", nonce)
        source = f"oci:{fresh}:{images.TAG}"
        local_copy = _timed_copy(source, f"dir:{folder}/copy")
        before = backend.counts()
        seconds = _timed_copy(source, f"docker://{registry.host}/bench/{nonce}:{images.TAG}")
        after = backend.counts()
    return Push(
        backend.name,
        registry.name,
        workload.name,
        repeat,
        seconds,
        local_copy,
        _difference(before, after, "s3"),
        _difference(before, after, "dynamodb"),
    )


def _timed_copy(source: str, target: str) -> float:
    insecure = ["--dest-tls-verify=false"] if target.startswith("docker:") else []
    started = time.perf_counter()
    run("skopeo", "--insecure-policy", "copy", "--preserve-digests", *insecure, source, target)
    return time.perf_counter() - started


def _difference(
    before: Mapping[str, int] | None, after: Mapping[str, int] | None, service: str
) -> int | None:
    if before is None or after is None:
        return None
    return after.get(service, 0) - before.get(service, 0)


def _random_layer(layout: Path, size: int) -> images.Layer:
    source = random.Random(uuid4().int)  # noqa: S311  incompressible bytes, not a secret
    content = b"".join(source.randbytes(min(_PIECE, size - at)) for at in range(0, size, _PIECE))
    return images.write_layer(
        layout, lambda tar: images.add_file(tar, "data", content), compress=False
    )
