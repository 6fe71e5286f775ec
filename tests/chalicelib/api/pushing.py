"""Pushing over the API, for tests of what comes after: blobs, images, and error codes read back.

It must never assert what a test is about; it only requires that what it pushes is taken.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest

if TYPE_CHECKING:
    from chalicelib.api.messages import Response
    from tests.support.registries import RegistryUnderTest

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
NAME = "team/app"


def blob(registry: RegistryUnderTest, data: bytes, name: str = NAME) -> dict[str, Any]:
    """Push a blob and return its descriptor."""
    digest = Digest.of(data)
    assert registry.ask("POST", f"{name}/blobs/uploads?digest={digest}", data).status == 201
    return {"mediaType": "application/octet-stream", "digest": str(digest), "size": len(data)}


def image(registry: RegistryUnderTest, *layers: bytes, **extra: object) -> bytes:
    """Push an image's blobs and return its manifest."""
    document = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": blob(registry, b"{}"),
        "layers": [blob(registry, layer) for layer in layers],
        **extra,
    }
    return json.dumps(document).encode()


def put(
    registry: RegistryUnderTest, reference: object, body: bytes, media_type: str = IMAGE
) -> Response:
    """Put a manifest."""
    return registry.ask("PUT", f"{NAME}/manifests/{reference}", body, content_type=media_type)


def described(body: bytes, media_type: str = IMAGE) -> dict[str, Any]:
    """Describe a manifest."""
    return {"mediaType": media_type, "digest": str(Digest.of(body)), "size": len(body)}


def code(response: Response) -> str:
    """Return the error code of an answer, after looking at its shape."""
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    (error,) = json.loads(response.body)["errors"]
    assert error["message"]
    return str(error["code"])
