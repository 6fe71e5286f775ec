"""`moorage push`, `pull` and `copy`: from options to a source, a target and a display.

The result, the image by its digest, goes to stdout. The command that pulls it goes to stderr.
"""

import asyncio
import functools
import platform
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from chalicelib.errors import RegistryError
from chalicelib.reference import parse_name
from moorage.common.errors import UsageError
from moorage.common.memory import return_large_buffers
from moorage.common.sizes import size_text
from moorage.transfer.client import RegistryClient
from moorage.transfer.content import (
    PIECE,
    ImageSource,
    ImageTarget,
    ManifestContent,
    in_background,
)
from moorage.transfer.direct_sender import DirectSender
from moorage.transfer.docker_source import archive_source, daemon_source
from moorage.transfer.engine import transfer
from moorage.transfer.kept_sessions import forget_old_sessions
from moorage.transfer.known_blobs import KnownBlobs
from moorage.transfer.layout_source import LayoutSource
from moorage.transfer.layout_target import local_target
from moorage.transfer.places import (
    DESTINATIONS,
    SOURCES,
    STANDARD_INPUT,
    LocalPlace,
    RegistryPlace,
    local_place,
    registry_place,
    tag_of,
)
from moorage.transfer.progress import Quiet, display, show_event
from moorage.transfer.registry_source import RegistrySource
from moorage.transfer.registry_target import RegistryTarget
from moorage.transfer.uploads import ChunkSender

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """What the three commands share; sizes in bytes, times in seconds."""

    quiet: bool = False
    as_json: bool = False
    plain_http: bool = False
    referrers: bool = False
    parallel: int = 4
    patience_seconds: float = 90.0
    chunk_size: int = PIECE
    repair: bool = False


@dataclass(frozen=True, slots=True)
class _Finished:
    """How a transfer ended; `where` is the image, `pull` the line that fetches it."""

    root: ManifestContent
    where: str
    pull: str


def push(
    source: str,
    destination: str,
    options: TransferOptions,
    *,
    compress: bool = False,
    mount_from: Sequence[str] = (),
) -> None:
    """Push an image of this machine; raises CommandError."""
    here = local_place(source, SOURCES)
    there = registry_place(destination, plain_http=options.plain_http)
    if compress and here.kind not in {"docker-archive", "docker-daemon"}:
        raise UsageError("--compress is for docker-archive: and docker-daemon: images")
    for name in mount_from:
        _require_name(name)

    async def run(stack: AsyncExitStack, shown: Quiet) -> _Finished:
        client = await _open(stack, there, options, "pull,push", mount_from)
        opened = await _source(here, shown, compress=compress)
        target = _registry_target(client, options, mount_from)
        return await _into_registry(opened, target, there, shown, options)

    _run(run, options)


def pull(source: str, destination: str, options: TransferOptions, *, wanted: str = "") -> None:
    """Pull an image to this machine; `wanted` is a platform. Raises CommandError."""
    there = registry_place(source, plain_http=options.plain_http)
    here = local_place(destination, DESTINATIONS)
    if here.path in {STANDARD_INPUT, "/dev/stdout"} or here.path.startswith("/dev/fd/"):
        raise UsageError(
            "an image is not pulled to standard output, because it appears only when all of it is"
            " there: name a file or a folder, and then, for one, `docker load -i FILE`"
        )
    of_docker = here.kind == "docker-archive"
    if of_docker and options.referrers:
        raise UsageError("a docker archive has no place for --referrers: pull to oci:")
    chosen = wanted or (_own_platform() if of_docker else None)

    async def run(stack: AsyncExitStack, shown: Quiet) -> _Finished:
        target = local_target(here, str(there), tag_of(there))
        client = await _open(stack, there, options, "pull")
        root = await transfer(
            RegistrySource(client, chosen),
            target,
            shown,
            parallel=options.parallel,
            referrers=options.referrers,
        )
        return _Finished(root, str(here), _loads(here))

    _run(run, options)


def copy(
    source: str,
    destination: str,
    options: TransferOptions,
    *,
    mount_from: Sequence[str] = (),
) -> None:
    """Copy an image between registries, or within one; raises CommandError."""
    origin = registry_place(source, plain_http=options.plain_http)
    there = registry_place(destination, plain_http=options.plain_http)
    for name in mount_from:
        _require_name(name)
    if origin.origin == there.origin:
        mount_from = [origin.name, *mount_from]

    async def run(stack: AsyncExitStack, shown: Quiet) -> _Finished:
        from_client = await _open(stack, origin, options, "pull")
        client = await _open(stack, there, options, "pull,push", mount_from)
        target = _registry_target(client, options, mount_from)
        return await _into_registry(RegistrySource(from_client), target, there, shown, options)

    _run(run, options)


def _run(
    act: Callable[[AsyncExitStack, Quiet], Awaitable[_Finished]], options: TransferOptions
) -> None:
    return_large_buffers()
    shown = display(quiet=options.quiet, as_json=options.as_json)

    async def run() -> _Finished:
        async with AsyncExitStack() as stack:
            stack.enter_context(shown)
            return await act(stack, shown)

    done = asyncio.run(run())
    digest = str(done.root.digest)
    if options.as_json:
        moved = {"bytes": shown.moved_bytes, "kept": shown.kept_bytes}
        result = {"digest": digest, "image": done.where, "pull": done.pull}
        show_event({"event": "done", **result, **moved})
        return
    sys.stdout.write(f"{digest}\n")
    if not options.quiet:
        kept = f"; {size_text(shown.kept_bytes)} were kept" if shown.kept_bytes else ""
        sys.stderr.write(f"{done.where}: {size_text(shown.moved_bytes)} moved{kept}\n{done.pull}\n")


async def _open(
    stack: AsyncExitStack,
    place: RegistryPlace,
    options: TransferOptions,
    actions: str,
    mount_from: Sequence[str] = (),
) -> RegistryClient:
    scopes = [f"repository:{place.name}:{actions}"]
    scopes += [f"repository:{name}:pull" for name in mount_from if name != place.name]
    client = RegistryClient(place, scopes, options.patience_seconds, plain_http=options.plain_http)
    stack.push_async_callback(client.close)
    await client.open()
    return client


async def _source(place: LocalPlace, shown: Quiet, *, compress: bool) -> ImageSource:
    if place.kind == "docker-daemon":
        fetched = functools.partial(shown.fetched, place.path)
        return await daemon_source(place, fetched, compress=compress)
    if place.kind == "docker-archive":
        return await in_background(archive_source, place, compress)
    return await in_background(LayoutSource, place)


def _registry_target(
    client: RegistryClient, options: TransferOptions, mount_from: Sequence[str]
) -> RegistryTarget:
    forget_old_sessions()
    patience = options.patience_seconds
    chunks = ChunkSender(client, options.chunk_size, patience)
    sender = DirectSender(client, chunks, options.chunk_size, patience)
    # What is to be repaired may be lost wherever it was.
    known = None if options.repair else KnownBlobs(client.place.origin)
    return RegistryTarget(client, sender, mount_from, known=known, repair=options.repair)


async def _into_registry(
    source: ImageSource,
    target: ImageTarget,
    place: RegistryPlace,
    shown: Quiet,
    options: TransferOptions,
) -> _Finished:
    root = await transfer(
        source, target, shown, parallel=options.parallel, referrers=options.referrers
    )
    pinned = f"{place.repository}@{root.digest}"
    return _Finished(root, str(place), f"docker pull {pinned}")


def _loads(place: LocalPlace) -> str:
    """Return the line that has a client read what was pulled."""
    if place.kind == "docker-archive":
        return f"docker load --input {place.path}"
    return f"skopeo inspect --raw {place}"


def _own_platform() -> str:
    machine = platform.machine()
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"


def _require_name(name: str) -> None:
    try:
        parse_name(name)
    except RegistryError as error:
        raise UsageError(f"--mount-from: {error}") from None
