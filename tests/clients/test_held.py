"""The check of stored sizes notices each way in which a size can be wrong.

These need no client program and run with every other test.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.clients.contents import CorruptError
from tests.clients.held import described, untrue

if TYPE_CHECKING:
    from tests.clients.images import Json


class Shelf:
    """Contents by kind and reference, fetched as a registry's would be."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], bytes] = {}

    def add(self, kind: str, content: bytes, tag: str = "") -> Json:
        """Keep content under its digest, and a tag if it has one; return its descriptor."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._held[kind, digest] = self._held[kind, tag or digest] = content
        return {"digest": digest, "size": len(content)}

    def swap(self, kind: str, digest: str, content: bytes) -> None:
        """Keep other content than a digest names."""
        self._held[kind, digest] = content

    def __call__(self, kind: str, reference: str) -> bytes:
        """Fetch."""
        return self._held[kind, reference]


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
    shelf.swap("blobs", f"sha256:{hashlib.sha256(b'layer').hexdigest()}", b"LAYER")
    with pytest.raises(CorruptError):
        described(shelf, "v1")
