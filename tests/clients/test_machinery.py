"""The client tests' own parts: images are repeatable and valid, damage is noticed, the tap counts.

These need no client program and run with every other test.
"""

from __future__ import annotations

import gzip
import tarfile
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tests.clients.contents import CorruptError, read_directory, read_docker_archive, read_layout
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


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
    """Reading a layout fails when a layer's bytes are not what its descriptor says."""
    layout = small_layout(tmp_path / "layout", compress=True)
    DAMAGE[damage](first_layer(layout))
    with pytest.raises(CorruptError):
        read_layout(layout)


def test_a_layer_unlike_its_diff_id_is_noticed(tmp_path: Path) -> None:
    """Reading fails when a layer matches its descriptor but not the config's diff_id."""
    tmp_path.joinpath("layout").mkdir()
    layout = tmp_path / "layout"
    layer = write_layer(layout, lambda tar: add_file(tar, "a", b"right"), compress=False)
    other = write_layer(layout, lambda tar: add_file(tar, "a", b"wrong"), compress=False)
    lying = type(layer)(layer.descriptor, other.diff_id)
    finish_layout(layout, write_manifest(layout, [lying]))
    with pytest.raises(CorruptError, match="the config says"):
        read_layout(layout)


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


class _Registry(BaseHTTPRequestHandler):
    """Answers every POST with 201, and reads its body by its length or in HTTP chunks."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read the body and answer."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def upstream() -> Iterator[str]:
    """Give the URL of a server that accepts everything."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Registry) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_tap_tells_mounts_from_uploads_and_counts_bytes(upstream: str) -> None:
    """The tap counts a blob's bytes once, and only a granted mount is a mount."""
    with tap(upstream) as listening:
        base = f"http://{listening.host}/v2/name"
        for path, body in (
            ("/blobs/uploads/?mount=sha256:a&from=b", b""),
            ("/blobs/uploads/x", b"12345"),
            ("/manifests/x", b"manifest"),
        ):
            with urllib.request.urlopen(  # noqa: S310  our own loopback server
                urllib.request.Request(base + path, data=body, method="POST")  # noqa: S310
            ) as answer:
                assert answer.status == 201

    assert [seen.path for seen in listening.mounts] == [
        "/v2/name/blobs/uploads/?mount=sha256:a&from=b"
    ]
    assert listening.blob_bytes == 5
