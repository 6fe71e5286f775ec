"""An image as `docker save` writes it, in a file, a stream, or straight from a daemon.

Such an archive has no registry manifest, so this module makes one, with the same bytes each time.
Layers stay as they are, in most archives uncompressed, unless the user wants them compressed.
Source: moby, image/tarexport; OCI image spec, manifest.md.
"""

import asyncio
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import aiohttp

from chalicelib.descriptor import Descriptor, MediaType
from chalicelib.digest import Algorithm, Digest, InvalidDigestError
from chalicelib.limits import MIB
from moorage.common.http import clean, read_json
from moorage.transfer.content import (
    FileSlice,
    ManifestContent,
    TransferError,
    in_background,
)
from moorage.transfer.files import (
    TarFiles,
    blocks,
    compression_of,
    new_spool,
    open_archive,
    read_small,
    spooling,
)
from moorage.transfer.places import STANDARD_INPUT, LocalPlace

_MANIFEST = "manifest.json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
# gzip's header without a time and a name, so that the same layer is the same blob.
_GZIP_WINDOW = 31
_LEVEL = 6
_COPIED = 4 * MIB


@dataclass(frozen=True, slots=True)
class _SavedImage:
    config: str
    tags: Sequence[str]
    layers: Sequence[str]


class DockerArchiveSource:
    """An image of an archive that `docker save` has written; see ImageSource."""

    def __init__(self, files: TarFiles, where: str, image: str | None, *, compress: bool) -> None:
        self._files = files
        self._where = where
        self._image = image
        self._compress = compress
        self._blobs: dict[Digest, FileSlice] = {}
        self._free = asyncio.Semaphore(os.cpu_count() or 1)

    async def root(self) -> ManifestContent:
        """See ImageSource."""
        image = self._chosen()
        config = read_small(self._files, image.config, self._where)
        expected = self._diff_ids(config)
        if len(expected) != len(image.layers):
            raise TransferError(
                f"{self._where} has {len(image.layers)} layers where the image's configuration"
                f" names {len(expected)}: save it again"
            )
        made = [
            self._layer(name, diff_id) for name, diff_id in zip(image.layers, expected, strict=True)
        ]
        layers = await asyncio.gather(*made)
        digest = Digest.of(config)
        found = self._files.find(image.config)
        assert found is not None  # noqa: S101 - it was read
        self._blobs[digest] = found
        body = _manifest(Descriptor(_CONFIG_TYPE, digest, len(config)), layers)
        return ManifestContent(MediaType.OCI_MANIFEST, body, Digest.of(body))

    async def manifest(self, descriptor: Descriptor) -> ManifestContent:
        """See ImageSource: the image is no index."""
        raise TransferError(f"{self._where} has no manifest {descriptor.digest}")

    def blob(self, descriptor: Descriptor) -> FileSlice:
        """See ImageSource."""
        return self._blobs[descriptor.digest]

    async def referrers(self, digest: Digest) -> list[Descriptor]:
        """See ImageSource: such an archive has none."""
        del digest
        return []

    async def _layer(self, name: str, diff_id: Digest) -> Descriptor:
        found = self._files.find(name)
        if found is None:
            raise TransferError(f"{self._where} lacks the layer {name}: save the image again")
        kind = compression_of(found)
        layer, digest = found, diff_id
        if kind or self._compress:
            async with self._free:
                layer, digest = await in_background(_hashed if kind else _compressed, found)
            kind = kind or "gzip"
        self._blobs[digest] = layer
        return Descriptor(f"{_LAYER_TYPE}+{kind}" if kind else _LAYER_TYPE, digest, layer.size)

    def _diff_ids(self, config: bytes) -> list[Digest]:
        try:
            # An image without layers has none, not even an empty list.
            named = read_json(config)["rootfs"].get("diff_ids") or []
            return [Digest.parse(each) for each in named]
        except (ValueError, KeyError, TypeError, AttributeError, InvalidDigestError):
            raise TransferError(f"{self._where}: the image's configuration can't be read") from None

    def _chosen(self) -> _SavedImage:
        body = read_small(self._files, _MANIFEST, self._where)
        try:
            images = [
                _SavedImage(
                    str(each["Config"]),
                    [str(tag) for tag in each.get("RepoTags") or []],
                    [str(name) for name in each["Layers"] or []],
                )
                for each in read_json(body)
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise TransferError(f"{self._where}: {_MANIFEST} can't be read") from None
        wanted = self._image
        found = [each for each in images if wanted is None or _is_named(each, wanted)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(tag for each in images for tag in each.tags) or "none"
        problem = f"has no image {wanted!r}" if wanted else f"has {len(images)} images: name one"
        raise TransferError(f"{self._where} {problem}; its images are: {known}")


def _is_named(image: _SavedImage, wanted: str) -> bool:
    """Whether an image has a tag: podman writes `localhost/` before it, docker less than all."""
    short = wanted.removeprefix("docker.io/").removeprefix("library/")
    return any(tag in {wanted, short} or tag.endswith(f"/{wanted}") for tag in image.tags)


def _hashed(layer: FileSlice) -> tuple[FileSlice, Digest]:
    hasher = hashlib.sha256()
    for block in blocks(layer):
        hasher.update(block)
    return layer, Digest(Algorithm.SHA256, hasher.hexdigest())


def _compressed(layer: FileSlice) -> tuple[FileSlice, Digest]:
    """Compress a layer into a temporary file."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    hasher, spool = hashlib.sha256(), new_spool()

    def write(data: bytes) -> None:
        hasher.update(data)
        spool.write(data)

    with spooling():
        for block in blocks(layer):
            write(packer.compress(block))
        write(packer.flush())
        spool.flush()
    size = spool.tell()
    return FileSlice(spool, 0, size), Digest(Algorithm.SHA256, hasher.hexdigest())


def _manifest(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    def written(each: Descriptor) -> Mapping[str, object]:
        return {"mediaType": each.media_type, "digest": str(each.digest), "size": each.size}

    content = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST.value,
        "config": written(config),
        "layers": [written(each) for each in layers],
    }
    return json.dumps(content, separators=(",", ":")).encode()


def archive_source(place: LocalPlace, compress: bool) -> DockerArchiveSource:  # noqa: FBT001 - called in a thread
    """Open an archive; `-` is standard input. Raises TransferError."""
    if place.path != STANDARD_INPUT and Path(place.path).is_dir():
        raise TransferError(f"{place.path} is a folder: push it as oci:{place.path}")
    files = open_archive(place.path)
    return DockerArchiveSource(files, str(place), place.image, compress=compress)


async def daemon_source(
    place: LocalPlace, fetched: Callable[[int], None], *, compress: bool
) -> DockerArchiveSource:
    """Have a daemon write an image into a temporary file, and open it; raises TransferError.

    `fetched` hears how many bytes have come so far.
    """
    socket = _socket()
    connector = aiohttp.UnixConnector(str(socket))
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    spool = new_spool()
    url = f"http://daemon/images/{quote(place.path, safe='/:@')}/get"
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(url) as answer,
        ):
            if answer.status != 200:  # noqa: PLR2004 - OK
                raise _refusal(socket, place, answer.status, await answer.read())
            size = 0
            async for piece in answer.content.iter_chunked(_COPIED):
                with spooling():
                    await asyncio.to_thread(spool.write, piece)
                size += len(piece)
                fetched(size)
    except (aiohttp.ClientError, OSError) as error:
        raise TransferError(f"the daemon at {socket} can't be asked: {error}") from None
    with spooling():
        spool.seek(0)
    where = str(place)
    return DockerArchiveSource(TarFiles(spool, where), where, None, compress=compress)


def _refusal(socket: Path, place: LocalPlace, status: int, body: bytes) -> TransferError:
    try:
        said = clean(str(read_json(body)["message"]), 300)
    except (ValueError, KeyError, TypeError):
        said = f"status {status}"
    return TransferError(f"the daemon at {socket} does not give {place.path}: {said}")


def _socket() -> Path:
    """Return the socket of docker or podman; raises TransferError."""
    for name in ("DOCKER_HOST", "CONTAINER_HOST"):
        address = os.environ.get(name)
        if address:
            parts = urlsplit(address)
            if parts.scheme != "unix":
                raise TransferError(f"${name} is no unix:// socket: pipe `docker save` into -")
            return Path(parts.path)
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    known = (
        Path("/var/run/docker.sock"),
        Path(runtime, "docker.sock"),
        Path(runtime, "podman", "podman.sock"),
        Path("/run/podman/podman.sock"),
    )
    found = next((path for path in known if path.is_socket()), None)
    if found is None:
        raise TransferError(
            "there is no socket of docker's or podman's: start the daemon (`systemctl --user start"
            " podman.socket`), or set DOCKER_HOST"
        )
    return found
