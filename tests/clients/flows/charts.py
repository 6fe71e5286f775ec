"""helm: a chart is packaged, pushed, shown and pulled back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.clients.flows.place import USER

if TYPE_CHECKING:
    from tests.clients.flows.place import Place

_CHART = {
    "Chart.yaml": "apiVersion: v2\nname: demo\nversion: 0.1.0\ndescription: of {name}\n",
    "templates/map.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: demo\n",
}


_FILE = 4 * 1024 * 1024
"""Bytes of a file that helm still takes into a chart: 5 MiB is its limit."""


def push_and_pull_a_chart(place: Place, program: str, files: int = 0) -> None:
    """Push a chart twice with a helm; the archive that it pulls has the bytes that it pushed.

    `files` of 4 MiB that can't be compressed make it large; helm takes 100 MiB in all.
    """
    work = place.workspace
    folder, packed, pulled = (work.fresh(kind) for kind in ("chart", "packed", "pulled"))
    for file, text in _CHART.items():
        target = folder / "demo" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace("{name}", place.repository))
    for number in range(files):
        (folder / "demo" / f"filler{number}").write_bytes(os.urandom(_FILE))
    work.run(program, "package", folder / "demo", "--destination", packed)
    if place.password is not None:
        work.run(
            *(program, "registry", "login", place.host, "--plain-http"),
            *("--username", USER, "--password-stdin"),
            given=place.password,
        )
    archive = packed / "demo-0.1.0.tgz"
    chart = (f"oci://{place.name}/demo", "--version", "0.1.0", "--plain-http")
    for _ in range(2):
        work.run(program, "push", archive, f"oci://{place.name}", "--plain-http")
    assert f"description: of {place.repository}" in work.run(program, "show", "chart", *chart)
    pulled.mkdir()
    work.run(program, "pull", *chart, "--destination", pulled)
    assert (pulled / archive.name).read_bytes() == archive.read_bytes()
