"""The registry: its services over one set of ports, each built when it is first asked for.

A new process answers its first request sooner so. This module must never hold a rule.
"""

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chalicelib.registry.blobs import Blobs
    from chalicelib.registry.lists import Lists
    from chalicelib.registry.manifests import Manifests
    from chalicelib.registry.service import Limits, Ports
    from chalicelib.registry.sweeper import Sweeper
    from chalicelib.registry.upload.runner import CommitDriver
    from chalicelib.registry.upload.uploads import Uploads

# ruff: noqa: PLC0415 - a service is imported when it is built


class Registry:
    """What the API calls, and the functions that run beside it."""

    def __init__(self, ports: "Ports", limits: "Limits") -> None:
        self._ports = ports
        self._limits = limits

    @cached_property
    def uploads(self) -> "Uploads":
        """Upload sessions."""
        from chalicelib.registry.upload.uploads import Uploads

        return Uploads(self._ports, self._limits)

    @cached_property
    def blobs(self) -> "Blobs":
        """Blobs of repositories."""
        from chalicelib.registry.blobs import Blobs

        return Blobs(self._ports, self._limits)

    @cached_property
    def manifests(self) -> "Manifests":
        """Manifests and tags."""
        from chalicelib.registry.manifests import Manifests

        return Manifests(self._ports, self._limits, self.uploads, self.blobs)

    @cached_property
    def lists(self) -> "Lists":
        """What a repository, or the registry, holds."""
        from chalicelib.registry.lists import Lists

        return Lists(self._ports)

    @cached_property
    def commits(self) -> "CommitDriver":
        """What drives a sealed session to its end."""
        from chalicelib.registry.upload.runner import CommitDriver

        return CommitDriver(self._ports, self._limits)

    @cached_property
    def sweeper(self) -> "Sweeper":
        """What ends that which nobody came back for."""
        from chalicelib.registry.sweeper import Sweeper

        return Sweeper(self._ports, self._limits, self.manifests)
