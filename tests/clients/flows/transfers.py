"""`moorage push`, `pull` and `copy`: each kind of source, compared with what others make of it.

What it pushes is pulled by skopeo too, and what it pulls for docker is loaded by docker.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

from tests.clients.adapters.copying import Skopeo
from tests.clients.contents import read_docker_archive, read_layout
from tests.clients.images import TAG, write_docker_archive

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.contents import Contents
    from tests.clients.flows.place import Place

_SAVE = "moorage.test/saved:1"


def move_each_kind_of_source(place: Place, layout: Path, docker: str) -> None:
    """Push a layout, its archive, what two programs save, a daemon's image; pull them back."""
    work = place.workspace
    place.log_in()
    archive, saved, by_docker, by_skopeo, back = (
        work.fresh(kind)
        for kind in ("layout.tar", "saved.tar", "docker.tar", "skopeo.tar", "back.tar")
    )
    with tarfile.open(archive, "w") as packed:
        packed.add(layout, ".")
    write_docker_archive(layout, saved, _SAVE)
    work.run("docker", "--host", docker, "load", "--quiet", "--input", saved)
    try:
        work.run("docker", "--host", docker, "save", "--output", by_docker, _SAVE)
        work.run(
            "skopeo", "copy", "-q", f"oci:{layout}:{TAG}", f"docker-archive:{by_skopeo}:{_SAVE}"
        )
        sent = read_layout(layout)
        for source in (f"oci:{layout}:{TAG}", f"oci-archive:{archive}"):
            assert _pushed(place, source) == sent
        for source in (f"docker-archive:{each}" for each in (saved, by_docker, by_skopeo)):
            assert _pushed(place, source).unpacked() == sent.unpacked()
        more = {"DOCKER_HOST": docker}
        assert _pushed(place, f"docker-daemon:{_SAVE}", more).unpacked() == sent.unpacked()
        work.run("moorage", "pull", f"{place.name}:moved", f"docker-archive:{back}:{_SAVE}")
        assert read_docker_archive(back).unpacked() == sent.unpacked()
        work.run("docker", "--host", docker, "load", "--quiet", "--input", back)
    finally:
        work.run("docker", "--host", docker, "image", "prune", "--all", "--force")


def _pushed(place: Place, source: str, more: dict[str, str] | None = None) -> Contents:
    """Push and copy an image; return what skopeo pulls, which `moorage pull` has to pull too."""
    work = place.workspace
    copied = f"{place.name}-copy:moved"
    digest = work.run("moorage", "push", source, f"{place.name}:moved", "--quiet", more=more)
    assert work.run("moorage", "copy", f"{place.name}:moved", copied, "--quiet") == digest
    into = work.fresh("pulled")
    assert work.run("moorage", "pull", copied, f"oci:{into}:{TAG}", "--quiet") == digest
    found = Skopeo(work).pull(f"{place.name}:moved")
    assert read_layout(into) == found
    assert found.root == digest.strip()
    return found
