"""Where a flow works: one repository behind one door of a registry, with or without a login."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.clients.adapters.copying import Skopeo

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.adapters.base import Workspace

USER = "anybody"


@dataclass(frozen=True)
class Place:
    """A repository that nobody has used, and who its user is."""

    workspace: Workspace
    host: str
    """``host:port`` of the door."""
    repository: str
    password: str | None = None
    """An API token that may pull and push there; None where the registry is open."""
    challenge_has_scope: bool = True
    """Whether a 401 names the scope to ask for: the proxy's does, API Gateway's own does not."""

    @property
    def name(self) -> str:
        """The repository with its host, as it stands in a reference."""
        return f"{self.host}/{self.repository}"

    def log_in(self) -> None:
        """Log in where that is needed, in the file that most clients read."""
        if self.password is not None:
            Skopeo(self.workspace).log_in(self.host, USER, self.password)

    def push(self, layout: Path, tag: str) -> None:
        """Push an image, logged in as the flow's user."""
        self.log_in()
        Skopeo(self.workspace).push(layout, f"{self.name}:{tag}")
