"""What the page is shown: repositories as people have them, and hostile words in every place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from tests.support.servers import request

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
BASE = b"the same base layer" * 4_000


@dataclass(frozen=True)
class Seeder:
    """Pushes to a registry at `url`; `headers` has the login."""

    url: str
    headers: Mapping[str, str]

    def blob(self, name: str, data: bytes, media_type: str = LAYER) -> dict[str, Any]:
        """Push a blob and return its descriptor."""
        digest = Digest.of(data)
        self._send("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", data)
        return {"mediaType": media_type, "digest": str(digest), "size": len(data)}

    def manifest(
        self, name: str, reference: str | None, document: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Push a manifest, by its digest where it has no tag, and return its descriptor."""
        body = json.dumps(document).encode()
        digest = Digest.of(body)
        kind = document["mediaType"]
        self._send("PUT", f"/v2/{name}/manifests/{reference or digest}", body, kind)
        return {"mediaType": kind, "digest": str(digest), "size": len(body)}

    def image(
        self, name: str, tag: str | None, own: bytes, *, arch: str = "amd64", **extra: object
    ) -> dict[str, Any]:
        """Push an image of two layers, the first of which all images share."""
        config = {
            "os": "linux",
            "architecture": arch,
            "created": "2026-11-29T10:00:00Z",
            "config": {"Cmd": ["serve"], "Env": ["LANG=C.UTF-8"], "Labels": {"evil": HOSTILE}},
            "history": [{"created_by": "ADD rootfs"}, {"created_by": f"COPY {HOSTILE}"}],
        }
        layers = [self.blob(name, BASE), self.blob(name, own)]
        document = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": self.blob(name, json.dumps(config).encode(), CONFIG),
            "layers": layers,
            **extra,
        }
        return self.manifest(name, tag, document)

    def platforms(self, name: str, *tags: str) -> dict[str, Any]:
        """Push an image for two platforms under some tags."""
        named = [
            {
                **self.image(name, None, f"{tags} {arch}".encode() * 1_000, arch=arch),
                "platform": {"os": "linux", "architecture": arch},
            }
            for arch in ("amd64", "arm64")
        ]
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": named}
        return [self.manifest(name, tag, document) for tag in tags][-1]

    def attach(self, name: str, subject: Mapping[str, Any], kind: str) -> None:
        """Push a signature or the like of another manifest."""
        document = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "artifactType": kind,
            "config": self.blob(name, b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [self.blob(name, kind.encode() * 30)],
            "subject": dict(subject),
        }
        self.manifest(name, None, document)

    def _send(self, method: str, target: str, body: bytes, kind: str = "") -> None:
        headers = {**self.headers, "Content-Type": kind or "application/octet-stream"}
        status, _, answer = request(self.url, method, target, body, headers)
        assert status == 201, (status, answer)


def seed(seeder: Seeder) -> None:
    """Push what the tests look at."""
    shop = "shop/checkout"
    seeder.platforms(shop, "v1.4.0", "latest")
    current = seeder.platforms(shop, "v1.5.0", "latest")
    seeder.attach(shop, current, "application/vnd.dev.sigstore.bundle.v0.3+json")
    seeder.attach(shop, current, "application/spdx+json")
    hostile = {HOSTILE: HOSTILE}
    feature = seeder.image(shop, "feature", b"feature" * 999, annotations=hostile)
    seeder.image(shop, f"sha256-{feature['digest'].removeprefix('sha256:')}.sig", b"cosign 2")
    for name in ("shop/cart", "infra/proxy"):
        seeder.image(name, "latest", name.encode())
    for number in range(130):
        seeder.image("shop/cart", f"build-{number:04}", b"the same")
