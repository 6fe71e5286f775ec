"""Moves an image from a source to a target: blobs at once, then manifests from the leaves up.

It knows neither registries nor files. A manifest must never be put before the blobs and manifests
that it names.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from chalicelib.descriptor import Descriptor
from chalicelib.digest import Digest
from moorage.transfer.content import (
    BlobProgress,
    ImageSource,
    ImageTarget,
    ManifestContent,
    TransferError,
    is_manifest,
    short,
)

_DEEPEST = 10
_MOST_MANIFESTS = 10_000


class Observer(Protocol):
    """Who watches a transfer."""

    def begin(self, blob: Descriptor, kind: str) -> BlobProgress:
        """A blob comes next; `kind` is `config` or `layer`."""

    def end(self, blob: Descriptor, outcome: str) -> None:
        """A blob is there; `outcome` is `sent`, `there` or `mounted`."""


@dataclass
class _Plan:
    """What an image consists of: manifests, each after those that it names, and their blobs."""

    manifests: dict[Digest, ManifestContent] = field(default_factory=dict)
    blobs: dict[Digest, tuple[Descriptor, str]] = field(default_factory=dict)

    async def add(self, source: ImageSource, manifest: ManifestContent, depth: int = 0) -> None:
        if manifest.digest in self.manifests:
            return
        if depth > _DEEPEST or len(self.manifests) > _MOST_MANIFESTS:
            raise TransferError("the image's indexes are nested too deep, or have no end")
        for descriptor in manifest.parsed.manifests:
            if is_manifest(descriptor):
                await self.add(source, await source.manifest(descriptor), depth + 1)
            else:
                self.blobs.setdefault(descriptor.digest, (descriptor, "blob"))
        for number, blob in enumerate(manifest.parsed.blobs):
            if not blob.foreign:
                self.blobs.setdefault(blob.digest, (blob, "layer" if number else "config"))
        self.manifests[manifest.digest] = manifest


async def transfer(
    source: ImageSource,
    target: ImageTarget,
    observer: Observer,
    *,
    parallel: int,
    referrers: bool,
) -> ManifestContent:
    """Move an image, `parallel` blobs at once, and return its manifest; raises TransferError.

    With `referrers` what refers to any of its manifests comes too.
    """
    root = await source.root()
    target.accept(root)
    plan = _Plan()
    await plan.add(source, root)
    if referrers:
        await _add_referrers(source, plan)
    await _put_blobs(source, target, plan, observer, parallel)
    for manifest in plan.manifests.values():
        await target.put_manifest(manifest, root=manifest.digest == root.digest)
    await target.finish(root)
    return root


async def _add_referrers(source: ImageSource, plan: _Plan) -> None:
    """Add what refers to the plan's manifests, and what refers to that."""
    seen: set[Digest] = set()
    while waiting := [digest for digest in plan.manifests if digest not in seen]:
        for digest in waiting:
            seen.add(digest)
            for descriptor in await source.referrers(digest):
                await plan.add(source, await source.manifest(descriptor))


async def _put_blobs(
    source: ImageSource, target: ImageTarget, plan: _Plan, observer: Observer, parallel: int
) -> None:
    free = asyncio.Semaphore(parallel)

    async def put(blob: Descriptor, kind: str) -> None:
        async with free:
            progress = observer.begin(blob, kind)
            outcome = await target.put_blob(blob, source.blob(blob), progress)
            observer.end(blob, outcome)

    try:
        async with asyncio.TaskGroup() as tasks:
            # The largest first: what is left at the end is short.
            for blob, kind in sorted(plan.blobs.values(), key=lambda each: -each[0].size):
                tasks.create_task(put(blob, kind), name=short(blob.digest))
    except ExceptionGroup as failed:
        # What ends one ends all: the first is the cause.
        raise failed.exceptions[0] from None
