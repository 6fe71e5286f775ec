"""Every client by its name, and how its adapter is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.clients.adapters.copying import Crane, Oras, Regctl, Skopeo
from tests.clients.adapters.oras_python import OrasPython
from tests.clients.adapters.storing import Containers, Ctr, Docker

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clients.adapters.base import Client, Workspace

# Clients that need a daemon, by the fixture that starts it.
DAEMON_OF = {"docker": "dockerd", "ctr": "containerd"}

_MAKERS: dict[str, Callable[[Workspace, str], Client]] = {
    "skopeo": lambda workspace, _: Skopeo(workspace),
    "crane": lambda workspace, _: Crane(workspace),
    "regctl": lambda workspace, _: Regctl(workspace),
    "regctl-chunked": lambda workspace, _: Regctl(workspace, chunked=True),
    "oras": lambda workspace, _: Oras(workspace),
    "oras-py": lambda workspace, _: OrasPython(workspace),
    "oras-py-chunked": lambda workspace, _: OrasPython(workspace, chunked=True),
    "podman": lambda workspace, _: Containers(workspace, "podman"),
    "buildah": lambda workspace, _: Containers(workspace, "buildah"),
    "docker": Docker,
    "ctr": Ctr,
}


def make(name: str, workspace: Workspace, address: str) -> Client:
    """Make the client called ``name``; ``address`` is its daemon's, if it has one."""
    return _MAKERS[name](workspace, address)
