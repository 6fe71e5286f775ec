"""What a test of a client has for itself: a workspace, a repository, clients and images by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.clients import images, recipes
from tests.clients.adapters.copying import (
    COPIES,
    ChunkedRegctl,
    Crane,
    Moorage,
    Oras,
    Regctl,
    Skopeo,
)
from tests.clients.adapters.oras_python import OrasPython
from tests.clients.adapters.storing import Containers, Ctr, Docker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.clients.adapters.base import Client, Workspace

_CLIENTS: dict[str, Callable[[Workspace], Client]] = {
    "skopeo": Skopeo,
    "crane": Crane,
    "regctl": Regctl,
    "regctl-chunked": ChunkedRegctl,
    "oras": Oras,
    "moorage": Moorage,
    "oras-py": OrasPython,
    "oras-py-chunked": lambda workspace: OrasPython(workspace, chunked=True),
    "podman": lambda workspace: Containers(workspace, "podman"),
    "buildah": lambda workspace: Containers(workspace, "buildah"),
}


def _nerdctl(workspace: Workspace, address: str) -> Docker:
    return Docker(
        workspace,
        *("nerdctl", "--address", address, "--snapshotter", "native"),
        *("--data-root", str(workspace.folder / "nerdctl"), "--cgroup-manager", "none"),
        "--insecure-registry",
    )


# Clients that need a daemon: the fixture that starts it, and how they are made for its address.
_DAEMONS: dict[str, tuple[str, Callable[[Workspace, str], Client]]] = {
    "docker": ("dockerd", lambda workspace, at: Docker(workspace, "docker", "--host", at)),
    "docker29": ("dockerd29", lambda workspace, at: Docker(workspace, "docker", "--host", at)),
    "nerdctl": ("containerd2", _nerdctl),
    "ctr": ("containerd", Ctr),
    # Without --local, ctr 2 may close the archive before the last bytes of it have been written.
    "ctr2": ("containerd2", lambda workspace, at: Ctr(workspace, at, "ctr2", ("--local",))),
}


@dataclass(frozen=True)
class Workshop:
    """One test's own: nobody has used the workspace or the repository before."""

    workspace: Workspace
    repository: str
    _fixture: Callable[[str], str]

    def client(self, name: str) -> Client:
        """Make a client, and start the daemon that it needs."""
        if name not in _DAEMONS:
            return _CLIENTS[name](self.workspace)
        daemon, make = _DAEMONS[name]
        return make(self.workspace, self.daemon(daemon))

    def daemon(self, name: str) -> str:
        """Start the daemon that a fixture is called after, and return its address."""
        return self._fixture(name)

    @property
    def skopeo(self) -> Skopeo:
        """The client that prepares, and reads what others have pushed."""
        return Skopeo(self.workspace)

    def copy(self, name: str, source: str, target: str) -> None:
        """Copy within a registry by the client called ``name``."""
        host = source.partition("/")[0]
        self.workspace.run_line(COPIES[name], source=source, target=target, host=host)

    def image(self, name: str) -> Path:
        """Make the layout of an image, with layers that nobody has pushed before."""
        try:
            kept = recipes.layout(name)
        except recipes.CannotMakeError as reason:
            pytest.skip(f"image {name} CAN'T BE MADE on this machine: {reason}")
        return images.stamp(kept, self.workspace.fresh(name), uuid4().hex)
