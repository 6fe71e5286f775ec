"""What every client adapter offers: push a layout under a reference, pull a reference afresh.

An adapter runs its client as a person would; it never looks at the registry itself.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from tests.clients import tools

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.clients.contents import Contents


class Client(Protocol):
    """One client program. References are ``host:port/repository:tag``."""

    keeps_digests: bool
    """Whether it moves manifests and layers as they are, rather than compressing layers anew."""

    def log_in(self, host: str, user: str, password: str) -> None:
        """Log in at ``host:port`` as this client does it, in place of an earlier login there."""

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
        self.docker_config.parent.mkdir(parents=True)
        self.docker_config.write_text("{}")

    def fresh(self, kind: str) -> Path:
        """Return a path in the workspace that doesn't exist yet."""
        self._taken += 1
        return self.folder / f"{kind}-{self._taken}"

    @property
    def docker_config(self) -> Path:
        """Where most clients keep their logins."""
        return self.folder / ".docker" / "config.json"

    def run(
        self,
        name: str,
        *arguments: str | Path,
        given: str = "",
        more: Mapping[str, str] | None = None,
        folder: Path | None = None,
        errors: bool = False,
    ) -> str:
        """Run a program whose home is the workspace, so that no login of the user's is touched.

        ``more`` is added to its environment; for the rest see tools.run.
        """
        home = str(self.folder)
        env = {
            "HOME": home,
            "DOCKER_CONFIG": str(self.docker_config.parent),
            "REGISTRY_AUTH_FILE": str(self.docker_config),
            "REGCTL_CONFIG": f"{home}/regctl.json",
            "XDG_CONFIG_HOME": f"{home}/.config",
            **(more or {}),
        }
        return tools.run(name, *arguments, env=env, given=given, folder=folder, errors=errors)

    def run_line(self, line: str, given: str = "", **values: object) -> str:
        """Run a command line, with values for the ``{names}`` in its words."""
        return self.run(*(word.format(**values) for word in line.split()), given=given)


@contextmanager
def temporary_workspace() -> Iterator[Workspace]:
    """Give a workspace that is deleted at the end, passed or failed: images are large."""
    # podman reads an oci: path as a name, which the underscores of a random one would break.
    folder = Path(tempfile.gettempdir()) / f"m-{uuid4().hex[:12]}"
    folder.mkdir()
    try:
        yield Workspace(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
