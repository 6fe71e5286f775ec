"""The client tests' own parts: images are valid, damage and wrong sizes are noticed, taps count.

These need no client program and run with every other test.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.clients.contents import (
    CorruptError,
    described,
    read_directory,
    read_docker_archive,
    read_layout,
    untrue,
)
from tests.clients.images import (
    add_file,
    blob_path,
    finish_layout,
    read_json,
    root_of,
    stamp,
    write_docker_archive,
    write_index,
    write_layer,
    write_manifest,
)
from tests.clients.tap import tap
from tests.support.servers import Recorder, request, run_gateway

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.clients.images import Json


def small_layout(target: Path, *, compress: bool) -> Path:
    """Write an index of two images of one layer each."""
    target.mkdir()
    manifests = []
    for architecture in ("amd64", "arm64"):
        content = architecture.encode() * 1000
        layer = write_layer(target, lambda tar: add_file(tar, "a", content), compress=compress)  # noqa: B023  called within this turn of the loop
        manifests.append(write_manifest(target, [layer], architecture))
    return finish_layout(target, write_index(target, manifests))


def first_layer(layout: Path) -> Path:
    """Path of the first image's layer."""
    manifest = read_json(layout, read_json(layout, root_of(layout))["manifests"][0])
    return blob_path(layout, manifest["layers"][0]["digest"])


def flip_a_bit(path: Path) -> None:
    """Change one bit and no length."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("compress", [False, True])
def test_the_same_recipe_gives_the_same_image(tmp_path: Path, *, compress: bool) -> None:
    """Two layouts from one recipe have the same digests throughout."""
    one = read_layout(small_layout(tmp_path / "one", compress=compress))
    two = read_layout(small_layout(tmp_path / "two", compress=compress))
    assert one == two


@pytest.mark.parametrize("compress", [False, True])
def test_a_stamped_layer_is_new_and_still_a_valid_tar(tmp_path: Path, *, compress: bool) -> None:
    """Stamping changes every digest, and the stamped tar holds one more file before the others."""
    plain = small_layout(tmp_path / "plain", compress=compress)
    stamped = stamp(plain, tmp_path / "stamped", "nonce")

    before, after = read_layout(plain), read_layout(stamped)
    assert not before.unpacked() & after.unpacked()
    assert before.root != after.root
    with tarfile.open(first_layer(stamped)) as tar:
        assert tar.getnames() == ["moorage-nonce", "a"]


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit is flipped": flip_a_bit,
    "the end is cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "the file is empty": lambda path: path.write_bytes(b""),
    "the file is missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_layer_is_noticed(damage: str, tmp_path: Path) -> None:
    """Reading a layout fails if a layer's bytes do not match its descriptor."""
    layout = small_layout(tmp_path / "layout", compress=True)
    DAMAGE[damage](first_layer(layout))
    with pytest.raises(CorruptError):
        read_layout(layout)


def test_a_layer_unlike_its_diff_id_is_noticed(tmp_path: Path) -> None:
    """Reading fails when a layer matches its descriptor but not the config's diff_id."""
    layer = write_layer(tmp_path, lambda tar: add_file(tar, "a", b"right"), compress=False)
    other = write_layer(tmp_path, lambda tar: add_file(tar, "a", b"wrong"), compress=False)
    lying = type(layer)(layer.descriptor, other.diff_id)
    finish_layout(tmp_path, write_manifest(tmp_path, [lying]))
    with pytest.raises(CorruptError, match="the config says"):
        read_layout(tmp_path)


def test_every_form_of_an_image_reads_the_same(tmp_path: Path) -> None:
    """A layout, a directory and a docker archive of one image have the same unpacked contents."""
    layout = tmp_path / "layout"
    layout.mkdir()
    layer = write_layer(layout, lambda tar: add_file(tar, "a", b"content"), compress=True)
    finish_layout(layout, write_manifest(layout, [layer]))
    from_layout = read_layout(layout)

    folder = tmp_path / "directory"
    folder.mkdir()
    for blob in (layout / "blobs" / "sha256").iterdir():
        (folder / blob.name).write_bytes(blob.read_bytes())
    manifest = blob_path(layout, from_layout.root).read_bytes()
    (folder / "manifest.json").write_bytes(manifest)
    archive = write_docker_archive(layout, tmp_path / "archive.tar", "name:tag")

    assert read_directory(folder) == from_layout
    assert read_docker_archive(archive).unpacked() == from_layout.unpacked()


def test_a_gzipped_layer_is_repeatable(tmp_path: Path) -> None:
    """The gzip header holds no time and no name, and the layer unpacks to its diff_id."""
    layer = write_layer(tmp_path, lambda tar: add_file(tar, "a", b"x"), compress=True)
    content = blob_path(tmp_path, layer.descriptor["digest"]).read_bytes()
    assert content[3:8] == bytes(5)
    assert gzip.decompress(content)


def test_the_tap_tells_mounts_from_uploads_and_counts_bytes() -> None:
    """The tap counts a blob's bytes once, and only a granted mount is a mount."""
    mount = "/v2/name/blobs/uploads/?mount=sha256:a&from=b"
    with run_gateway(Recorder({"statusCode": 201})) as upstream, tap(upstream) as listening:
        for path, body in (
            (mount, b""),
            ("/v2/name/blobs/uploads/x", b"12345"),
            ("/v2/name/manifests/x", b"manifest"),
        ):
            assert request(f"http://{listening.host}", "POST", path, body)[0] == 201

    assert [seen.path for seen in listening.mounts] == [mount]
    assert listening.blob_bytes == 5


class Shelf:
    """Contents by kind and reference, fetched as a registry's would be."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], bytes] = {}

    def add(self, kind: str, content: bytes, tag: str = "") -> Json:
        """Keep content under its digest, and a tag if it has one; return its descriptor."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.held[kind, digest] = self.held[kind, tag or digest] = content
        return {"digest": digest, "size": len(content)}

    def __call__(self, kind: str, reference: str) -> bytes:
        """Fetch."""
        return self.held[kind, reference]


def image(shelf: Shelf, tag: str = "", **changed: object) -> Json:
    """Keep an image of a config and a layer, with something changed in its layer's descriptor."""
    config = shelf.add("blobs", b"{}")
    layer = shelf.add("blobs", b"layer") | changed
    document = {"config": config, "layers": [{k: v for k, v in layer.items() if v is not None}]}
    return shelf.add("manifests", json.dumps(document).encode(), tag)


@pytest.mark.parametrize("said", [0, None, 4, 6, "5"])
def test_a_wrong_size_of_a_layer_is_noticed(said: object) -> None:
    """A layer's size that is 0, missing, too small, too large or no number is found."""
    shelf = Shelf()
    image(shelf, "v1", size=said)
    (found,) = untrue(described(shelf, "v1"))
    assert (found.said, found.true) == (said, 5)


@pytest.mark.parametrize("name", ["config", "subject", "manifests"])
def test_a_size_of_zero_is_noticed_wherever_it_stands(name: str) -> None:
    """A size of 0 is found in a config, a subject and an index's child."""
    shelf = Shelf()
    child = image(shelf) if name != "config" else shelf.add("blobs", b"{}")
    child["size"] = 0
    document = {name: [child] if name == "manifests" else child}
    shelf.add("manifests", json.dumps(document).encode(), "v1")
    assert [found.digest for found in untrue(described(shelf, "v1"))] == [child["digest"]]


def test_what_an_index_holds_is_measured_through_and_through() -> None:
    """Every descriptor of an index of images counts once, and right ones are not complained of."""
    shelf = Shelf()
    index = {"manifests": [image(shelf), image(shelf)]}
    shelf.add("manifests", json.dumps(index).encode(), "v1")
    found = described(shelf, "v1")
    assert len(found) == 6
    assert untrue(found) == []


def test_other_bytes_than_a_digest_names_are_noticed() -> None:
    """A blob of the right length and other bytes fails."""
    shelf = Shelf()
    image(shelf, "v1")
    shelf.held["blobs", f"sha256:{hashlib.sha256(b'layer').hexdigest()}"] = b"LAYER"
    with pytest.raises(CorruptError):
        described(shelf, "v1")
