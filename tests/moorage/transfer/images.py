"""Images for tests, in the forms in which people have them."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chalicelib.descriptor import MediaType
from chalicelib.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
TAG = "org.opencontainers.image.ref.name"


def noise(size: int, seed: int = 1) -> bytes:
    """Return bytes that don't compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - no secret


@dataclass
class Content:
    """Blobs and manifests by digest, and the entries of a layout's index."""

    stored: dict[str, bytes] = field(default_factory=dict)
    entries: list[dict[str, Any]] = field(default_factory=list)

    def add(self, media_type: str, body: bytes, **more: object) -> dict[str, Any]:
        """Store bytes and return their descriptor."""
        digest = str(Digest.of(body))
        self.stored[digest] = body
        return {"mediaType": media_type, "digest": digest, "size": len(body), **more}

    def image(self, *layers: bytes, architecture: str = "amd64", **more: object) -> dict[str, Any]:
        """Store an image and return its manifest's descriptor."""
        config = {
            "architecture": architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(each)) for each in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MediaType.OCI_MANIFEST,
            "config": self.add(CONFIG_TYPE, json.dumps(config).encode()),
            "layers": [self.add(LAYER_TYPE, each) for each in layers],
            **more,
        }
        return self.manifest(MediaType.OCI_MANIFEST, manifest)

    def manifest(self, media_type: str, content: Mapping[str, object]) -> dict[str, Any]:
        """Store a manifest, spaced in a way that nobody would write again."""
        body = json.dumps(content, indent=3).encode() + b"\n\n"
        return self.add(media_type, body)

    def index(self, *entries: Mapping[str, Any]) -> dict[str, Any]:
        """Store an index and return its descriptor."""
        content = {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": entries}
        return self.manifest(MediaType.OCI_INDEX, content)

    def tag(self, entry: Mapping[str, Any], name: str | None = None) -> None:
        """List a manifest in the layout, under a tag if one is given."""
        self.entries.append({**entry, **({"annotations": {TAG: name}} if name else {})})

    def files(self) -> dict[str, bytes]:
        """Return the layout's files."""
        index = {"schemaVersion": 2, "manifests": self.entries}
        return {
            "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
            "index.json": json.dumps(index).encode(),
            **{f"blobs/{key.replace(':', '/')}": body for key, body in self.stored.items()},
        }

    def folder(self, path: Path) -> Path:
        """Write the layout."""
        for name, body in self.files().items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(body)
        return path


def packed(files: Mapping[str, bytes], links: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return a tar archive of files and links: symbolic ones, and hard ones to whole names."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
        for name, leads_to in links:
            member = tarfile.TarInfo(name)
            symbolic = leads_to.startswith("../")
            member.type = tarfile.SYMTYPE if symbolic else tarfile.LNKTYPE
            member.linkname = leads_to
            archive.addfile(member)
    return target.getvalue()


def saved(
    *layers: bytes, tag: str = "team/app:1", old: bool = True, zipped: bool = False, up: str = "../"
) -> bytes:
    """Return what `docker save` writes of an image: its old layout, with links, or the new one.

    Without `up` the links are hard ones.
    """
    content = Content()
    content.image(*layers)
    config = next(body for body in content.stored.values() if b"rootfs" in body)
    kept = [gzip.compress(each, mtime=0) if zipped else each for each in layers]
    if old:
        names = [f"{number:064x}/layer.tar" for number in range(len(layers))]
        config_name = f"{Digest.of(config).hex}.json"
    else:
        names = [f"blobs/sha256/{Digest.of(each).hex}" for each in kept]
        config_name = f"blobs/sha256/{Digest.of(config).hex}"
    files, links = {config_name: config}, []
    for number, (name, layer) in enumerate(zip(names, kept, strict=True)):
        if old and layer in kept[:number]:
            links.append((name, f"{up}{names[kept.index(layer)]}"))
        else:
            files[name] = layer
    image = {"Config": config_name, "RepoTags": [tag], "Layers": names}
    files["manifest.json"] = json.dumps([image]).encode()
    return packed(files, links)
