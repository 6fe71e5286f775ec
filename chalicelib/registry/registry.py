"""The registry: its services over one set of ports. This module must never hold a rule."""

from dataclasses import dataclass
from typing import Self

from chalicelib.registry.blobs import Blobs
from chalicelib.registry.commit import Commits
from chalicelib.registry.lists import Lists
from chalicelib.registry.manifests import Manifests
from chalicelib.registry.service import Limits, Ports
from chalicelib.registry.sweeper import Sweeper
from chalicelib.registry.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Registry:
    """What the API calls, and the functions that run beside it."""

    uploads: Uploads
    blobs: Blobs
    manifests: Manifests
    lists: Lists
    commits: Commits
    sweeper: Sweeper

    @classmethod
    def over(cls, ports: Ports, limits: Limits) -> Self:
        """Build the services."""
        uploads, blobs = Uploads(ports, limits), Blobs(ports, limits)
        manifests = Manifests(ports, limits, uploads, blobs)
        return cls(
            uploads=uploads,
            blobs=blobs,
            manifests=manifests,
            lists=Lists(ports),
            commits=Commits(ports, limits),
            sweeper=Sweeper(ports, limits, manifests),
        )
