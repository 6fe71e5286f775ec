"""The image of the cost calculation: eight layers, two of which are new with each push.

Contents are the same at each run, for sizes of items must be: nothing here may be random.
"""

from __future__ import annotations

import json
from functools import cache
from itertools import starmap

from chalicelib.descriptor import MediaType
from chalicelib.digest import Digest

REPOSITORY = "team/app"
KNOWN_LAYERS = (10_000_000,) * 6
"""Bytes of the layers that the repository has already."""

NEW_LAYERS = (10_000_000, 40_000_000)
"""Bytes of the layers that each push brings."""

CONFIG = 8_000
CHUNK = 4 * 1024 * 1024
"""What the push proxy sends at once."""

IMAGE = sum((*KNOWN_LAYERS, *NEW_LAYERS, CONFIG))
NEW = sum((*NEW_LAYERS, CONFIG))

_FIRST_NEW = 100
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"


def known_layers() -> list[bytes]:
    """Return the layers that are there before the push."""
    return list(starmap(_layer, enumerate(KNOWN_LAYERS)))


def new_layers() -> list[bytes]:
    """Return the layers that come with it."""
    return list(starmap(_layer, enumerate(NEW_LAYERS, _FIRST_NEW)))


def layers() -> list[bytes]:
    """Return all of them."""
    return [*known_layers(), *new_layers()]


def config() -> bytes:
    """Return the image's configuration, as long as usual ones are."""
    return json.dumps({"history": "x" * CONFIG})[-CONFIG:].encode()


def manifest() -> bytes:
    """Return the image's manifest."""
    document = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST.value,
        "config": _described(_CONFIG, config()),
        "layers": [_described(_LAYER, layer) for layer in layers()],
    }
    return json.dumps(document).encode()


@cache
def _layer(number: int, size: int) -> bytes:
    return bytes([number]) * size


def _described(kind: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": str(Digest.of(blob)), "size": len(blob)}
