"""What every client adapter offers: push a layout under a reference, pull a reference afresh.

An adapter runs its client as a person would; it never looks at the registry itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tests.clients import tools

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.contents import Contents


class Client(Protocol):
    """One client program. References are ``host:port/repository:tag``."""

    keeps_digests: bool
    """Whether it moves manifests and layers as they are, rather than compressing layers anew."""

    def push(self, layout: Path, reference: str) -> None:
        """Push the image or index of an OCI layout."""

    def pull(self, reference: str) -> Contents:
        """Pull into a place that holds nothing, and verify every byte that arrived."""


class Workspace:
    """A folder of one client: its home, its stores, what it pulled."""

    def __init__(self, folder: Path) -> None:
        """Work in ``folder``, which the caller deletes."""
        self.folder = folder
        self._taken = 0
        # podman and buildah stop when DOCKER_CONFIG names a folder without this file.
        (folder / ".docker").mkdir(parents=True)
        (folder / ".docker" / "config.json").write_text("{}")

    def fresh(self, kind: str) -> Path:
        """Return a path in the workspace that doesn't exist yet."""
        self._taken += 1
        return self.folder / f"{kind}-{self._taken}"

    def run(self, name: str, *arguments: str | Path) -> str:
        """Run a program whose home is the workspace, so that no login of the user's is read."""
        home = str(self.folder)
        env = {
            "HOME": home,
            "DOCKER_CONFIG": f"{home}/.docker",
            "REGCTL_CONFIG": f"{home}/regctl.json",
            "XDG_CONFIG_HOME": f"{home}/.config",
        }
        return tools.run(name, *arguments, env=env)
