"""Pushing over the API, for tests of what comes after: blobs, images, leases, error codes.

It must never assert what a test is about; it only requires that what it pushes is taken.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from chalicelib.api.messages import Request
from chalicelib.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from chalicelib.api.messages import Response
    from chalicelib.registry.ports import SessionStore
    from chalicelib.registry.session import Session
    from tests.support.registries import RegistryUnderTest

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
NAME = "team/app"


def a_request(method: str, target: str, now: float, body: bytes = b"", **headers: str) -> Request:
    """Return a request; `target` is the path after /v2/ with its query, of one value a name."""
    path, _, query = target.removeprefix("/v2/").partition("?")
    pairs = [part.partition("=") for part in query.split("&") if part]
    return Request(
        method=method,
        path=path,
        query={name: [unquote(value)] for name, _, value in pairs},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body,
        deadline=now + 29,
        request_id="test",
    )


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


def index(*manifests: Mapping[str, Any], **extra: object) -> bytes:
    """Return an index."""
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, **extra}
    return json.dumps(document).encode()


def put(
    registry: RegistryUnderTest, reference: object, body: bytes, media_type: str = IMAGE
) -> Response:
    """Put a manifest."""
    return registry.ask("PUT", f"{NAME}/manifests/{reference}", body, content_type=media_type)


def described(body: bytes, media_type: str = IMAGE) -> dict[str, Any]:
    """Describe a manifest."""
    return {"mediaType": media_type, "digest": str(Digest.of(body)), "size": len(body)}


def fill(registry: RegistryUnderTest, items: Iterable[dict[str, Any]]) -> None:
    """Write items straight into the table, as many requests of a client would have left them."""
    puts: list[Any] = [{"PutRequest": {"Item": item}} for item in items]
    for start in range(0, len(puts), 25):
        batch = puts[start : start + 25]
        registry.dynamodb.batch_write_item(RequestItems={registry.registry_table: batch})


def hold(sessions: SessionStore, session: Session, now: float, seconds: float) -> Session:
    """Take a session's lease, as another request does that is about to go on with it."""
    held: dict[str, Any] = {"claim": None, "holder": "other", "now": now, "until": now + seconds}
    return sessions.take_lease(session.id, owner=session.owner, at=session.offset, **held)


def code(response: Response) -> str:
    """Return the error code of an answer, after looking at its shape."""
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    (error,) = json.loads(response.body)["errors"]
    assert error["message"]
    return str(error["code"])
