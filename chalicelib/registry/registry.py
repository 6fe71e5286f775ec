"""The registry: its services over one set of ports.

Each service is imported and built when it is first used, so that a cold start loads only what its
request needs. This module must never hold a rule.
"""

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chalicelib.registry.blobs import Blobs
    from chalicelib.registry.catalog import Catalog
    from chalicelib.registry.collector.collector import Collector
    from chalicelib.registry.deletions import Deletions
    from chalicelib.registry.lists import Lists
    from chalicelib.registry.manifests.pushing import Pushes
    from chalicelib.registry.manifests.reading import Manifests
    from chalicelib.registry.manifests.removal import Removals
    from chalicelib.registry.overviews import Overviews
    from chalicelib.registry.retention.run import Retention
    from chalicelib.registry.service import Limits, Ports
    from chalicelib.registry.sweeper import Sweeper
    from chalicelib.registry.undo import Undo
    from chalicelib.registry.upload.direct import DirectUploads
    from chalicelib.registry.upload.runner import CommitDriver
    from chalicelib.registry.upload.uploads import Uploads
    from chalicelib.registry.upload.verification import Verifier

# ruff: noqa: PLC0415 - a service is imported when it is built


class Registry:
    """All services: for the API, and for the functions that commit and sweep."""

    def __init__(self, ports: "Ports", limits: "Limits") -> None:
        self._ports = ports
        self._limits = limits

    @cached_property
    def uploads(self) -> "Uploads":
        """Upload sessions."""
        from chalicelib.registry.upload.uploads import Uploads

        return Uploads(self._ports, self._limits)

    @cached_property
    def direct(self) -> "DirectUploads":
        """Direct uploads."""
        from chalicelib.registry.upload.direct import DirectUploads

        return DirectUploads(self._ports, self._limits)

    @cached_property
    def blobs(self) -> "Blobs":
        """Blobs of repositories."""
        from chalicelib.registry.blobs import Blobs

        return Blobs(self._ports, self._limits)

    @cached_property
    def manifests(self) -> "Manifests":
        """Live manifests."""
        from chalicelib.registry.manifests.reading import Manifests

        return Manifests(self._ports, self._limits, lambda: self.blobs)

    @cached_property
    def pushes(self) -> "Pushes":
        """What puts manifests into repositories."""
        from chalicelib.registry.manifests.pushing import Pushes

        return Pushes(self._ports, self._limits, lambda: self.uploads, self.removals)

    @cached_property
    def removals(self) -> "Removals":
        """What takes manifests and tags away."""
        from chalicelib.registry.manifests.removal import Removals

        return Removals(self._ports, self._limits)

    @cached_property
    def lists(self) -> "Lists":
        """Lists of tags, referrers and repositories."""
        from chalicelib.registry.lists import Lists

        return Lists(self._ports)

    @cached_property
    def overviews(self) -> "Overviews":
        """What people look at."""
        from chalicelib.registry.overviews import Overviews

        return Overviews(self._ports, self.manifests)

    @cached_property
    def deletions(self) -> "Deletions":
        """Deletions, looked at beforehand."""
        from chalicelib.registry.deletions import Deletions

        return Deletions(self._ports, self._limits, self.manifests)

    @cached_property
    def catalog(self) -> "Catalog":
        """What is known of repositories as a whole."""
        from chalicelib.registry.catalog import Catalog

        return Catalog(self._ports)

    @cached_property
    def undo(self) -> "Undo":
        """The history of tags, and bringing back what was deleted."""
        from chalicelib.registry.undo import Undo

        return Undo(self._ports, self._limits, self.manifests, self.removals)

    @cached_property
    def retention(self) -> "Retention":
        """What the rules of retention decide, and the runs that do it."""
        from chalicelib.registry.retention.run import Retention

        return Retention(self._ports, self._limits, self.manifests, self.removals)

    @cached_property
    def commits(self) -> "CommitDriver":
        """The driver of sealed sessions."""
        from chalicelib.registry.upload.runner import CommitDriver

        return CommitDriver(self._ports, self._limits)

    @cached_property
    def verifier(self) -> "Verifier":
        """The worker that verifies segments."""
        from chalicelib.registry.upload.verification import Verifier

        return Verifier(self._ports, self._limits)

    @cached_property
    def collector(self) -> "Collector":
        """The collector."""
        from chalicelib.registry.collector.collector import Collector

        return Collector(self._ports, self._limits, self.catalog.note)

    @cached_property
    def sweeper(self) -> "Sweeper":
        """The sweeper."""
        from chalicelib.registry.sweeper import Sweeper

        return Sweeper(self._ports, self._limits, self.removals)
