"""Writes OCI image layouts: layers that are real tars, configs with true diff_ids, indexes.

It writes to disk only, streams whatever is large, and never talks to a registry.
Source: the OCI image specification (image-layout, manifest, config, image-index).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import shutil
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

TAG = "v1"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = f"{LAYER_TAR}+gzip"
REF_NAME = "org.opencontainers.image.ref.name"
BUFFER = 1 << 20

Json = dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """A layer in a layout: its descriptor, and the digest of its uncompressed tar."""

    descriptor: Json
    diff_id: str


class Digesting(io.RawIOBase):
    """A file to write to that passes bytes on and keeps their SHA-256 and number."""

    def __init__(self, target: IO[bytes] | gzip.GzipFile | None = None) -> None:
        """Pass bytes on to ``target``; with None only hash them."""
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        """Say yes to whoever asks before writing."""
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  any buffer, as io.RawIOBase has it
        """Hash and pass on one buffer."""
        self._hash.update(data)
        if self._target is not None:
            self._target.write(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> str:
        """Digest of everything written so far."""
        return f"sha256:{self._hash.hexdigest()}"


def blob_path(layout: Path, digest: str) -> Path:
    """Where a layout keeps the blob of a digest."""
    algorithm, _, encoded = digest.partition(":")
    return layout / "blobs" / algorithm / encoded


def write_blob(layout: Path, media_type: str, pieces: Iterable[bytes]) -> Json:
    """Store bytes as a blob and return its descriptor."""
    folder = layout / "blobs" / "sha256"
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / "incoming"
    with staged.open("wb") as file:
        sink = Digesting(file)
        for piece in pieces:
            sink.write(piece)
    return _settle(layout, staged, media_type, sink)


def write_json(layout: Path, media_type: str, document: Json) -> Json:
    """Store a document as a blob and return its descriptor."""
    return write_blob(layout, media_type, [json.dumps(document, sort_keys=True).encode()])


def write_layer(layout: Path, fill: Callable[[tarfile.TarFile], None], *, compress: bool) -> Layer:
    """Store the tar that ``fill`` makes as a layer, gzipped when ``compress`` is set."""
    folder = layout / "blobs" / "sha256"
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / "incoming"
    with staged.open("wb") as file:
        stored = Digesting(file)
        if compress:
            # No name and no time in the gzip header: the same tar gives the same blob.
            with gzip.GzipFile("", "wb", 6, stored, mtime=0) as packed:
                diff_id = _write_tar(Digesting(packed), fill)
        else:
            diff_id = _write_tar(stored, fill)
    media_type = LAYER_GZIP if compress else LAYER_TAR
    return Layer(_settle(layout, staged, media_type, stored), diff_id)


def write_manifest(layout: Path, layers: Sequence[Layer], architecture: str = "amd64") -> Json:
    """Store a config and a manifest over layers; the descriptor returned names its platform."""
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": "2025-01-01T00:00:00Z",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created_by": "moorage tests"} for _ in layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": write_json(layout, CONFIG, config),
        "layers": [layer.descriptor for layer in layers],
    }
    platform = {"architecture": architecture, "os": "linux"}
    return {**write_json(layout, MANIFEST, manifest), "platform": platform}


def write_index(layout: Path, manifests: Sequence[Json]) -> Json:
    """Store an image index over manifests and return its descriptor."""
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests)}
    return write_json(layout, INDEX, document)


def finish_layout(layout: Path, root: Json) -> Path:
    """Write ``oci-layout`` and ``index.json`` naming ``root`` by the tag; returns the layout."""
    named = {**root, "annotations": {REF_NAME: TAG}}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_text(json.dumps(index))
    return layout


def add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add one plain file, owned by root, with a fixed time."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(content))


def stamp(source: Path, target: Path, nonce: str) -> Path:
    """Copy a layout into ``target`` with every layer made unlike any other by ``nonce``.

    A registry shares equal blobs between repositories, so a client that pushes what another has
    pushed would leave most of the upload's path untested. One small file goes before each layer's
    tar; a gzipped layer gets it as a member of its own, which RFC 1952 allows.
    """
    root = root_of(source)
    return finish_layout(target, _stamp_descriptor(source, target, root, nonce))


def write_docker_archive(layout: Path, archive: Path, name: str) -> Path:
    """Write a layout's only image as the archive that ``docker load`` takes, named ``name``."""
    manifest = read_json(layout, root_of(layout))
    blobs = [manifest["config"], *manifest["layers"]]
    names = [blob["digest"].partition(":")[2] for blob in blobs]
    paths = [f"{names[0]}.json", *(f"{name}.tar" for name in names[1:])]
    listing = [{"Config": paths[0], "RepoTags": [name], "Layers": paths[1:]}]
    with tarfile.open(archive, "w") as tar:
        for blob, path in zip(blobs, paths, strict=True):
            tar.add(blob_path(layout, blob["digest"]), path)
        add_file(tar, "manifest.json", json.dumps(listing).encode())
    return archive


def root_of(layout: Path) -> Json:
    """Descriptor of the one image or index that a layout names."""
    root: Json = json.loads((layout / "index.json").read_text())["manifests"][0]
    return root


def read_json(layout: Path, descriptor: Json) -> Json:
    """Document behind a descriptor, unverified: for layouts that this module wrote."""
    document: Json = json.loads(blob_path(layout, descriptor["digest"]).read_bytes())
    return document


def _stamp_descriptor(source: Path, target: Path, descriptor: Json, nonce: str) -> Json:
    document = read_json(source, descriptor)
    if "manifests" in document:
        stamped = [_stamp_descriptor(source, target, m, nonce) for m in document["manifests"]]
        document["manifests"] = stamped
    else:
        layers = [_stamp_layer(source, target, layer, nonce) for layer in document["layers"]]
        config = read_json(source, document["config"])
        config["rootfs"]["diff_ids"] = [layer.diff_id for layer in layers]
        document["config"] = write_json(target, CONFIG, config)
        document["layers"] = [layer.descriptor for layer in layers]
    return {**descriptor, **write_json(target, descriptor["mediaType"], document)}


def _stamp_layer(source: Path, target: Path, descriptor: Json, nonce: str) -> Layer:
    member = tarfile.TarInfo("moorage-nonce")
    content = f"{nonce} {descriptor['digest']}".encode()
    member.size = len(content)
    padding = -len(content) % tarfile.BLOCKSIZE
    prefix = member.tobuf(tarfile.GNU_FORMAT) + content + bytes(padding)
    original = blob_path(source, descriptor["digest"])
    uncompressed = Digesting()
    uncompressed.write(prefix)
    packed = descriptor["mediaType"] == LAYER_GZIP
    with gzip.open(original) if packed else original.open("rb") as tar:
        shutil.copyfileobj(tar, uncompressed, BUFFER)
    head = gzip.compress(prefix, mtime=0) if packed else prefix
    with original.open("rb") as file:
        pieces = iter(lambda: file.read(BUFFER), b"")
        stored = write_blob(target, descriptor["mediaType"], itertools.chain([head], pieces))
    return Layer(stored, uncompressed.digest)


def _write_tar(target: Digesting, fill: Callable[[tarfile.TarFile], None]) -> str:
    # Stream mode: nothing is sought, so hashing while writing sees the final bytes.
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        fill(tar)
    return target.digest


def _settle(layout: Path, staged: Path, media_type: str, sink: Digesting) -> Json:
    staged.rename(blob_path(layout, sink.digest))
    return {"mediaType": media_type, "digest": sink.digest, "size": sink.size}
