"""BuildKit and ko: an image is built and pushed by what builds it, and a build's cache comes back.

Nothing is run inside an image, and none comes from elsewhere: builds need no network.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.clients.adapters.copying import Skopeo
from tests.clients.install import go_environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.flows.place import Place

_DOCKERFILE = """\
FROM scratch AS first
COPY large /large
FROM scratch
COPY --from=first /large /copied
COPY small /small
"""
_STEPS = 3
_LARGE = 100_000
_PROGRAM = """\
package main

func main() { println("%s") }
"""


class BuildKit:
    """buildctl with a buildkitd of the run's own, at ``address``, as buildx drives it.

    The larger layer's file holds ``large``, or else zeros.
    """

    def __init__(self, place: Place, address: str, large: bytes = b"") -> None:
        self._place = place
        self._address = address
        self._source = place.workspace.fresh("source")
        self._source.mkdir()
        (self._source / "Dockerfile").write_text(_DOCKERFILE)
        (self._source / "small").write_text(place.repository)
        content = place.repository.encode() + large
        (self._source / "large").write_bytes(content.ljust(_LARGE, b"\0"))
        place.log_in()

    def use(self, *, image_manifest: bool) -> None:
        """Push an image and a registry cache; another builder's build is then all from the cache.

        ``image_manifest`` is the cache's form: an image's manifest, or an index that names blobs.
        """
        name = self._place.name
        kind = f"image-manifest={'true' if image_manifest else 'false'}"
        cache = f"type=registry,ref={name}:cache"
        for _ in range(2):
            self.push("--export-cache", f"{cache},mode=max,oci-mediatypes=true,{kind}")
            self._run("prune", "--all")
        shown = self._build("--import-cache", cache)
        assert len(re.findall(r"^#\d+ CACHED$", shown, re.MULTILINE)) == _STEPS, shown

    def push(self, *words: str) -> None:
        """Build the image and push it, with more ``words``; pull it back, by another client."""
        name = f"{self._place.name}:built"
        self._build("--output", f"type=image,name={name},push=true", *words)
        (image,) = Skopeo(self._place.workspace).pull(name).images
        assert len(image.layers) == 2

    def _build(self, *words: str) -> str:
        source = self._source
        local = ("--local", f"context={source}", "--local", f"dockerfile={source}")
        frontend = ("--frontend", "dockerfile.v0", "--progress", "plain")
        return self._run("build", *frontend, *local, *words)

    def _run(self, *words: str) -> str:
        words = ("--addr", self._address, *words)
        return self._place.workspace.run("buildctl", *words, errors=True)


def build_with_ko(place: Place, base: Path) -> None:
    """Build a Go program into an image over ``base``, a layout, and push it twice with ko."""
    work = place.workspace
    source = work.fresh("program")
    source.mkdir()
    (source / "go.mod").write_text("module example.test/program\n\ngo 1.25\n")
    (source / "main.go").write_text(_PROGRAM % place.repository)
    place.push(base, "base")
    place.log_in()
    more = {
        **go_environment(),
        "KO_DOCKER_REPO": place.name,
        "KO_DEFAULTBASEIMAGE": f"{place.name}:base",
    }
    pushed = [
        work.run(
            *("ko", "build", "--bare", "--insecure-registry", "--platform=linux/amd64", "."),
            more=more,
            folder=source,
        ).strip()
        for _ in range(2)
    ]
    assert pushed[0] == pushed[1]
    (image,) = Skopeo(work).pull(pushed[0]).images
    assert len(image.layers) > 1
