"""Reads what a client pulled and verifies it: every digest is computed anew, every size compared.

It trusts no file name and no client's word; whatever doesn't add up raises CorruptError. What a
registry holds is read with GET alone, manifest by manifest, and the bytes that come are counted: no
length that a registry tells is believed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING
from urllib.request import ProxyHandler, build_opener

from tests.clients.images import BUFFER, REF_NAME, Digesting, Json, blob_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    # From a digest to the file that should hold its bytes.
    _FindBlob = Callable[[str], Path]
    # From "manifests" or "blobs", and a tag or digest, to the bytes that a registry gives.
    Fetch = Callable[[str, str], bytes]

_GZIP_MAGIC = b"\x1f\x8b"
_TIMEOUT = 60
# No proxy of the machine's may stand between: the registry is on loopback.
_open = build_opener(ProxyHandler({})).open


class CorruptError(AssertionError):
    """Bytes that aren't what their descriptor or config says."""


@dataclass(frozen=True)
class Image:
    """One image: digests of its manifest, config, stored layers and uncompressed layers."""

    manifest: str
    config: str
    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """Everything that was pulled: the digest asked for, and its images in order.

    ``root`` is the manifest's digest, or the index's where there is one, and empty where a client
    keeps neither (docker's archive).
    """

    root: str
    images: tuple[Image, ...]

    def unpacked(self) -> frozenset[tuple[str, tuple[str, ...]]]:
        """What survives a client that compresses layers anew: configs and uncompressed layers."""
        return frozenset((image.config, image.diff_ids) for image in self.images)


def read_layout(layout: Path) -> Contents:
    """Verify and describe the one image or index in an OCI layout."""
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    # oras also lists the manifests inside an index; only what was asked for has the name.
    named = [entry for entry in entries if REF_NAME in entry.get("annotations", {})] or entries
    if len(named) != 1:
        raise CorruptError(f"{layout} names {len(named)} images, expected one")
    return _read(lambda digest: blob_path(layout, digest), named[0])


def read_directory(folder: Path) -> Contents:
    """Verify and describe a folder in the form that skopeo and podman call ``dir:``."""
    content = (folder / "manifest.json").read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    hexadecimal = digest.partition(":")[2]

    def find(wanted: str) -> Path:
        name = wanted.partition(":")[2]
        return folder / ("manifest.json" if name == hexadecimal else name)

    return _read(find, {"digest": digest, "size": len(content)})


def read_docker_archive(archive: Path) -> Contents:
    """Verify and describe the one image in an archive made by ``docker save``."""
    with tarfile.open(archive) as tar:
        (entry,) = json.load(_member(tar, "manifest.json"))
        config = _member(tar, entry["Config"]).read()
        diff_ids = tuple(_uncompressed(_member(tar, name)) for name in entry["Layers"])
    _same_diff_ids(json.loads(config), diff_ids)
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    return Contents("", (Image("", digest, diff_ids, diff_ids),))


def _read(find: _FindBlob, root: Json) -> Contents:
    document = _document(find, root)
    if "manifests" not in document:
        return Contents(root["digest"], (_image(find, root["digest"], document),))
    entries: Iterable[Json] = document["manifests"]
    found = tuple(_image(find, entry["digest"], _document(find, entry)) for entry in entries)
    return Contents(root["digest"], found)


def _image(find: _FindBlob, digest: str, manifest: Json) -> Image:
    config = _document(find, manifest["config"])
    diff_ids = []
    for layer in manifest["layers"]:
        path = find(layer["digest"])
        _check(path, layer)
        with path.open("rb") as file:
            diff_ids.append(_uncompressed(file))
    _same_diff_ids(config, tuple(diff_ids))
    layers = tuple(layer["digest"] for layer in manifest["layers"])
    return Image(digest, manifest["config"]["digest"], layers, tuple(diff_ids))


def _document(find: _FindBlob, descriptor: Json) -> Json:
    path = find(descriptor["digest"])
    _check(path, descriptor)
    document: Json = json.loads(path.read_bytes())
    return document


def _check(path: Path, descriptor: Json) -> None:
    """Raise unless a file has exactly the bytes that a descriptor names."""
    wanted = descriptor["digest"]
    if not path.exists():
        raise CorruptError(f"{wanted} was not pulled: {path} is missing")
    sink = Digesting()
    with path.open("rb") as file:
        shutil.copyfileobj(file, sink, BUFFER)
    if (sink.digest, sink.size) != (wanted, descriptor["size"]):
        raise CorruptError(
            f"{path}: {sink.digest} of {sink.size} bytes, "
            f"but its descriptor says {wanted} of {descriptor['size']}"
        )


def _uncompressed(file: IO[bytes]) -> str:
    """Digest of a layer's tar, whether or not it is stored gzipped."""
    sink = Digesting()
    packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    file.seek(0)
    if packed:
        with gzip.open(file) as unpacked:
            shutil.copyfileobj(unpacked, sink, BUFFER)
    else:
        shutil.copyfileobj(file, sink, BUFFER)
    return sink.digest


def _same_diff_ids(config: Json, diff_ids: tuple[str, ...]) -> None:
    promised = tuple(config["rootfs"]["diff_ids"])
    if promised != diff_ids:
        raise CorruptError(f"layers unpack to {diff_ids}, but the config says {promised}")


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    file = tar.extractfile(name)
    if file is None:
        raise CorruptError(f"{name} in {tar.name!r} is not a file")
    return file


@dataclass(frozen=True)
class Described:
    """A descriptor in a stored manifest: the size that it says, and that of what it names."""

    digest: str
    said: object
    true: int


def over_http(registry: str, repository: str) -> Fetch:
    """Fetch from a repository of the registry at a URL, following redirects."""

    def fetch(kind: str, reference: str) -> bytes:
        # Go's clients accept every type of manifest, and so does this.
        with _open(f"{registry}/v2/{repository}/{kind}/{reference}", timeout=_TIMEOUT) as answer:
            content: bytes = answer.read()
        return content

    return fetch


def described(fetch: Fetch, reference: str) -> list[Described]:
    """Measure everything below a manifest: its children, config, layers and subject.

    Raises CorruptError when a registry gives other bytes than a digest names.
    """
    return list(_below(fetch, json.loads(fetch("manifests", reference))))


def untrue(found: list[Described]) -> list[Described]:
    """Descriptors that say no size, a size of 0, or another size than their content has."""
    return [each for each in found if each.said != each.true or not each.true]


def _below(fetch: Fetch, document: Json) -> Iterator[Described]:
    blobs = [*([document["config"]] if "config" in document else []), *document.get("layers", [])]
    for blob in blobs:
        yield _measured(blob, _content(fetch, "blobs", blob))
    subject = [document["subject"]] if "subject" in document else []
    for manifest in [*document.get("manifests", []), *subject]:
        content = _content(fetch, "manifests", manifest)
        yield _measured(manifest, content)
        yield from _below(fetch, json.loads(content))


def _measured(descriptor: Json, content: bytes) -> Described:
    return Described(descriptor["digest"], descriptor.get("size"), len(content))


def _content(fetch: Fetch, kind: str, descriptor: Json) -> bytes:
    content = fetch(kind, descriptor["digest"])
    found = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if found != descriptor["digest"]:
        raise CorruptError(f"asked for {descriptor['digest']}, the registry gave {found}")
    return content
