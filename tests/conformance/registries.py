"""The registries under test, each started empty: Moorage with its two doors, and a peer's one.

Everything is on loopback and in memory, and stops when the block ends.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.backends import moto
from bench.registries import PEER
from bench.registries import peer as start_peer
from tests.clients import tools
from tests.clients.daemons import start_moorage
from tests.conformance.suites import MOORAGE_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Door:
    """One way in to a registry: what it is called, and its ``host:port``."""

    name: str
    host: str


@contextmanager
def moorage() -> Iterator[tuple[Door, ...]]:
    """Run Moorage over moto with the settings that the suites test."""
    with start_moorage(env=MOORAGE_SETTINGS) as started:
        yield Door("gateway", started.gateway_host), Door("proxy", started.proxy_host)


@contextmanager
def peer() -> Iterator[tuple[Door, ...]]:
    """Run Debian's docker-registry over moto, with two settings that raise its score.

    Deletes are on. It hands out blobs itself: an S3 URL could not give the digest header that the
    suite of `dev` asks for.
    """
    settings = {"delete": {"enabled": True}, "redirect": {"disable": True}}
    with moto() as backend, start_peer(backend, settings) as started:
        yield (Door(PEER, started.host),)


def peer_version() -> str:
    """Return the peer's name and version, as it tells them itself."""
    # It prints: program, import path, version.
    return f"{PEER} {tools.run(PEER, '--version').split()[-1].lstrip('v')}"
